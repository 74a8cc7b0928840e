//! Frames through real sockets.

use netchannel::port::afxdp::{self, AfXdpPort, PortOptions, UmemOptions};
use netchannel::port::{FramePool, PacketIo};
use netchannel::time::Time;
use netchannel::xdp::ModeChoice;

use crate::namespace::{in_namespace, pair, until};
use crate::program::{redirect_in_mode, redirect_to};
use crate::wire::{Wire, frame, number_of};
use crate::{assert_accounted, open, port_on, receive, small, transmit};

#[test]
fn frames_arrive_and_leave_unchanged() {
    for mode in [ModeChoice::Native, ModeChoice::Generic] {
        in_namespace(move || {
            pair("inner", "outer", 1);
            let (umem, [mut port]) = open(["inner"]);
            let _program = redirect_in_mode(mode, &[&port]);
            let wire = Wire::on("outer");
            let filled = port.held();

            for (number, length) in [60, 61, 64, 128, 1000, 1513, 1514].into_iter().enumerate() {
                let sent = frame(number as u64, length);
                wire.send(&sent);
                let received = until("a frame", || receive(&mut port).pop());
                assert_eq!(received.bytes(), sent);
                assert_eq!(port.held(), filled - 1);
                assert_accounted(&umem, &[&port], 1);

                assert_eq!(transmit(&mut port, vec![received]).unwrap(), 1);
                let returned = until("the frame's return", || wire.receive());
                assert_eq!(returned, sent);
                until("its completion", || {
                    port.flush().unwrap();
                    (port.held() == filled).then_some(())
                });
                assert_accounted(&umem, &[&port], 0);
            }
            let counters = port.counters();
            assert_eq!(counters.received_packets, 7);
            assert_eq!(counters.transmitted_packets, 7);
            assert_eq!(counters.received_bytes, 60 + 61 + 64 + 128 + 1000 + 1513 + 1514);
            assert_eq!(counters.transmitted_bytes, counters.received_bytes);
        });
    }
}

#[test]
fn a_frame_leaves_by_another_interface_in_the_memory_it_came_in() {
    in_namespace(|| {
        pair("left", "left-peer", 1);
        pair("right", "right-peer", 1);
        let (umem, [mut left, mut right]) = open(["left", "right"]);
        let _programs = [redirect_to(&[&left]), redirect_to(&[&right])];
        let (from, to) = (Wire::on("left-peer"), Wire::on("right-peer"));
        let (left_held, right_held) = (left.held(), right.held());

        let sent = frame(7, 300);
        from.send(&sent);
        let received = until("a frame", || receive(&mut left).pop());
        let address = received.bytes().as_ptr();
        let in_use = umem.pool().in_use();
        let mut frames = vec![received];
        assert_eq!(right.transmit(Time::ZERO, &mut frames), 1);
        assert_eq!(
            umem.pool().in_use(),
            in_use,
            "the frame itself is queued, not a copy"
        );
        assert_eq!((left.held(), right.held()), (left_held - 1, right_held + 1));
        until("the frame's departure", || {
            right.flush().unwrap();
            to.receive()
        });
        until("its completion", || {
            right.flush().unwrap();
            (right.held() == right_held).then_some(())
        });
        // The frame that returned last is taken first.
        let mut again = umem.pool().take().unwrap();
        again.set_len(sent.len()).unwrap();
        assert_eq!(again.bytes().as_ptr(), address);
        assert_eq!(again.bytes(), sent);
    });
}

#[test]
fn all_queues_are_read_in_turn() {
    in_namespace(|| {
        const QUEUES: u32 = 4;
        pair("inner", "outer", QUEUES);
        let (umem, mut ports) = afxdp::open(
            &UmemOptions {
                frames: 4096,
                ..small()
            },
            &[port_on("inner", QUEUES)],
        )
        .unwrap();
        let mut port = ports.remove(0);
        let _program = redirect_to(&[&port]);
        assert_eq!(port.sockets().count(), QUEUES as usize);
        assert_eq!(port.descriptors().len(), QUEUES as usize);

        // One port for each queue at the other end: what it sends arrives at the queue of the same number.
        let singles: Vec<_> = (0..QUEUES)
            .map(|queue| PortOptions {
                queues: vec![queue],
                ..port_on("outer", 1)
            })
            .collect();
        let outer_options = UmemOptions {
            frames: 4096,
            ..small()
        };
        let (outer_umem, mut outer) = afxdp::open(&outer_options, &singles).unwrap();
        // Frames of all queues are there when a burst is read, sooner or later; each queue gets its quarter of it then.
        until("a burst with equal shares", || {
            for (queue, sender) in outer.iter_mut().enumerate() {
                let frames = (0..40)
                    .map(|_| outer_umem.pool().take_filled(&frame(queue as u64, 80)).unwrap())
                    .collect();
                assert_eq!(transmit(sender, frames).unwrap(), 40);
            }
            let mut seen = [0; QUEUES as usize];
            let mut equal = false;
            until("all frames", || {
                let mut burst = Vec::new();
                port.receive(Time::ZERO, &mut burst, 16);
                let mut shares = [0; QUEUES as usize];
                for frame in &burst {
                    shares[number_of(frame.bytes()) as usize] += 1;
                }
                for (seen, share) in seen.iter_mut().zip(shares) {
                    *seen += share;
                }
                equal |= shares == [4; QUEUES as usize];
                (seen == [40; QUEUES as usize]).then_some(())
            });
            port.flush().unwrap();
            for sender in &mut outer {
                until("all completions", || {
                    sender.flush().unwrap();
                    (sender.transmit_room() == 256 && idle(sender)).then_some(())
                });
            }
            equal.then_some(())
        });
        port.flush().unwrap();
        assert_accounted(&umem, &[&port], 0);
        assert!(port.statistics().unwrap().iter().all(|queue| queue.invalid == 0));
    });
}

