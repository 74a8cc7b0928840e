//! The table against a plain model, and in the hands of several threads.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn key(number: u32, ipv6: bool) -> OffloadKey {
    let address = |last: u32| -> IpAddr {
        if ipv6 {
            IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(last)).into())
        } else {
            IpAddr::V4((0x0a00_0000 | last).into())
        }
    };
    OffloadKey {
        ifindex: 3 + number % 2,
        source: address(number),
        destination: address(0x10000),
        protocol: if number.is_multiple_of(3) { 6 } else { 17 },
        source_port: 4000,
        destination_port: 53,
    }
}

fn flow(number: u32, ipv6: bool, way: WayId, lease: u64) -> OffloadFlow {
    OffloadFlow {
        key: key(number, ipv6),
        way,
        translation: None,
        needs_dont_fragment: false,
        partial_checksums: false,
        lease,
    }
}

fn way(slot: u32) -> OffloadWay {
    OffloadWay {
        arrival_mac: [2, 0, 0, 0, 0, 1],
        slot,
        source_mac: [2, 0, 0, 0, 0, 2],
        destination_mac: [2, 0, 0, 0, 0, 3],
        mtu: 1500,
        several_buffers: false,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert {
        number: u32,
        ipv6: bool,
        way: u32,
        lease: u64,
    },
    Remove(usize),
    Lease(usize, u64),
    EndWay(u32),
    EndAllWays,
    Wait(u64),
}

/// Times of many ticks and of few: leases end a few ticks early.
fn time(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1..most, (0u64..6).prop_map(|ticks| ticks * TICK)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..60, any::<bool>(), 0u32..3, time(8 * SECOND))
            .prop_map(|(number, ipv6, way, lease)| Step::Insert { number, ipv6, way, lease }),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), time(8 * SECOND)).prop_map(|(which, lease)| Step::Lease(which, lease)),
        1 => (0u32..3).prop_map(Step::EndWay),
        1 => Just(Step::EndAllWays),
        4 => time(3 * SECOND).prop_map(Step::Wait),
    ]
}

/// What the model knows of a flow.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: OffloadId,
    way: WayId,
    lease: u64,
    inserted: u64,
}

const TICK: u64 = 1 << xdp_prog::offload::TICK_BITS;

/// Leases end so many ticks early: the program's clock may be 20 ms behind.
const EARLY: u64 = 20_000_000_u64.div_ceil(TICK);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With one bucket for each IP version, every flow competes with every other.
    #[test]
    fn behaves_as_a_plain_model(steps in proptest::collection::vec(step(), 1..200)) {
        let table = OffloadTable::in_memory(4, 4);
        let mut model: HashMap<OffloadKey, Known> = HashMap::new();
        let mut ways: HashMap<u32, WayId> = HashMap::new();
        let mut ids: Vec<OffloadId> = Vec::new();
        let mut now = 1000 * SECOND;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::EndAllWays => {
                    table.end_all_ways();
                    ways.clear();
                }
                Step::EndWay(slot) => {
                    if let Some(way) = ways.remove(&slot) {
                        table.end_way(way);
                    }
                }
                Step::Remove(which) => {
                    let Some(&id) = ids.get(which % ids.len().max(1)) else { continue };
                    let there = model.iter().find(|(_, known)| known.id == id).map(|(key, _)| *key);
                    prop_assert_eq!(table.remove(id), there.map(|_| Usage::default()));
                    there.map(|key| model.remove(&key));
                }
                Step::Lease(which, lease) => {
                    let Some(&id) = ids.get(which % ids.len().max(1)) else { continue };
                    table.set_lease(id, now + lease);
                    if let Some(known) = model.values_mut().find(|known| known.id == id) {
                        known.lease = now + lease;
                    }
                }
                Step::Insert { number, ipv6, way: slot, lease } => {
                    let id = table.set_way(&way(slot)).expect("room");
                    prop_assert_eq!(*ways.entry(slot).or_insert(id), id);
                    let key = key(number, ipv6);
                    let lease = now + lease;
                    let outcome = table.insert(&flow(number, ipv6, id, lease), now);
                    let mut bucket: Vec<_> = model.iter().filter(|(other, _)| other.source.is_ipv6() == ipv6).collect();
                    let is_dead = |known: &Known| {
                        !ways.values().any(|way| *way == known.way) || known.lease / TICK <= now / TICK + EARLY
                    };
                    // Dead ones first, then the longest silent one; of equal ones any.
                    bucket.sort_by_key(|(_, known)| (!is_dead(known), known.inserted / TICK));
                    let out = if let Some(same) = model.get(&key) {
                        Some((key, *same))
                    } else if bucket.len() < 8 {
                        None
                    } else {
                        let (_, first) = bucket[0];
                        let is_idle = now / TICK - first.inserted / TICK > SECOND.div_ceil(TICK);
                        if !is_dead(first) && !is_idle {
                            prop_assert_eq!(outcome, Err(Refused::Full));
                            continue;
                        }
                        let (_, Some(Evicted(out, _))) = outcome.expect("room") else {
                            panic!("one must leave");
                        };
                        let (key, chosen) = model.iter().find(|(_, known)| known.id == out).expect("it was there");
                        prop_assert_eq!(
                            (is_dead(chosen), chosen.inserted / TICK),
                            (is_dead(first), first.inserted / TICK)
                        );
                        Some((*key, *chosen))
                    };
                    let (id_of_flow, evicted) = outcome.expect("room");
                    prop_assert_eq!(evicted, out.map(|(_, known)| Evicted(known.id, Usage::default())));
                    if let Some((key, known)) = out {
                        model.remove(&key);
                        prop_assert_eq!(table.usage(known.id), None);
                    }
                    model.insert(key, Known { id: id_of_flow, way: id, lease, inserted: now });
                    ids.push(id_of_flow);
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for &id in &ids {
                let is_there = model.values().any(|known| known.id == id);
                prop_assert_eq!(table.usage(id), is_there.then(Usage::default));
            }
        }
    }
}

