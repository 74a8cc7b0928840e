//! Next hops whose Ethernet addresses change, are not known yet, or do not exist.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use netchannel_benches::topology::{BOX_INSIDE, INSIDE, SERVER};
use netchannel_benches::traffic::probe::{Answer, Probe, UNREACHABLE, probe};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{ON_ITS_WAY, Site, at, check_traffic, eventually, reaches};

#[test]
fn a_server_that_announces_a_new_address_is_followed() {
    let site = Site::new();
    check_traffic(&site.lab);
    site.lab
        .server
        .set_parameter("ipv4/conf/eth0/arp_notify", "1")
        .expect("a parameter");
    site.lab
        .server
        .ip("link set eth0 address 02:00:00:00:77:01")
        .expect("an address");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn a_new_address_is_followed_once_the_kernel_knows_it() {
    let site = Site::new();
    check_traffic(&site.lab);
    for (namespace, address) in [
        (&site.lab.server, "02:00:00:00:77:02"),
        (&site.lab.inside, "02:00:00:00:77:03"),
    ] {
        namespace
            .ip(&format!("link set eth0 address {address}"))
            .expect("an address");
        site.lab.middle.ip("neigh flush all").expect("flushed");
        eventually("traffic", || reaches(&site.lab.inside, SERVER));
        check_traffic(&site.lab);
    }
    site.finish();
}

#[test]
fn the_boxs_own_new_address_is_followed() {
    let site = Site::new();
    check_traffic(&site.lab);
    for (interface, address) in [("lan", "02:00:00:00:77:04"), ("wan", "02:00:00:00:77:05")] {
        site.lab
            .middle
            .ip(&format!("link set {interface} address {address}"))
            .expect("an address");
        site.lab.inside.ip("neigh flush all").expect("flushed");
        site.lab.server.ip("neigh flush all").expect("flushed");
        eventually("traffic", || reaches(&site.lab.inside, SERVER));
        check_traffic(&site.lab);
    }
    site.finish();
}

#[test]
fn first_packets_wait_for_an_address_and_arrive() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for _ in 0..3 {
        site.lab.middle.ip("neigh flush all").expect("flushed");
        // Sent once each. Their answers wait for the inside host's address.
        let sockets: Vec<UdpSocket> = at(&site.lab.inside, || {
            (0..10)
                .map(|_| UdpSocket::bind((INSIDE, 0)).expect("a port"))
                .collect()
        });
        for socket in &sockets {
            socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
            socket.send_to(b"the first", echo.address()).expect("sent");
        }
        for socket in &sockets {
            assert_eq!(socket.recv(&mut [0; 100]).expect("it waited and arrived"), 9);
        }
    }
    assert_eq!(site.drops().dropped(), 0, "{:?}", site.drops());
    site.finish();
}

#[test]
fn a_host_that_does_not_exist_is_unreachable() {
    let site = Site::new();
    let nobody = Probe {
        // The kernel asks three times, a second apart.
        timeout: Duration::from_secs(15),
        ..Probe::to(SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 77), 9))
    };
    let answer = site.lab.inside.run(|| probe(&nobody)).expect("a socket");
    let expected = Answer::Icmp {
        from: BOX_INSIDE,
        kind: UNREACHABLE,
        code: 1,
        mtu: 0,
    };
    assert_eq!(answer, expected);
    site.wait_for_drops("neighbour-unresolved", 1);
    check_traffic(&site.lab);
    site.finish();
}
