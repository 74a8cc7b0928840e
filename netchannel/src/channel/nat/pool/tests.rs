use super::*;
use crate::channel::nat::ports::ANY_PORT;
use crate::channel::nat::{Deterministic, PortBlocks, worker_of};
use crate::time::Time;
use proptest::prelude::*;
use rand::SeedableRng;
use std::collections::BTreeSet;
use std::time::Duration;

fn pool(addresses: u32, ports: RangeInclusive<u16>, hold: PortHold) -> (Pool, StdRng) {
    let mut random = StdRng::seed_from_u64(1);
    let first = Ipv4Addr::new(198, 18, 0, 0).to_bits();
    let addresses = (0..addresses).map(|number| Ipv4Addr::from_bits(first + number));
    let mut settings = NatSettings::new(addresses.collect());
    settings.ports = vec![ports];
    settings.hold = hold;
    let pool = Pool::new(&settings, &mut random);
    (pool, random)
}

fn host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + number)
}

/// 6888-3: hosts spread over a large pool, evenly enough that no address has twice its share.
#[test]
fn rfc_6888_3_hosts_spread_over_all_addresses() {
    let (mut pool, mut random) = pool(256, 1024..=65535, PortHold::default());
    let mut hosts = vec![0u32; 256];
    for number in 0..256 * 64 {
        let id = pool.address_for(host(number), Protocol::Udp).unwrap();
        assert!(
            pool.take(id, Protocol::Udp, 5000, ANY_PORT, &mut random)
                .is_some()
        );
        hosts[id as usize] += 1;
    }
    assert!(hosts.iter().all(|count| (1..128).contains(count)), "{hosts:?}");
}

/// 6888-13: the last port of the last address is found.
#[test]
fn rfc_6888_13_every_port_of_every_address_is_used() {
    let (mut pool, mut random) = pool(300, 2000..=2009, PortHold::default());
    let mut taken = BTreeSet::new();
    for number in 0..3000 {
        let id = pool.address_for(host(number), Protocol::Tcp).unwrap();
        taken.insert(pool.take(id, Protocol::Tcp, 2000, ANY_PORT, &mut random).unwrap());
    }
    assert_eq!(taken.len(), 3000);
    assert_eq!(pool.address_for(host(1), Protocol::Tcp), None);
    assert!(pool.address_for(host(1), Protocol::Udp).is_some());
    let endpoint = *taken.iter().nth(1234).unwrap();
    pool.free(Protocol::Tcp, endpoint, false, Time::ZERO);
    let id = pool.address_for(host(1), Protocol::Tcp).unwrap();
    assert_eq!(
        pool.take(id, Protocol::Tcp, 9, ANY_PORT, &mut random),
        Some(endpoint)
    );
}

/// 6888-8: a port is held for its time, and not longer; of too many the oldest goes first.
#[test]
fn rfc_6888_8_a_freed_port_is_held() {
    let hold = PortHold {
        time: Duration::from_secs(120),
        count: 2,
    };
    let (mut pool, mut random) = pool(1, 2000..=2002, hold);
    let now = Time::from_secs(1000);
    let mut take = |pool: &mut Pool| {
        pool.take(0, Protocol::Udp, 2000, ANY_PORT, &mut random)
            .map(|it| it.port)
    };
    let address = pool.addresses[0].address;
    let endpoint = |port| Endpoint { address, port };
    assert!((0..3).all(|_| take(&mut pool).is_some()));
    pool.free(Protocol::Udp, endpoint(2000), true, now);
    let later = now + Duration::from_secs(119);
    pool.release(later, 9);
    assert_eq!(take(&mut pool), None);
    pool.release(later + Duration::from_secs(1), 9);
    assert_eq!(take(&mut pool), Some(2000));
    for port in [2001, 2002] {
        pool.free(Protocol::Udp, endpoint(port), true, later);
    }
    assert_eq!((pool.held(), take(&mut pool)), (2, None));
    pool.free(Protocol::Udp, endpoint(2000), true, later);
    assert_eq!((pool.held(), take(&mut pool)), (2, Some(2001)));
}

/// What pools say of all their addresses and protocols: used and free ports of each, and ports per protocol.
fn counts(pools: &[Pool]) -> (Vec<(u32, u32)>, u64) {
    let places = (0..pools[0].given()).flat_map(|id| Protocol::ALL.map(|protocol| (id, protocol)));
    let at = |(id, protocol)| {
        let counts = pools.iter().map(|pool| pool.port_counts(id, protocol));
        counts.fold((0, 0), |sum, it| (sum.0 + it.used, sum.1 + it.free))
    };
    let all = pools.iter().map(Pool::ports_per_protocol).sum();
    (places.map(at).collect(), all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What several workers say of hosts' own ports makes what one would say.
    #[test]
    fn hosts_own_ports_are_counted_once(
        workers in 2..6usize,
        hosts in 1..60u32,
        addresses in 1..4u32,
        ports_per_host in proptest::option::of(1..5u16),
        spare_ports in 0..200u16,
        size in proptest::option::of(16..40u16),
        reserved in 1024..1500u16,
        forwarded in proptest::collection::btree_map((0..4u32, 0..6u16, any::<bool>()), 1..9u16, 0..5),
        senders in proptest::collection::vec((0..60u32, any::<bool>()), 0..40),
    ) {
        let first = Ipv4Addr::new(198, 18, 0, 0).to_bits();
        let external = |number: u32| Ipv4Addr::from_bits(first + number);
        let mut settings = NatSettings::new((0..addresses).map(external).collect());
        settings.ports = vec![1024..=1600];
        settings.reserved_ports = vec![reserved..=reserved + 20];
        settings.deterministic = Some(Deterministic {
            inside: vec![host(0)..=host(hosts - 1)],
            ports_per_host,
            spare_ports: if size.is_some() { 40 * workers as u16 } else { spare_ports },
        });
        settings.blocks = size.map(|size| PortBlocks { size, ..PortBlocks::default() });
        let forwards = forwarded.into_iter().map(|((address, place, is_tcp), count)| Forward {
            protocol: if is_tcp { Protocol::Tcp } else { Protocol::Udp },
            external: external(address),
            ports: 1000 + place * 100..=1000 + place * 100 + count,
            inside: host(u32::from(count)),
            inside_port: 80,
        });
        settings.forwards = forwards.collect();
        let Some(Ok(scheme)) = settings.port_scheme() else {
            return Ok(());
        };
        let mut random = StdRng::seed_from_u64(1);
        let mut pools = Vec::new();
        for worker in 0..workers {
            let Ok(share) = settings.share(worker, workers) else {
                return Ok(());
            };
            pools.push(Pool::new(&share, &mut random));
        }
        let mut whole = [Pool::new(&settings, &mut random)];
        prop_assert_eq!(counts(&pools), counts(&whole));
        for (number, is_tcp) in senders {
            let Some(own) = scheme.ports_of(host(number)) else { continue };
            let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
            let pool = &mut pools[worker_of(host(number), workers)];
            let id = pool.id_of(own.address).unwrap();
            let within = own.ports.into_inner();
            if let Some(taken) = pool.take(id, protocol, within.0, within, &mut random) {
                prop_assert!(whole[0].take_this(id, protocol, taken.port));
            }
            prop_assert_eq!(counts(&pools), counts(&whole));
        }
    }
}
