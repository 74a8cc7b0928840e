use super::*;
use rand::SeedableRng;
use std::net::Ipv4Addr;

const REMOTE: Endpoint = Endpoint {
    address: Ipv4Addr::new(8, 8, 8, 8),
    port: 53,
};

fn endpoint(last: u8, port: u16) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::new(10, 0, 0, last),
        port,
    }
}

fn mappings(change: impl FnOnce(&mut NatSettings)) -> Mappings {
    let addresses = [1, 2].map(|last| Ipv4Addr::new(192, 0, 2, last));
    let mut settings = NatSettings::new(addresses.to_vec());
    settings.ports = vec![5000..=5009];
    settings.hold.count = 0;
    change(&mut settings);
    assert_eq!(settings.check(), Ok(()));
    Mappings::new(&settings, StdRng::seed_from_u64(1))
}

fn open(mappings: &mut Mappings, inside: Endpoint) -> Result<Endpoint, DropReason> {
    let index = mappings.open(
        Protocol::Udp,
        inside,
        REMOTE,
        Filtering::EndpointIndependent,
        Time::ZERO,
    )?;
    let external = mappings.get(index).external;
    assert_eq!(mappings.of_inside(Protocol::Udp, inside, REMOTE), Some(index));
    assert_eq!(mappings.of_external(Protocol::Udp, external), Some(index));
    assert_eq!(mappings.of_external(Protocol::Tcp, external), None);
    Ok(external)
}

/// 4787-2, 6888-2, 7857-4.
#[test]
fn rfc_4787_2_a_host_keeps_its_address_even_when_that_runs_out_of_ports() {
    let mut mappings = mappings(|_| {});
    let first = open(&mut mappings, endpoint(2, 0)).unwrap().address;
    for port in 1..10 {
        assert_eq!(open(&mut mappings, endpoint(2, port)).unwrap().address, first);
    }
    // The address is full: old hosts get no more, new ones another address.
    assert_eq!(
        open(&mut mappings, endpoint(2, 10)),
        Err(DropReason::NatPortsExhausted)
    );
    for host in 3..6 {
        assert_ne!(open(&mut mappings, endpoint(host, 1)).unwrap().address, first);
    }
    // A host without mappings is free to get any address.
    for port in 0..10 {
        let mapping = mappings
            .of_inside(Protocol::Udp, endpoint(2, port), REMOTE)
            .unwrap();
        mappings.close(mapping, EndReason::Expired, Time::ZERO);
    }
    for host in 10..27 {
        open(&mut mappings, endpoint(host, 1)).unwrap();
    }
    assert_eq!(mappings.count(Protocol::Udp), 20);
}

/// 7857-4: another address only by choice.
#[test]
fn rfc_7857_4_soft_pairing_takes_another_address_when_the_first_is_full() {
    let mut mappings = mappings(|settings| settings.pooling = Pooling::Paired { soft: true });
    let addresses: Vec<_> = (0..20)
        .map(|port| open(&mut mappings, endpoint(2, port)).unwrap().address)
        .collect();
    assert!(addresses[..10].iter().all(|address| *address == addresses[0]));
    assert!(addresses[10..].iter().all(|address| *address != addresses[0]));
    assert_eq!(
        open(&mut mappings, endpoint(2, 20)),
        Err(DropReason::NatPortsExhausted)
    );
}

/// 6888-2: pooling can be chosen.
#[test]
fn rfc_6888_2_arbitrary_pooling_uses_all_addresses_for_one_host() {
    let mut mappings = mappings(|settings| settings.pooling = Pooling::Arbitrary);
    let addresses: Vec<_> = (0..20)
        .map(|port| open(&mut mappings, endpoint(2, port)).unwrap().address)
        .collect();
    assert!(addresses[..10].iter().any(|address| *address != addresses[0]));
    assert_eq!(
        open(&mut mappings, endpoint(3, 20)),
        Err(DropReason::NatPortsExhausted)
    );
}

/// 6056-4b: a port is kept if it can be, and another one is chosen only on conflict; 6056-4a: never kept by choice.
#[test]
fn rfc_6056_4b_ports_are_preserved_while_free() {
    let mut mappings = mappings(|_| {});
    let first = open(&mut mappings, endpoint(2, 5005)).unwrap();
    assert_eq!(first.port, 5005);
    let mut conflicts = (3..9).map(|host| open(&mut mappings, endpoint(host, 5005)).unwrap());
    assert!(conflicts.any(|other| other.address == first.address && other.port != 5005));
    let mut obfuscated = self::mappings(|settings| settings.preserve_ports = false);
    let ports = (0..10).map(|number| open(&mut obfuscated, endpoint(2, 5000 + number)).unwrap().port);
    assert!(!ports.is_sorted());
}

#[test]
fn the_limit_holds() {
    let mut mappings = mappings(|settings| settings.limits.mappings = 1);
    open(&mut mappings, endpoint(2, 1)).unwrap();
    assert_eq!(
        open(&mut mappings, endpoint(2, 2)),
        Err(DropReason::NatMappingLimit)
    );
}

#[test]
fn a_mapping_is_as_large_as_the_documentation_says() {
    assert!(size_of::<Mapping>() <= 40, "{}", size_of::<Mapping>());
}
