//! A translator whose external address is that of an interface, which changes while the daemon runs.

use std::net::{Ipv4Addr, SocketAddrV4};

use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, Options, SERVER};
use netchannel_benches::traffic::probe::{Answer, Probe, UNREACHABLE, probe};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{
    ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, check_traffic, eventually, exchange_udp, lab, reaches,
};

/// An address that the box gets later.
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const ADMINISTRATIVELY_PROHIBITED: u8 = 13;

/// Takes the outside address away. The server's network stays on the link, and its Ethernet address known.
fn take_address_away(site: &Site) {
    let middle = &site.lab.middle;
    let link = site.lab.server.ip("-br link show dev eth0").expect("a link");
    let mac = link.split_whitespace().nth(2).expect("an address").to_owned();
    middle.ip("addr flush dev wan").expect("no addresses");
    middle
        .ip("route replace 198.51.100.0/24 dev wan")
        .expect("a route");
    let neighbour = format!("neigh replace {SERVER} lladdr {mac} dev wan nud permanent");
    middle.ip(&neighbour).expect("a neighbour");
}

fn give_address(site: &Site, address: Ipv4Addr) {
    let middle = &site.lab.middle;
    middle
        .ip(&format!("addr add {address}/24 dev wan"))
        .expect("an address");
    middle
        .ip(&format!("route replace default via {SERVER}"))
        .expect("a route");
}

/// What an inside host hears that sends something to the server.
fn ask(site: &Site) -> Answer {
    let what = Probe {
        timeout: ON_ITS_WAY,
        ..Probe::to(SocketAddrV4::new(SERVER, 9))
    };
    site.lab.inside.run(|| probe(&what)).expect("a socket")
}

fn check_is_told(site: &Site) {
    let before = site.dropped("nat-no-external-address");
    let expected = Answer::Icmp {
        from: BOX_INSIDE,
        kind: UNREACHABLE,
        code: ADMINISTRATIVELY_PROHIBITED,
        mtu: 0,
    };
    eventually("a refusal", || ask(site) == expected);
    assert!(site.dropped("nat-no-external-address") > before);
}

/// Checks that what comes from inside has this address at the server, and that it has no mappings with another one.
fn check_address(site: &Site, address: Ipv4Addr) {
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    assert!(exchange_udp(&site.lab, echo.address(), 5, 2).intact());
    assert!(
        echo.peers().iter().all(|peer| peer.ip() == address),
        "{:?}",
        echo.peers()
    );
    let external = site.external("udp");
    assert!(
        external.iter().all(|endpoint| endpoint.ip() == address),
        "{external:?}"
    );
}

#[test]
fn another_address_ends_the_mappings_of_the_first_and_is_translated_to() {
    let site = Site::new();
    check_traffic(&site.lab);
    check_address(&site, BOX_OUTSIDE);
    // A second one changes nothing.
    site.lab
        .middle
        .ip(&format!("addr add {OTHER}/32 dev wan"))
        .expect("an address");
    check_address(&site, BOX_OUTSIDE);
    site.lab
        .middle
        .ip(&format!("addr del {BOX_OUTSIDE}/24 dev wan"))
        .expect("one less");
    eventually("no mappings of the first", || site.mappings().is_empty());
    site.lab
        .middle
        .ip("route replace 198.51.100.0/24 dev wan")
        .and_then(|_| site.lab.middle.ip(&format!("route replace default via {SERVER}")))
        .expect("routes");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    check_address(&site, OTHER);
    // The box answers for itself at both.
    assert!(reaches(&site.lab.server, OTHER));
    site.finish();
}

#[test]
fn without_an_address_packets_are_refused_until_there_is_one() {
    let site = Site::new();
    check_traffic(&site.lab);
    take_address_away(&site);
    eventually("no mappings", || site.mappings().is_empty());
    check_is_told(&site);
    let log = site.daemon.log();
    let said = format!("channel internet: wan lost {BOX_OUTSIDE}, and the mappings of it ended");
    assert!(log.contains(&said), "{log}");
    give_address(&site, OTHER);
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    check_address(&site, OTHER);
    // And the first one again.
    take_address_away(&site);
    eventually("no mappings", || site.mappings().is_empty());
    give_address(&site, BOX_OUTSIDE);
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_address(&site, BOX_OUTSIDE);
    site.finish();
}

#[test]
fn it_starts_without_an_address() {
    let lab = lab(&Options::default());
    lab.middle.ip("addr flush dev wan").expect("no addresses");
    let site = Site::on(lab, &[TRANSLATOR, TRANSLATE_ALL].concat());
    let log = site.daemon.log();
    assert!(
        log.contains("the address of wan, which has no IPv4 address"),
        "{log}"
    );
    take_address_away(&site);
    check_is_told(&site);
    give_address(&site, OTHER);
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    check_address(&site, OTHER);
    site.finish();
}

/// Forwarded ports are at the interface's address, whatever it is.
#[test]
fn forwarded_ports_follow() {
    let forward = r#"
[[channel.forward]]
protocol = "udp"
ports = 8053
to = "10.77.0.2"
to_port = 53
"#;
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, forward, TRANSLATE_ALL].concat(),
    );
    let inside = (netchannel_benches::topology::INSIDE, 53).into();
    let _echo = EchoServer::start(&site.lab.inside, inside).expect("port 53");
    let answers = |address| {
        let what = Probe {
            payload: 32,
            timeout: std::time::Duration::from_secs(1),
            ..Probe::to(SocketAddrV4::new(address, 8053))
        };
        let answer = site.lab.server.run(|| probe(&what)).expect("a socket");
        matches!(answer, Answer::Datagram(_))
    };
    eventually("an answer", || answers(BOX_OUTSIDE));
    take_address_away(&site);
    eventually("no mappings", || site.mappings().is_empty());
    give_address(&site, OTHER);
    eventually("an answer", || answers(OTHER));
    site.finish();
}
