//! Packets that are longer than a chunk.

use netchannel::port::PacketIo;
use netchannel::port::afxdp::{self, AfXdpError, AfXdpPort, Umem, UmemOptions};
use netchannel::time::Time;
use netchannel::xdp::ModeChoice;

use crate::namespace::{in_namespace, ip, pair, until};
use crate::program::redirect_up_to;
use crate::wire::{Wire, frame, number_of};
use crate::{assert_accounted, port_on, receive, small, transmit};

/// An MTU of 9000 bytes, with Ethernet header and two VLAN tags.
const LONGEST: u32 = 9022;
/// The longest frame on such a link without tags.
const FRAME: usize = 9014;

fn options(chunk_size: u32) -> UmemOptions {
    UmemOptions {
        chunk_size,
        longest_packet: LONGEST,
        ..small()
    }
}

fn open(chunk_size: u32) -> (Umem, AfXdpPort) {
    pair("inner", "outer", 1);
    for end in ["inner", "outer"] {
        ip(&format!("link set {end} mtu 9000"));
    }
    let (umem, mut ports) =
        afxdp::open(&options(chunk_size), &[port_on("inner", 1)]).expect("the port opens");
    (umem, ports.pop().expect("one"))
}

/// Sizes on both sides of those that take a chunk more, and all between in long steps; thousands of packets, so that rings wrap around
/// in the middle of one.
#[test]
fn packets_of_all_lengths_arrive_and_leave_unchanged_and_in_order() {
    for (mode, chunk_size) in [
        (ModeChoice::Native, 4096),
        (ModeChoice::Generic, 4096),
        (ModeChoice::Native, 2048),
    ] {
        in_namespace(move || {
            let (umem, mut port) = open(chunk_size);
            let _program = redirect_up_to(LONGEST, mode, &[&port]);
            let wire = Wire::on("outer");
            let filled = port.held();
            let chunk = umem.pool().frame_capacity();
            let edges = (1..=FRAME / chunk).flat_map(|count| [0, 1, 2].map(|more| count * chunk - 1 + more));
            let lengths: Vec<usize> = edges.chain((60..FRAME).step_by(331)).chain([FRAME]).collect();
            let mut number = 0;
            let mut next_length = lengths.iter().copied().cycle();
            for round in 0..60 {
                let sent: Vec<_> = next_length
                    .by_ref()
                    .take(20)
                    .map(|length| {
                        number += 1;
                        frame(number, length)
                    })
                    .collect();
                for packet in &sent {
                    wire.send(packet);
                }
                // A limit ends a look in the middle of a packet.
                let limit = 1 + round % 7;
                let mut received = Vec::new();
                until("all packets", || {
                    port.receive(Time::ZERO, &mut received, limit);
                    (received.len() == sent.len()).then_some(())
                });
                for (received, sent) in received.iter().zip(&sent) {
                    assert!(received.bytes() == sent, "packet {}", number_of(sent));
                }
                assert_eq!(transmit(&mut port, received).unwrap(), sent.len());
                for packet in &sent {
                    let returned = until("a packet's return", || wire.receive());
                    assert!(returned == *packet, "packet {}", number_of(packet));
                }
                until("their completion", || {
                    port.flush().unwrap();
                    (port.held() == filled).then_some(())
                });
            }
            assert_accounted(&umem, &[&port], 0);
            assert_eq!(umem.pool().long_frames().expect("there are some").in_use(), 0);
            let counters = port.counters();
            assert_eq!(counters.received_packets, 1200);
            assert_eq!(counters.transmitted_packets, 1200);
            assert_eq!(counters.transmitted_bytes, counters.received_bytes);
            let statistics = port.statistics().unwrap()[0];
            assert_eq!(
                (
                    statistics.receive_dropped,
                    statistics.refused_by_kernel,
                    statistics.invalid
                ),
                (0, 0, 0)
            );
        });
    }
}

#[test]
fn long_packets_without_memory_are_counted_and_short_ones_pass() {
    in_namespace(|| {
        let (umem, mut port) = open(4096);
        let _program = redirect_up_to(LONGEST, ModeChoice::Native, &[&port]);
        let wire = Wire::on("outer");
        let mut held: Vec<_> = std::iter::from_fn(|| umem.pool().take_long()).collect();
        assert_eq!(held.len() as u32, umem.options().long_frames());
        for (number, length) in [(1, FRAME), (2, 4000), (3, 1000)] {
            wire.send(&frame(number, length));
        }
        let received = until("the short packet", || receive(&mut port).pop());
        assert_eq!(number_of(received.bytes()), 3);
        assert_eq!(port.statistics().unwrap()[0].receive_dropped, 2);
        drop(received);
        assert_accounted(&umem, &[&port], 0);
        held.pop();
        wire.send(&frame(4, FRAME));
        let received = until("the long packet", || receive(&mut port).pop());
        assert_eq!((number_of(received.bytes()), received.len()), (4, FRAME));
    });
}

/// The transmit ring takes whole packets only, and those that it has room for.
#[test]
fn what_does_not_fit_in_the_transmit_ring_stays() {
    in_namespace(|| {
        let (umem, mut port) = open(4096);
        let wire = Wire::on("outer");
        let filled = port.held();
        assert_eq!(port.transmit_room(), 256 / 3);
        // As many long ones as fit, and then one chunk is left for a short one.
        let packet = |number: usize| frame(number as u64, if number == 86 { 60 } else { FRAME });
        let mut frames: Vec<_> = (1..=88)
            .map(|number| umem.pool().take_filled(&packet(number)).expect("memory"))
            .collect();
        assert_eq!(port.transmit(Time::ZERO, &mut frames), 86);
        assert_eq!((frames.len(), port.transmit_room()), (2, 0));
        assert_eq!(port.transmit(Time::ZERO, &mut frames), 0);
        port.flush().unwrap();
        for number in 1..=86 {
            let sent = until("a packet", || wire.receive());
            assert!(sent == packet(number), "packet {number}");
        }
        assert_eq!(transmit(&mut port, frames).unwrap(), 2);
        until("their completion", || {
            port.flush().unwrap();
            (port.held() == filled).then_some(())
        });
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn packets_of_more_chunks_than_the_kernel_sends_are_refused() {
    let longest = 16 * (4096 - 256);
    let with = |longest_packet| {
        Umem::new(&UmemOptions {
            longest_packet,
            ..small()
        })
    };
    let error = with(longest + 1).expect_err("too long");
    assert!(
        matches!(error, AfXdpError::PacketLength { length, longest: most } if (length, most) == (longest + 1, longest))
    );
    assert_eq!(with(longest).expect("memory").pool().longest(), longest as usize);
}
