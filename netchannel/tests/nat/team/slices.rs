//! External ports and limits of the workers.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use netchannel::channel::nat::{Deterministic, Limits, NatSettings, PortBlocks, ShareError};
use netchannel::drop_reason::DropReason;

use super::gateway::Gateway;
use crate::harness::*;
use crate::packets::*;

fn inside(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([10, 0, 0, host].into(), port)
}

/// Opens mappings from the same ports of all hosts, at any worker, and sends replies to them at any worker. Returns the external endpoints by the
/// inside ones.
fn open_all(team: &mut Gateway, hosts: u8, ports: &[u16]) -> HashMap<SocketAddrV4, SocketAddrV4> {
    let mut endpoints = HashMap::new();
    let all = (2..2 + hosts).flat_map(|host| ports.iter().map(move |&port| inside(host, port)));
    for (number, inside) in all.enumerate() {
        let seen = team.inside(number, &ip_packet(Body::Udp, inside, at(SERVER), b"out"));
        let (external, server) = ends(seen.out());
        assert_eq!((server, *external.ip()), (at(SERVER), EXTERNAL));
        assert!(
            !endpoints.values().any(|&other| other == external),
            "{external} twice"
        );
        endpoints.insert(inside, external);
    }
    for (number, (inside, external)) in endpoints.iter().enumerate() {
        let seen = team.outside(number / 3, &ip_packet(Body::Udp, at(SERVER), *external, b"in"));
        assert_eq!(ends(seen.at_host()), (at(SERVER), *inside));
    }
    for (worker, mapping) in team.mappings() {
        assert_eq!(worker, team.owner(*mapping.inside.ip()));
    }
    endpoints
}

/// 4787-3, 4787-4: hosts that want the same port get others, of their parity and class.
#[test]
fn rfc_4787_4_parity_and_class_are_there_in_each_slice() {
    for workers in 2..=5 {
        let mut team = Gateway::new(workers, |settings| {
            settings.ports = vec![600..=1300];
            settings.preserve_parity = true;
        });
        for (inside, external) in open_all(&mut team, 20, &[700, 701, 1201]) {
            assert_eq!(inside.port() % 2, external.port() % 2);
            assert_eq!(inside.port() <= 1023, external.port() <= 1023);
        }
        // A half or so keeps its port with two workers, as many as find it in their slice.
        assert!(team.handed_on() > 0);
    }
}

#[test]
fn each_port_of_the_pool_is_used_once() {
    for workers in 2..=4 {
        let mut team = Gateway::new(workers, |settings| settings.ports = vec![2000..=2099]);
        let mut external = std::collections::HashSet::new();
        for host in 2..=250 {
            let seen = team.inside(
                usize::from(host),
                &ip_packet(Body::Udp, inside(host, 2000), at(SERVER), b"out"),
            );
            match seen.wan.first() {
                Some(packet) => assert!(external.insert(ends(packet).0)),
                None => assert_eq!(seen.dropped, [DropReason::NatPortsExhausted]),
            }
        }
        assert_eq!(external.len(), 100);
    }
}

/// 6888-14: a block is one worker's, and so one host's.
#[test]
fn blocks_are_whole() {
    let blocks = PortBlocks {
        size: 32,
        most: 2,
        ..PortBlocks::default()
    };
    for workers in 2..=4 {
        let mut team = Gateway::new(workers, |settings| settings.blocks = Some(blocks));
        let mut owners = HashMap::new();
        for (inside, external) in open_all(&mut team, 30, &[3000, 3001, 3002]) {
            let block = (external.port() - 1024) / 32;
            assert_eq!(*owners.entry(block).or_insert(*inside.ip()), *inside.ip());
        }
    }
}

/// 7422-2: the scheme does not depend on how many workers there are; what is sent to a host's ports reaches it wherever it arrives.
#[test]
fn ports_of_hosts_own_stay_theirs() {
    for workers in 2..=4 {
        let mut team = Gateway::new(workers, |settings| {
            settings.deterministic = Some(Deterministic {
                inside: vec![host("10.0.0.0")..=host("10.0.0.63")],
                ports_per_host: None,
                spare_ports: 0,
            });
        });
        let mut settings = NatSettings::new(vec![EXTERNAL]);
        settings.deterministic = Some(Deterministic {
            inside: vec![host("10.0.0.0")..=host("10.0.0.63")],
            ports_per_host: None,
            spare_ports: 0,
        });
        let scheme = settings.port_scheme().unwrap().unwrap();
        for (inside, external) in open_all(&mut team, 20, &[3000, 3001]) {
            assert!(
                scheme
                    .ports_of(*inside.ip())
                    .unwrap()
                    .ports
                    .contains(&external.port())
            );
        }
    }
}

/// 7422: hosts that have used up theirs get blocks of the spare ports.
#[test]
fn spare_ports_are_shared_out_in_blocks() {
    let mut team = Gateway::new(2, |settings| {
        settings.deterministic = Some(Deterministic {
            inside: vec![host("10.0.0.0")..=host("10.0.0.31")],
            ports_per_host: Some(2),
            spare_ports: 4096,
        });
        settings.blocks = Some(PortBlocks {
            size: 32,
            ..PortBlocks::default()
        });
    });
    open_all(&mut team, 10, &[3000, 3001, 3002, 3003]);
}

#[test]
fn limits_are_divided_and_those_of_hosts_are_not() {
    let mut settings = NatSettings::new(vec![EXTERNAL]);
    settings.limits = Limits {
        mappings: 1000,
        sessions: 5001,
        ..Limits::NONE
    };
    settings.host_limits.mappings = 3;
    settings.max_held_fragments = 3;
    let shares: Vec<NatSettings> = (0..4).map(|worker| settings.share(worker, 4).unwrap()).collect();
    let sum = |of: fn(&NatSettings) -> u32| shares.iter().map(of).sum::<u32>();
    assert_eq!(sum(|share| share.limits.mappings), 1000);
    assert_eq!(sum(|share| share.limits.sessions), 5001);
    assert_eq!(sum(|share| share.max_held_fragments.into()), 4);
    for share in &shares {
        assert_eq!(share.limits.new_mappings_per_second, u32::MAX);
        assert_eq!(share.host_limits, settings.host_limits);
    }
    assert_eq!(settings.share(0, 1).unwrap(), settings);
}

#[test]
fn what_can_not_be_shared_is_refused() {
    let mut settings = NatSettings::new(vec![EXTERNAL]);
    for (worker, workers) in [(0, 0), (2, 2), (0, 65)] {
        assert_eq!(
            settings.share(worker, workers),
            Err(ShareError::NoSuchWorker { worker, workers })
        );
    }
    settings.limits.mappings = 3;
    let refused = settings.share(0, 4).unwrap_err();
    let limit = ShareError::LimitTooLow {
        name: "limits.mappings",
        value: 3,
        workers: 4,
    };
    assert_eq!(refused, limit);
    settings.limits.mappings = 1000;
    settings.ports = vec![2000..=2003];
    assert_eq!(settings.share(0, 2).map(|_| ()), Ok(()));
    assert_eq!(
        settings.share(1, 3),
        Err(ShareError::TooFewPorts { ports: 2, workers: 3 })
    );
}
