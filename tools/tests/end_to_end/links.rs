//! Interfaces that go down and come back while the daemon runs.

use std::net::SocketAddrV4;

use netchannel::control::report::LinkState;
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
