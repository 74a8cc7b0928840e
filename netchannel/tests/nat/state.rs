//! What a translator has again after a restart.

use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

use netchannel::channel::nat::state::{LeftOut, Restored, Saved, StateError, VERSION, Writer};
use netchannel::channel::nat::{
    Filtering, Forward, MappingBehavior, NatSettings, OneToOne, PerProtocol, Pooling, PortBlocks, Protocol,
};
use netchannel::drop_reason::DropReason;
use proptest::prelude::*;

use crate::harness::*;
use crate::packets::*;

const THEN: Duration = Duration::from_secs(1_700_000_000);

/// The state file of a translator, taken in parts of this many places.
fn saved(nat: &NatBox, places: usize) -> Vec<u8> {
    let part = |after| {
        let part = nat.test.dispatcher.state("nat", after, places, nat.test.now);
        part.expect("a translator has a state")
    };
    let mut next = part(0);
    let mut writer = Writer::new(Vec::new(), "nat", next.basis, SystemTime::UNIX_EPOCH + THEN).unwrap();
    loop {
        writer.add(&next.records).unwrap();
        let Some(after) = next.next else { break };
        next = part(after);
    }
    writer.finish().unwrap().0
}

/// A translator with these settings that takes up a state file, `stopped` after it was taken.
fn restarted(
    file: &[u8],
    former: &NatBox,
    stopped: Duration,
    change: impl FnOnce(&mut NatSettings),
) -> (NatBox, Restored) {
    let mut nat = NatBox::new(change);
    // The clock of the new process has nothing to do with that of the old one.
    nat.test.now = former.test.now + Duration::from_secs(1_000_000) + stopped;
    let saved = Saved::read(file, "nat").unwrap();
    let age = saved.age(SystemTime::UNIX_EPOCH + THEN + stopped);
    assert_eq!(age, stopped);
    let restored = nat.test.dispatcher.restore("nat", &saved, age, nat.test.now);
    nat.test.assert_all_accounted_for();
    (nat, restored.expect("a translator takes it up"))
}

fn restart(nat: &NatBox, seconds: u64, change: impl FnOnce(&mut NatSettings)) -> (NatBox, Restored) {
    restarted(&saved(nat, 3), nat, Duration::from_secs(seconds), change)
}

fn inside(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([10, 0, 0, host].into(), port)
}

fn left_out(restored: &Restored) -> Vec<(LeftOut, u64)> {
    restored
        .left_out
        .iter()
        .map(|(reason, count)| (*reason, *count))
        .collect()
}

#[test]
fn flows_of_all_protocols_go_on_both_ways() {
    let mut nat = NatBox::plain();
    let (from, server) = (inside(2, 5000), at(SERVER));
    let ping = at("8.8.8.8:0");
    for (body, to) in [
        (Body::Udp, server),
        (Body::Tcp(SYN), server),
        (Body::Query(8), ping),
    ] {
        nat.open(body, from, to);
    }
    nat.reply(Body::Tcp(SYN | ACK), server, SocketAddrV4::new(EXTERNAL, 5000));
    let (mut nat, restored) = restart(&nat, 10, |_| {});
    assert_eq!((restored.mappings, restored.sessions), (3, 3));
    assert_eq!(left_out(&restored), []);
    let external = SocketAddrV4::new(EXTERNAL, 5000);
    assert!(nat.reaches(Body::Udp, server, external, from));
    // In the middle of a connection: nothing that could open a session.
    assert!(nat.reaches(Body::Tcp(ACK), server, external, from));
    assert!(nat.reaches(Body::Query(0), ping, external, from));
    assert_eq!(nat.open(Body::Tcp(ACK), from, server), external);
    assert_eq!(nat.mappings().len(), 3);
    nat.wait(7400);
    assert!(nat.reaches(Body::Tcp(ACK), server, external, from), "established");
}

/// The time that the daemon was away counts, to the millisecond.
#[test]
fn time_goes_on_while_the_daemon_is_away() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, inside(2, 5000), at(SERVER));
    nat.leap(Duration::from_secs(100));
    let external = SocketAddrV4::new(EXTERNAL, 5000);
    for (stopped, lives) in [(199_999, true), (200_000, false)] {
        let file = saved(&nat, 1000);
        let (mut nat, restored) = restarted(&file, &nat, Duration::from_millis(stopped), |_| {});
        assert_eq!(restored.sessions, u64::from(lives));
        assert_eq!(!restored.left_out.contains_key(&LeftOut::Timeout), lives);
        assert_eq!(
            nat.reaches(Body::Udp, at(SERVER), external, inside(2, 5000)),
            lives
        );
    }
}

