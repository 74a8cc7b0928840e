//! Packets on their way from one worker to another.

use std::cell::Cell;
use std::net::SocketAddrV4;
use std::rc::Rc;

use netchannel::channel::{ChannelId, Drop, Netchannel};
use netchannel::dispatch::dimensions::Arrival;
use netchannel::dispatch::team::team;
use netchannel::dispatch::{Context, PacketFilter, Registry, RuleSet, Watch, WatchOptions};
use netchannel::drop_reason::DropReason;
use netchannel::interface::Role;
use netchannel::packet::Packet;

use super::gateway::{Gateway, awake};
use crate::common::{HOST_MAC, LAN, TestBox, interfaces, ip, network};
use crate::harness::*;
use crate::packets::*;

/// A host of a worker, which the network forgets in some tests.
fn host_of(team: &Gateway, worker: usize) -> SocketAddrV4 {
    let mut hosts = (3..250).map(|last| [10, 0, 0, last].into());
    SocketAddrV4::new(hosts.find(|&host| team.owner(host) == worker).unwrap(), 5000)
}

#[test]
fn a_flow_keeps_its_order_and_its_packets_are_counted_where_they_are_processed() {
    let mut team = Gateway::new(2, |_| {});
    let inside = host_of(&team, 1);
    for number in 0..200u16 {
        let packet = ip_packet(Body::Udp, inside, at(SERVER), &number.to_be_bytes());
        assert!(team.workers[0].lan.send(&frame(&packet)));
    }
    team.run();
    let sent = team.workers[1].wan.sent_all();
    let numbers: Vec<&[u8]> = sent.iter().map(|frame| &packet(frame)[28..]).collect();
    assert!(numbers.is_sorted() && numbers.len() == 200);
    let [first, second] = [0, 1].map(|number| team.workers[number].dispatcher.totals());
    assert_eq!(
        (first.received, first.handed_on, first.transmitted),
        (200, 200, 0)
    );
    assert_eq!(
        (second.received, second.taken_over, second.transmitted),
        (0, 200, 200)
    );
    let counted = |number: usize| {
        let channels = team.workers[number].dispatcher.channels();
        channels
            .iter()
            .map(|(_, _, counters)| counters.packets)
            .sum::<u64>()
    };
    assert_eq!([counted(0), counted(1)], [0, 200]);
    // The flow of the one leads to the other.
    for (number, owner) in [(0, Some(1)), (1, None)] {
        let dispatcher = &team.workers[number].dispatcher;
        let flows: Vec<_> = dispatcher
            .flows()
            .iter()
            .map(|(_, flow)| dispatcher.owner_of(flow))
            .collect();
        assert_eq!(flows, [owner]);
    }
    team.assert_all_accounted_for();
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let mut team = Gateway::new(2, |_| {});
    let inside = host_of(&team, 1);
    let packet = frame(&ip_packet(Body::Udp, inside, at(SERVER), &[7; 1000]));
    for _ in 0..40 {
        for _ in 0..50 {
            assert!(team.workers[0].lan.send(&packet));
        }
        team.workers[0].run();
    }
    let totals = team.workers[0].dispatcher.totals();
    let lost = totals.dropped.get(DropReason::HandoffFull);
    assert!(lost > 0 && totals.handed_on > 900, "{totals:?}");
    assert_eq!(totals.handed_on + lost, 2000);
    let mut arrived = 0;
    while arrived < totals.handed_on {
        let test = &mut team.workers[1];
        test.dispatcher.poll(test.now).unwrap();
        arrived += test.wan.sent_all().len() as u64;
    }
    team.run();
    team.assert_all_accounted_for();
    // There is room again.
    let seen = team.inside(0, &ip_packet(Body::Udp, inside, at(SERVER), b"again"));
    seen.out();
}

#[test]
fn packets_wait_for_their_next_hop_where_they_belong() {
    let mut team = Gateway::new(2, |_| {});
    let inside = host_of(&team, 1);
    let external = ends(
        team.inside(0, &ip_packet(Body::Udp, inside, at(SERVER), b"out"))
            .out(),
    )
    .0;
    let forgetful = network();
    for test in &team.workers {
        test.network.publish(forgetful.clone().build());
    }
    for number in 0..4u8 {
        let seen = team.outside(0, &ip_packet(Body::Udp, at(SERVER), external, &[number]));
        assert!(seen.lan.is_empty() && seen.dropped.is_empty());
    }
    let held = team.workers.iter().map(|test| test.dispatcher.totals().held);
    assert_eq!(held.collect::<Vec<_>>(), [0, 4]);
    for test in &team.workers {
        let known = forgetful
            .clone()
            .neighbour(LAN, ip(&inside.ip().to_string()), HOST_MAC);
        test.network.publish(known.build());
    }
    team.run();
    let arrived = team.workers[1].lan.sent_all();
    let order: Vec<u8> = arrived.iter().map(|frame| packet(frame)[28]).collect();
    assert_eq!(order, [0, 1, 2, 3]);
    team.assert_all_accounted_for();
}

