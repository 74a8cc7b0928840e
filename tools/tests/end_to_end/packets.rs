//! Flows, rules with their counters, and single packets: `show flows`, `show rules`, `trace` and `capture`, with traffic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use netchannel::control::report::{CountedRules, Flow, Flows, TracedPacket};
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use netchannel_benches::topology::{
    BOX_INSIDE, BOX_OUTSIDE, INSIDE, INSIDE_V6, Lab, Options, SERVER, SERVER_V6,
};
use netchannel_benches::traffic::udp::EchoServer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::site::{ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, eventually, exchange_udp, lab};

/// The program for a site's daemon, with the words of a line.
fn command(site: &Site, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netchannel"));
    command
        .args(line.split_whitespace())
        .arg("--socket")
        .arg(site.daemon.socket())
        .stdin(Stdio::null());
    command
}

/// Exit code, output and complaint.
fn run(site: &Site, line: &str) -> (i32, String, String) {
    let output = command(site, line).output().expect("the command");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}

fn out(site: &Site, line: &str) -> String {
    let (code, out, err) = run(site, line);
    assert_eq!((code, err.as_str()), (0, ""), "{line}");
    out
}

fn json<T: DeserializeOwned>(site: &Site, line: &str) -> T {
    let out = out(site, line);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn flows(site: &Site, options: &str) -> Vec<Flow> {
    json::<Flows>(site, &format!("show flows -j {options}")).flows
}

fn rules(site: &Site, options: &str) -> CountedRules {
    json(site, &format!("show rules -j {options}"))
}

/// A trace or a capture under way.
struct Watching {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
}

impl Watching {
    /// Starts it, and returns when it watches.
    fn start(site: &Site, line: &str) -> Self {
        let mut child = command(site, line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        errors.read_line(&mut said).expect("text");
        assert!(said.contains("Ctrl-C ends it"), "{line}: {said}");
        Self { child, errors }
    }

    /// Waits for its end, and returns what it printed and complained about.
    fn finish(mut self) -> (Vec<u8>, String) {
        let mut pipe = self.child.stdout.take().expect("a pipe");
        let reader = thread::spawn(move || {
            let mut printed = Vec::new();
            pipe.read_to_end(&mut printed).map(|_| printed)
        });
        let status = wait_until("the end of a trace", PATIENCE, || {
            Ok(self.child.try_wait().expect("a child"))
        });
        let status = status.expect("it ends");
        let mut said = String::new();
        self.errors.read_to_string(&mut said).expect("text");
        assert_eq!(status.code(), Some(0), "{said}");
        (reader.join().expect("no panic").expect("read"), said)
    }

    /// The packets that a trace with `-j` showed.
    fn packets(self) -> Vec<TracedPacket> {
        let (printed, _) = self.finish();
        let text = String::from_utf8(printed).expect("text");
        let packet =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().map(packet).collect()
    }

    /// What it prints up to these bytes, and perhaps a little more.
    fn printed_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let pipe = self.child.stdout.as_mut().expect("a pipe");
        let mut printed = Vec::new();
        while !printed.windows(wanted.len()).any(|bytes| bytes == wanted) {
            let mut part = [0; 4096];
            let length = pipe.read(&mut part).expect("a pipe");
            assert_ne!(length, 0, "it ended too early");
            printed.extend_from_slice(&part[..length]);
        }
        printed
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).expect("it runs");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // One that has ended needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn step<'p>(packet: &'p TracedPacket, name: &str) -> &'p str {
    let found = packet.steps.iter().find(|step| step.step == name);
    &found.unwrap_or_else(|| panic!("no {name}: {packet:#?}")).text
}

/// Checks that a packet took these steps, in this order.
#[track_caller]
fn check_steps(packet: &TracedPacket, expected: &[&str]) {
    let steps: Vec<&str> = packet.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, expected, "{packet:#?}");
}

/// A laboratory whose box knows no way to the rest of the world.
fn secluded() -> Lab {
    let lab = lab(&Options::default());
    lab.middle.ip("route del default").expect("it has one");
    lab
}

