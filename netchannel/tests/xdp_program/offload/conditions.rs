//! When a flow is carried, and when not any more.

use etherparse::IpNumber;
use netchannel::xdp::{
    Evicted, Interest, OffloadKey, OffloadSide, OffloadSizes, OffloadTable, Refused, Usage, Verdict,
};

use super::support::{Carrier, HOUR, flow, now, translation};
use crate::frames::{ethernet, ipv4, ports, v4};
use crate::namespace::{in_new_namespace, ip};

const SIZES: OffloadSizes = OffloadSizes { ipv4: 4, ipv6: 0 };
const SECOND: u64 = 1_000_000_000;

/// A UDP flow from 10.0.0.x that arrives on `inside`.
fn key(carrier: &Carrier, last: u8) -> OffloadKey {
    OffloadKey {
        ifindex: carrier.inside,
        source: [10, 0, 0, last].into(),
        destination: [198, 51, 100, 1].into(),
        protocol: 17,
        source_port: 4000,
        destination_port: 5000,
    }
}

fn frame(last: u8) -> Vec<u8> {
    let packet = ipv4(
        &format!("10.0.0.{last}"),
        "198.51.100.1",
        IpNumber::UDP,
        &ports(4000, 5000),
        |_| {},
    );
    ethernet(&[], 0x0800, &packet)
}

fn is_carried(carrier: &Carrier, last: u8) -> bool {
    carrier.run(&frame(last), carrier.inside).1
}

/// As many flows as a bucket has room for, entered at that time.
fn fill(carrier: &Carrier, table: &OffloadTable, now: u64) -> Vec<netchannel::xdp::OffloadId> {
    let way = carrier.set_way(&carrier.way(1));
    (1..=8)
        .map(|last| {
            let (id, evicted) = table.insert(&flow(key(carrier, last), way), now).expect("room");
            assert_eq!(evicted, None);
            id
        })
        .collect()
}

#[test]
fn what_is_entered_is_carried_until_it_is_removed_and_counted_exactly() {
    in_new_namespace(|| {
        let carrier = Carrier::new(SIZES);
        let table = carrier.program.offload();
        assert_eq!((table.capacity(), table.len()), (8, 0));
        assert!(!is_carried(&carrier, 1));
        let before = now();
        let way = carrier.set_way(&carrier.way(1));
        let (id, _) = table.insert(&flow(key(&carrier, 1), way), before).expect("room");
        assert_eq!(table.usage(id), Some(Usage::default()));
        for _ in 0..5 {
            assert!(is_carried(&carrier, 1));
        }
        assert!(!is_carried(&carrier, 2));
        let usage = table.usage(id).expect("it is there");
        assert_eq!((usage.packets, usage.bytes), (5, 5 * frame(1).len() as u64));
        // Never too early, and never more than three ticks too late, for the program's clock may be behind by two.
        let tick = 1 << 24;
        assert!(
            usage.last_seen >= before && usage.last_seen <= now() + 3 * tick,
            "{usage:?}"
        );
        assert_eq!(table.remove(id), Some(usage));
        assert_eq!((table.remove(id), table.usage(id)), (None, None));
        assert!(!is_carried(&carrier, 1));
        assert!(table.is_empty());

        // The next flow in the same place counts from nothing.
        let (next, _) = table.insert(&flow(key(&carrier, 1), way), now()).expect("room");
        assert!(is_carried(&carrier, 1));
        assert_eq!(table.usage(id), None);
        assert_eq!(table.remove(next).expect("it is there").packets, 1);
    });
}

#[test]
fn a_flow_ends_with_its_lease_and_its_way() {
    in_new_namespace(|| {
        let carrier = Carrier::new(SIZES);
        let table = carrier.program.offload();
        let ids = fill(&carrier, &table, now());
        assert!(is_carried(&carrier, 1) && is_carried(&carrier, 2));
        table.set_lease(ids[0], now());
        assert!(!is_carried(&carrier, 1) && is_carried(&carrier, 2));
        table.set_lease(ids[0], now() + HOUR);
        assert!(is_carried(&carrier, 1));

        let way = carrier.set_way(&carrier.way(1));
        table.end_way(way);
        assert!(!is_carried(&carrier, 1) && !is_carried(&carrier, 2));
        // Its record is another's now.
        let other = carrier.set_way(&carrier.way(2));
        assert!(!is_carried(&carrier, 1));
        table.insert(&flow(key(&carrier, 1), other), now()).expect("room");
        let (outcome, _) = carrier.run(&frame(1), carrier.inside);
        assert_eq!(
            outcome.frame[..12],
            [[2, 0, 0, 2, 0, 2], [2, 0, 0, 1, 0, 2]].concat()
        );
        table.end_all_ways();
        assert!(!is_carried(&carrier, 1));
    });
}