/// 4787-5b: a changed timer is that of the sessions that there are, too.
#[test]
fn rfc_4787_5b_sessions_that_are_taken_up_have_the_timers_of_the_new_settings() {
    let mut nat =
        NatBox::new(|settings| settings.timeouts.udp_to_port = vec![(123, Duration::from_secs(20))]);
    let (dns, ntp) = (at(SERVER), at("8.8.8.8:123"));
    nat.open(Body::Udp, inside(2, 5000), dns);
    nat.open(Body::Udp, inside(3, 5001), ntp);
    let external = |port| SocketAddrV4::new(EXTERNAL, port);
    let change = |settings: &mut NatSettings| {
        settings.timeouts.udp = Duration::from_secs(600);
        settings.timeouts.udp_to_port = vec![(53, Duration::from_secs(130))];
    };
    let (mut longer, restored) = restart(&nat, 10, change);
    assert_eq!(restored.sessions, 2);
    longer.leap(Duration::from_secs(119));
    assert!(longer.reaches(Body::Udp, dns, external(5000), inside(2, 5000)));
    longer.leap(Duration::from_secs(130));
    assert!(!longer.reaches(Body::Udp, dns, external(5000), inside(2, 5000)));
    longer.leap(Duration::from_secs(340));
    assert!(longer.reaches(Body::Udp, ntp, external(5001), inside(3, 5001)));
    let (_, restored) = restart(&nat, 10, |settings| {
        settings.timeouts.udp = Duration::from_secs(10);
        settings.timeouts.udp_to_port = Vec::new();
    });
    assert_eq!(left_out(&restored), [(LeftOut::Timeout, 2)]);
}

/// 4787-8a: a changed filtering is that of the mappings that there are, too.
#[test]
fn rfc_4787_8a_mappings_that_are_taken_up_filter_as_the_new_settings_say() {
    let mut nat = NatBox::plain();
    let external = nat.open(Body::Udp, inside(2, 5000), at(SERVER));
    let stranger = at("9.9.9.9:99");
    assert!(nat.reaches(Body::Udp, stranger, external, inside(2, 5000)));
    for (filtering, stranger_again, same_address) in [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, false, true),
        (Filtering::AddressAndPortDependent, false, false),
    ] {
        let (mut nat, _) = restart(&nat, 1, |settings| {
            settings.filtering = PerProtocol::all(filtering)
        });
        let mut reaches = |from| nat.reaches(Body::Udp, from, external, inside(2, 5000));
        assert!(reaches(at(SERVER)));
        assert_eq!(reaches(stranger), stranger_again, "{filtering:?}");
        assert_eq!(reaches(at("8.8.8.8:54")), same_address, "{filtering:?}");
    }
}

#[test]
fn forwarded_ports_and_hairpins_go_on() {
    let forwards = |settings: &mut NatSettings| {
        settings.forwards = vec![Forward {
            protocol: Protocol::Tcp,
            external: EXTERNAL,
            ports: 8080..=8080,
            inside: [10, 0, 0, 3].into(),
            inside_port: 80,
        }];
    };
    let mut nat = NatBox::new(forwards);
    let visitor = at("9.9.9.9:4000");
    let external = SocketAddrV4::new(EXTERNAL, 8080);
    assert!(nat.reaches(Body::Tcp(SYN), visitor, external, inside(3, 80)));
    nat.open(Body::Tcp(SYN | ACK), inside(3, 80), visitor);
    // One inside host talks to another by its external endpoint.
    let other = nat.open(Body::Udp, inside(4, 6000), at(SERVER));
    nat.send(Body::Udp, inside(2, 5000), other).at_host();
    let before = nat.mappings().len();
    let (mut again, restored) = restart(&nat, 5, forwards);
    assert_eq!((again.mappings().len(), left_out(&restored)), (before, vec![]));
    assert!(again.reaches(Body::Tcp(ACK), visitor, external, inside(3, 80)));
    assert_eq!(again.open(Body::Tcp(ACK), inside(3, 80), visitor), external);
    let (from, to) = ends(
        again
            .send(Body::Udp, inside(4, 6000), SocketAddrV4::new(EXTERNAL, 5000))
            .at_host(),
    );
    assert_eq!((from, to), (other, inside(2, 5000)));
    // Forwarded no more, or to another host.
    let (_, restored) = restart(&nat, 5, |_| {});
    assert_eq!(restored.left_out.get(&LeftOut::Forward), Some(&1));
}