fn inside_socket(site: &Site, port: u16) -> UdpSocket {
    let socket = at(&site.lab.inside, || {
        UdpSocket::bind((INSIDE, port)).expect("a free port")
    });
    socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    socket
}

#[test]
fn a_connection_through_the_translator_is_traced_both_ways() {
    let site = Site::new();
    let listener = at(&site.lab.server, || {
        TcpListener::bind((SERVER, 4430)).expect("a port")
    });
    let watching = Watching::start(
        &site,
        "trace tcp from 10.77.0.0/24 to any port 4430 on lan --both -j --count 2",
    );
    // Not asked for, and not shown.
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("a port");
    assert!(exchange_udp(&site.lab, echo.address(), 2, 1).intact());
    let mut stream = at(&site.lab.inside, || {
        TcpStream::connect((SERVER, 4430)).expect("a connection")
    });
    let (mut accepted, peer) = listener.accept().expect("a connection");
    stream.write_all(b"over it").expect("sent");
    accepted.read_exact(&mut [0; 7]).expect("received");
    let local = stream.local_addr().expect("bound");

    let packets = watching.packets();
    let [syn, answer] = &packets[..] else {
        panic!("{packets:#?}");
    };
    assert_eq!(syn.interface.as_deref(), Some("lan"));
    assert_eq!(syn.packet, format!("tcp {local} > {SERVER}:4430 syn"));
    assert_eq!(
        (syn.verdict.as_str(), syn.channel.as_deref()),
        ("transmitted", Some("internet"))
    );
    assert_eq!(syn.rule, Some(0));
    check_steps(
        syn,
        &[
            "received",
            "parsed",
            "flow",
            "rule",
            "channel",
            "nat",
            "route",
            "neighbour",
            "ttl",
            "sent",
        ],
    );
    assert_eq!(step(syn, "flow"), "new: the rules decide");
    assert_eq!(
        step(syn, "rule"),
        "0: priority 100 from 10.77.0.0/24 use internet"
    );
    let nat = format!("new mapping: {local} is {peer} outside, for the session with {SERVER}:4430");
    assert!(step(syn, "nat").starts_with(&nat), "{syn:#?}");
    assert!(
        step(syn, "route").contains("by the route 198.51.100.0/24 on the link of wan"),
        "{syn:#?}"
    );
    assert!(
        step(syn, "neighbour").starts_with(&format!("{SERVER} is ")),
        "{syn:#?}"
    );
    assert_eq!(step(syn, "ttl"), "64, leaves with 63");
    assert!(step(syn, "sent").starts_with(&format!("by wan: tcp {peer} > {SERVER}:4430 syn")));

    assert_eq!(answer.interface.as_deref(), Some("wan"));
    assert_eq!(answer.packet, format!("tcp {SERVER}:4430 > {peer} syn,ack"));
    assert_eq!(answer.rule, None);
    assert!(
        step(answer, "rule").contains("an address of this translator"),
        "{answer:#?}"
    );
    let nat = format!("known session of {local}, {peer} outside, with {SERVER}:4430");
    assert!(step(answer, "nat").starts_with(&nat), "{answer:#?}");
    assert!(
        answer.sent[0]
            .packet
            .starts_with(&format!("tcp {SERVER}:4430 > {local} syn,ack"))
    );
    assert_eq!(answer.sent[0].interface, "lan");
    site.finish();
}

