//! RFC 4787 REQ-14 (a): a flood of fragments whose first one never comes.

use std::net::Ipv4Addr;
use std::time::Duration;

use netchannel::drop_reason::DropReason;

use crate::fragments::cut;
use crate::harness::*;
use crate::packets::*;

const FLOOD: u32 = 1_000_000;
/// Fragments in a burst, beside the packets that must not be lost.
const AT_ONCE: u32 = 60;
/// What is kept of them, and each a frame.
const KEPT: u16 = 200;

/// The last fragment of a datagram from this host, made of the frame of another one: its checksum is brought up to date with what changes.
fn spoof(frame: &mut [u8], number: u32) {
    let source = Ipv4Addr::from_bits(0x1400_0000 + number % 700_001).octets();
    frame[26..30].copy_from_slice(&source);
    frame[18..20].copy_from_slice(&(number as u16).to_be_bytes());
    frame[24..26].fill(0);
    let sum = netchannel::packet::checksum::of(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn rfc_4787_14a_a_million_fragments_without_a_first_one_cost_no_other_packet() {
    let mut nat = NatBox::new(|settings| settings.max_held_fragments = KEPT);
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    let payload = [0x5a; 64];
    let [_, _, last] = cut(&ip_packet(Body::Udp, at("9.9.9.9:53"), external, &payload), 1);
    let mut fragment = to_wan(&frame(&last));
    let out = frame(&ip_packet(Body::Udp, at(INSIDE), at(SERVER), b"unfragmented"));
    let back = to_wan(&frame(&ip_packet(
        Body::Udp,
        at(SERVER),
        external,
        b"unfragmented",
    )));
    // A million in a second, from as good as everywhere.
    let step = Duration::from_secs(1) / (FLOOD / AT_ONCE);
    let mut bursts = 0;
    for first in (0..FLOOD).step_by(AT_ONCE as usize) {
        for number in first..FLOOD.min(first + AT_ONCE) {
            spoof(&mut fragment, number);
            assert!(nat.test.wan.send(&fragment));
        }
        assert!(nat.test.lan.send(&out) && nat.test.wan.send(&back));
        nat.test.now = nat.test.now + step;
        nat.test.run();
        if first % 100_000 < AT_ONCE {
            nat.test.dispatcher.tick(nat.test.now);
        }
        bursts += 1;
        assert!(nat.nat().held() <= usize::from(KEPT));
        assert!(nat.test.pool.in_use() <= usize::from(KEPT) + 2);
        let (lan, wan) = (nat.test.lan.take_sent().len(), nat.test.wan.take_sent().len());
        assert_eq!((lan, wan), (1, 1), "an unfragmented packet was lost");
    }
    assert!(bursts * AT_ONCE >= FLOOD);
    let dropped = nat.test.dispatcher.totals().dropped;
    assert_eq!(dropped.total(), u64::from(FLOOD) - u64::from(KEPT));
    assert_eq!(dropped.get(DropReason::NatFragmentLimit), dropped.total());
    // Nothing is left of it, and nothing of it opened anything.
    nat.wait(5);
    assert_eq!((nat.nat().held(), nat.test.pool.in_use()), (0, 0));
    assert_eq!(nat.detail("/sessions"), 1);
    nat.test.assert_all_accounted_for();
}
