//! `trace`: what becomes of single packets, step by step, with traffic.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use netchannel::control::report::TracedPacket;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, INSIDE_V6, Options, SERVER, SERVER_V6};
use netchannel_benches::traffic::udp::EchoServer;

use crate::packet_watch::PacketWatch;
use crate::site::{ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, exchange_udp, lab, secluded};

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

#[test]
fn a_connection_through_the_translator_is_traced_both_ways() {
    let site = Site::new();
    let listener = at(&site.lab.server, || {
        TcpListener::bind((SERVER, 4430)).expect("a port")
    });
    let watching = PacketWatch::start(
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
    let socket = site.inside_socket(4000);
    let short_lived = site.inside_socket(4001);
    short_lived.set_ttl(1).expect("an option");
    let outside = at(&site.lab.server, || {
        UdpSocket::bind((SERVER, 4002)).expect("a port")
    });
    let trace = |filter: &str, send: &dyn Fn()| {
        let watching = PacketWatch::start(&site, &format!("trace {filter} -j --count 1"));
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
    let watching = PacketWatch::start(&site, "trace udp to 198.51.100.77 -j --count 2");
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
    let watching = PacketWatch::start(&site, "trace udp from fd77::/64 --count 1");
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
        let (code, out, err) = site.run(line);
        assert_eq!((code, out.as_str()), (1, ""), "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
    let many: Vec<String> = (0..100).map(|port| (2 * port).to_string()).collect();
    let lists = format!(
        "trace tcp from any port {{{0}}} to any port {{{0}}}",
        many.join(",")
    );
    let (code, _, err) = site.run(&lists);
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
        let (code, out, err) = site.run(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
    site.finish();
}
