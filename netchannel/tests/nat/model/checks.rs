//! What the translator was seen to do, and what must hold whatever it does.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddrV4};

use netchannel::channel::nat::Refusal;
use netchannel::drop_reason::DropReason;
use netchannel::packet::{Headers, Transport};

use super::oracle::Verdict;
use super::state::Model;
use crate::harness::*;
use crate::packets::*;

/// Why a packet may be refused for want of room, of which its sender is told.
pub const REFUSALS: [DropReason; 8] = [
    DropReason::NatPortsExhausted,
    DropReason::NatHostNotServed,
    DropReason::NatMappingLimit,
    DropReason::NatSessionLimit,
    DropReason::NatRateLimit,
    DropReason::NatHostMappingLimit,
    DropReason::NatHostSessionLimit,
    DropReason::NatHostRateLimit,
];

/// No inside address is seen outside, neither in a packet nor in one that it quotes (RFC 3022 §5).
fn assert_nothing_leaks(frame: &[u8]) {
    let is_inside = |address: IpAddr| matches!(address, IpAddr::V4(it) if it.octets()[0] == 10);
    let headers = Headers::parse(frame).unwrap();
    assert!(
        !is_inside(headers.source) && !is_inside(headers.destination),
        "{headers:?}"
    );
    if is_error(frame) {
        assert_nothing_leaks(&quoted(frame));
    }
}

fn is_error(frame: &[u8]) -> bool {
    let transport = Headers::parse(frame).unwrap().transport;
    matches!(
        transport,
        Transport::Icmp {
            kind: 3 | 11 | 12,
            ..
        }
    )
}

/// What became of a packet that came in as one frame, or in fragments.
pub fn verdict(seen: &Seen, refusal: Refusal, from_inside: bool) -> Verdict {
    seen.wan.iter().for_each(|frame| assert_nothing_leaks(frame));
    // The others share the first fragment's fate.
    let mut dropped = seen.dropped.clone();
    dropped.sort_by_key(|&reason| reason == DropReason::NatFragment);
    if let Some(&reason) = dropped.first() {
        let others = &dropped[1..];
        assert!(
            others
                .iter()
                .all(|&it| it == DropReason::NatFragment || it == reason),
            "{seen:?}"
        );
        assert!(seen.wan.is_empty() && seen.passed.is_empty(), "{seen:?}");
        assert_refusal(seen, reason, refusal, from_inside);
        return Verdict::Dropped(reason);
    }
    if !seen.passed.is_empty() {
        assert!(seen.wan.is_empty() && seen.lan.is_empty());
        return Verdict::ToKernel;
    }
    let (is_inside, frames) = match (&seen.lan[..], &seen.wan[..]) {
        (frames, []) => (true, frames),
        ([], frames) => (false, frames),
        _ => panic!("to both sides: {seen:?}"),
    };
    let [frame] = frames else {
        panic!("one packet has become several, or none: {seen:?}");
    };
    let (source, destination) = ends(frame);
    if is_error(frame) {
        return Verdict::Error(is_inside, (*source.ip(), *destination.ip()), ends(&quoted(frame)));
    }
    if is_inside {
        Verdict::ToInside(source, destination)
    } else {
        Verdict::ToOutside(source, destination)
    }
}

/// Only refused inside hosts are told, what the settings say (RFC 5508 REQ-8, RFC 6888 REQ-11).
fn assert_refusal(seen: &Seen, reason: DropReason, refusal: Refusal, from_inside: bool) {
    let is_refusal = REFUSALS.contains(&reason) || reason == DropReason::NatMappingSessionLimit;
    let code = match refusal {
        _ if !is_refusal || !from_inside => None,
        Refusal::Prohibited => Some(13),
        Refusal::HostUnreachable => Some(1),
        Refusal::Silent => None,
    };
    let told: Vec<_> = seen
        .lan
        .iter()
        .map(|frame| match Headers::parse(frame).unwrap().transport {
            Transport::Icmp { kind: 3, code } => code,
            other => panic!("{other:?}"),
        })
        .collect();
    // A filtered or full inside host is no matter of the sender's room, so a session that could not be opened there is not told.
    if reason == DropReason::NatSessionLimit && told.is_empty() {
        return;
    }
    assert_eq!(told, Vec::from_iter(code), "{reason:?}");
}

/// An external endpoint of an inside one that is in the listing and not in the model.
pub fn new_mapping(nat: &NatBox, model: &Model, body: Body, inside: SocketAddrV4) -> Option<SocketAddrV4> {
    let protocol = protocol_name(body.number());
    nat.mappings()
        .iter()
        .filter(|mapping| mapping["inside"] == inside.to_string() && mapping["protocol"] == protocol)
        .map(|mapping| at(mapping["external"].as_str().unwrap()))
        .find(|&external| model.of_external(body.number(), external).is_none())
}

fn protocol_name(number: u8) -> &'static str {
    match number {
        1 => "icmp",
        6 => "tcp",
        _ => "udp",
    }
}

/// Both have the same mappings with as many sessions that end at the same time, and no external endpoint stands for two inside ones.
pub fn compare_listings(nat: &NatBox, model: &Model) {
    let mut externals = HashSet::new();
    let mut listed: Vec<String> = nat
        .mappings()
        .iter()
        .map(|mapping| {
            let text = |key: &str| mapping[key].as_str().unwrap().to_owned();
            let (protocol, external) = (text("protocol"), text("external"));
            assert!(
                externals.insert((protocol.clone(), external.clone())),
                "{external} twice"
            );
            let (sessions, left) = (&mapping["sessions"], &mapping["expires_in_seconds"]);
            format!("{protocol} {} {external} {sessions} {left}", text("inside"))
        })
        .collect();
    let timeouts = &model.settings.timeouts;
    let mut expected: Vec<String> = model
        .mappings
        .iter()
        .map(|mapping| {
            let last = mapping
                .sessions
                .iter()
                .map(|session| session.ends(timeouts))
                .max();
            format!(
                "{} {} {} {} {}",
                protocol_name(mapping.protocol),
                mapping.inside,
                mapping.external,
                mapping.sessions.len(),
                last.unwrap().since(model.now).as_secs()
            )
        })
        .collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}
