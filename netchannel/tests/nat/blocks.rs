//! Ports in blocks.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use netchannel::channel::nat::{Deterministic, Event, NatSettings, PortBlock, PortBlocks, Selection};
use netchannel::drop_reason::DropReason;
use serde_json::json;

use crate::harness::*;
use crate::packets::*;

fn inside(host: u32, port: u16) -> SocketAddrV4 {
    format!("10.0.0.{}:{port}", 2 + host).parse().unwrap()
}

/// Blocks of 100 ports, two for each host, of 1000 ports.
fn blocks(settings: &mut NatSettings) {
    settings.ports = vec![2000..=2999];
    settings.preserve_ports = false;
    settings.blocks = Some(PortBlocks {
        size: 100,
        most: 2,
        ..PortBlocks::default()
    });
}

/// The first port of a block.
fn block(external: SocketAddrV4) -> u16 {
    external.port() / 100 * 100
}

/// 6888-14: one block is for a hundred mappings of each protocol, and then another one; no two hosts share one.
#[test]
fn rfc_6888_14_a_host_has_its_ports_in_blocks() {
    let mut nat = NatBox::new(blocks);
    let mut owned = BTreeSet::new();
    for host in 0..3 {
        let mut all = BTreeSet::new();
        for body in [Body::Udp, Body::Tcp(SYN)] {
            let externals: Vec<_> = (0..100)
                .map(|port| nat.open(body, inside(host, 5000 + port), at(SERVER)))
                .collect();
            assert_eq!(externals.iter().collect::<BTreeSet<_>>().len(), 100);
            all.extend(externals.into_iter().map(block));
        }
        // All protocols are in the same one.
        assert_eq!(all.len(), 1, "{all:?}");
        all.insert(block(nat.open(Body::Udp, inside(host, 6000), at(SERVER))));
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|block| owned.insert(*block)), "{owned:?}");
    }
    assert_eq!(
        nat.detail("/blocks"),
        json!({ "size": 100, "most_per_host": 2, "count": 10, "given": 6, "held": 0 })
    );
}

/// 6888-14: a block is one record, however many mappings it is for, and so is its end, after it was held.
#[test]
fn rfc_6888_14_a_block_is_one_record() {
    let selection = Selection {
        mappings: false,
        ..Selection::default()
    };
    let (mut nat, mut recording) = NatBox::recorded(blocks, selection, 64);
    let mut records = |nat: &NatBox| {
        let now = nat.test.now;
        let fresh: Vec<_> = std::iter::from_fn(|| recording.next()).collect();
        assert!(fresh.iter().all(|record| record.time == now), "{fresh:?}");
        fresh.into_iter().map(|record| record.event).collect::<Vec<_>>()
    };
    let of = |external: SocketAddrV4| PortBlock {
        host: host("10.0.0.2"),
        external: *external.ip(),
        first: block(external),
        last: block(external) + 99,
    };
    let externals: Vec<_> = (0..100)
        .map(|port| nat.open(Body::Udp, inside(0, 5000 + port), at(SERVER)))
        .collect();
    assert_eq!(records(&nat), [Event::BlockAllocated(of(externals[0]))]);
    let second = nat.open(Body::Udp, inside(0, 6000), at(SERVER));
    assert_eq!(records(&nat), [Event::BlockAllocated(of(second))]);
    nat.wait(300);
    assert_eq!(records(&nat), []);
    nat.wait(120);
    let mut released = records(&nat);
    released.sort_by_key(|event| *event != Event::BlockReleased(of(externals[0])));
    let expected = [externals[0], second].map(|external| Event::BlockReleased(of(external)));
    assert_eq!(released, expected);
}

