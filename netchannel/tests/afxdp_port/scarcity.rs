//! Frames that others hold back, links that go down, interfaces that go away.

use std::io;

use netchannel::port::PacketIo;
use netchannel::time::Time;

use crate::namespace::{in_namespace, ip, pair, until};
use crate::program::redirect_to;
use crate::wire::{Wire, frame, number_of};
use crate::{assert_accounted, open, receive, small, transmit};

#[test]
fn reception_resumes_when_frames_that_were_held_back_return() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let (umem, [mut port]) = open(["inner"]);
        let _program = redirect_to(&[&port]);
        let wire = Wire::on("outer");
        let pool = umem.pool();
        let fill = small().fill_ring as usize;

        // A channel that takes all there is, and keeps all that arrives.
        let mut held_back: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_accounted(&umem, &[&port], held_back.len());
        let mut sent = 0;
        until("the fill ring to run dry", || {
            wire.send(&frame(sent, 60));
            sent += 1;
            held_back.append(&mut receive(&mut port));
            port.flush().unwrap();
            assert_accounted(&umem, &[&port], held_back.len());
            (port.statistics().unwrap()[0].fill_ring_empty > 0).then_some(())
        });
        assert_eq!(port.held(), 0, "every frame is held back");
        assert_eq!(port.counters().received_packets as usize, fill);

        // Some return: no more than the reserve, so the port leaves them alone.
        let reserve = small().reserve as usize;
        held_back.truncate(held_back.len() - reserve);
        port.flush().unwrap();
        assert_eq!((port.held(), pool.free()), (0, reserve));

        // Ten more, and reception resumes with ten.
        held_back.truncate(held_back.len() - 10);
        port.flush().unwrap();
        assert_eq!((port.held(), pool.free()), (10, reserve));
        wire.send(&frame(sent, 60));
        let received = until("a frame", || receive(&mut port).pop());
        assert_eq!(number_of(received.bytes()), sent);
        drop(received);

        // All return, and the fill ring is full again.
        held_back.clear();
        port.flush().unwrap();
        assert_eq!(port.held(), fill);
        assert_accounted(&umem, &[&port], 0);
        for number in sent + 1..=sent + 1000 {
            wire.send(&frame(number, 60));
            let received = until("a frame", || receive(&mut port).pop());
            assert_eq!(number_of(received.bytes()), number);
            drop(received);
            port.flush().unwrap();
        }
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn what_finds_no_room_is_counted() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let (umem, [mut port]) = open(["inner"]);
        let _program = redirect_to(&[&port]);
        let wire = Wire::on("outer");
        assert_eq!(port.receive_losses(), 0);
        const SENT: u64 = 1000;
        for number in 0..SENT {
            wire.send(&frame(number, 60));
        }
        // Nothing was received meanwhile, and no frame was given to the kernel.
        let mut received = 0;
        until("what was sent to arrive or to be lost", || {
            received += receive(&mut port).len() as u64;
            (received + port.receive_losses() == SENT).then_some(())
        });
        assert!(received <= u64::from(small().fill_ring), "{received}");
        port.flush().unwrap();
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn scarce_frames_are_shared_between_ports() {
    in_namespace(|| {
        pair("left", "left-peer", 1);
        pair("right", "right-peer", 1);
        let (umem, [mut left, mut right]) = open(["left", "right"]);
        let _programs = [redirect_to(&[&left]), redirect_to(&[&right])];
        let wires = [Wire::on("left-peer"), Wire::on("right-peer")];
        let pool = umem.pool();
        let mut held_back: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        until("both fill rings to run dry", || {
            for (port, wire) in [&mut left, &mut right].into_iter().zip(&wires) {
                wire.send(&frame(0, 60));
                held_back.append(&mut receive(port));
                port.flush().unwrap();
            }
            (left.held() + right.held() == 0).then_some(())
        });

        // Enough for both low marks and some more: the first does not take what the other is short of.
        let low_mark = small().fill_ring as usize / 4;
        let spare = 20;
        held_back.truncate(held_back.len() - small().reserve as usize - 2 * low_mark - spare);
        left.flush().unwrap();
        right.flush().unwrap();
        assert_eq!(left.held(), low_mark + spare);
        assert_eq!(right.held(), low_mark);
        assert_accounted(&umem, &[&left, &right], held_back.len());

        held_back.clear();
        left.flush().unwrap();
        right.flush().unwrap();
        let fill = small().fill_ring as usize;
        assert_eq!((left.held(), right.held()), (fill, fill));
    });
}