#[test]
fn what_fits_the_settings_no_more_is_left_out_by_name() {
    let mut nat = NatBox::plain();
    for host in 2..6 {
        nat.open(Body::Udp, inside(host, 5000 + u16::from(host)), at(SERVER));
    }
    let reasons = |change: &dyn Fn(&mut NatSettings)| {
        let (nat, restored) = restart(&nat, 1, change);
        assert_eq!(nat.mappings().len() as u64, restored.mappings);
        left_out(&restored)
    };
    let other = "192.0.2.99".parse().unwrap();
    assert_eq!(
        reasons(&|settings| settings.external = vec![other..=other]),
        [(LeftOut::Address, 4)]
    );
    assert_eq!(
        reasons(&|settings| settings.reserved_ports = vec![5003..=5004]),
        [(LeftOut::Port, 2)]
    );
    assert_eq!(
        reasons(&|settings| settings.ports = vec![5005..=6000]),
        [(LeftOut::Port, 3)]
    );
    assert_eq!(
        reasons(&|settings| settings.limits.mappings = 3),
        [(LeftOut::Limit, 1)]
    );
    assert_eq!(
        reasons(&|settings| settings.limits.sessions = 1),
        [(LeftOut::Limit, 3)]
    );
    assert_eq!(reasons(&|settings| settings.host_limits.sessions = 1), []);
    // Opening again is not opening: no rate counts.
    assert_eq!(
        reasons(&|settings| settings.limits.new_mappings_per_second = 1),
        []
    );
    let one_to_one = OneToOne {
        external: other..=other,
        inside: [10, 0, 0, 4].into(),
    };
    assert_eq!(
        reasons(&|settings| settings.one_to_one = vec![one_to_one.clone()]),
        [(LeftOut::Inside, 1)]
    );
    let dependent = |settings: &mut NatSettings| {
        settings.mapping = PerProtocol::all(MappingBehavior::AddressDependent);
        settings.filtering = PerProtocol::all(Filtering::AddressDependent);
    };
    assert_eq!(reasons(&dependent), [(LeftOut::Mapping, 4)]);
    let forward = Forward {
        protocol: Protocol::Udp,
        external: EXTERNAL,
        ports: 5002..=5002,
        inside: [10, 0, 0, 77].into(),
        inside_port: 1,
    };
    assert_eq!(
        reasons(&|settings| settings.forwards = vec![forward.clone()]),
        [(LeftOut::Port, 1)]
    );
}

/// 6888-8: a port that is held is held for what is left of its time.
#[test]
fn rfc_6888_8_a_port_is_held_across_a_restart() {
    let one_port = |settings: &mut NatSettings| settings.ports = vec![2000..=2000];
    let mut nat = NatBox::new(one_port);
    nat.open(Body::Udp, inside(2, 2000), at(SERVER));
    nat.wait(300);
    assert_eq!(nat.detail("/ports_held"), 1);
    nat.wait(20);
    let (mut nat, restored) = restart(&nat, 30, one_port);
    assert_eq!((restored.held_ports, nat.detail("/ports_held")), (1, 1.into()));
    nat.wait(69);
    let refused = nat.send(Body::Udp, inside(3, 2000), at(SERVER));
    assert_eq!(refused.dropped, [DropReason::NatPortsExhausted]);
    nat.wait(1);
    nat.open(Body::Udp, inside(3, 2000), at(SERVER));
}

/// 4787-2: a host keeps its address, and what counts for its limits.
#[test]
fn hosts_have_their_address_and_counts_again() {
    let settings = |settings: &mut NatSettings| {
        settings.external = vec![EXTERNAL..="192.0.2.14".parse().unwrap()];
        settings.host_limits.mappings = 3;
        settings.pooling = Pooling::Paired { soft: false };
    };
    let mut nat = NatBox::new(settings);
    let addresses: Vec<_> = (2..40)
        .map(|host| *nat.open(Body::Udp, inside(host, 5000), at(SERVER)).ip())
        .collect();
    let (mut nat, restored) = restart(&nat, 1, settings);
    assert_eq!(restored.mappings, 38);
    for (host, address) in (2..40).zip(addresses) {
        for port in [6000, 7000] {
            assert_eq!(*nat.open(Body::Udp, inside(host, port), at(SERVER)).ip(), address);
        }
        let refused = nat.send(Body::Udp, inside(host, 8000), at(SERVER));
        assert_eq!(refused.dropped, [DropReason::NatHostMappingLimit]);
    }
}

