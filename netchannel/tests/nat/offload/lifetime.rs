//! When a flow is carried, until when, and what takes it back.

use std::net::SocketAddrV4;
use std::time::Duration;

use netchannel::channel::Slice;
use netchannel::channel::nat::{NatSettings, OneToOne};
use netchannel::control::Filter;
use netchannel::dispatch::RuleSet;

use super::carrier::{From, OffloadingBox, counted, in_new_namespace, receive};
use crate::common::{ROUTER_MAC, WAN, ip};
use crate::harness::*;
use crate::packets::*;

/// Packets after which a flow is offered.
const ENOUGH: usize = 8;
/// And every so many, after it came back.
const ENOUGH_AGAIN: usize = 32;

fn inside() -> SocketAddrV4 {
    at(INSIDE)
}

fn remote() -> SocketAddrV4 {
    at(SERVER)
}

fn outside() -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, inside().port())
}

/// The packet of the flow between the inside host and the server.
fn packet(from: From, body: Body) -> Vec<u8> {
    match from {
        From::Inside => ip_packet(body, inside(), remote(), b"payload"),
        From::Outside => ip_packet(body, remote(), outside(), b"payload"),
    }
}

/// Sends the flow's packets until it has had enough of them in each direction.
fn send_enough(test: &mut OffloadingBox, body: Body) {
    send(test, body, ENOUGH);
}

fn send(test: &mut OffloadingBox, body: Body, count: usize) {
    for _ in 0..count {
        for from in [From::Inside, From::Outside] {
            let frame = frame(&packet(from, body));
            test.frame(from, &frame);
        }
    }
}

/// A box whose flow is carried in both directions.
fn carrying(test: NatBox, body: Body) -> OffloadingBox {
    let mut test = OffloadingBox::new(test);
    if body != Body::Udp {
        for (from, flags) in [
            (From::Inside, SYN),
            (From::Outside, SYN | ACK),
            (From::Inside, ACK),
        ] {
            let frame = frame(&packet(from, Body::Tcp(flags)));
            test.frame(from, &frame);
        }
    }
    send_enough(&mut test, body);
    assert_carried(&mut test, body, true);
    test
}

#[track_caller]
fn assert_carried(test: &mut OffloadingBox, body: Body, expected: bool) {
    for from in [From::Inside, From::Outside] {
        assert_eq!(test.is_carried(from, &packet(from, body)), expected, "{from:?}");
    }
}

#[test]
fn a_flow_is_carried_once_it_has_had_enough_packets() {
    in_new_namespace(|| {
        let mut test = OffloadingBox::new(NatBox::plain());
        for number in 0..ENOUGH {
            let packet = packet(From::Inside, Body::Udp);
            assert!(!test.is_carried(From::Inside, &packet), "after {number}");
            assert_eq!(test.inner.inside(&packet).wan.len(), 1);
        }
        assert!(test.is_carried(From::Inside, &packet(From::Inside, Body::Udp)));
        // The other direction is a flow of its own.
        assert!(!test.is_carried(From::Outside, &packet(From::Outside, Body::Udp)));
        assert_eq!(test.inner.test.dispatcher.offloaded_flows(), 1);
    });
}

/// No session keeps such a flow, and none is needed.
#[test]
fn a_host_with_an_address_of_its_own_is_carried_in_both_directions() {
    in_new_namespace(|| {
        let own = "192.0.2.9".parse().unwrap();
        let mut test = OffloadingBox::new(NatBox::new(|settings| {
            settings.one_to_one = vec![OneToOne {
                external: own..=own,
                inside: *inside().ip(),
            }];
        }));
        let outside = SocketAddrV4::new(own, inside().port());
        for (from, source, destination) in [
            (From::Inside, inside(), remote()),
            (From::Outside, remote(), outside),
        ] {
            let packet = ip_packet(Body::Udp, source, destination, b"payload");
            for number in 0..ENOUGH {
                assert!(!test.is_carried(from, &packet), "{from:?} after {number}");
                test.frame(from, &frame(&packet));
            }
            assert!(test.is_carried(from, &packet), "{from:?}");
        }
        assert_eq!(test.inner.mappings().len(), 0);
        // Hosts inside know it by its inside address, and it them.
        let packet = ip_packet(Body::Udp, inside(), at("10.0.0.3:9"), b"payload");
        for _ in 0..2 * ENOUGH {
            test.frame(From::Inside, &frame(&packet));
        }
        assert!(!test.is_carried(From::Inside, &packet));
    });
}

