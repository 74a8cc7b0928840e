//! RFC 5382 and RFC 7857: TCP.

use std::net::SocketAddrV4;
use std::time::Duration;

use netchannel::channel::nat::{Filtering, PerProtocol};
use netchannel::drop_reason::DropReason;

use crate::harness::*;
use crate::packets::*;

const WEB: &str = "8.8.8.8:80";
const EXTERNAL_END: &str = "192.0.2.7:5000";

fn tcp(flags: u8) -> Body {
    Body::Tcp(flags)
}

/// Opens a connection from inside; it is established then.
fn connect(nat: &mut NatBox) {
    assert_eq!(nat.open(tcp(SYN), at(INSIDE), at(WEB)), at(EXTERNAL_END));
    assert!(answers(nat, SYN | ACK));
    nat.open(tcp(ACK), at(INSIDE), at(WEB));
    assert_eq!(state(nat), "established");
}

/// Whether a packet of the server reaches the client.
fn answers(nat: &mut NatBox, flags: u8) -> bool {
    nat.reaches(tcp(flags), at(WEB), at(EXTERNAL_END), at(INSIDE))
}

fn state(nat: &NatBox) -> String {
    nat.mappings()[0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn rfc_5382_1_one_external_endpoint_for_every_server() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    assert_eq!(
        nat.open(tcp(SYN), at(INSIDE), at("9.9.9.9:443")),
        at(EXTERNAL_END)
    );
}

#[test]
fn only_a_syn_opens_a_connection() {
    let mut nat = NatBox::plain();
    for flags in [ACK, SYN | ACK, RST, FIN | ACK, SYN | FIN, SYN | RST, 0] {
        let result = nat.send(tcp(flags), at(INSIDE), at(WEB));
        assert_eq!(result.dropped(), DropReason::NatNotOpening);
    }
    connect(&mut nat);
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        let result = nat.send(tcp(flags), at(INSIDE), at("9.9.9.9:443"));
        assert_eq!(result.dropped(), DropReason::NatNotOpening);
        let result = nat.reply(tcp(flags), at("9.9.9.9:443"), at(EXTERNAL_END));
        assert_eq!(result.dropped(), DropReason::NatNotOpening);
    }
}

#[test]
fn rfc_5382_2_connections_from_either_side_and_half_closed_ones_pass() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    // The client is done, the server goes on for hours.
    nat.open(tcp(FIN | ACK), at(INSIDE), at(WEB));
    nat.wait(7439);
    assert!(answers(&mut nat, ACK));
    nat.wait(7439);
    nat.open(tcp(ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, FIN | ACK));
    assert_eq!(state(&nat), "closed");
    nat.open(tcp(ACK), at(INSIDE), at(WEB));

    // A connection from outside to the same inside endpoint.
    let client = at("9.9.9.9:1024");
    assert!(nat.reaches(tcp(SYN), client, at(EXTERNAL_END), at(INSIDE)));
    assert_eq!(nat.open(tcp(SYN | ACK), at(INSIDE), client), at(EXTERNAL_END));
    assert!(nat.reaches(tcp(ACK), client, at(EXTERNAL_END), at(INSIDE)));
    assert_eq!(state(&nat), "established");
    nat.wait(7439);
    assert!(nat.reaches(tcp(ACK), client, at(EXTERNAL_END), at(INSIDE)));
}

#[test]
fn rfc_5382_2a_crossed_syns_connect() {
    let mut nat =
        NatBox::new(|settings| settings.filtering = PerProtocol::all(Filtering::AddressAndPortDependent));
    nat.open(tcp(SYN), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, SYN));
    nat.open(tcp(SYN | ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, SYN | ACK));
    assert_eq!(state(&nat), "established");
}

#[test]
fn rfc_5382_5_timeouts_of_every_state() {
    type Prepare = fn(&mut NatBox);
    let opening: Prepare = |nat| {
        nat.open(tcp(SYN), at(INSIDE), at(WEB));
    };
    let closed: Prepare = |nat| {
        connect(nat);
        nat.open(tcp(FIN | ACK), at(INSIDE), at(WEB));
        assert!(answers(nat, FIN | ACK));
    };
    let reset: Prepare = |nat| {
        connect(nat);
        assert!(answers(nat, RST));
    };
    for (prepare, timeout) in [
        (opening, 240),
        (connect as Prepare, 7440),
        (closed, 240),
        (reset, 240),
    ] {
        for (silence, survives) in [(timeout - 1, true), (timeout, false)] {
            for with_ticks in [true, false] {
                let mut nat = NatBox::plain();
                prepare(&mut nat);
                if with_ticks {
                    nat.wait(silence);
                } else {
                    nat.leap(std::time::Duration::from_secs(silence));
                }
                assert_eq!(nat.mappings().len(), usize::from(survives));
                assert_eq!(answers(&mut nat, ACK), survives);
            }
        }
    }
}

