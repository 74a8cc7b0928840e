//! `netchannel replay`: captures through a translator, without a network card.

use std::fs::{self, File};
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapWriter};
use pcap_file::pcapng::{Block, PcapNgReader};
use tempfile::TempDir;

use crate::frames::{Datagram, read_udp, udp};
use crate::site::{EXTERNAL_PORTS, TRANSLATE_ALL, TRANSLATOR};

const HOST: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 2), 40_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 5), 53);
/// What a replay takes for the address of the second interface.
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let configuration = [TRANSLATOR, TRANSLATE_ALL].concat();
        let text = configuration.replace("{socket}", "/run/netchannel/control.sock");
        fs::write(directory.path().join("netchannel.toml"), text).expect("a file");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a capture of frames a second apart.
    fn capture(&self, name: &str, frames: &[Vec<u8>]) {
        let file = File::create(self.path(name)).expect("a file");
        let mut writer = PcapWriter::new(file).expect("a header");
        for (second, frame) in frames.iter().enumerate() {
            let time = Duration::from_secs(1000 + second as u64);
            let packet = PcapPacket::new(time, frame.len() as u32, frame);
            writer.write_packet(&packet).expect("a packet");
        }
    }

    fn replay(&self, files: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netchannel"));
        command.current_dir(self.directory.path());
        command
            .args(["replay", "--config", "netchannel.toml"])
            .args(files);
        command.output().expect("the program")
    }

    /// Checks that a replay fails with this exit code, and says all of `said` and nothing of a panic.
    fn check_failure(&self, files: &[&str], code: i32, said: &[&str]) {
        let output = self.replay(files);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        for said in said {
            assert!(errors.contains(said), "no {said:?} in {errors}");
        }
        assert!(
            errors.lines().any(|line| line.starts_with("netchannel: ")),
            "{errors}"
        );
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

/// Names of interfaces with the frames that left by them, and their times.
fn read_capture(path: &Path) -> Vec<(String, Duration, Vec<u8>)> {
    let file = File::open(path).expect("a capture");
    let mut reader = PcapNgReader::new(BufReader::new(file)).expect("a pcapng file");
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block") {
            Block::InterfaceDescription(interface) => {
                let name = interface.options.iter().find_map(|option| match option {
                    pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption::IfName(
                        name,
                    ) => Some(name.to_string()),
                    _ => None,
                });
                names.push(name.expect("a name"));
            }
            Block::EnhancedPacket(packet) => {
                let name = &names[packet.interface_id as usize];
                frames.push((name.clone(), packet.timestamp, packet.data.to_vec()));
            }
            _ => {}
        }
    }
    frames
}

fn datagram((_, _, frame): &(String, Duration, Vec<u8>)) -> Datagram {
    read_udp(frame).expect("a UDP datagram")
}

fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn query(port: u16, payload: &[u8]) -> Vec<u8> {
    udp((mac(0xaa), mac(1)), (HOST.0, port), SERVER, payload, |_| ())
}

#[test]
fn packets_from_inside_leave_translated() {
    let desk = Desk::new();
    let frames = [
        query(40_000, b"first"),
        query(40_001, b"second"),
        query(40_000, b"third"),
    ];
    desk.capture("in.pcap", &frames);
    let output = desk.replay(&["lan=in.pcap", "out.pcapng"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = "3 packets read, 3 written, 0 passed to the kernel, 0 dropped";
    assert_eq!(said.lines().next(), Some(summary));

    let left = read_capture(&desk.path("out.pcapng"));
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|(interface, ..)| interface == "wan"), "{left:?}");
    let datagrams: Vec<Datagram> = left.iter().map(datagram).collect();
    for (datagram, payload) in datagrams.iter().zip(["first", "second", "third"]) {
        assert_eq!(datagram.source.0, EXTERNAL);
        assert!(EXTERNAL_PORTS.contains(&datagram.source.1), "{datagram:?}");
        assert_eq!((datagram.destination, datagram.ttl), (SERVER, 63));
        assert_eq!(datagram.payload, payload.as_bytes());
    }
    assert_eq!(datagrams[0].source, datagrams[2].source);
    assert_ne!(datagrams[0].source, datagrams[1].source);
    // Those that come a second apart leave a second apart.
    let seconds: Vec<u64> = left.iter().map(|(_, time, _)| time.as_secs()).collect();
    assert_eq!(seconds, [1000, 1001, 1002]);
}

#[test]
fn what_comes_from_outside_without_a_mapping_is_counted() {
    let desk = Desk::new();
    desk.capture("inside.pcap", &[query(40_000, b"query")]);
    let stray = |port| udp((mac(0xbb), mac(2)), SERVER, (EXTERNAL, port), b"stray", |_| ());
    desk.capture("outside.pcap", &[stray(1), stray(40_000)]);
    let output = desk.replay(&["lan=inside.pcap", "wan=outside.pcap", "out.pcapng"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Ports that are not the translator's are the box's own.
    let summary = "3 packets read, 1 written, 2 passed to the kernel, 0 dropped";
    assert_eq!(said.lines().next(), Some(summary), "{said}");

    desk.capture("outside.pcap", &[1024, 2000, 20_000, 32_766, 32_767].map(stray));
    let output = desk.replay(&["wan=outside.pcap", "out.pcapng"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("5 packets read, 0 written, 0 passed to the kernel, 5 dropped"),
        "{said}"
    );
    assert!(said.contains("5  nat-no-mapping: "), "{said}");
}

#[test]
fn what_a_replay_writes_can_be_replayed() {
    let desk = Desk::new();
    desk.capture("in.pcap", &[query(40_000, b"query")]);
    assert!(desk.replay(&["lan=in.pcap", "once.pcapng"]).status.success());
    // It names its interfaces itself. What left by `wan` comes in there, and no rule is about that.
    let output = desk.replay(&["once.pcapng", "twice.pcapng"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(" 0 written, 1 passed to the kernel, 0 dropped"),
        "{said}"
    );
}

#[test]
fn wrong_inputs_are_told() {
    let desk = Desk::new();
    desk.capture("in.pcap", &[query(40_000, b"query")]);
    fs::write(
        desk.path("text.pcap"),
        "this is no capture at all, but long enough for a header",
    )
    .expect("a file");
    fs::write(desk.path("empty.pcap"), "").expect("a file");
    let whole = fs::read(desk.path("in.pcap")).expect("a file");
    fs::write(desk.path("cut.pcap"), &whole[..whole.len() - 7]).expect("a file");

    desk.check_failure(
        &["lan=missing.pcap", "out.pcapng"],
        1,
        &["missing.pcap", "o such file"],
    );
    desk.check_failure(&["lan=text.pcap", "out.pcapng"], 1, &["text.pcap"]);
    desk.check_failure(&["lan=empty.pcap", "out.pcapng"], 1, &["empty.pcap"]);
    desk.check_failure(&["lan=cut.pcap", "out.pcapng"], 1, &["cut.pcap"]);
    desk.check_failure(
        &["eth7=in.pcap", "out.pcapng"],
        2,
        &["no interface `eth7`", "lan, wan"],
    );
    desk.check_failure(&["in.pcap", "out.pcapng"], 1, &["in.pcap", "lan, wan"]);
    desk.check_failure(&["lan=in.pcap", "nowhere/out.pcapng"], 1, &["nowhere/out.pcapng"]);
    desk.check_failure(&["lan=in.pcap", "in.pcap"], 2, &["both read and written"]);
}