#[test]
fn what_is_carried_is_in_every_counter() {
    in_new_namespace(|| {
        let mut plain = NatBox::plain();
        let mut test = OffloadingBox::new(NatBox::plain());
        for from in [From::Inside, From::Outside]
            .into_iter()
            .cycle()
            .take(10 * ENOUGH)
        {
            let frame = frame(&packet(from, Body::Udp));
            receive(&mut plain, from, &frame);
            test.frame(from, &frame);
        }
        assert!(test.carried > 0);
        assert_eq!(counted(&mut plain), counted(&mut test.inner));
    });
}

#[test]
fn what_was_carried_is_counted_when_another_worker_takes_the_place() {
    in_new_namespace(|| {
        // One bucket of eight.
        let mut test = OffloadingBox::with_room(NatBox::plain(), Duration::ZERO, 4);
        let idle = packet(From::Inside, Body::Udp);
        for _ in 0..3 * ENOUGH {
            test.frame(From::Inside, &frame(&idle));
        }
        assert_eq!(test.carried, 2 * ENOUGH as u64);

        let mut other = NatBox::plain();
        other.test.now = test.kernel_time() + Duration::from_secs(2);
        other.test.dispatcher.offload(test.offload());
        for number in 0..8 {
            let source = SocketAddrV4::new(*inside().ip(), 6000 + number);
            let packet = ip_packet(Body::Udp, source, remote(), b"payload");
            for _ in 0..ENOUGH {
                other.inside(&packet);
            }
        }
        assert_eq!(other.test.dispatcher.offloaded_flows(), 8);
        assert!(!test.is_carried(From::Inside, &idle));

        let mut plain = NatBox::plain();
        for _ in 0..3 * ENOUGH {
            plain.inside(&idle);
        }
        assert_eq!(counted(&mut plain), counted(&mut test.inner));
        assert_eq!(test.inner.test.dispatcher.offloaded_flows(), 0);
    });
}

#[test]
fn a_connection_that_is_being_closed_comes_back() {
    in_new_namespace(|| {
        for (from, flags) in [(From::Inside, FIN | ACK), (From::Outside, RST)] {
            let mut test = carrying(NatBox::plain(), Body::Tcp(ACK));
            let frame = frame(&packet(from, Body::Tcp(flags)));
            assert_eq!(test.frame(from, &frame).dropped, []);
            assert_carried(&mut test, Body::Tcp(ACK), false);
            drop(test);
            remove_links();
        }
    });
}

fn remove_links() {
    for name in ["lan", "wan"] {
        let removed = std::process::Command::new("ip")
            .args(["link", "del", name])
            .status();
        assert!(removed.expect("ip, of iproute2").success());
    }
}

#[test]
fn a_mapping_that_is_deleted_is_carried_no_more() {
    in_new_namespace(|| {
        let mut test = carrying(NatBox::plain(), Body::Udp);
        let slice = Slice {
            filter: &Filter::default(),
            after: 0,
            limit: 100,
        };
        test.inner.delete(slice);
        assert_carried(&mut test, Body::Udp, false);
        assert_eq!(test.inner.test.dispatcher.offloaded_flows(), 0);
    });
}