/// 6888-14: a block is its host's as before, and nobody else's.
#[test]
fn hosts_have_their_blocks_again() {
    let settings = |settings: &mut NatSettings| {
        settings.ports = vec![2000..=2063];
        settings.blocks = Some(PortBlocks {
            size: 32,
            most: 1,
            ..PortBlocks::default()
        });
    };
    let mut nat = NatBox::new(settings);
    for host in [2, 3] {
        nat.open(Body::Udp, inside(host, 1), at(SERVER));
    }
    let (mut nat, restored) = restart(&nat, 1, settings);
    assert_eq!((restored.mappings, left_out(&restored)), (2, vec![]));
    let mut ports = Vec::new();
    for port in 2..33 {
        ports.push(nat.open(Body::Udp, inside(2, port), at(SERVER)).port());
    }
    assert!(ports.iter().max().unwrap() - ports.iter().min().unwrap() < 32);
    let refused = nat.send(Body::Udp, inside(2, 99), at(SERVER));
    assert_eq!(refused.dropped, [DropReason::NatHostBlockLimit]);
    let refused = nat.send(Body::Udp, inside(4, 99), at(SERVER));
    assert_eq!(refused.dropped, [DropReason::NatPortsExhausted]);
}

#[test]
fn a_file_that_is_not_right_is_refused_with_its_reason() {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, inside(2, 5000), at(SERVER));
    let file = saved(&nat, 1000);
    let refused = |file: &[u8]| Saved::read(file, "nat").unwrap_err();
    assert_eq!(refused(b""), StateError::Foreign);
    assert_eq!(refused(b"[control]\nsocket = 1\n"), StateError::Foreign);
    assert_eq!(refused(&file[..10]), StateError::Truncated(10));
    assert_eq!(refused(&file[..20]), StateError::Truncated(20));
    for length in 24..file.len() {
        assert!(
            matches!(refused(&file[..length]), StateError::Checksum { .. }),
            "{length}"
        );
    }
    let other = Saved::read(&file, "dmz").unwrap_err();
    assert_eq!(
        other,
        StateError::Channel {
            found: "nat".to_owned()
        }
    );
    let mut newer = file.clone();
    newer[8] += 1;
    assert_eq!(refused(&newer), StateError::Version { found: VERSION + 1 });
    for place in 12..file.len() {
        let mut damaged = file.clone();
        damaged[place] ^= 0x10;
        assert!(
            matches!(refused(&damaged), StateError::Checksum { .. }),
            "{place}"
        );
    }
    // Whole, but not what this program writes.
    let body = file.len() - 12;
    let with = |body: &[u8], count: u64| {
        let mut file = [body, &count.to_le_bytes()].concat();
        file.extend(crc32fast::hash(&file).to_le_bytes());
        file
    };
    assert_eq!(
        refused(&with(&file[..body], 2)),
        StateError::Record { number: 2, count: 2 }
    );
    let longer = [&file[..body], b"abc"].concat();
    assert_eq!(refused(&with(&longer, 1)), StateError::Excess(3));
    assert_eq!(refused(&with(&file[..14], 0)), StateError::Header);
    let many = with(&file[..body], u64::MAX);
    assert!(matches!(refused(&many), StateError::Record { number: 2, .. }));
}