#[test]
fn a_full_bucket_keeps_the_useful() {
    in_new_namespace(|| {
        let carrier = Carrier::new(SIZES);
        let table = carrier.program.offload();
        let start = now() - SECOND;
        let ids = fill(&carrier, &table, start);
        let way = carrier.set_way(&carrier.way(1));
        let another = flow(key(&carrier, 9), way);
        assert_eq!(table.insert(&another, start), Err(Refused::Full));
        // All are as old; of those only the third has had no packet since.
        for last in [1, 2, 4, 5, 6, 7, 8] {
            assert!(is_carried(&carrier, last));
        }
        let (_, evicted) = table.insert(&another, start + 2 * SECOND).expect("room");
        assert_eq!(
            evicted.map(|Evicted(id, usage)| (id, usage.packets)),
            Some((ids[2], 0))
        );
        assert!(!is_carried(&carrier, 3) && is_carried(&carrier, 9));
        // One whose lease is over goes before.
        table.set_lease(ids[6], start);
        let (_, evicted) = table.insert(&flow(key(&carrier, 10), way), now()).expect("room");
        assert_eq!(
            evicted.map(|Evicted(id, usage)| (id, usage.packets)),
            Some((ids[6], 1))
        );
        // A flow that is there already makes room for itself.
        let (_, evicted) = table.insert(&flow(key(&carrier, 1), way), now()).expect("room");
        assert_eq!(
            evicted.map(|Evicted(id, usage)| (id, usage.packets)),
            Some((ids[0], 1))
        );
        assert!(is_carried(&carrier, 1));
    });
}

#[test]
fn nothing_happens_to_a_packet_whose_device_is_not_there() {
    in_new_namespace(|| {
        let mut carrier = Carrier::new(SIZES);
        let table = carrier.program.offload();
        let mut way = carrier.way(1);
        for slot in [31, 32, u32::MAX] {
            way.slot = slot;
            let (id, _) = table
                .insert(&flow(key(&carrier, 1), carrier.set_way(&way)), now())
                .expect("room");
            let (outcome, is_carried) = carrier.run(&frame(1), carrier.inside);
            assert!(!is_carried);
            assert_eq!(outcome.frame, frame(1));
            assert_eq!(table.usage(id), Some(Usage::default()));
        }
        let way = carrier.set_way(&carrier.way(1));
        table.insert(&flow(key(&carrier, 1), way), now()).expect("room");
        assert!(is_carried(&carrier, 1));
        // One that goes away leaves its slot by itself.
        ip("link del outside");
        assert!(!is_carried(&carrier, 1));
        ip("link add outside type veth peer name outside-peer");
        assert!(!is_carried(&carrier, 1));
        let socket = crate::namespace::af_xdp_socket();
        carrier
            .program
            .register_socket("outside", 0, std::os::fd::AsFd::as_fd(&socket))
            .expect("registering");
        assert!(is_carried(&carrier, 1));
        carrier.program.detach("outside").expect("detaching");
        assert!(!is_carried(&carrier, 1));
    });
}

#[test]
fn a_flow_is_one_of_its_device_addresses_protocol_and_ports() {
    in_new_namespace(|| {
        let carrier = Carrier::new(SIZES);
        let table = carrier.program.offload();
        let mut entered = flow(key(&carrier, 1), carrier.set_way(&carrier.way(1)));
        entered.translation = Some(translation(
            &entered.key,
            OffloadSide::Source,
            v4("192.0.2.1"),
            2000,
        ));
        table.insert(&entered, now()).expect("room");
        let shown = |ifindex, source, destination, protocol, source_port, destination_port| {
            let packet = ipv4(
                source,
                destination,
                protocol,
                &ports(source_port, destination_port),
                |_| {},
            );
            carrier.run(&ethernet(&[], 0x0800, &packet), ifindex)
        };
        let (to, udp) = ("198.51.100.1", IpNumber::UDP);
        let (outcome, is_carried) = shown(carrier.inside, "10.0.0.1", to, udp, 4000, 5000);
        assert!(is_carried);
        let translated = ipv4("192.0.2.1", to, udp, &ports(2000, 5000), |header| {
            header.time_to_live = 63
        });
        assert_eq!(outcome.frame[14..], translated);
        for (_, is_carried) in [
            shown(carrier.outside, "10.0.0.1", to, udp, 4000, 5000),
            shown(carrier.inside, "10.0.1.1", to, udp, 4000, 5000),
            shown(carrier.inside, "10.0.0.1", "198.51.100.2", udp, 4000, 5000),
            shown(carrier.inside, "10.0.0.1", to, IpNumber::TCP, 4000, 5000),
            shown(carrier.inside, "10.0.0.1", to, IpNumber::SCTP, 4000, 5000),
            shown(carrier.inside, "10.0.0.1", to, udp, 4001, 5000),
            shown(carrier.inside, "10.0.0.1", to, udp, 4000, 5001),
            // Addresses and ports the other way round.
            shown(carrier.inside, to, "10.0.0.1", udp, 5000, 4000),
        ] {
            assert!(!is_carried);
        }
    });
}

#[test]
fn where_it_is_off_nothing_is_entered_and_all_goes_as_before() {
    in_new_namespace(|| {
        let mut carrier = Carrier::new(OffloadSizes::OFF);
        let table = carrier.program.offload();
        let way = carrier.set_way(&carrier.way(1));
        assert_eq!(table.capacity(), 0);
        assert_eq!(
            table.insert(&flow(key(&carrier, 1), way), now()),
            Err(Refused::Unfit)
        );
        assert!(!is_carried(&carrier, 1));
        carrier
            .program
            .set_interest(&Interest::default())
            .expect("setting the interest");
        let verdicts = carrier.program.verdicts().expect("counters");
        let count = |wanted| {
            verdicts
                .iter()
                .find(|(verdict, _)| *verdict == wanted)
                .map(|(_, count)| *count)
        };
        assert_eq!(count(Verdict::OtherInterface), Some(1));
        assert_eq!(count(Verdict::Offloaded), Some(0));
    });
}
