//! The log of a translator: lines of JSON, and IPFIX that an independent decoder understands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use etherparse::PacketBuilder;
use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;
use nix::sys::signal::Signal;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use serde_json::Value;

use crate::site::{ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, eventually, exchange_udp, lab};

/// Lives a second, so that tests see its end.
const SHORT: &str = "[channel.timeouts]\nudp = 1\nallow_noncompliant = true\n";

/// A collector in the server's namespace, and the messages that it got.
struct Collector {
    socket: UdpSocket,
    messages: Vec<Vec<u8>>,
}

/// A record as tshark decodes it: names of elements and their values.
type Decoded = BTreeMap<&'static str, String>;

/// What tshark calls the elements.
const ELEMENTS: [(&str, &str); 19] = [
    ("event", "cflow.nat_event"),
    ("source", "cflow.srcaddr"),
    ("source port", "cflow.srcport"),
    ("external", "cflow.post_natsource_ipv4_address"),
    ("external port", "cflow.post_naptsource_transport_port"),
    ("destination", "cflow.dstaddr"),
    ("destination port", "cflow.dstport"),
    ("translated destination", "cflow.post_natdestination_ipv4_address"),
    ("protocol", "cflow.protocol"),
    ("instance", "cflow.nat_instanceid"),
    ("quota", "cflow.nat_quota_exceeded_event"),
    ("most of a host", "cflow.max_entries_per_user"),
    ("time", "cflow.observation_time_milliseconds"),
    ("first port", "cflow.port_range_start"),
    ("last port", "cflow.port_range_end"),
    ("step", "cflow.port_range_step_size"),
    ("ports", "cflow.port_range_num_ports"),
    ("pool", "cflow.nat_pool_id"),
    ("pool name", "cflow.nat_pool_name"),
];