#[test]
fn what_cannot_be_carried_is_refused() {
    let table = OffloadTable::in_memory(60, 0);
    assert_eq!(table.capacity(), 128);
    let way = table.set_way(&way(0)).expect("room");
    let good = flow(1, false, way, SECOND);
    let refused = |change: fn(&mut OffloadFlow)| {
        let mut bad = good;
        change(&mut bad);
        assert_eq!(table.insert(&bad, 0), Err(Refused::Unfit));
    };
    refused(|flow| flow.key.protocol = 1);
    refused(|flow| flow.key.ifindex = 1 << 31);
    refused(|flow| flow.key = key(1, true));
    refused(|flow| flow.key.source = key(1, true).source);
    let nothing = OffloadTable::in_memory(0, 8);
    assert_eq!(nothing.insert(&good, 0), Err(Refused::Unfit));
    let mut translated = flow(1, true, way, SECOND);
    translated.translation = Some(OffloadTranslation {
        side: OffloadSide::Source,
        address: Ipv4Addr::LOCALHOST,
        port: 1,
        network: 0,
        transport: 0,
    });
    assert_eq!(nothing.insert(&translated, 0), Err(Refused::Unfit));
    assert!(table.insert(&good, 0).is_ok());
    assert!(!table.is_empty() && nothing.is_empty());
}

/// Threads enter and take out the same flows all the time; each flow that was entered leaves exactly once.
#[test]
fn several_threads_share_it() {
    const ROUNDS: u32 = 20_000;
    let table = OffloadTable::in_memory(8, 0);
    let (entered, left) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3u32)
            .map(|thread| {
                let table = &table;
                scope.spawn(move || {
                    let (mut entered, mut left) = (0u64, 0u64);
                    let mut mine = Vec::new();
                    for round in 0..ROUNDS {
                        let now = u64::from(round) * SECOND / 100;
                        let way = table.set_way(&way(round / 100)).expect("room");
                        match table.insert(&flow(round % 40, false, way, now + SECOND), now) {
                            Ok((id, evicted)) => {
                                entered += 1;
                                left += u64::from(evicted.is_some());
                                mine.push(id);
                            }
                            Err(refused) => assert_ne!(refused, Refused::Unfit),
                        }
                        if round % 3 == thread {
                            for id in mine.drain(..) {
                                table.set_lease(id, now + 2 * SECOND);
                                left += u64::from(table.remove(id).is_some());
                                assert_eq!(table.usage(id), None);
                            }
                        }
                        if round % 100 == 99 {
                            table.end_all_ways();
                        }
                    }
                    (entered, left)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .fold((0, 0), |(entered, left), (more, gone)| {
                (entered + more, left + gone)
            })
    });
    assert!(entered > 0);
    assert_eq!(entered - left, table.len() as u64);
}
