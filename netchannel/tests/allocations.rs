//! Packets of known flows, and new flows too, go through the dispatcher without a single allocation.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use etherparse::PacketBuilder;
use netchannel::channel::nat::{Nat, NatSettings};
use netchannel::channel::{ChannelId, Forward, Netchannel};
use netchannel::dispatch::{BURST, Registry, RuleSet};
use netchannel::packet::Headers;

/// The system's allocator, with a count of what the present thread asks for.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    // Without a destructor, and made by the compiler: so it can be used in an allocator.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all is done by the system's allocator, with the arguments that came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
    }
}

const EXTERNAL: &str = "192.0.2.1";
const SERVER: &str = "8.8.8.8";

/// Flows of each kind: several bursts.
const FLOWS: u16 = 4 * BURST as u16;

fn site(channel: Box<dyn Netchannel>) -> TestBox {
    let mut channels = Registry::new();
    channels.register("channel", channel).unwrap();
    TestBox::with(channels, RuleSet::new(ChannelId(0)))
}

fn nat() -> Box<dyn Netchannel> {
    let external: Ipv4Addr = EXTERNAL.parse().unwrap();
    Box::new(Nat::new(NatSettings::new(vec![external])).unwrap())
}

fn outbound(port: u16) -> Vec<u8> {
    packet((HOST_MAC, LAN_MAC), ("10.0.0.2", port), (SERVER, 53))
}

fn packet(macs: ([u8; 6], [u8; 6]), from: (&str, u16), to: (&str, u16)) -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
    let builder = PacketBuilder::ethernet2(macs.0, macs.1)
        .ipv4(address(from.0), address(to.0), 64)
        .udp(from.1, to.1);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"payload of some length").unwrap();
    bytes
}

/// Allocations and releases while a burst is carried.
fn carry(test: &mut TestBox, packets: &[Vec<u8>], inward: bool) -> usize {
    let (from, to) = match inward {
        false => (test.lan.clone(), test.wan.clone()),
        true => (test.wan.clone(), test.lan.clone()),
    };
    assert!(packets.iter().all(|packet| from.send(packet)));
    test.now = test.now + Duration::from_micros(50);
    let before = ALLOCATIONS.get();
    let received = test.dispatcher.poll(test.now).unwrap();
    let counted = ALLOCATIONS.get() - before;
    assert_eq!((received, to.take_sent().len()), (packets.len(), packets.len()));
    counted
}

/// Carries the packets over and over, and counts after the first two rounds.
fn count(test: &mut TestBox, packets: &[Vec<u8>], inward: bool) -> usize {
    let mut counted = 0;
    for round in 0..100 {
        for burst in packets.chunks(BURST) {
            let allocations = carry(test, burst, inward);
            counted += if round < 2 { 0 } else { allocations };
        }
    }
    counted
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 2);
}

#[test]
fn known_flows_are_forwarded_without_an_allocation() {
    let mut test = site(Box::new(Forward));
    let packets: Vec<_> = (0..FLOWS).map(|flow| outbound(5000 + flow)).collect();
    assert_eq!(count(&mut test, &packets, false), 0);
    test.assert_all_accounted_for();
}

#[test]
fn known_sessions_are_translated_without_an_allocation_both_ways() {
    let mut test = site(nat());
    let packets: Vec<_> = (0..FLOWS).map(|flow| outbound(5000 + flow)).collect();
    assert_eq!(count(&mut test, &packets, false), 0);
    let answers: Vec<_> = packets
        .iter()
        .map(|packet| {
            let sent = test.out(packet).remove(0);
            let external = Headers::parse(&sent).unwrap().ports().0;
            self::packet((ROUTER_MAC, WAN_MAC), (SERVER, 53), (EXTERNAL, external))
        })
        .collect();
    assert_eq!(count(&mut test, &answers, true), 0);
    test.assert_all_accounted_for();
}

#[test]
fn new_flows_are_opened_without_an_allocation() {
    for channel in [Box::new(Forward) as Box<dyn Netchannel>, nat()] {
        let kind = channel.kind();
        let mut test = site(channel);
        let mut port = 1024;
        let mut counted = 0;
        for burst in 0..256 {
            let packets: Vec<_> = (port..).take(BURST).map(outbound).collect();
            port += BURST as u16;
            let allocations = carry(&mut test, &packets, false);
            counted += if burst < 2 { 0 } else { allocations };
        }
        assert_eq!(counted, 0, "{kind}");
        test.assert_all_accounted_for();
    }
}