impl Collector {
    fn new(lab: &netchannel_benches::topology::Lab) -> Self {
        let socket = at(&lab.server, || UdpSocket::bind((SERVER, 0)).expect("a port"));
        socket.set_nonblocking(true).expect("a socket");
        Self {
            socket,
            messages: Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Takes what has come since.
    fn receive(&mut self) {
        let mut buffer = [0; 65_536];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    assert_eq!(from.ip(), BOX_OUTSIDE);
                    self.messages.push(buffer[..length].to_vec());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Puts the messages back into the packets that they came in.
    fn write_capture(&self, path: &Path) {
        let header = PcapHeader {
            datalink: DataLink::RAW,
            ..PcapHeader::default()
        };
        let file = File::create(path).expect("a scratch directory");
        let mut capture = PcapWriter::with_header(file, header).expect("a file");
        for message in &self.messages {
            let (source, destination) = (Ipv4Addr::new(198, 51, 100, 1), SERVER);
            let mut packet = Vec::new();
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
                .udp(40_000, self.address().port())
                .write_to_vec(&mut packet, message)
                .expect("a message fits a datagram");
            let length = packet.len() as u32;
            capture
                .write_packet(&PcapPacket::new(Default::default(), length, &packet))
                .expect("a file");
        }
    }

    /// All records, decoded by tshark. Elements of the records of one message that not all of them have are told apart by
    /// looking at each record's line in the full text.
    fn decode(&self) -> Vec<Decoded> {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("ipfix.pcap");
        self.write_capture(&path);
        let output = Command::new("tshark")
            .args(["-r", path.to_str().expect("a plain path")])
            .args(["-d", &format!("udp.port=={},cflow", self.address().port())])
            .args(["-T", "pdml"])
            .output()
            .expect("tshark is installed by tools/install-dependencies");
        let text = String::from_utf8(output.stdout).expect("tshark writes UTF-8");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for complaint in [
            "_ws.malformed",
            "_ws.expert",
            "No template found",
            "name=\"data\"",
        ] {
            assert!(!text.contains(complaint), "{complaint} in\n{text}");
        }
        records(&text)
    }
}

/// The records in tshark's XML: each is a field without a name of its own that is shown as "Flow N", with its elements inside.
fn records(text: &str) -> Vec<Decoded> {
    let attribute = |line: &str, name: &str| {
        let start = line.find(&format!(" {name}=\""))? + name.len() + 3;
        let length = line[start..].find('"')?;
        Some(line[start..start + length].to_owned())
    };
    let mut records = Vec::new();
    for line in text.lines() {
        if attribute(line, "show")
            .is_some_and(|show| show.starts_with("Flow ") || show.starts_with("DataRecord"))
        {
            records.push(Decoded::new());
        }
        let element =
            attribute(line, "name").and_then(|name| ELEMENTS.iter().find(|(_, element)| *element == name));
        if let Some((name, _)) = element
            && let Some(record) = records.last_mut()
        {
            record.insert(name, attribute(line, "show").expect("each field is shown"));
        }
    }
    records
}

fn of_event<'r>(records: &'r [Decoded], event: &str) -> Vec<&'r Decoded> {
    let is = |record: &&Decoded| record.get("event").is_some_and(|found| found == event);
    records.iter().filter(is).collect()
}

/// The inside and external endpoints of a record.
fn endpoints(record: &Decoded) -> (String, String) {
    (
        format!("{}:{}", record["source"], record["source port"]),
        format!("{}:{}", record["external"], record["external port"]),
    )
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(line).collect()
}

fn lines_about<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// 8158-ev, 8158-t1, 8158-t2, 8158-q, 6888-11C, 6888-12: real traffic, a real collector, an independent decoder; and the lines of
/// JSON say the same.
#[test]
fn rfc_8158_what_is_exported_is_what_was_used() {
    let lab = lab(&Options::default());
    let mut collector = Collector::new(&lab);
    let directory = tempfile::tempdir().expect("a scratch directory");
    let file = directory.path().join("nat.jsonl");
    let log = format!(
        "{SHORT}[channel.host_limits]\nmappings = 3\n[channel.log]\nevents = [\"mappings\", \"sessions\", \"limits\"]\n\
         file = \"{}\"\n[channel.log.ipfix]\ncollector = \"{}\"\n",
        file.display(),
        collector.address()
    );
    let mut site = Site::on(lab, &[TRANSLATOR, &log, TRANSLATE_ALL].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let outcome = exchange_udp(&site.lab, echo.address(), 3, 1);
    assert!(outcome.intact(), "{outcome:?}");
    let refused = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    refused.send_to(b"one too many", echo.address()).expect("sent");
    site.wait_for_drops("nat-host-mapping-limit", 1);

    let mut decoded = Vec::new();
    eventually("three mappings, their sessions and a limit, all over", || {
        collector.receive();
        decoded = collector.decode();
        of_event(&decoded, "9").len() == 3
    });
    let peers: BTreeSet<String> = echo.peers().iter().map(ToString::to_string).collect();
    assert_eq!(peers.len(), 3);
    let used: Vec<(String, String)> = of_event(&decoded, "8").into_iter().map(endpoints).collect();
    for event in ["8", "4", "5", "9"] {
        let records = of_event(&decoded, event);
        assert_eq!(records.len(), 3, "event {event}: {decoded:#?}");
        for record in records {
            let (inside, external) = endpoints(record);
            assert!(used.contains(&(inside.clone(), external.clone())), "{record:?}");
            assert!(
                inside.starts_with("10.77.0.2:") && peers.contains(&external),
                "{record:?}"
            );
            assert_eq!(
                (record["protocol"].as_str(), record["instance"].as_str()),
                ("17", "1")
            );
            assert!(!record.contains_key("destination"), "{record:?}");
            assert!(record.contains_key("time"), "{record:?}");
        }
    }
    let limits = of_event(&decoded, "13");
    assert_eq!(limits.len(), 1, "{decoded:#?}");
    let limit = limits[0];
    assert_eq!(
        [&limit["quota"], &limit["most of a host"], &limit["source"]],
        ["3", "3", "10.77.0.2"]
    );
    let names: Vec<&Decoded> = decoded
        .iter()
        .filter(|record| record.contains_key("pool name"))
        .collect();
    assert!(!names.is_empty(), "{decoded:#?}");
    assert!(
        names
            .iter()
            .all(|record| record["pool name"] == "internet" && record["pool"] == "1")
    );

    site.stop(Signal::SIGTERM);
    let written = lines(&file);
    for event in [
        "mapping-created",
        "session-created",
        "session-deleted",
        "mapping-deleted",
    ] {
        let about = lines_about(&written, event);
        assert_eq!(about.len(), 3, "{written:#?}");
        for line in about {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            assert!(used.contains(&(text("inside"), text("external"))), "{line}");
            assert_eq!(
                (text("channel"), text("protocol")),
                ("internet".into(), "udp".into())
            );
            assert!(line["remote"].is_null(), "{line}");
            assert!(text("time").ends_with('Z'), "{line}");
        }
    }
    assert_eq!(lines_about(&written, "mapping-deleted")[0]["reason"], "expired");
    let limit = lines_about(&written, "limit-reached")[0];
    assert_eq!(limit["limit"], "nat-host-mapping-limit");
    assert_eq!(
        (&limit["host"], &limit["bound"]),
        (&"10.77.0.2".into(), &3.into())
    );
    assert_eq!(written[0]["event"], "log-started");
    assert_eq!(written[written.len() - 1]["event"], "log-stopped");
}

/// 6888-14, 8158-t3: a block of ports is one record for all mappings in it, to the decoder and in lines of JSON.
#[test]
fn rfc_8158_t3_blocks_are_exported_in_place_of_mappings() {
    let lab = lab(&Options::default());
    let mut collector = Collector::new(&lab);
    let directory = tempfile::tempdir().expect("a scratch directory");
    let file = directory.path().join("nat.jsonl");
    let log = format!(
        "{SHORT}[channel.blocks]\nsize = 64\nmost = 1\nhold = 1\n[channel.log]\nfile = \"{}\"\n[channel.log.ipfix]\n\
         collector = \"{}\"\n",
        file.display(),
        collector.address()
    );
    let mut site = Site::on(lab, &[TRANSLATOR, &log, TRANSLATE_ALL].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let outcome = exchange_udp(&site.lab, echo.address(), 64, 1);
    assert!(outcome.intact(), "{outcome:?}");
    let refused = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    refused.send_to(b"one too many", echo.address()).expect("sent");
    site.wait_for_drops("nat-host-block-limit", 1);
    let mut decoded = Vec::new();
    eventually("the block has its host no more", || {
        collector.receive();
        decoded = collector.decode();
        of_event(&decoded, "17").len() == 1
    });
    site.stop(Signal::SIGTERM);

    let written = lines(&file);
    for (number, name) in [("16", "block-allocated"), ("17", "block-released")] {
        let records = of_event(&decoded, number);
        let about = lines_about(&written, name);
        assert_eq!((records.len(), about.len()), (1, 1), "{decoded:#?}\n{written:#?}");
        let (record, line) = (records[0], about[0]);
        let external = BOX_OUTSIDE.to_string();
        assert_eq!(
            (&record["source"], &record["external"]),
            (&INSIDE.to_string(), &external)
        );
        assert_eq!((record["step"].as_str(), record["ports"].as_str()), ("1", "64"));
        let ports = format!("{}-{}", record["first port"], record["last port"]);
        assert_eq!(
            (&line["host"], &line["external"], &line["ports"]),
            (&INSIDE.to_string().into(), &external.into(), &ports.into())
        );
        // Whoever had one of the ports is told by it.
        let [first, last] =
            ["first port", "last port"].map(|end| record[end].parse::<u16>().expect("a port"));
        let peers = echo.peers();
        assert_eq!(peers.len(), 64);
        assert!(
            peers.iter().all(|peer| (first..=last).contains(&peer.port())),
            "{peers:?}"
        );
    }
    assert_eq!(of_event(&decoded, "13").len(), 1, "{decoded:#?}");
    for nothing in ["8", "9", "4", "5"] {
        assert!(of_event(&decoded, nothing).is_empty(), "{decoded:#?}");
    }
}

/// 8158-t1: outside endpoints are told by choice.
#[test]
fn rfc_8158_t1_destinations_are_exported_by_choice() {
    let lab = lab(&Options::default());
    let mut collector = Collector::new(&lab);
    let log = format!(
        "[channel.log]\nevents = \"sessions\"\nlog_destinations = true\n[channel.log.ipfix]\ncollector = \"{}\"\n",
        collector.address()
    );
    let site = Site::on(lab, &[TRANSLATOR, &log, TRANSLATE_ALL].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    assert!(exchange_udp(&site.lab, echo.address(), 2, 1).intact());
    let mut decoded = Vec::new();
    eventually("two sessions", || {
        collector.receive();
        decoded = collector.decode();
        of_event(&decoded, "4").len() == 2
    });
    for record in of_event(&decoded, "4") {
        assert_eq!(record["destination"], SERVER.to_string());
        assert_eq!(record["translated destination"], SERVER.to_string());
        assert_eq!(record["destination port"], "53");
    }
    assert!(of_event(&decoded, "8").is_empty());
    site.finish();
}

/// 8158-rate: without a collector, packets pass as ever.
#[test]
fn rfc_8158_rate_a_collector_that_is_gone_hurts_nobody() {
    let lab = lab(&Options::default());
    let collector = Collector::new(&lab);
    let log = format!("[channel.log.ipfix]\ncollector = \"{}\"\n", collector.address());
    drop(collector);
    let site = Site::on(lab, &[TRANSLATOR, &log, TRANSLATE_ALL].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    for _ in 0..3 {
        let outcome = exchange_udp(&site.lab, echo.address(), 20, 2);
        assert!(outcome.intact(), "{outcome:?}");
    }
    eventually("a line in the log", || {
        site.daemon.log().contains("can't be sent to")
    });
    site.finish();
}

/// A log file that was moved away is opened anew on SIGHUP, and no line is lost.
#[test]
fn a_moved_log_file_is_opened_anew_on_sighup() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let (file, moved) = (
        directory.path().join("nat.jsonl"),
        directory.path().join("nat.jsonl.1"),
    );
    let log = format!("[channel.log]\nfile = \"{}\"\n", file.display());
    let mut site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, &log, TRANSLATE_ALL].concat(),
    );
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    assert!(exchange_udp(&site.lab, echo.address(), 2, 1).intact());
    eventually("two lines", || {
        lines_about(&lines(&file), "mapping-created").len() == 2
    });
    fs::rename(&file, &moved).expect("a file");
    site.daemon.process().signal(Signal::SIGHUP).expect("it runs");
    eventually("a new file", || file.exists());
    assert!(exchange_udp(&site.lab, echo.address(), 3, 1).intact());
    eventually("three lines", || {
        lines_about(&lines(&file), "mapping-created").len() == 3
    });
    assert_eq!(lines_about(&lines(&moved), "mapping-created").len(), 2);
    site.stop(Signal::SIGTERM);
}

/// A log that can't be opened is told at the start.
#[test]
fn a_log_that_can_not_be_opened_is_refused_at_the_start() {
    let lab = lab(&Options::default());
    let log = "[channel.log]\nfile = \"/nonexistent/nat.jsonl\"\n";
    let launch = crate::site::launch(&[TRANSLATOR, log, TRANSLATE_ALL].concat());
    let mut daemon = netchannel_benches::daemon::Daemon::spawn(&lab.middle, &launch).expect("a process");
    let status = daemon.process().wait(ON_ITS_WAY).expect("it ends");
    assert_eq!(status.code(), Some(1));
    assert!(
        daemon
            .log()
            .contains("log file /nonexistent/nat.jsonl of channel `internet`"),
        "{}",
        daemon.log()
    );
}