/// The format does not change unless its version does.
#[test]
fn the_format_is_what_the_documentation_says() {
    let mut nat = NatBox::plain();
    nat.open(Body::Tcp(SYN), inside(2, 5000), at(SERVER));
    nat.leap(Duration::from_millis(1500));
    let file = saved(&nat, 1000);
    let expected = [
        &b"\x7fncnat\r\n"[..],
        &[1, 0, 0, 0],
        b"\x03nat",
        // 1,700,000,000,000 ms.
        &[0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31],
        &[0, 0, 0, 0, 0, 0],
        // A session: TCP, filtering, opened from inside, the first state.
        &[0, 0, 1, 0, 0, 1, 0],
        &[10, 0, 0, 2, 0x88, 0x27],
        &[192, 0, 2, 7, 0x88, 0x27],
        &[8, 8, 8, 8, 53],
        &[1, 192, 0, 2, 7],
        // 1500 ms, twice.
        &[0xdc, 0x0b, 0xdc, 0x0b],
        &[1, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let (content, checksum) = file.split_at(file.len() - 4);
    assert_eq!(content, expected);
    assert_eq!(checksum, crc32fast::hash(&expected).to_le_bytes());
}

/// A step of a random run: who sends what to whom, after a while.
#[derive(Clone, Debug)]
struct Step {
    milliseconds: u64,
    outbound: bool,
    body: Body,
    host: u8,
    server: u8,
    port: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![
        Just(Body::Udp),
        Just(Body::Query(8)),
        prop_oneof![Just(SYN), Just(SYN | ACK), Just(ACK), Just(FIN | ACK), Just(RST)].prop_map(Body::Tcp),
    ];
    let time = prop_oneof![3 => 0u64..50, 1 => 0u64..400_000];
    (time, any::<bool>(), body, 2u8..5, 1u8..4, 0u8..2).prop_map(
        |(milliseconds, outbound, body, host, server, port)| Step {
            milliseconds,
            outbound,
            body,
            host,
            server,
            port,
        },
    )
}

/// A time in milliseconds, of which all is left but what is less than `precision`.
fn rounded(milliseconds: u64, precision: u64) -> Duration {
    Duration::from_millis(milliseconds - milliseconds % precision)
}

/// What becomes of a step: where packets come from and go to, and why none does.
type Outcome = (Vec<(SocketAddrV4, SocketAddrV4)>, Vec<DropReason>);

fn take(nat: &mut NatBox, step: &Step, precision: u64) -> Outcome {
    nat.leap(rounded(step.milliseconds, precision));
    // What has ended is gone: how much of it each packet clears away is not to be the same.
    nat.test.dispatcher.tick(nat.test.now);
    // All ports differ, so that each can be kept.
    let own = inside(step.host, 5000 + u16::from(step.host) * 2 + u16::from(step.port));
    let is_query = matches!(step.body, Body::Query(_));
    let port = if is_query { 0 } else { 50 + u16::from(step.port) };
    let server = SocketAddrV4::new([8, 8, 8, step.server].into(), port);
    let seen = if step.outbound {
        nat.send(step.body, own, server)
    } else {
        let body = if is_query { Body::Query(0) } else { step.body };
        nat.reply(body, server, SocketAddrV4::new(EXTERNAL, own.port()))
    };
    let ends = seen.lan.iter().chain(&seen.wan).map(|frame| ends(frame));
    (ends.collect(), seen.dropped)
}

fn listed(nat: &NatBox) -> Vec<String> {
    let mut list: Vec<String> = nat.mappings().iter().map(ToString::to_string).collect();
    list.sort_unstable();
    list
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever came before and comes after: a translator that was saved and taken up again decides as one that never stopped.
    #[test]
    fn a_restart_changes_no_decision(
        before in proptest::collection::vec(step(), 0..60),
        after in proptest::collection::vec(step(), 1..60),
        stopped in 0u64..100_000,
        places in 1usize..20,
        filtering in prop_oneof![
            Just(Filtering::EndpointIndependent),
            Just(Filtering::AddressDependent),
            Just(Filtering::AddressAndPortDependent),
        ],
        refresh_inbound in any::<bool>(),
        most in prop_oneof![Just(3), Just(1000)],
    ) {
        let settings = |settings: &mut NatSettings| {
            settings.filtering = PerProtocol::all(filtering);
            settings.refresh_inbound = refresh_inbound;
            settings.host_limits.sessions = most;
            settings.hold.count = 0;
            // What waits for its answer is forgotten.
            settings.answer_unsolicited = false;
        };
        // What has ended still counts against a limit until the second is over, but does not if it ended during the stop.
        let precision = if most == 3 { 1000 } else { 1 };
        let mut first = NatBox::new(settings);
        for step in &before {
            take(&mut first, step, precision);
        }
        let stopped = rounded(stopped, precision);
        let file = saved(&first, places);
        let (mut second, restored) = restarted(&file, &first, stopped, settings);
        first.leap(stopped);
        let late = restored.left_out.get(&LeftOut::Timeout).copied().unwrap_or(0);
        prop_assert_eq!(restored.left_out.values().sum::<u64>(), late, "{}", restored);
        prop_assert_eq!(listed(&first), listed(&second));
        for step in &after {
            prop_assert_eq!(take(&mut first, step, precision), take(&mut second, step, precision), "{:?}", step);
        }
        prop_assert_eq!(listed(&first), listed(&second));
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Saved::read(&bytes, "nat");
        let file = [&b"\x7fncnat\r\n\x01\0\0\0\x03nat"[..], &bytes].concat();
        let _ = Saved::read(&file, "nat");
        let checked = [&file[..], &crc32fast::hash(&file).to_le_bytes()].concat();
        let _ = Saved::read(&checked, "nat");
    }
}