#[test]
fn dropped_packets_are_traced_with_their_reasons() {
    let drop =
        "[[rule]]\npriority = 10\nprotocol = \"udp\"\ndestination_ports = \"9000\"\nchannel = \"drop\"\n";
    let site = Site::on(secluded(), &[TRANSLATOR, TRANSLATE_ALL, drop].concat());
    let socket = inside_socket(&site, 4000);
    let short_lived = inside_socket(&site, 4001);
    short_lived.set_ttl(1).expect("an option");
    let outside = at(&site.lab.server, || {
        UdpSocket::bind((SERVER, 4002)).expect("a port")
    });
    let trace = |filter: &str, send: &dyn Fn()| {
        let watching = Watching::start(&site, &format!("trace {filter} -j --count 1"));
        send();
        let mut packets = watching.packets();
        assert_eq!(packets.len(), 1);
        let packet = packets.remove(0);
        assert_eq!(packet.verdict, "dropped", "{packet:#?}");
        packet
    };

    let packet = trace("udp to any port 9000", &|| {
        socket.send_to(b"?", (SERVER, 9000)).expect("sent");
    });
    assert_eq!(packet.reason.as_deref(), Some("rule"));
    assert_eq!(step(&packet, "rule"), "0: priority 10 udp to any port 9000 drop");
    check_steps(
        &packet,
        &["received", "parsed", "flow", "rule", "channel", "dropped"],
    );

    let packet = trace("udp from any port 4001", &|| {
        short_lived.send_to(b"?", (SERVER, 53)).expect("sent");
    });
    assert_eq!(packet.reason.as_deref(), Some("ttl-expired"));
    let told = format!("by lan: icmp {BOX_INSIDE} > {INSIDE} time to live exceeded");
    assert!(step(&packet, "told").starts_with(&told), "{packet:#?}");

    let packet = trace("udp to 192.0.2.1", &|| {
        socket.send_to(b"?", "192.0.2.1:53").expect("sent");
    });
    assert_eq!(packet.reason.as_deref(), Some("no-route"));
    assert_eq!(step(&packet, "route"), "none to 192.0.2.1");

    let packet = trace("udp on wan", &|| {
        outside.send_to(b"?", (BOX_OUTSIDE, 2000)).expect("sent");
    });
    assert_eq!(packet.reason.as_deref(), Some("nat-no-mapping"));
    assert!(
        step(&packet, "dropped").contains("without a mapping"),
        "{packet:#?}"
    );

    // It waits first, and is dropped when nobody has answered.
    let watching = Watching::start(&site, "trace udp to 198.51.100.77 -j --count 2");
    socket.send_to(b"?", "198.51.100.77:53").expect("sent");
    let packets = watching.packets();
    let verdicts: Vec<&str> = packets.iter().map(|packet| packet.verdict.as_str()).collect();
    assert_eq!(verdicts, ["waits", "dropped"]);
    assert!(
        step(&packets[0], "neighbour").contains("198.51.100.77"),
        "{packets:#?}"
    );
    assert_eq!(packets[1].reason.as_deref(), Some("neighbour-unresolved"));
    assert!(step(&packets[1], "waited").contains("it came before"));
    site.finish();
}