/// 7422-2d: ports of its own first, then blocks of the spare ones, of which each is a record; others keep their own.
#[test]
fn rfc_7422_2d_a_host_that_has_used_up_its_ports_gets_spare_blocks() {
    let deterministic = Deterministic {
        inside: vec![host("10.0.0.2")..=host("10.0.0.5")],
        ports_per_host: None,
        spare_ports: 200,
    };
    let selection = Selection {
        mappings: false,
        ..Selection::default()
    };
    let change = |settings: &mut NatSettings| {
        blocks(settings);
        settings.ports = vec![2000..=2599];
        settings.deterministic = Some(deterministic);
    };
    let (mut nat, mut recording) = NatBox::recorded(change, selection, 64);
    let own: BTreeSet<_> = (0..100)
        .map(|port| nat.open(Body::Udp, inside(1, 5000 + port), at(SERVER)).port())
        .collect();
    assert_eq!(own, (2100..2200).collect());
    assert_eq!(recording.next(), None);
    for expected in [1, 2] {
        let spare: BTreeSet<_> = (0..100)
            .map(|port| {
                nat.open(Body::Udp, inside(1, 5000 + 100 * expected + port), at(SERVER))
                    .port()
            })
            .collect();
        assert_eq!(spare.len(), 100);
        let event = recording.next().map(|record| record.event);
        let Some(Event::BlockAllocated(PortBlock {
            host: of,
            first,
            last,
            ..
        })) = event
        else {
            panic!("{event:?}");
        };
        assert_eq!((of, spare), (host("10.0.0.3"), (first..=last).collect()));
        assert!(first >= 2400);
        assert_eq!(recording.next(), None);
    }
    let result = nat.send(Body::Udp, inside(1, 6000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatHostBlockLimit]);
    for port in 0..100 {
        let external = nat.open(Body::Udp, inside(0, 5000 + port), at(SERVER)).port();
        assert!((2000..2100).contains(&external));
    }
    let result = nat.send(Body::Udp, inside(0, 6000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
}

/// 6888-4, 6888-11: no more blocks than a host may have; it is told, and others go on.
#[test]
fn rfc_6888_4_a_host_has_no_more_blocks_than_it_may() {
    let mut nat = NatBox::new(blocks);
    for port in 0..200 {
        nat.open(Body::Udp, inside(0, 5000 + port), at(SERVER));
    }
    let result = nat.send(Body::Udp, inside(0, 6000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatHostBlockLimit]);
    assert_eq!(result.lan[0][34..36], [3, 13]);
    nat.open(Body::Tcp(SYN), inside(0, 6000), at(SERVER));
    for host in 1..9 {
        nat.open(Body::Udp, inside(host, 6000), at(SERVER));
    }
    let result = nat.send(Body::Udp, inside(9, 6000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
}

/// 6888-8: a block stays its host's for two minutes after its last mapping.
#[test]
fn rfc_6888_8_a_block_is_held_for_two_minutes() {
    let mut nat = NatBox::new(|settings| {
        blocks(settings);
        settings.ports = vec![2000..=2099];
    });
    nat.open(Body::Udp, inside(0, 5000), at(SERVER));
    nat.wait(300);
    assert_eq!(nat.detail("/blocks/held"), 1);
    nat.wait(100);
    let result = nat.send(Body::Udp, inside(1, 5000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    // Meanwhile it is the host's own.
    nat.open(Body::Udp, inside(0, 5001), at(SERVER));
    assert_eq!(nat.detail("/blocks/held"), 0);
    nat.wait(300);
    for wait in [0, 119] {
        nat.wait(wait);
        let result = nat.send(Body::Udp, inside(1, 5000), at(SERVER));
        assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    }
    nat.wait(1);
    nat.open(Body::Udp, inside(1, 5000), at(SERVER));
}

/// Of too many that are held the oldest goes first; none is held by choice.
#[test]
fn blocks_are_not_held_without_bound() {
    let held = |hold_count, hold| {
        let mut nat = NatBox::new(|settings| {
            blocks(settings);
            settings.blocks = settings.blocks.map(|blocks| PortBlocks {
                hold_count,
                hold: Duration::from_secs(hold),
                ..blocks
            });
        });
        for host in 0..5 {
            nat.open(Body::Udp, inside(host, 5000), at(SERVER));
        }
        nat.wait(300);
        nat.detail("/blocks/given")
    };
    assert_eq!(held(3, 120), 3);
    assert_eq!(held(0, 120), 0);
    assert_eq!(held(9, 0), 0);
    assert_eq!(held(9, 120), 5);
}

/// 6888-15: neither the blocks of hosts nor the ports of a block follow each other, and all are used.
#[test]
fn rfc_6888_15_ports_of_a_block_are_drawn_by_lot() {
    let mut nat = NatBox::new(blocks);
    let mut steps = BTreeSet::new();
    let mut blocks_in_order = Vec::new();
    for host in 0..10 {
        let ports: Vec<u16> = (0..100)
            .map(|port| nat.open(Body::Udp, inside(host, 5000 + port), at(SERVER)).port())
            .collect();
        blocks_in_order.push(ports[0] / 100);
        steps.extend(ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    }
    assert!(!blocks_in_order.is_sorted(), "{blocks_in_order:?}");
    assert_eq!(blocks_in_order.iter().collect::<BTreeSet<_>>().len(), 10);
    // Of 990 draws with 198 possible distances, nearly all occur.
    assert!(steps.len() > 150, "{}", steps.len());
}

/// With a second block, ports of both are drawn.
#[test]
fn ports_of_all_blocks_of_a_host_are_drawn() {
    let mut nat = NatBox::new(blocks);
    for port in 0..101 {
        nat.open(Body::Udp, inside(0, 5000 + port), at(SERVER));
    }
    // The other protocol has all ports of both to choose from.
    let drawn: BTreeSet<_> = (0..30)
        .map(|port| block(nat.open(Body::Tcp(SYN), inside(0, 5000 + port), at(SERVER))))
        .collect();
    assert_eq!(drawn.len(), 2);
}

/// Port and parity are kept where the host's block has such ports.
#[test]
fn what_is_preserved_is_preserved_within_a_block() {
    let mut nat = NatBox::new(|settings| {
        blocks(settings);
        settings.preserve_ports = true;
        settings.preserve_parity = true;
    });
    let first = nat.open(Body::Udp, inside(0, 7001), at(SERVER));
    assert_eq!(first.port() % 2, 1);
    let wanted = block(first) + 55;
    if wanted != first.port() {
        assert_eq!(nat.open(Body::Udp, inside(0, wanted), at(SERVER)).port(), wanted);
    }
    for port in (7004..7060).step_by(2) {
        assert_eq!(nat.open(Body::Udp, inside(0, port), at(SERVER)).port() % 2, 0);
    }
}
