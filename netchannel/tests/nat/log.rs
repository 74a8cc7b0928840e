//! What the translator records of what it does.

use netchannel::channel::nat::{
    EndReason, Event, LimitReached, MappingBehavior, PerProtocol, Protocol, Recording, Selection, Translation,
};
use netchannel::drop_reason::DropReason;
use netchannel::events::{Events, Kind};

use crate::harness::*;
use crate::packets::*;

fn all(recording: &mut Recording) -> Vec<Event> {
    recording.map(|record| record.event).collect()
}

fn translation(protocol: Protocol, inside: &str, external: &str, remote: Option<&str>) -> Translation {
    Translation {
        protocol,
        inside: at(inside),
        external: at(external),
        remote: remote.map(at),
    }
}

/// A log of mappings says nothing of whom the host talked to.
#[test]
fn rfc_6888_12_mappings_are_recorded_without_destinations() {
    let (mut nat, mut recording) = NatBox::recorded(|_| {}, Selection::default(), 64);
    let start = nat.test.now;
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    nat.open(Body::Udp, at(INSIDE), at("9.9.9.9:53"));
    let of_host = translation(Protocol::Udp, INSIDE, "192.0.2.7:5000", None);
    let created = recording.next().unwrap();
    assert_eq!(
        (created.time, created.event),
        (start, Event::MappingCreated(of_host))
    );
    assert_eq!(recording.next(), None);
    nat.wait(300);
    let deleted = recording.next().unwrap();
    assert_eq!(deleted.event, Event::MappingDeleted(of_host, EndReason::Expired));
    assert_eq!(deleted.time, nat.test.now);
    assert_eq!(recording.next(), None);
}

#[test]
fn sessions_and_destinations_are_recorded_by_choice() {
    let selection = Selection {
        sessions: true,
        destinations: true,
        ..Selection::default()
    };
    let (mut nat, mut recording) = NatBox::recorded(|_| {}, selection, 64);
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    nat.open(Body::Udp, at(INSIDE), at("9.9.9.9:53"));
    let mapping = translation(Protocol::Udp, INSIDE, "192.0.2.7:5000", None);
    let session = |remote| translation(Protocol::Udp, INSIDE, "192.0.2.7:5000", Some(remote));
    assert_eq!(
        all(&mut recording),
        [
            Event::MappingCreated(mapping),
            Event::SessionCreated(session(SERVER)),
            Event::SessionCreated(session("9.9.9.9:53")),
        ]
    );
    nat.wait(100);
    nat.open(Body::Udp, at(INSIDE), at("9.9.9.9:53"));
    nat.wait(250);
    assert_eq!(
        all(&mut recording),
        [Event::SessionDeleted(session(SERVER), EndReason::Expired)]
    );
    nat.wait(100);
    assert_eq!(
        all(&mut recording),
        [
            Event::SessionDeleted(session("9.9.9.9:53"), EndReason::Expired),
            Event::MappingDeleted(mapping, EndReason::Expired),
        ]
    );
}

/// What a mapping depends on of its destination is told if destinations are.
#[test]
fn the_destination_of_a_dependent_mapping_is_recorded_by_choice() {
    for (destinations, remote) in [(false, None), (true, Some("8.8.8.8:0"))] {
        let selection = Selection {
            destinations,
            ..Selection::default()
        };
        let dependent = PerProtocol::all(MappingBehavior::AddressDependent);
        let (mut nat, mut recording) = NatBox::recorded(
            |settings| {
                settings.mapping = dependent;
                settings.filtering = PerProtocol::all(netchannel::channel::nat::Filtering::AddressDependent);
            },
            selection,
            64,
        );
        nat.open(Body::Udp, at(INSIDE), at(SERVER));
        let expected = translation(Protocol::Udp, INSIDE, "192.0.2.7:5000", remote);
        assert_eq!(all(&mut recording), [Event::MappingCreated(expected)]);
    }
}

#[test]
fn a_connection_that_was_closed_is_recorded_as_closed() {
    let (mut nat, mut recording) = NatBox::recorded(|_| {}, Selection::default(), 64);
    nat.open(Body::Tcp(SYN), at(INSIDE), at("8.8.8.8:80"));
    for flags in [SYN | ACK, FIN | ACK] {
        nat.reply(Body::Tcp(flags), at("8.8.8.8:80"), at("192.0.2.7:5000"));
    }
    nat.send(Body::Tcp(FIN | ACK), at(INSIDE), at("8.8.8.8:80"));
    nat.wait(240);
    let mapping = translation(Protocol::Tcp, INSIDE, "192.0.2.7:5000", None);
    assert_eq!(
        all(&mut recording),
        [
            Event::MappingCreated(mapping),
            Event::MappingDeleted(mapping, EndReason::Closed),
        ]
    );
}