#[test]
fn packets_of_ipv6_are_traced_as_text() {
    let rules = "[[channel]]\nname = \"routed\"\ntype = \"forward\"\n[[rule]]\nfrom = \"fd77::/64\"\nchannel = \"routed\"\n";
    let options = Options {
        ipv6: true,
        ..Options::default()
    };
    let site = Site::on(lab(&options), &[TRANSLATOR, rules].concat());
    let server = at(&site.lab.server, || {
        UdpSocket::bind((SERVER_V6, 53)).expect("a port")
    });
    server.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let socket = at(&site.lab.inside, || {
        UdpSocket::bind((INSIDE_V6, 4000)).expect("a port")
    });
    let exchange = || {
        socket.send_to(b"?", (SERVER_V6, 53)).expect("sent");
        server.recv(&mut [0; 10]).expect("it arrives");
    };
    // The first one may have to wait for the server's Ethernet address.
    exchange();
    let watching = Watching::start(&site, "trace udp from fd77::/64 --count 1");
    exchange();
    let (printed, _) = watching.finish();
    let text = String::from_utf8(printed).expect("text");
    for expected in [
        &format!("udp [{INSIDE_V6}]:4000 > [{SERVER_V6}]:53"),
        "received   by lan (inside), 63 bytes",
        "parsed     IPv6, hop limit 64",
        "flow       known, this is its packet 2",
        "rule       0: priority 100 from fd77::/64 use routed",
        "channel    routed (forward)",
        "sent       by wan: udp",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    site.finish();
}

#[test]
fn what_is_no_filter_is_refused_and_nothing_is_watched() {
    let site = Site::new();
    for (line, expected) in [
        ("trace tcp frm 10.0.0.0/8", "frm"),
        ("trace from 10.0.0.0/99", "10.0.0.0/99"),
        ("trace udp on eth7", "there is no interface \"eth7\""),
        ("trace from $none", "none"),
        ("trace udp drop", "drop"),
        ("show flows dscp ef", "differ in dscp"),
        ("show flows tcp flags syn", "differ in tcp_flags"),
        ("capture tcp port -w /dev/null", "port"),
        ("show flows from 10.0.0.1 to fd00::1", "famil"),
    ] {
        let (code, out, err) = run(&site, line);
        assert_eq!((code, out.as_str()), (1, ""), "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
    let many: Vec<String> = (0..100).map(|port| (2 * port).to_string()).collect();
    let lists = format!(
        "trace tcp from any port {{{0}}} to any port {{{0}}}",
        many.join(",")
    );
    let (code, _, err) = run(&site, &lists);
    assert_eq!(code, 1);
    assert!(err.contains("10000 combinations"), "{err}");
    for (line, expected) in [
        ("trace --count 0", "0"),
        ("trace --rate 100000", "100000"),
        ("capture", "--write"),
        ("capture -w x --in --out", "--out"),
        ("show flows --sort age", "age"),
        ("show flows --sort bytes --limit 5000", "1024"),
        ("show rules --sort number", "number"),
    ] {
        let (code, out, err) = run(&site, line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
    site.finish();
}

#[test]
fn flows_are_listed_with_their_rule_and_translation() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let sockets: Vec<UdpSocket> = (0..5).map(|number| inside_socket(&site, 4000 + number)).collect();
    for (number, socket) in sockets.iter().enumerate() {
        for _ in 0..=number {
            socket.send_to(b"hello", echo.address()).expect("sent");
            socket.recv(&mut [0; 10]).expect("an answer");
        }
    }
    let listed = flows(&site, "udp from 10.77.0.0/24 to any port 53");
    assert_eq!(listed.len(), 5);
    for flow in &listed {
        let number = u64::from(flow.source_port - 4000) + 1;
        // Ethernet, IPv4 and UDP headers.
        assert_eq!((flow.packets, flow.bytes), (number, number * (42 + 5)));
        assert_eq!((flow.interface.as_str(), flow.protocol.as_str()), ("lan", "udp"));
        assert_eq!((flow.channel.as_str(), flow.rule), ("internet", Some(0)));
        let translation = flow.translation.expect("a session");
        assert_eq!(SocketAddr::from(translation.remote), echo.address());
        assert_eq!(translation.inside.port(), flow.source_port);
        assert_eq!(*translation.external.ip(), BOX_OUTSIDE);
    }
    // The answers are flows of their own, which no configured rule decided.
    let answers = flows(&site, "on wan");
    assert_eq!(answers.len(), 5);
    assert!(
        answers
            .iter()
            .all(|flow| flow.rule.is_none() && flow.destination == BOX_OUTSIDE)
    );
    let top = flows(&site, "udp on lan --sort packets --limit 2");
    let ports: Vec<u16> = top.iter().map(|flow| flow.source_port).collect();
    assert_eq!(ports, [4004, 4003]);
    assert_eq!(flows(&site, "tcp"), []);
    assert_eq!(flows(&site, "udp --limit 3").len(), 3);
    assert_eq!(flows(&site, "--sort idle --max-idle 1h --limit 1").len(), 1);
    let text = out(&site, "show flows udp from 10.77.0.2 port 4001");
    assert!(
        text.contains("10.77.0.2:4001") && text.ends_with("\n1 flow\n"),
        "{text}"
    );
    assert_eq!(out(&site, "show flows to 192.0.2.0/24"), "no flows\n");
    site.finish();
}

#[test]
fn packets_are_counted_for_their_rules_whatever_becomes_of_their_flows() {
    // A table with too little room: flows take the places of others.
    let more = "[[rule]]\npriority = 10\nprotocol = \"udp\"\ndestination_ports = \"9000\"\nchannel = \"internet\"\n\
                [[rule]]\npriority = 20\nprotocol = \"tcp\"\nchannel = \"drop\"\n[flow_table]\ncapacity = 1024\n";
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, TRANSLATE_ALL, more].concat(),
    );
    let [first, second] =
        [9000, 9001].map(|port| EchoServer::start(&site.lab.server, (SERVER, port).into()).expect("a port"));
    const SOCKETS: u16 = 2000;
    for echo in [&first, &second, &first] {
        for number in 0..SOCKETS {
            let socket = inside_socket(&site, 10_000 + number);
            for _ in 0..2 {
                socket.send_to(b"hello", echo.address()).expect("sent");
                socket.recv(&mut [0; 10]).expect("an answer");
            }
        }
    }
    let each = 2 * u64::from(SOCKETS);
    let counted = rules(&site, "");
    let packets: Vec<u64> = counted.rules.iter().map(|rule| rule.counts.packets).collect();
    assert_eq!(packets, [2 * each, 0, each], "{counted:?}");
    assert!(counted.rules[0].counts.flows > 1024, "{counted:?}");
    assert_eq!(
        counted.rules[0].rule,
        "priority 10 udp to any port 9000 use internet"
    );
    // Each was echoed.
    assert_eq!(counted.others.map(|others| others.packets), Some(3 * each));
    // All of a rule's packets are of one size.
    let bytes = counted.rules.iter().map(|rule| rule.counts.bytes);
    assert!(
        bytes
            .zip(&packets)
            .all(|(bytes, &packets)| packets == 0 || bytes % packets == 0)
    );

    let numbers = |options: &str| -> Vec<u32> {
        rules(&site, options)
            .rules
            .iter()
            .map(|rule| rule.number)
            .collect()
    };
    assert_eq!(numbers("--unused"), [1]);
    assert_eq!(numbers("--sort packets"), [0, 2, 1]);
    assert_eq!(numbers("--sort recent --limit 1"), [0]);
    let text = out(&site, "show rules --unused");
    assert!(
        text.contains("never") && text.contains("by no configured rule: 12,000 packets"),
        "{text}"
    );

    // The same rules in force anew: what is the same rule goes on counting.
    let file = site.daemon.directory().join("more.rules");
    std::fs::write(
        &file,
        "priority 10 udp to any port 9000 use internet\nfrom 10.77.0.0/24 use internet\n",
    )
    .expect("a file");
    let file = file.to_str().expect("a name");
    out(&site, &format!("rules load {file}"));
    let socket = inside_socket(&site, 5000);
    socket.send_to(b"again", first.address()).expect("sent");
    socket.recv(&mut [0; 10]).expect("an answer");
    let packets = |site: &Site| -> Vec<u64> {
        let counted = rules(site, "");
        counted.rules.iter().map(|rule| rule.counts.packets).collect()
    };
    eventually("the counters of the new rules", || {
        packets(&site) == [2 * each + 1, each]
    });
    site.finish();
}

/// What tshark tells of a capture.
fn tshark(path: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path).args(["-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().map(line).collect()
}

#[test]
fn a_capture_is_read_by_tshark_with_interfaces_and_verdicts() {
    let site = Site::on(secluded(), &[TRANSLATOR, TRANSLATE_ALL].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let file = site.daemon.directory().join("udp.pcapng");
    let name = file.to_str().expect("a name");
    let watching = Watching::start(
        &site,
        &format!("capture udp from 10.77.0.2 --both -w {name} --count 3"),
    );
    let socket = inside_socket(&site, 4000);
    socket.send_to(b"hello", echo.address()).expect("sent");
    socket.recv(&mut [0; 10]).expect("an answer");
    socket.send_to(b"?", "192.0.2.1:53").expect("sent");
    let (printed, said) = watching.finish();
    assert!(printed.is_empty());
    assert!(
        said.contains("3 packets came in and were captured, 0 were lost"),
        "{said}"
    );

    let fields = [
        "frame.interface_name",
        "ip.src",
        "ip.dst",
        "udp.srcport",
        "frame.comment",
        "frame.packet_flags_direction",
    ];
    let frames = tshark(&file, &fields);
    let interfaces: Vec<&str> = frames.iter().map(|frame| frame[0].as_str()).collect();
    assert_eq!(
        interfaces,
        ["lan", "wan", "wan", "lan", "lan", "lan"],
        "{frames:?}"
    );
    let comments: Vec<&str> = frames.iter().map(|frame| frame[4].as_str()).collect();
    assert!(
        comments[0].starts_with(
            "transmitted by wan; rule 0; channel internet (nat); 10.77.0.2:4000 is 198.51.100.1:"
        )
    );
    assert!(comments[0].ends_with("outside, new mapping"), "{comments:?}");
    assert!(
        comments[1].starts_with("from lan; transmitted by wan"),
        "{comments:?}"
    );
    assert!(
        comments[2].starts_with("transmitted by lan; no configured rule"),
        "{comments:?}"
    );
    assert!(
        comments[4].starts_with("dropped: no-route; rule 0"),
        "{comments:?}"
    );
    assert!(comments[5].starts_with("tells the sender of a packet from lan that was dropped: no-route"));
    assert_eq!(
        (frames[0][1].as_str(), frames[1][1].as_str()),
        ("10.77.0.2", "198.51.100.1")
    );
    // In and out.
    let directions: Vec<&str> = frames.iter().map(|frame| frame[5].as_str()).collect();
    assert_eq!(
        directions,
        [
            "0x00000001",
            "0x00000002",
            "0x00000001",
            "0x00000002",
            "0x00000001",
            "0x00000002"
        ]
    );
    // As JSON too, with the same names and comments.
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&file)
        .args(["-T", "json"])
        .output()
        .expect("tshark");
    let packets: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let frame = &packets[0]["_source"]["layers"]["frame"];
    assert_eq!(frame["frame.interface_id_tree"]["frame.interface_name"], "lan");
    site.finish();
}

#[test]
fn a_capture_takes_only_the_side_and_the_bytes_that_are_asked_for() {
    let site = Site::on(secluded(), &[TRANSLATOR, TRANSLATE_ALL].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let socket = inside_socket(&site, 4000);
    let exchange = || {
        socket.send_to(b"hello", echo.address()).expect("sent");
        socket.recv(&mut [0; 10]).expect("an answer");
        socket.send_to(b"?", "192.0.2.1:53").expect("sent");
    };
    let file = site.daemon.directory().join("part.pcapng");
    let name = file.to_str().expect("a name");
    for (options, count, expected) in [
        ("--in", 2, vec!["lan", "lan"]),
        ("--out", 2, vec!["wan", "lan"]),
        ("--drops", 1, vec!["lan"]),
    ] {
        let line = format!("capture udp from 10.77.0.2 {options} --snaplen 60 -w {name} --count {count}");
        let watching = Watching::start(&site, &line);
        exchange();
        watching.finish();
        let frames = tshark(&file, &["frame.interface_name", "frame.cap_len"]);
        let interfaces: Vec<&str> = frames.iter().map(|frame| frame[0].as_str()).collect();
        assert_eq!(interfaces, expected, "{options}");
        assert!(
            frames
                .iter()
                .all(|frame| frame[1].parse::<u32>().is_ok_and(|length| length <= 60))
        );
    }
    // To standard output, until it is interrupted; what was captured by then is whole.
    let mut watching = Watching::start(&site, "capture udp on lan -w -");
    exchange();
    let mut printed = watching.printed_until(b"dropped: no-route");
    watching.interrupt();
    let (rest, said) = watching.finish();
    assert!(
        said.contains("2 packets came in and were captured, 0 were lost"),
        "{said}"
    );
    printed.extend(rest);
    std::fs::write(&file, printed).expect("a file");
    assert_eq!(tshark(&file, &["frame.number"]).len(), 4);
    site.finish();
}