#[test]
fn rfc_7857_2_2_opening_and_closing_have_times_of_their_own() {
    let mut nat = NatBox::new(|settings| {
        // RFC 7857 §2.2: less than 4 minutes is allowed for connections that are not open yet.
        settings.timeouts.tcp_opening = Duration::from_secs(20);
        settings.timeouts.tcp_closing = Duration::from_secs(250);
    });
    nat.open(tcp(SYN), at(INSIDE), at(WEB));
    nat.wait(19);
    assert_eq!(nat.mappings().len(), 1);
    nat.wait(1);
    assert!(nat.mappings().is_empty());
    connect(&mut nat);
    nat.open(tcp(FIN | ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, FIN | ACK));
    nat.wait(249);
    assert_eq!(nat.mappings().len(), 1);
    nat.wait(1);
    assert!(nat.mappings().is_empty());
}

/// A box that admits nobody who was not sent to.
fn strict(answer: bool) -> NatBox {
    NatBox::new(|settings| {
        settings.filtering = PerProtocol::all(Filtering::AddressAndPortDependent);
        settings.answer_unsolicited = answer;
    })
}

/// What the box has sent to the outside by itself.
fn errors(nat: &mut NatBox) -> Vec<Vec<u8>> {
    assert!(nat.test.lan.sent_all().is_empty());
    nat.test.assert_all_accounted_for();
    nat.test.wan.sent_all()
}

#[test]
fn rfc_5382_4_an_unsolicited_syn_is_answered_after_six_seconds() {
    let mut nat = strict(true);
    nat.open(tcp(SYN), at(INSIDE), at("9.9.9.9:443"));
    // To a mapping that does not admit it, and to no mapping.
    for to in [EXTERNAL_END, "192.0.2.7:6000"] {
        let syn = ip_packet(tcp(SYN), at(WEB), at(to), b"");
        nat.outside(&syn).dropped();
        nat.wait(3);
        // Sent again: it is still the same SYN.
        nat.outside(&syn).dropped();
        nat.leap(Duration::from_millis(2999));
        nat.test.dispatcher.tick(nat.test.now);
        assert!(errors(&mut nat).is_empty());
        nat.leap(Duration::from_millis(1));
        nat.test.dispatcher.tick(nat.test.now);
        let sent = errors(&mut nat);
        assert_eq!(sent.len(), 1);
        assert_checksums(&sent[0]);
        assert_eq!(ends(&sent[0]), (at("192.0.2.1:0"), at("8.8.8.8:0")));
        assert_eq!(sent[0][34..36], [3, 3]);
        assert_eq!(packet(&quoted(&sent[0])), syn);
        nat.wait(60);
        assert!(errors(&mut nat).is_empty());
    }
}

#[test]
fn rfc_5382_4_an_outbound_syn_meanwhile_keeps_it_silent() {
    let mut nat = strict(true);
    nat.open(tcp(SYN), at(INSIDE), at("9.9.9.9:443"));
    assert!(!answers(&mut nat, SYN));
    nat.wait(3);
    nat.open(tcp(SYN), at(INSIDE), at(WEB));
    nat.wait(30);
    assert!(errors(&mut nat).is_empty());
    // The other host sends its SYN again: both are connected.
    assert!(answers(&mut nat, SYN));
    nat.open(tcp(SYN | ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, SYN | ACK));
    assert_eq!(state(&nat), "established");
}

#[test]
fn rfc_5382_4_only_syns_wait_for_an_answer() {
    let mut nat = strict(true);
    nat.open(tcp(SYN), at(INSIDE), at("9.9.9.9:443"));
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        assert!(!answers(&mut nat, flags));
    }
    assert!(!nat.reaches(Body::Udp, at(SERVER), at("192.0.2.7:6000"), at(INSIDE)));
    nat.wait(30);
    assert!(errors(&mut nat).is_empty());
}

#[test]
fn rfc_5382_4a_by_policy_nothing_is_said() {
    let mut nat = strict(false);
    nat.open(tcp(SYN), at(INSIDE), at("9.9.9.9:443"));
    assert!(!answers(&mut nat, SYN));
    nat.wait(30);
    assert!(errors(&mut nat).is_empty());
}

/// What is remembered is bounded: of more SYNs than that, the others are never answered, and nothing else suffers.
#[test]
fn rfc_5382_4_a_flood_of_syns_is_bounded() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    for number in 0..10_000u16 {
        let from = SocketAddrV4::new(host("9.9.9.9"), number);
        let syn = ip_packet(tcp(SYN), from, at("192.0.2.7:6000"), b"");
        assert_eq!(nat.outside(&syn).dropped(), DropReason::NatNoMapping);
    }
    assert!(answers(&mut nat, ACK));
    nat.wait(6);
    // No more at once than the rate limit of the box's own errors allows.
    assert!((1..=50).contains(&errors(&mut nat).len()));
    nat.wait(6);
    assert!(errors(&mut nat).is_empty());
}