#[test]
fn rings_wrap_around_for_hundreds_of_thousands_of_frames() {
    in_namespace(|| {
        const FRAMES: u64 = 300_000;
        pair("left", "left-peer", 1);
        pair("right", "right-peer", 1);
        let (umem, [mut left, mut right]) = open(["left", "right"]);
        let (peer_umem, [mut source, mut sink]) = open(["left-peer", "right-peer"]);
        let _programs = [&left, &right, &source, &sink].map(|port| redirect_to(&[port]));

        let (mut sent, mut arrived) = (0, 0);
        let mut waiting = Vec::new();
        while arrived < FRAMES {
            until("progress", || {
                let before = (sent, arrived);
                // Never more on the way than the smallest ring holds, so that none is lost.
                let room = (128 - (sent - arrived)).min(FRAMES - sent).min(64);
                let length = 60 + (sent % 200) as usize;
                let mut burst: Vec<_> = (sent..sent + room)
                    .map_while(|number| peer_umem.pool().take_filled(&frame(number, length)))
                    .collect();
                sent += source.transmit(Time::ZERO, &mut burst) as u64;
                source.flush().unwrap();

                let limit = right.transmit_room();
                left.receive(Time::ZERO, &mut waiting, limit);
                right.transmit(Time::ZERO, &mut waiting);
                assert!(waiting.is_empty());
                left.flush().unwrap();
                right.flush().unwrap();

                for received in receive(&mut sink) {
                    assert_eq!(number_of(received.bytes()), arrived, "in order, none lost");
                    arrived += 1;
                }
                sink.flush().unwrap();
                (before != (sent, arrived)).then_some(())
            });
        }
        assert_eq!(left.counters().received_packets, FRAMES);
        assert_eq!(right.counters().transmitted_packets, FRAMES);
        until("all completions", || {
            right.flush().unwrap();
            left.flush().unwrap();
            source.flush().unwrap();
            (idle(&right) && idle(&source)).then_some(())
        });
        assert_accounted(&umem, &[&left, &right], 0);
        assert_accounted(&peer_umem, &[&source, &sink], 0);
        for port in [&left, &right, &source, &sink] {
            let queue = port.statistics().unwrap()[0];
            assert_eq!((queue.invalid, queue.refused_by_kernel), (0, 0));
            assert_eq!((queue.receive_dropped, queue.receive_ring_full), (0, 0));
        }
    });
}

/// Whether the port holds no more than its fill ring.
fn idle(port: &AfXdpPort) -> bool {
    port.held() == small().fill_ring as usize
}

#[test]
fn frames_that_cannot_be_sent_return_to_their_pools_and_those_of_others_are_copied() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let (umem, [mut port]) = open(["inner"]);
        let wire = Wire::on("outer");
        let foreign = FramePool::in_memory(1, 100);
        let good = frame(1, 60);
        let frames = vec![
            umem.pool().take().unwrap(),
            umem.pool().take_filled(&good[..13]).unwrap(),
            foreign.take_filled(&good).unwrap(),
            umem.pool().take_filled(&good).unwrap(),
        ];
        assert_eq!(transmit(&mut port, frames).unwrap(), 4);
        for what in ["the copy", "the good frame"] {
            assert_eq!(until(what, || wire.receive()), good);
        }
        until("its completion", || {
            port.flush().unwrap();
            idle(&port).then_some(())
        });
        assert_accounted(&umem, &[&port], 0);
        assert_eq!(foreign.free(), 1);
        assert_eq!(port.counters().transmitted_packets, 2);
        assert_eq!(port.statistics().unwrap()[0].invalid, 2);
        assert_eq!(port.statistics().unwrap()[0].refused_by_kernel, 0);
    });
}
