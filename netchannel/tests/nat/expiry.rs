//! The end of many sessions at once: no packet waits for more than a part of the work.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::harness::*;
use crate::packets::*;

/// What one burst or one tick may end at most. A session takes some hundred nanoseconds.
const MOST_AT_ONCE: u64 = 2048;
const BURST: usize = 64;

/// A box with so many mappings, each with so many sessions, all of which have reached their timeout.
fn over(mappings: u16, sessions: u16) -> NatBox {
    let mut nat = NatBox::new(|settings| settings.hold.count = 0);
    for session in 0..sessions {
        let to = SocketAddrV4::new([8, 8, 8, 8].into(), 1024 + session);
        for mapping in 0..mappings {
            send(&mut nat, &[ip_packet(Body::Udp, inside(mapping), to, b"")]);
        }
    }
    assert_eq!(count(&nat), u64::from(mappings) * u64::from(sessions));
    nat.leap(Duration::from_secs(301));
    nat
}

fn inside(mapping: u16) -> SocketAddrV4 {
    SocketAddrV4::new([10, 0, 0, 2].into(), 1024 + mapping)
}

fn count(nat: &NatBox) -> u64 {
    nat.detail("/sessions").as_u64().unwrap()
}

/// One burst from inside.
fn send(nat: &mut NatBox, packets: &[Vec<u8>]) {
    for packet in packets {
        assert!(nat.test.lan.send(&frame(packet)));
    }
    nat.test.run();
    assert_eq!(nat.test.wan.sent_all().len(), packets.len());
}

/// Bursts and ticks until all is over; returns how many there were.
fn end(nat: &mut NatBox, mappings: u16) -> u64 {
    let mut rounds = 0;
    let mut opened = 0;
    loop {
        let before = count(nat);
        if before == opened {
            return rounds;
        }
        rounds += 1;
        // Each packet is of another mapping, and opens a session.
        let to = SocketAddrV4::new([9, 9, 9, 9].into(), 1024 + rounds as u16);
        let senders = (0..BURST as u16).map(|place| inside(place % mappings));
        let packets: Vec<_> = senders.map(|from| ip_packet(Body::Udp, from, to, b"")).collect();
        let new = u64::from(mappings).min(BURST as u64);
        send(nat, &packets);
        opened += new;
        assert!(before + new - count(nat) <= MOST_AT_ONCE);
        let before = count(nat);
        nat.leap(Duration::from_millis(100));
        nat.test.dispatcher.tick(nat.test.now);
        assert!(before - count(nat) <= MOST_AT_ONCE);
    }
}

#[test]
fn the_end_of_many_mappings_is_spread_over_bursts_and_ticks() {
    let mut nat = over(10_000, 1);
    let rounds = end(&mut nat, 10_000);
    assert!((4..8).contains(&rounds), "{rounds}");
}

#[test]
fn the_end_of_many_sessions_of_few_mappings_is_spread_over_bursts_and_ticks() {
    let mut nat = over(64, 300);
    let rounds = end(&mut nat, 64);
    assert!((6..12).contains(&rounds), "{rounds}");
}
