//! `netchannel show`: what it says agrees with what was sent.

use std::collections::HashSet;
use std::net::SocketAddr;

use netchannel::control::report::{CopyMode, LinkState, XdpMode};
use netchannel_benches::topology::{Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{Site, exchange_udp};

const SOCKETS: usize = 10;
const ROUNDS: usize = 5;
const DATAGRAMS: u64 = (SOCKETS * ROUNDS) as u64;

/// A site with known traffic behind it, and what the server saw of it.
fn after_known_traffic() -> (Site, HashSet<SocketAddr>) {
    let site = Site::with(&Options::default());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let outcome = exchange_udp(&site.lab, echo.address(), SOCKETS, ROUNDS);
    assert!(outcome.intact(), "{outcome:?}");
    (site, echo.peers())
}

#[test]
fn counters_agree_with_the_traffic() {
    let (site, _) = after_known_traffic();
    let drops = site.drops();
    assert_eq!(
        (drops.received, drops.transmitted),
        (2 * DATAGRAMS, 2 * DATAGRAMS),
        "{drops:?}"
    );
    assert_eq!(
        (drops.passed, drops.dropped(), drops.held, drops.originated),
        (0, 0, 0, 0),
        "{drops:?}"
    );

    let ports = site.ports();
    assert_eq!(ports.ports.len(), 2);
    for (port, name) in ports.ports.iter().zip(["lan", "wan"]) {
        assert_eq!((port.interface.as_str(), port.device.as_str()), (name, name));
        assert_eq!(port.link, LinkState::Up);
        assert_eq!(port.driver.as_deref(), Some("veth"));
        assert_eq!((port.xdp_mode, port.copy_mode), (XdpMode::Native, CopyMode::Copy));
        assert_eq!((port.queues, port.dropped, port.vlan), (1, 0, None));
        assert_eq!(port.received.packets, DATAGRAMS, "{name}");
        assert_eq!(port.transmitted.packets, DATAGRAMS, "{name}");
        assert_eq!(
            port.received.bytes, port.transmitted.bytes,
            "what is echoed is as long as what was sent"
        );
        assert!(
            port.received.bytes > DATAGRAMS * 42,
            "Ethernet, IPv4 and UDP headers"
        );
    }
    assert_eq!(site.verdict("redirected"), 2 * DATAGRAMS);

    let channel = site.channel("internet");
    assert_eq!((channel.kind.as_str(), channel.packets), ("nat", 2 * DATAGRAMS));
    assert_eq!(channel.flows, 2 * SOCKETS as u64, "two directions of each");
    let bytes: u64 = ports.ports.iter().map(|port| port.received.bytes).sum();
    assert_eq!(channel.bytes, bytes);
    assert_eq!(channel.details["mappings"]["udp"], SOCKETS);
    assert_eq!(channel.details["external"][0], "198.51.100.1");
    for other in ["drop", "pass"] {
        assert_eq!(site.channel(other).packets, 0, "{other}");
    }
    site.finish();
}

#[test]
fn mappings_are_those_that_the_server_sees() {
    let (site, peers) = after_known_traffic();
    let mappings = site.mappings();
    assert_eq!(mappings.len(), SOCKETS);
    assert_eq!(site.external("udp"), peers);
    for mapping in &mappings {
        assert_eq!(
            (mapping.channel.as_str(), mapping.protocol.as_str()),
            ("internet", "udp")
        );
        assert!(mapping.inside.starts_with("10.77.0.2:"), "{mapping:?}");
        assert_eq!((mapping.sessions, &mapping.state), (1, &None), "{mapping:?}");
        assert!(mapping.idle_seconds <= mapping.age_seconds, "{mapping:?}");
        assert!((200..=300).contains(&mapping.expires_in_seconds), "{mapping:?}");
    }
    let inside: HashSet<&str> = mappings.iter().map(|mapping| mapping.inside.as_str()).collect();
    assert_eq!(inside.len(), SOCKETS);
    site.finish();
}

/// The words of a table's line that starts with `first`.
fn line<'t>(text: &'t str, first: &str) -> Vec<&'t str> {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_else(|| panic!("no {first} in\n{text}"))
        .split_whitespace()
        .collect()
}

#[test]
fn tables_for_people_say_the_same() {
    let (site, _) = after_known_traffic();
    let show = |what: &str| site.daemon.show_text(what).expect("the daemon answers");

    let ports = show("ports");
    let lan = line(&ports, "lan");
    assert_eq!(
        lan[..9],
        ["lan", "lan", "-", "up", "veth", "native", "copy", "1", "50"],
        "{ports}"
    );
    assert_eq!(line(&ports, "redirected"), ["redirected", "100"]);

    let channels = show("channels");
    assert_eq!(
        line(&channels, "internet")[..3],
        ["internet", "nat", "100"],
        "{channels}"
    );

    let mappings = show("mappings");
    assert!(mappings.ends_with("\n10 mappings\n"), "{mappings}");
    for mapping in site.mappings() {
        let found = mappings
            .lines()
            .any(|line| line.contains(&mapping.inside) && line.contains(&mapping.external));
        assert!(found, "no {mapping:?} in\n{mappings}");
    }

    let drops = show("drops");
    assert_eq!(line(&drops, "received"), ["received", "100"]);
    assert_eq!(line(&drops, "transmitted"), ["transmitted", "100"]);
    assert!(drops.ends_with("\nno drops\n"), "{drops}");
    site.finish();
}

/// More mappings than one answer holds.
#[test]
fn long_listings_are_whole() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    for _ in 0..15 {
        let outcome = exchange_udp(&site.lab, echo.address(), 100, 1);
        assert!(outcome.intact(), "{outcome:?}");
    }
    let peers = echo.peers();
    assert_eq!(site.external("udp"), peers);
    assert_eq!(site.channel("internet").details["mappings"]["udp"], peers.len());
    site.finish();
}
