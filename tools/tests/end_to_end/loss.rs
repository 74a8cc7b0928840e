//! Interfaces that are renamed, or removed and come back, while the daemon runs.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netchannel::control::report::LinkState;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, SERVER};
use netchannel_benches::traffic::probe::{Answer, Probe, UNREACHABLE, probe};

use crate::site::{ON_ITS_WAY, Site, check_echo, check_traffic, eventually, has_program, reaches};

/// Another outside address than the first one.
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn is_removed(site: &Site, interface: &str) -> bool {
    site.port(interface).link == LinkState::Removed
}

#[test]
fn the_inside_interface_goes_and_comes_back() {
    let site = Site::new();
    check_traffic(&site.lab);
    let before = site.port("lan").received.packets;
    for _ in 0..2 {
        site.lab.middle.ip("link del lan").expect("removed");
        eventually("the removal", || is_removed(&site, "lan"));
        // The other side is served on.
        check_echo(&site.lab.server, BOX_OUTSIDE);
        assert!(has_program(&site.lab, "wan"));
        site.lab.restore_inside(1).expect("a link");
        eventually("traffic", || reaches(&site.lab.inside, SERVER));
        assert_eq!(site.port("lan").link, LinkState::Up);
        assert!(has_program(&site.lab, "lan"));
        check_traffic(&site.lab);
    }
    assert!(site.port("lan").received.packets > before, "counters go on");
    let log = site.daemon.log();
    assert!(
        log.contains("lan is gone: what would leave by it is dropped"),
        "{log}"
    );
    assert!(
        log.contains("lan: driver veth") && log.contains("it is back"),
        "{log}"
    );
    site.finish();
}

#[test]
fn the_outside_interface_goes_and_comes_back_with_another_address() {
    let site = Site::new();
    check_traffic(&site.lab);
    site.lab.middle.ip("link del wan").expect("removed");
    eventually("the removal", || {
        is_removed(&site, "wan") && site.mappings().is_empty()
    });
    let what = Probe {
        timeout: ON_ITS_WAY,
        ..Probe::to(SocketAddrV4::new(SERVER, 9))
    };
    let answer = site.lab.inside.run(|| probe(&what)).expect("a socket");
    let unreachable = Answer::Icmp {
        from: BOX_INSIDE,
        kind: UNREACHABLE,
        code: 0,
        mtu: 0,
    };
    assert_eq!(answer, unreachable);
    assert!(site.dropped("no-route") >= 1);
    site.lab.restore_outside(OTHER).expect("a link");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    assert!(site.external("udp").iter().all(|endpoint| endpoint.ip() == OTHER));
    site.finish();
}

/// With the first socket the kernel's hold on the packet memory is gone too.
#[test]
fn all_interfaces_go_and_come_back_one_after_the_other() {
    let mut site = Site::new();
    check_traffic(&site.lab);
    for interface in ["lan", "wan"] {
        site.lab
            .middle
            .ip(&format!("link del {interface}"))
            .expect("removed");
    }
    eventually("the removals", || {
        is_removed(&site, "lan") && is_removed(&site, "wan")
    });
    site.lab.restore_outside(OTHER).expect("a link");
    eventually("the way out", || {
        site.port("wan").link == LinkState::Up && has_program(&site.lab, "wan")
    });
    assert!(is_removed(&site, "lan"));
    site.lab.restore_inside(1).expect("a link");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    assert!(site.daemon.process().ended().expect("a child").is_none());
    site.finish();
}