/// The timer was set for hours; it must come up after minutes all the same.
#[test]
fn rfc_5382_5_a_closed_connection_gives_its_port_back_in_time() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    nat.open(tcp(RST), at(INSIDE), at(WEB));
    nat.wait(241);
    assert_eq!(nat.detail("/sessions"), 0);
    assert_eq!(nat.detail("/mappings/tcp"), 0);
}

#[test]
fn packets_after_the_end_keep_nothing_alive() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    nat.open(tcp(FIN | ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, FIN | ACK));
    nat.wait(200);
    nat.open(tcp(ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, RST));
    nat.wait(40);
    assert!(!answers(&mut nat, ACK));
}

#[test]
fn rfc_7857_2_3_traffic_after_a_forged_reset_restores_the_connection() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    assert!(answers(&mut nat, RST));
    assert_eq!(state(&nat), "reset");
    nat.wait(239);
    nat.open(tcp(ACK), at(INSIDE), at(WEB));
    assert_eq!(state(&nat), "established");
    nat.wait(7439);
    assert!(answers(&mut nat, ACK));
}

#[test]
fn a_new_connection_between_the_same_endpoints_starts_over() {
    let mut nat = NatBox::plain();
    connect(&mut nat);
    nat.open(tcp(FIN | ACK), at(INSIDE), at(WEB));
    assert!(answers(&mut nat, FIN | ACK));
    nat.wait(100);
    connect(&mut nat);
    nat.wait(7439);
    assert!(answers(&mut nat, ACK));
}

#[test]
fn rfc_7857_7_1_probes_of_a_closed_port_keep_no_mapping() {
    let mut nat = NatBox::plain();
    nat.open(tcp(SYN), at(INSIDE), at(WEB));
    for probe in 0..3 {
        nat.wait(60);
        let from = format!("9.9.9.9:{}", 1024 + probe).parse().unwrap();
        assert!(nat.reaches(tcp(SYN), from, at(EXTERNAL_END), at(INSIDE)));
        nat.open(tcp(RST | ACK), at(INSIDE), from);
    }
    assert_eq!(nat.mappings()[0]["sessions"], 1);
    nat.wait(60);
    assert!(nat.mappings().is_empty());
    assert_eq!(nat.detail("/sessions"), 0);
}

#[test]
fn rfc_5382_8_and_8a_a_connection_between_hosts_inside() {
    let mut nat = NatBox::plain();
    let (client, server) = (at(INSIDE), at("10.0.0.3:8080"));
    // The server made itself known.
    let server_external = nat.open(tcp(SYN), server, at(WEB));
    let client_external = at(EXTERNAL_END);
    let mut pass = |from, flags| {
        let (to, expected) = if from == client {
            (server_external, (client_external, server))
        } else {
            (client_external, (server_external, client))
        };
        let result = nat.send(tcp(flags), from, to);
        assert_eq!(ends(result.at_host()), expected);
    };
    pass(client, SYN);
    pass(server, SYN | ACK);
    pass(client, ACK);
    for _ in 0..5 {
        pass(client, ACK);
        pass(server, ACK);
    }
    nat.wait(7439);
    let result = nat.send(tcp(FIN | ACK), client, server_external);
    assert_eq!(ends(result.at_host()), (client_external, server));
    let result = nat.send(tcp(FIN | ACK), server, client_external);
    assert_eq!(ends(result.at_host()), (server_external, client));
    nat.wait(241);
    assert_eq!(nat.detail("/sessions"), 0);
}

/// A host that connects to its own external endpoint meets itself, as it would without a translator.
#[test]
fn a_host_reaches_itself_by_its_external_endpoint() {
    let mut nat = NatBox::plain();
    nat.open(tcp(SYN), at(INSIDE), at(WEB));
    let result = nat.send(tcp(SYN), at(INSIDE), at(EXTERNAL_END));
    assert_eq!(ends(result.at_host()), (at(EXTERNAL_END), at(INSIDE)));
}

#[test]
fn rfc_5382_7_no_two_hosts_share_an_external_port() {
    let mut nat = NatBox::plain();
    let first = nat.open(tcp(SYN), at(INSIDE), at(WEB));
    let second = nat.open(tcp(SYN), at("10.0.0.3:5000"), at(WEB));
    assert_eq!(first, at(EXTERNAL_END));
    assert_ne!(second.port(), first.port());
    assert!(nat.reaches(tcp(SYN | ACK), at(WEB), second, at("10.0.0.3:5000")));
    assert!(nat.reaches(tcp(SYN | ACK), at(WEB), first, at(INSIDE)));
}