#[test]
fn a_link_that_is_down_is_no_error_and_traffic_resumes_when_it_is_up() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let (umem, [mut port]) = open(["inner"]);
        let _program = redirect_to(&[&port]);
        let pool = umem.pool();
        let idle = port.held();
        assert!(port.is_link_up());

        ip("link set inner down");
        // The first frames find out; they wait in the ring.
        let queued = transmit(&mut port, vec![pool.take_filled(&frame(1, 60)).unwrap()]).unwrap();
        assert_eq!(queued, 1);
        assert!(!port.is_link_up());
        assert_eq!(port.transmit_room(), 0);
        let mut more = vec![pool.take_filled(&frame(2, 60)).unwrap()];
        assert_eq!(port.transmit(Time::ZERO, &mut more), 0);
        assert_eq!(more.len(), 1, "the caller keeps what the port does not take");
        for _ in 0..1000 {
            port.flush().unwrap();
        }
        assert_accounted(&umem, &[&port], 1);

        ip("link set inner up");
        let wire = Wire::on("outer");
        until("the link", || {
            port.flush().unwrap();
            port.is_link_up().then_some(())
        });
        assert!(port.transmit_room() > 0);
        transmit(&mut port, more).unwrap();
        until("the last frame", || {
            port.flush().unwrap();
            wire.receive().filter(|bytes| number_of(bytes) == 2)
        });
        wire.send(&frame(3, 60));
        let received = until("a frame", || receive(&mut port).pop());
        assert_eq!(number_of(received.bytes()), 3);
        drop(received);
        until("all completions", || {
            port.flush().unwrap();
            (port.held() == idle).then_some(())
        });
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn a_port_opens_on_an_interface_that_is_down() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        ip("link set inner down");
        let (umem, [mut port]) = open(["inner"]);
        let _program = redirect_to(&[&port]);
        // The first look tells.
        receive(&mut port);
        port.receive(Time::from_secs(1), &mut Vec::new(), 1);
        port.flush().unwrap();
        assert!(!port.is_link_up());
        ip("link set inner up");
        let wire = Wire::on("outer");
        until("the link", || {
            port.flush().unwrap();
            port.is_link_up().then_some(())
        });
        until("a frame", || {
            wire.send(&frame(1, 60));
            receive(&mut port).pop()
        });
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn a_peer_without_link_costs_frames_but_returns_them() {
    in_namespace(|| {
        pair("inner", "outer", 1);
        let (umem, [mut port]) = open(["inner"]);
        let idle = port.held();
        ip("link set outer down");
        let frames = (0..100)
            .map(|number| umem.pool().take_filled(&frame(number, 60)).unwrap())
            .collect();
        assert_eq!(transmit(&mut port, frames).unwrap(), 100);
        until("all completions", || {
            port.flush().unwrap();
            (port.held() == idle).then_some(())
        });
        assert_accounted(&umem, &[&port], 0);
    });
}

#[test]
fn a_removed_interface_is_an_error_of_flush_whether_frames_are_sent_or_not() {
    for sending in [true, false] {
        in_namespace(move || {
            pair("inner", "outer", 1);
            let (umem, [mut port]) = open(["inner"]);
            let _program = redirect_to(&[&port]);
            let wire = Wire::on("outer");
            wire.send(&frame(5, 60));
            until("a frame to arrive", || {
                let mut poll = [nix::poll::PollFd::new(
                    port.descriptors()[0],
                    nix::poll::PollFlags::POLLIN,
                )];
                nix::poll::poll(&mut poll, nix::poll::PollTimeout::ZERO)
                    .is_ok_and(|ready| ready > 0)
                    .then_some(())
            });
            ip("link del outer");

            let mut seconds = 0;
            let error = until("the error", || {
                seconds += 1;
                let mut none = Vec::new();
                port.receive(Time::from_secs(seconds), &mut none, 0);
                if sending {
                    let frame = umem.pool().take_filled(&frame(1, 60)).unwrap();
                    port.transmit(Time::from_secs(seconds), &mut vec![frame]);
                }
                port.flush().err()
            });
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert_eq!(error.to_string(), "interface inner is gone");
            assert!(port.flush().is_err(), "it stays so");
            assert!(!port.is_link_up());
            assert_eq!(port.transmit_room(), 0);
            port.statistics().unwrap();

            // What had arrived is still there to be read.
            let received = receive(&mut port);
            assert_eq!(received.len(), 1);
            assert_eq!(number_of(received[0].bytes()), 5);
            assert_accounted(&umem, &[&port], 1);
        });
    }
}