/// The operator learns which limit keeps which host from a mapping, once for all packets that it is refused for.
#[test]
fn rfc_6888_11c_a_limit_that_is_reached_is_told_to_the_operator() {
    let selection = Selection {
        mappings: false,
        ..Selection::default()
    };
    let (mut nat, mut recording) =
        NatBox::recorded(|settings| settings.host_limits.mappings = 2, selection, 64);
    let port = |port: u16| format!("10.0.0.2:{port}").parse().unwrap();
    nat.open(Body::Udp, port(1), at(SERVER));
    nat.open(Body::Udp, port(2), at(SERVER));
    for number in 3..103 {
        nat.send(Body::Udp, port(number), at(SERVER));
    }
    let mut reached = LimitReached {
        limit: DropReason::NatHostMappingLimit,
        protocol: Protocol::Udp,
        host: *at(INSIDE).ip(),
        external: None,
        bound: 2,
        refused: 1,
    };
    assert_eq!(all(&mut recording), [Event::LimitReached(reached)]);
    // The rest is told together, some seconds later.
    nat.wait(12);
    reached.refused = 99;
    assert_eq!(all(&mut recording), [Event::LimitReached(reached)]);
    nat.wait(100);
    assert_eq!(all(&mut recording), []);
}

/// 8158-t4: which address is out of ports.
#[test]
fn exhausted_ports_name_the_address() {
    let (mut nat, mut recording) = NatBox::recorded(
        |settings| {
            settings.ports = vec![5000..=5000];
            settings.hold.count = 0;
        },
        Selection::default(),
        64,
    );
    nat.open(Body::Udp, at("10.0.0.2:1"), at(SERVER));
    all(&mut recording);
    nat.send(Body::Udp, at("10.0.0.2:2"), at(SERVER));
    nat.send(Body::Udp, at("10.0.0.3:2"), at(SERVER));
    let reached = |host: &str, external: Option<&str>| {
        Event::LimitReached(LimitReached {
            limit: DropReason::NatPortsExhausted,
            protocol: Protocol::Udp,
            host: host.parse().unwrap(),
            external: external.map(|address| address.parse().unwrap()),
            bound: 1,
            refused: 1,
        })
    };
    assert_eq!(
        all(&mut recording),
        [reached("10.0.0.2", Some("192.0.2.7")), reached("10.0.0.3", None)]
    );
}

/// A log that nobody reads costs records, not packets.
#[test]
fn rfc_8158_rate_what_finds_no_room_is_counted_and_no_packet_waits() {
    let (mut nat, mut recording) = NatBox::recorded(|_| {}, Selection::default(), 16);
    for port in 0..100 {
        let inside = format!("10.0.0.2:{}", 2000 + port).parse().unwrap();
        nat.open(Body::Udp, inside, at(SERVER));
    }
    assert_eq!(recording.lost(), 84);
    assert_eq!(nat.detail("/log_records_lost"), 84);
    assert_eq!(all(&mut recording).len(), 16);
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(all(&mut recording).len(), 1);
    assert_eq!(recording.lost(), 84);
}

/// Without a log, what somebody watches is recorded while it is watched, and nothing else.
#[test]
fn what_is_watched_is_recorded_meanwhile() {
    let events = Events::new();
    let (mut nat, mut recording) = NatBox::watched(&events, 64);
    nat.open(Body::Udp, at(INSIDE), at(SERVER));
    assert_eq!(recording.next(), None);
    let watching = events.subscribe([Kind::Mappings].into_iter().collect());
    nat.open(Body::Udp, at("10.0.0.6:7000"), at(SERVER));
    let of_host = translation(Protocol::Udp, "10.0.0.6:7000", "192.0.2.7:7000", None);
    assert_eq!(all(&mut recording), [Event::MappingCreated(of_host)]);
    drop(watching);
    nat.wait(300);
    assert_eq!(recording.next(), None);
    // It is no log whose losses would have to be told.
    assert!(!nat.nat().details().contains_key("log_records_lost"));
}
