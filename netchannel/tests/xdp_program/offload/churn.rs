//! Flows come and go while their packets run through the program.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netchannel::packet::{Headers, checksum};
use netchannel::xdp::{Evicted, OffloadFlow, OffloadKey, OffloadSide, OffloadSizes, OffloadTable, Refused};

use super::support::{ARRIVAL, Carrier, HOUR, now, translation};
use crate::frames::{PEER_MAC, ipv4, ports};
use crate::namespace::in_new_namespace;

/// Flows in a ring: the packets of each become those of the next.
const RING: u8 = 16;
const RUNS: u32 = 150_000;
const WAYS: u8 = 5;

fn source(number: u8) -> (Ipv4Addr, u16) {
    let number = number % RING;
    (
        Ipv4Addr::new(10, 0, number, 200 - number),
        1000 + u16::from(number) * 77,
    )
}

fn key(ifindex: u32, number: u8) -> OffloadKey {
    let (address, port) = source(number);
    OffloadKey {
        ifindex,
        source: address.into(),
        destination: [198, 51, 100, 1].into(),
        protocol: 17,
        source_port: port,
        destination_port: 5000,
    }
}

fn frame(number: u8) -> Vec<u8> {
    let (address, port) = source(number);
    let mut datagram = ports(port, 5000);
    let pseudo = checksum::pseudo_sum(
        address.into(),
        [198, 51, 100, 1].into(),
        17,
        datagram.len() as u64,
    );
    let sum = !checksum::add(pseudo, checksum::sum(&datagram));
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let packet = ipv4(
        &address.to_string(),
        "198.51.100.1",
        etherparse::IpNumber::UDP,
        &datagram,
        |header| header.time_to_live = 255,
    );
    [&ARRIVAL[..], &PEER_MAC, &[8, 0], &packet].concat()
}

/// Panics unless the packet is as it was, or what its flow makes of it, with the Ethernet addresses of one way.
fn check(frame: &[u8], untouched: &[u8], number: u8) {
    if frame == untouched {
        return;
    }
    let headers = Headers::parse(frame).expect("a right header");
    let (address, source_port) = source(number + 1);
    assert_eq!(
        (headers.source, headers.ports().0, headers.ttl),
        (IpAddr::V4(address), source_port, 254)
    );
    let segment = &frame[34..];
    let pseudo = checksum::pseudo_sum(headers.source, headers.destination, 17, segment.len() as u64);
    assert_eq!(
        checksum::add(pseudo, checksum::sum(segment)),
        0xffff,
        "{headers:?}"
    );
    assert_eq!(frame[..6], ARRIVAL);
    // Both ends of the source address tell the way.
    assert_eq!(frame[6], frame[11], "{frame:02x?}");
}

/// Enters and takes out flows and ways, and returns what was carried in all.
fn churn(table: &OffloadTable, ifindex: u32, slot: u32, seed: u32, done: &AtomicBool) -> (u64, u64) {
    let (mut packets, mut bytes) = (0, 0);
    let mut random = seed;
    let mut entered = Vec::new();
    while !done.load(Ordering::Relaxed) {
        // xorshift (Marsaglia 2003).
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let number = (random >> 8) as u8 % RING;
        let mark = (random >> 16) as u8 % WAYS * 4 + 2;
        let way = table
            .set_way(&netchannel::xdp::OffloadWay {
                arrival_mac: ARRIVAL,
                slot,
                source_mac: [mark, 0, 0, 0, 0, mark],
                destination_mac: ARRIVAL,
                mtu: 1500,
                several_buffers: false,
            })
            .expect("room");
        let key = key(ifindex, number);
        let (address, port) = source(number + 1);
        let flow = OffloadFlow {
            translation: Some(translation(&key, OffloadSide::Source, address, port)),
            key,
            way,
            needs_dont_fragment: false,
            partial_checksums: random & 1 != 0,
            lease: now() + HOUR,
        };
        match table.insert(&flow, now()) {
            Ok((id, evicted)) => {
                entered.push(id);
                if let Some(Evicted(_, usage)) = evicted {
                    packets += usage.packets;
                    bytes += usage.bytes;
                }
            }
            Err(refused) => assert_ne!(refused, Refused::Unfit),
        }
        match random >> 24 {
            0..100 if !entered.is_empty() => {
                let id = entered.swap_remove(random as usize % entered.len());
                if let Some(usage) = table.remove(id) {
                    packets += usage.packets;
                    bytes += usage.bytes;
                }
            }
            100..110 => table.end_way(way),
            110 => table.end_all_ways(),
            111..120 => {
                for id in &entered {
                    if let Some(usage) = table.usage(*id) {
                        assert!(usage.packets < 1 << 32 && usage.bytes < 1 << 40, "{usage:?}");
                    }
                }
            }
            _ => {}
        }
        if entered.len() > 200 {
            entered.retain(|id| table.usage(*id).is_some());
        }
    }
    for id in entered {
        if let Some(usage) = table.remove(id) {
            packets += usage.packets;
            bytes += usage.bytes;
        }
    }
    (packets, bytes)
}

#[test]
fn no_packet_gets_another_flows_translation_and_counts_are_exact() {
    in_new_namespace(|| {
        // One bucket: its places change hands all the time.
        let carrier = Carrier::new(OffloadSizes { ipv4: 4, ipv6: 0 });
        let table = carrier.program.offload();
        let (ifindex, slot) = (carrier.inside, carrier.slot("outside"));
        let done = AtomicBool::new(false);
        let (packets, bytes) = thread::scope(|scope| {
            let writers: Vec<_> = [7, 1234567]
                .map(|seed| {
                    let (table, done) = (&table, &done);
                    scope.spawn(move || churn(table, ifindex, slot, seed, done))
                })
                .into();
            let runner = scope.spawn(|| {
                for number in (0..RING).cycle().take(RUNS as usize) {
                    let frame = frame(number);
                    let outcome = carrier
                        .program
                        .test_run(&frame, ifindex, 0, 1)
                        .expect("a test run");
                    check(&outcome.frame, &frame, number);
                }
            });
            let outcome = runner.join();
            done.store(true, Ordering::Relaxed);
            let totals = writers
                .into_iter()
                .map(|writer| writer.join().expect("no panic"))
                .fold((0, 0), |(packets, bytes), (more, longer)| {
                    (packets + more, bytes + longer)
                });
            outcome.expect("no panic");
            totals
        });
        assert!(table.is_empty());
        assert!(packets > 1000, "{packets}");
        assert_eq!(carrier.carried(), packets);
        assert_eq!(packets * frame(0).len() as u64, bytes);
    });
}