#[test]
fn other_rules_take_all_flows_back_first() {
    in_new_namespace(|| {
        let mut test = carrying(NatBox::plain(), Body::Udp);
        test.inner.test.dispatcher.set_rules(RuleSet::new(NAT));
        assert_carried(&mut test, Body::Udp, false);
        // They prove worth it anew.
        send(&mut test, Body::Udp, ENOUGH_AGAIN);
        assert_carried(&mut test, Body::Udp, true);
    });
}

#[test]
fn a_next_hop_with_another_address_takes_its_flows_back() {
    in_new_namespace(|| {
        let mut test = carrying(NatBox::plain(), Body::Udp);
        let moved = [2, 0, 0, 0, 1, 9];
        let network = |mac| wider_network().neighbour(WAN, ip("192.0.2.254"), mac).build();
        // Only neighbours differ: routes and links stay the same ones.
        let mut changed = (*test.inner.test.network.load()).clone();
        changed.neighbours = network(moved).neighbours;
        test.inner.test.network.publish(changed);
        test.inner.test.run();
        assert!(!test.is_carried(From::Inside, &packet(From::Inside, Body::Udp)));
        // What does not leave by it goes on.
        assert!(test.is_carried(From::Outside, &packet(From::Outside, Body::Udp)));
        let seen = test.inner.inside(&packet(From::Inside, Body::Udp));
        assert_eq!(seen.out()[..6], moved);
        // Those that were carried count too: the next offer is at most so far away.
        send(&mut test, Body::Udp, ENOUGH_AGAIN);
        let frame = frame(&packet(From::Inside, Body::Udp));
        let before = test.carried;
        assert_eq!(test.frame(From::Inside, &frame).wan[0][..6], moved);
        assert_eq!(test.carried, before + 1);

        // Other routes take all.
        test.inner.test.network.publish(network(ROUTER_MAC));
        test.inner.test.run();
        assert_carried(&mut test, Body::Udp, false);
    });
}

/// Two minutes for UDP.
fn short(settings: &mut NatSettings) {
    settings.timeouts.udp = Duration::from_secs(120);
}

#[test]
fn packets_that_are_carried_keep_the_session_alive() {
    in_new_namespace(|| {
        // The kernel's clock is where the box's will be in 100 seconds.
        let ahead = Duration::from_secs(100);
        let mut test = OffloadingBox::ahead(NatBox::new(short), ahead);
        send_enough(&mut test, Body::Udp);
        assert_carried(&mut test, Body::Udp, true);
        test.inner.wait(101);
        test.inner.wait(110);
        assert_eq!(
            test.inner.mappings().len(),
            1,
            "its last packet was 111 seconds ago"
        );
        test.inner.wait(10);
        assert_eq!(test.inner.mappings().len(), 0);
        assert_carried(&mut test, Body::Udp, false);
        assert_eq!(test.inner.test.dispatcher.offloaded_flows(), 0);
    });
}

#[test]
fn packets_from_outside_do_not_keep_a_session_alive_that_they_must_not() {
    in_new_namespace(|| {
        let ahead = Duration::from_secs(100);
        let settings = |settings: &mut NatSettings| {
            short(settings);
            settings.refresh_inbound = false;
        };
        let mut test = OffloadingBox::ahead(NatBox::new(settings), ahead);
        send_enough(&mut test, Body::Udp);
        assert!(test.is_carried(From::Outside, &packet(From::Outside, Body::Udp)));
        test.inner.wait(119);
        assert_eq!(test.inner.mappings().len(), 1);
        test.inner.wait(2);
        assert_eq!(test.inner.mappings().len(), 0);
    });
}

#[test]
fn a_lease_ends_before_the_session_does() {
    in_new_namespace(|| {
        for (ahead, is_carried) in [(115, true), (118, false)] {
            let mut test = OffloadingBox::ahead(NatBox::new(short), Duration::from_secs(ahead));
            send_enough(&mut test, Body::Udp);
            assert_carried(&mut test, Body::Udp, is_carried);
            drop(test);
            remove_links();
        }
    });
}
