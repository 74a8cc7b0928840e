//! The command as a user meets it: what it prints, where, and with which exit code.

mod common;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use common::{command, netchannel, text};
use netchannel::control::report::{
    Channel, Channels, CopyMode, DropReason, Drops, KernelStatistics, LinkState, Mapping, Mappings, Port,
    Ports, Rings, Traffic, Verdict, XdpMode,
};
use netchannel::control::{ControlError, Inspect, Request, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/netchannel.toml");

/// A directory with a configuration.
fn with_file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netchannel.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn check_says_what_a_file_holds() {
    let ran = netchannel(&["check", SAMPLE]);
    assert_eq!(
        ran.out,
        format!("{SAMPLE}: ok: 2 interfaces, 5 channels, 9 rules\n")
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

/// 7422-2b: who had a port is computed from the configuration.
#[test]
fn nat_reverse_tells_who_has_a_port() {
    let ran = netchannel(&[
        "nat",
        "reverse",
        "--config",
        SAMPLE,
        "198.18.0.0:1024",
        "198.18.0.1:3500",
    ]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(
        ran.out,
        "198.18.0.0:1024 10.0.0.192 subscribers\n198.18.0.1:3500 10.0.0.210 subscribers\n"
    );
    let ran = netchannel(&[
        "nat",
        "reverse",
        "-j",
        "-c",
        SAMPLE,
        "198.18.0.1:3500",
        "198.18.0.1:80",
    ]);
    assert_eq!(ran.code, 1);
    let line: Value = serde_json::from_str(&ran.out).unwrap();
    let expected = json!({ "external": "198.18.0.1:3500", "inside": "10.0.0.210", "channel": "subscribers" });
    assert_eq!(line, expected);
    assert!(
        ran.err.contains("no inside host has 198.18.0.1:80"),
        "{}",
        ran.err
    );
}

#[test]
fn check_says_what_is_wrong_with_every_file() {
    let (_directory, path) =
        with_file("[[interface]]\nname = \"lan0\"\nrole = \"insid\"\n[[rule]]\nchannel = \"x\"\n");
    let path = text(&path);
    let ran = netchannel(&["check", path, SAMPLE, "/nonexistent/netchannel.toml"]);
    assert_eq!(ran.code, 3);
    assert_eq!(
        ran.out,
        format!("{SAMPLE}: ok: 2 interfaces, 5 channels, 9 rules\n")
    );
    let expected = format!(
        "netchannel: {path}: refused, 2 problems\n\
         {path}:3:8: role: found \"insid\"; expected \"inside\" or \"outside\" (did you mean \"inside\"?)\n\
         3 | role = \"insid\"\n  |        ^^^^^^^\n\
         {path}:5:11: channel: \"x\" is not a channel; expected \"drop\" or \"pass\"\n\
         5 | channel = \"x\"\n  |           ^^^\n\
         netchannel: /nonexistent/netchannel.toml: refused, 1 problem\n\
         /nonexistent/netchannel.toml: can not be read: there is no such file\n"
    );
    assert_eq!(ran.err, expected);
}

#[test]
fn check_warns_of_what_is_probably_not_meant() {
    let (_directory, path) = with_file("[[interface]]\nname = \"lan0\"\nrole = \"inside\"\n");
    let ran = netchannel(&["check", text(&path)]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.out.ends_with(": ok: 1 interface, 0 channels, 0 rules\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.starts_with("netchannel: warning: ") && ran.err.contains("no [[rule]]"),
        "{}",
        ran.err
    );
}

#[test]
fn run_and_replay_refuse_a_wrong_configuration() {
    let (_directory, path) = with_file("nonsense");
    for arguments in [
        &["run", "--config", text(&path)][..],
        &["replay", "--config", text(&path), "lan0=a", "b"],
    ] {
        let ran = netchannel(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{arguments:?}");
        assert!(
            ran.err
                .starts_with(&format!("netchannel: {}: refused, ", path.display())),
            "{}",
            ran.err
        );
    }
}

#[test]
fn wrong_usage_is_told() {
    let cases: [&[&str]; 8] = [
        &[],
        &["fly"],
        &["run"],
        &["check"],
        &["show"],
        &["show", "everything"],
        &["replay", "--config", SAMPLE, "only-one"],
        &["replay", "--config", SAMPLE, "nosuch0=a", "b"],
    ];
    for arguments in cases {
        let ran = netchannel(arguments);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            ran.err
        );
        assert!(ran.err.starts_with("netchannel: "), "{arguments:?}: {}", ran.err);
    }
    assert!(netchannel(&["--log", "loud", "check", SAMPLE]).code == 2);
    assert!(netchannel(&["shwo"]).err.contains("show"));
}

#[test]
fn every_level_has_help_with_examples() {
    let levels: [&[&str]; 18] = [
        &[],
        &["run"],
        &["check"],
        &["show"],
        &["show", "ports"],
        &["show", "channels"],
        &["show", "mappings"],
        &["show", "sessions"],
        &["show", "pools"],
        &["show", "drops"],
        &["nat", "delete"],
        &["nat", "reverse"],
        &["replay"],
        &["rules"],
        &["rules", "match"],
        &["bench"],
        &["bench", "classify"],
        &["bench", "generate"],
    ];
    for level in levels {
        let ran = netchannel(&[level, &["--help"]].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{level:?}");
        assert!(
            ran.out.contains("Usage: netchannel") && ran.out.contains("Examples:\n"),
            "{}",
            ran.out
        );
        let longest = ran.out.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(120), "{level:?}: {longest:?}");
    }
    let top = netchannel(&["--help"]).out;
    for code in [
        "0  success",
        "1  failure",
        "2  wrong usage",
        "3  the configuration was refused, or a rule set or trace",
    ] {
        assert!(top.contains(code), "{top}");
    }
    assert!(netchannel(&["--version"]).out.starts_with("netchannel "));
}

#[test]
fn show_says_when_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let ran = netchannel(&["show", "ports", "--socket", text(&socket)]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let expected = format!(
        "netchannel: no netchannel is running at {}; start one with",
        socket.display()
    );
    assert!(ran.err.starts_with(&expected), "{}", ran.err);
}

/// What the tests show.
#[derive(Default)]
struct Fixed {
    ports: Ports,
    channels: Channels,
    mappings: Vec<Mapping>,
    drops: Drops,
}

impl Inspect for Fixed {
    fn answer(&self, request: Request) -> Result<Value, ControlError> {
        Ok(match request {
            Request::Ports => serde_json::to_value(&self.ports)?,
            Request::Channels => serde_json::to_value(&self.channels)?,
            Request::Drops => serde_json::to_value(&self.drops)?,
            Request::Mappings(page) => {
                let first: usize = page.after.map_or(0, |after| after.parse().unwrap());
                let end = (first + page.limit as usize).min(self.mappings.len());
                let next = (end < self.mappings.len()).then(|| end.to_string());
                serde_json::to_value(Mappings {
                    mappings: self.mappings[first..end].to_vec(),
                    next,
                })?
            }
            _ => return Err(ControlError::new("not here")),
        })
    }
}

struct Served {
    _directory: TempDir,
    _server: Server,
    socket: PathBuf,
}

impl Served {
    fn new(answers: Fixed) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let server = Server::start(&socket, Arc::new(answers)).unwrap();
        Served {
            _directory: directory,
            _server: server,
            socket,
        }
    }

    fn show(&self, arguments: &[&str]) -> String {
        let ran = netchannel(&[&["show", "--socket", text(&self.socket)], arguments].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        ran.out
    }
}

fn mapping(index: u16) -> Mapping {
    Mapping {
        channel: "internet".to_owned(),
        protocol: "tcp".to_owned(),
        inside: format!("10.0.0.2:{index}"),
        external: format!("198.51.100.1:{index}"),
        sessions: 2,
        age_seconds: 3_725,
        idle_seconds: 5,
        expires_in_seconds: 7_435,
        state: Some("established".to_owned()),
    }
}

fn some() -> Fixed {
    let port = |interface: &str, mode, copy| Port {
        interface: interface.to_owned(),
        device: "eth0".to_owned(),
        vlan: (interface == "eth0.7").then_some(7),
        link: LinkState::Up,
        driver: Some("veth".to_owned()),
        xdp_mode: mode,
        copy_mode: copy,
        queues: 1,
        rings: Rings {
            receive: 2048,
            transmit: 2048,
            fill: 2048,
            completion: 2048,
        },
        received: Traffic {
            packets: 1_234_567,
            bytes: 98_765_432,
        },
        transmitted: Traffic {
            packets: 5,
            bytes: 300,
        },
        dropped: 0,
        kernel: KernelStatistics {
            receive_ring_full: 17,
            ..KernelStatistics::default()
        },
    };
    Fixed {
        ports: Ports {
            ports: vec![
                port("eth0.7", XdpMode::Native, CopyMode::ZeroCopy),
                port("wan0", XdpMode::Generic, CopyMode::Copy),
            ],
            verdicts: vec![Verdict {
                name: "redirected".to_owned(),
                packets: 1_234_567,
            }],
        },
        channels: Channels {
            channels: vec![Channel {
                name: "internet".to_owned(),
                kind: "nat".to_owned(),
                packets: 1_000,
                bytes: 64_000,
                flows: 12,
                details: [
                    ("mappings".to_owned(), json!(31_744)),
                    ("external".to_owned(), json!(["192.0.2.1"])),
                ]
                .into(),
            }],
        },
        mappings: (0..3000).map(mapping).collect(),
        drops: Drops {
            received: 110,
            transmitted: 99,
            passed: 1,
            reasons: [("fragment", 3), ("never", 0), ("ttl-expired", 7)]
                .map(|(reason, packets)| DropReason {
                    reason: reason.to_owned(),
                    packets,
                    explanation: format!("why {reason}"),
                })
                .to_vec(),
            ..Drops::default()
        },
    }
}

#[test]
fn tables_are_aligned_and_have_units() {
    let served = Served::new(some());
    assert_eq!(
        served.show(&["ports"]),
        "\
INTERFACE  DEVICE  VLAN  LINK  DRIVER  XDP      COPY       QUEUES  RX PACKETS  RX BYTES  TX PACKETS  TX BYTES  DROPPED
eth0.7     eth0       7  up    veth    native   zero-copy       1   1,234,567   98.8 MB           5     300 B        0
wan0       eth0       -  up    veth    generic  copy            1   1,234,567   98.8 MB           5     300 B        0

Rings of each socket (entries), and what the kernel counted for the sockets:
INTERFACE  RX RING  TX RING   FILL  COMPLETION  RX DROPPED  RX RING FULL  FILL EMPTY  TX EMPTY  REFUSED  INVALID
eth0.7       2,048    2,048  2,048       2,048           0            17           0         0        0        0
wan0         2,048    2,048  2,048       2,048           0            17           0         0        0        0

Verdicts of the XDP program:
VERDICT       PACKETS
redirected  1,234,567
"
    );
    assert_eq!(
        served.show(&["channels"]),
        "\
CHANNEL   KIND  PACKETS    BYTES  FLOWS  DETAILS
internet  nat     1,000  64.0 kB     12  external 192.0.2.1, mappings 31,744
"
    );
    assert_eq!(
        served.show(&["drops"]),
        "\
TOTAL                 PACKETS
received                  110
originated here             0
transmitted                99
passed to the kernel        1
consumed by channels        0
held now                    0
dropped                    10

REASON       PACKETS  EXPLANATION
ttl-expired        7  why ttl-expired
fragment           3  why fragment
"
    );
    let mappings = served.show(&["mappings"]);
    let lines: Vec<&str> = mappings.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "CHANNEL   PROTOCOL  INSIDE         EXTERNAL           SESSIONS   AGE  IDLE  EXPIRES IN  STATE",
            "internet  tcp       10.0.0.2:0     198.51.100.1:0            2  1h2m    5s        2h3m  established",
        ]
    );
    assert_eq!((lines.len(), lines.last()), (3002, Some(&"3,000 mappings")));
}

#[test]
fn json_is_what_the_reports_say() {
    let served = Served::new(some());
    let show = |what: &str| served.show(&[what, "-j"]);
    let expected = some();
    assert_eq!(
        serde_json::from_str::<Ports>(&show("ports")).unwrap(),
        expected.ports
    );
    assert_eq!(
        serde_json::from_str::<Channels>(&show("channels")).unwrap(),
        expected.channels
    );
    assert_eq!(
        serde_json::from_str::<Drops>(&show("drops")).unwrap(),
        expected.drops
    );
    let mappings: Mappings = serde_json::from_str(&show("mappings")).unwrap();
    assert_eq!(mappings.mappings, expected.mappings);
    let ports: Value = serde_json::from_str(&show("ports")).unwrap();
    assert_eq!(ports["ports"][0]["copy_mode"], "zero-copy");
    assert_eq!(ports["ports"][1]["xdp_mode"], "generic");
}

#[test]
fn empty_lists_say_so() {
    let served = Served::new(Fixed::default());
    assert_eq!(served.show(&["ports"]), "no interfaces\n");
    assert_eq!(served.show(&["channels"]), "no channels\n");
    assert_eq!(served.show(&["mappings"]), "no mappings\n");
    assert!(served.show(&["drops"]).ends_with("\nno drops\n"));
    assert_eq!(served.show(&["mappings", "-j"]), "{\"mappings\":[]}\n");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let served = Served::new(some());
    let socket = text(&served.socket);
    let mut child = command(&["show", "mappings", "--socket", socket])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}
