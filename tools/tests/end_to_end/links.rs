//! Interfaces that go down, come back, and are removed while the daemon runs.

use std::net::SocketAddrV4;

use netchannel::control::report::LinkState;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::topology::{BOX_INSIDE, SERVER};
use netchannel_benches::traffic::probe::{Answer, Probe, UNREACHABLE, probe};

use crate::site::{ON_ITS_WAY, Site, check_traffic, eventually, reaches};

#[test]
fn traffic_goes_on_after_the_inside_link_was_down() {
    let site = Site::new();
    check_traffic(&site.lab);
    site.lab.middle.ip("link set lan down").expect("down");
    eventually("a link that is down", || site.port("lan").link == LinkState::Down);
    assert!(!reaches(&site.lab.inside, SERVER));
    site.lab.middle.ip("link set lan up").expect("up");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    assert_eq!(site.port("lan").link, LinkState::Up);
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn traffic_goes_on_after_the_outside_link_was_down() {
    let site = Site::new();
    check_traffic(&site.lab);
    site.lab.middle.ip("link set wan down").expect("down");
    eventually("a link that is down", || site.port("wan").link == LinkState::Down);
    assert!(!reaches(&site.lab.inside, SERVER));
    site.lab.middle.ip("link set wan up").expect("up");
    // It went with the link.
    site.lab
        .middle
        .ip(&format!("route add default via {SERVER}"))
        .expect("a route");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn a_link_without_carrier_is_told_to_the_sender() {
    let site = Site::new();
    check_traffic(&site.lab);
    site.lab.server.ip("link set eth0 down").expect("down");
    let unreachable = Probe {
        timeout: ON_ITS_WAY,
        ..Probe::to(SocketAddrV4::new(SERVER, 9))
    };
    eventually("a link that is down", || site.port("wan").link == LinkState::Down);
    let answer = site.lab.inside.run(|| probe(&unreachable)).expect("a socket");
    let expected = Answer::Icmp {
        from: BOX_INSIDE,
        kind: UNREACHABLE,
        code: 1,
        mtu: 0,
    };
    assert_eq!(answer, expected);
    assert!(site.dropped("interface-down") >= 1);
    site.lab.server.ip("link set eth0 up").expect("up");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn an_interface_that_is_removed_ends_the_daemon_with_its_name() {
    for interface in ["lan", "wan"] {
        let mut site = Site::new();
        check_traffic(&site.lab);
        site.lab
            .middle
            .ip(&format!("link del {interface}"))
            .expect("removed");
        let status = site.daemon.process().wait(PATIENCE).expect("it ends");
        let log = site.daemon.log();
        assert_eq!(status.code(), Some(1), "{log}");
        let said = format!("netchannel: interface `{interface}` was removed");
        assert!(log.lines().any(|line| line.starts_with(&said)), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        assert!(!site.daemon.socket().exists());
    }
}

/// Outside, the mappings are known by the address that the interface had at the start.
#[test]
fn an_external_address_that_goes_is_told() {
    let site = Site::new();
    check_traffic(&site.lab);
    let middle = &site.lab.middle;
    middle.ip("addr add 198.51.100.7/24 dev wan").expect("an address");
    middle
        .ip("addr del 198.51.100.1/24 dev wan")
        .expect("one address less");
    let said = "channel internet translates to 198.51.100.1, which wan does not have any more";
    eventually("a warning", || site.daemon.log().contains(said));
    site.finish();
}
