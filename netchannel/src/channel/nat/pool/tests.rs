use super::*;
use crate::channel::nat::ports::ANY_PORT;
use crate::time::Time;
use rand::SeedableRng;
use std::collections::BTreeSet;
use std::time::Duration;

const CHOICE: Choice = Choice {
    preserve: true,
    parity: false,
    class: true,
};

fn pool(addresses: u32, ports: RangeInclusive<u16>, hold: PortHold) -> (Pool, StdRng) {
    let mut random = StdRng::seed_from_u64(1);
    let first = Ipv4Addr::new(198, 18, 0, 0).to_bits();
    let addresses = (0..addresses).map(|number| Ipv4Addr::from_bits(first + number));
    let pool = Pool::new(
        addresses,
        FreePorts::new(&[ports], &[]),
        CHOICE,
        hold,
        &[],
        &mut random,
    );
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
