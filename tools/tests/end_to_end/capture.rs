//! `capture`: files of packets with their interfaces and verdicts, as tshark reads them.

use std::path::Path;
use std::process::Command;

use netchannel_benches::topology::SERVER;
use netchannel_benches::traffic::udp::EchoServer;
use serde_json::Value;

use crate::packet_watch::PacketWatch;
use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, secluded};

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
    let watching = PacketWatch::start(
        &site,
        &format!("capture udp from 10.77.0.2 --both -w {name} --count 3"),
    );
    let socket = site.inside_socket(4000);
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
    let socket = site.inside_socket(4000);
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
        let watching = PacketWatch::start(&site, &line);
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
    let mut watching = PacketWatch::start(&site, "capture udp on lan -w -");
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