/// 4787-9: a hairpin packet waits at the worker of the host that it is for, and then goes its way once more.
#[test]
fn rfc_4787_9_a_hairpin_packet_waits_for_its_next_hop() {
    let mut team = Gateway::new(2, |_| {});
    let (from, to) = (host_of(&team, 0), host_of(&team, 1));
    let external = ends(
        team.inside(0, &ip_packet(Body::Udp, to, at(SERVER), b"out"))
            .out(),
    )
    .0;
    for test in &team.workers {
        test.network.publish(network().build());
    }
    let seen = team.inside(0, &ip_packet(Body::Udp, from, external, b"hairpin"));
    assert!(seen.lan.is_empty() && seen.dropped.is_empty());
    for test in &team.workers {
        test.network.publish(wider_network().build());
    }
    team.run();
    let arrived = team.workers[1].lan.sent_all();
    let (source, destination) = ends(&arrived[0]);
    assert_eq!((arrived.len(), *source.ip(), destination), (1, EXTERNAL, to));
    team.assert_all_accounted_for();
}

#[test]
fn rules_that_change_on_one_worker_after_the_other_lose_nothing() {
    let mut team = Gateway::new(2, |_| {});
    let hosts = [host_of(&team, 0), host_of(&team, 1)];
    for round in 0..20usize {
        for (number, inside) in hosts.into_iter().enumerate() {
            let worker = round + number;
            let external = ends(
                team.inside(worker, &ip_packet(Body::Udp, inside, at(SERVER), b"out"))
                    .out(),
            )
            .0;
            let seen = team.outside(worker + 1, &ip_packet(Body::Udp, at(SERVER), external, b"in"));
            assert_eq!(ends(seen.at_host()).1, inside);
        }
        team.workers[round % 2].dispatcher.set_rules(RuleSet::new(NAT));
    }
}

/// 4787-9: what the sender's worker can't know: that nobody is there.
#[test]
fn a_hairpin_packet_to_nobody_is_dropped() {
    let mut team = Gateway::new(3, |_| {});
    for number in 0..12u16 {
        let inside = SocketAddrV4::new([10, 0, 0, 2 + number as u8].into(), 5000);
        let nobody = SocketAddrV4::new(EXTERNAL, 7000 + number);
        for worker in 0..3 {
            let seen = team.inside(worker, &ip_packet(Body::Udp, inside, nobody, b"?"));
            assert_eq!(seen.dropped(), DropReason::NatNoMapping);
        }
    }
}

/// Sends what it gets back to where it came from, and says that all belongs to the other worker.
struct Elsewhere {
    other: usize,
    processed: Rc<Cell<usize>>,
}

impl Netchannel for Elsewhere {
    fn kind(&self) -> &'static str {
        "elsewhere"
    }

    fn owner(&self, _: &Arrival<'_>, _: Role) -> Option<usize> {
        Some(self.other)
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        self.processed.set(self.processed.get() + burst.len());
        for packet in burst.drain(..) {
            let interface = packet.interface;
            context.transmit(packet, interface);
        }
    }
}

#[test]
fn workers_that_do_not_agree_whose_a_packet_is_hand_it_on_once() {
    let processed = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let boxes = team(vec![awake(), awake()]).into_iter().map(|member| {
        let number = member.number();
        let mut channels = Registry::new();
        channels.register("drop", Box::new(Drop)).unwrap();
        let elsewhere = Elsewhere {
            other: 1 - number,
            processed: Rc::clone(&processed[number]),
        };
        let id: ChannelId = channels.register("elsewhere", Box::new(elsewhere)).unwrap();
        TestBox::in_team(interfaces(), channels, RuleSet::new(id), Some(member))
    });
    let mut team = Gateway {
        workers: boxes.collect(),
    };
    for round in 0..3 {
        for worker in 0..2 {
            let packet = ip_packet(Body::Udp, at(INSIDE), at(SERVER), b"whose?");
            let seen = team.inside(worker, &packet);
            seen.at_host();
            let all: usize = processed.iter().map(|it| it.get()).sum();
            assert_eq!(all, 2 * round + worker + 1);
        }
    }
}

#[test]
fn a_packet_is_seen_once_where_it_is_processed() {
    let mut team = Gateway::new(2, |_| {});
    let inside = host_of(&team, 1);
    let watchers: Vec<_> = team
        .workers
        .iter_mut()
        .map(|test| {
            let options = WatchOptions {
                filter: PacketFilter::all(),
                with_answers: false,
                only_drops: false,
                snap_length: 128,
                per_second: u32::MAX,
                count: u64::MAX,
                backlog: 16,
            };
            let (watch, watcher) = Watch::new(options, test.dispatcher.interfaces().len());
            test.dispatcher.watch(watch).unwrap();
            watcher
        })
        .collect();
    let packet = ip_packet(Body::Udp, inside, at(SERVER), b"out");
    team.inside(0, &packet).out();
    let seen: Vec<usize> = watchers
        .iter()
        .map(|watcher| watcher.observations.slots())
        .collect();
    assert_eq!(seen, [0, 1]);
}