/// What comes back is not taken by force.
#[test]
fn an_interface_that_comes_back_too_large_is_told_and_taken_when_it_fits() {
    let site = Site::new();
    site.lab.middle.ip("link del lan").expect("removed");
    eventually("the removal", || is_removed(&site, "lan"));
    site.lab
        .middle
        .ip("link add lan mtu 9000 type veth peer name other")
        .expect("a link");
    eventually("a complaint", || {
        site.daemon
            .log()
            .contains("interface `lan` has an MTU of 9000 bytes")
    });
    site.lab.middle.ip("link del lan").expect("removed");
    site.lab.restore_inside(1).expect("a link");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn a_renamed_interface_is_the_same() {
    let mut site = Site::new();
    check_traffic(&site.lab);
    for (from, to) in [("lan", "renamed-lan"), ("wan", "renamed-wan")] {
        let middle = &site.lab.middle;
        middle.ip(&format!("link set {from} down")).expect("down");
        middle.ip(&format!("link set {from} name {to}")).expect("a name");
        middle.ip(&format!("link set {to} up")).expect("up");
    }
    site.lab
        .middle
        .ip(&format!("route replace default via {SERVER}"))
        .expect("a route");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    for interface in ["lan", "wan"] {
        assert_eq!(site.port(interface).link, LinkState::Up);
    }
    let log = site.daemon.log();
    assert!(
        log.contains("lan is now named renamed-lan; here it goes on as lan"),
        "{log}"
    );
    // It is known by its number: another one with its old name is another one.
    site.lab
        .middle
        .ip("link add lan type veth peer name other")
        .expect("a link");
    let other = |site: &Site| {
        site.lab
            .middle
            .ip(&format!("addr add {OTHER}/32 dev renamed-wan"))
    };
    other(&site).expect("an address");
    site.lab
        .middle
        .ip(&format!("addr del {BOX_OUTSIDE}/24 dev renamed-wan"))
        .expect("one less");
    eventually("no mappings", || site.mappings().is_empty());
    site.lab
        .middle
        .ip("route replace 198.51.100.0/24 dev renamed-wan")
        .expect("a route");
    site.lab
        .middle
        .ip(&format!("route replace default via {SERVER}"))
        .expect("a route");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    assert!(!has_program(&site.lab, "lan"));
    site.lab.middle.ip("link del lan").expect("removed");
    let process = site.daemon.process();
    process
        .signal(nix::sys::signal::Signal::SIGTERM)
        .expect("it runs");
    let status = process.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", site.daemon.log());
    eventually("the XDP program is gone", || {
        !has_program(&site.lab, "renamed-lan")
    });
}

/// Packets that were on their way, and those of the other interface, are not answered by the kernel while sockets are opened anew: streams
/// between inside hosts and the box's translator go on.
#[test]
fn connections_live_through_the_return_of_an_interface_that_is_not_theirs() {
    use netchannel_benches::traffic::stream::{Sink, throughput};
    let third = r#"
[[interface]]
name = "third"
role = "inside"
prefixes = "10.99.0.0/24"
"#;
    let lab = crate::site::lab(&Default::default());
    let add = || {
        lab.middle
            .ip("link add third type veth peer name other")
            .expect("a link");
        for link in ["third", "other"] {
            lab.middle.ip(&format!("link set {link} up")).expect("up");
        }
    };
    add();
    let configuration = [crate::site::TRANSLATOR, third, crate::site::TRANSLATE_ALL].concat();
    let launch = crate::site::launch(&configuration);
    let daemon = netchannel_benches::daemon::Daemon::start(&lab.middle, &launch).expect("it gets ready");
    let sink = Sink::start(&lab.server, (SERVER, 0).into()).expect("a port");
    std::thread::scope(|scope| {
        let streams = scope.spawn(|| lab.inside.run(|| throughput(&sink, 2, Duration::from_secs(4))));
        eventually("bytes", || sink.bytes() > 1_000_000);
        lab.middle.ip("link del third").expect("removed");
        eventually("the removal", || daemon.log().contains("third is gone"));
        add();
        eventually("the return", || daemon.log().contains("it is back"));
        let before = sink.bytes();
        eventually("more bytes", || sink.bytes() > before + 100_000);
        streams.join().expect("no panic").expect("the connections live");
    });
    Site { daemon, lab }.finish();
}
