//! The largest segment that TCP connections agree on.

use std::net::SocketAddrV4;

use netchannel::channel::nat::SegmentSize;
use netchannel::packet::{checksum, protocol};
use proptest::prelude::*;

use crate::harness::*;
use crate::packets::*;

const WEB: &str = "8.8.8.8:80";

/// A TCP packet with these options, a multiple of four bytes.
fn with_options(flags: u8, options: &[u8], source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let plain = ip_packet(Body::Tcp(flags), source, destination, b"");
    let mut segment = [&plain[20..], options].concat();
    segment[12] = ((segment.len() / 4) as u8) << 4;
    segment[16..18].fill(0);
    let pseudo = checksum::pseudo_sum(
        (*source.ip()).into(),
        (*destination.ip()).into(),
        protocol::TCP,
        segment.len() as u64,
    );
    let sum = !checksum::add(pseudo, checksum::sum(&segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(protocol::TCP, *source.ip(), *destination.ip(), &segment)
}

fn clamping(limit: Option<SegmentSize>) -> NatBox {
    NatBox::new(|settings| settings.segment_size = limit)
}

/// What is left of the options of a SYN that goes out, and of one that comes back.
fn both_ways(nat: &mut NatBox, options: &[u8]) -> [Vec<u8>; 2] {
    let syn = with_options(SYN, options, at(INSIDE), at(WEB));
    let out = packet(nat.inside(&syn).out())[40..].to_vec();
    let answer = with_options(SYN | ACK, options, at(WEB), at("192.0.2.7:5000"));
    let back = packet(nat.outside(&answer).at_host())[40..].to_vec();
    [out, back]
}

#[test]
fn the_segment_size_is_lowered_to_what_fits_or_to_a_value() {
    let offer = |size: u16| [&[1, 1, 2, 4], &size.to_be_bytes()[..], &[4, 2]].concat();
    let lowered = |limit| both_ways(&mut clamping(limit), &offer(1460));
    // The outside has an MTU of 1400, whichever way the SYN goes.
    assert_eq!(lowered(Some(SegmentSize::Fitting)), [offer(1360), offer(1360)]);
    assert_eq!(
        lowered(Some(SegmentSize::AtMost(1200))),
        [offer(1200), offer(1200)]
    );
    assert_eq!(lowered(None), [offer(1460), offer(1460)]);
    // What is small enough stays.
    let mut nat = clamping(Some(SegmentSize::Fitting));
    assert_eq!(both_ways(&mut nat, &offer(536)), [offer(536), offer(536)]);
}

#[test]
fn at_an_odd_place_the_checksum_is_right_too() {
    let options = [1, 2, 4, 0x05, 0xb4, 1, 1, 1];
    let mut nat = clamping(Some(SegmentSize::AtMost(1000)));
    assert_eq!(both_ways(&mut nat, &options)[0], [1, 2, 4, 0x03, 0xe8, 1, 1, 1]);
}

/// What is not a SYN's option is left alone: data, broken options, another length.
#[test]
fn nothing_else_is_changed() {
    let mut nat = clamping(Some(SegmentSize::AtMost(536)));
    for options in [
        [0, 2, 4, 5].as_slice(),
        &[2, 3, 0x20, 0],
        &[2, 4, 0x20],
        &[2, 1, 2, 4, 0x20, 0, 0, 0],
        &[3, 9, 2, 4, 0x20, 0, 0, 0],
        &[],
    ] {
        let options = &options[..options.len() & !3];
        assert_eq!(both_ways(&mut nat, options), [options, options]);
    }
    let ack = with_options(ACK, &[2, 4, 0x20, 0], at(INSIDE), at(WEB));
    assert_eq!(packet(nat.inside(&ack).out())[40..], [2, 4, 0x20, 0]);
}

proptest! {
    /// The harness looks at the checksum.
    #[test]
    fn any_options_are_harmless(options in proptest::collection::vec(any::<u8>(), 0..40), limit in 0u16..2000) {
        let options = &options[..options.len() & !3];
        let mut nat = clamping(Some(SegmentSize::AtMost(limit)));
        let syn = with_options(SYN, options, at(INSIDE), at(WEB));
        nat.inside(&syn).out();
    }
}
