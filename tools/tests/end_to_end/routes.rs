//! Routes that change while the daemon runs.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use netchannel_benches::topology::{BOX_INSIDE, FAR, Options, SERVER};
use netchannel_benches::traffic::probe::{Answer, FRAGMENTATION_NEEDED, Probe, UNREACHABLE, probe};
use netchannel_benches::traffic::raw::RawSocket;
use netchannel_benches::traffic::udp::EchoServer;

use crate::frames::read_udp;
use crate::site::{ON_ITS_WAY, Site, at, check_traffic, eventually};

const FAR_NETWORK: &str = "203.0.113.0/24";

fn with_far() -> (Site, EchoServer) {
    let site = Site::with(&Options {
        far_mtu: Some(1500),
        ..Options::default()
    });
    let far = site.lab.far.as_ref().expect("it was asked for");
    let echo = EchoServer::start(far, (FAR, 7).into()).expect("port 7");
    (site, echo)
}

/// What a probe to the far host's echo service gets back.
fn ask(site: &Site, payload: usize, timeout: Duration) -> Answer {
    let what = Probe {
        payload,
        dont_fragment: true,
        timeout,
        ..Probe::to(SocketAddrV4::new(FAR, 7))
    };
    site.lab.inside.run(|| probe(&what)).expect("a socket")
}

fn far_answers(site: &Site) -> bool {
    matches!(ask(site, 32, Duration::from_secs(1)), Answer::Datagram(_))
}

fn unreachable(code: u8, mtu: u32) -> Answer {
    Answer::Icmp {
        from: BOX_INSIDE,
        kind: UNREACHABLE,
        code,
        mtu,
    }
}

/// RFC 1812 section 5.2.7.1 and what Linux does: silence, host unreachable, administratively prohibited.
#[test]
fn routes_that_lead_nowhere_are_answered_by_their_kind() {
    let (site, _echo) = with_far();
    assert!(far_answers(&site));
    for (kind, reason, answer) in [
        ("blackhole", "route-blackhole", None),
        ("unreachable", "route-unreachable", Some(unreachable(1, 0))),
        ("prohibit", "route-prohibited", Some(unreachable(13, 0))),
    ] {
        site.lab
            .middle
            .ip(&format!("route add {kind} {FAR_NETWORK}"))
            .expect("a route");
        eventually(reason, || {
            let timeout = if answer.is_some() {
                ON_ITS_WAY
            } else {
                Duration::from_millis(100)
            };
            let found = ask(&site, 32, timeout);
            found == answer.clone().unwrap_or(Answer::Silence) && site.dropped(reason) > 0
        });
        site.lab
            .middle
            .ip(&format!("route del {kind} {FAR_NETWORK}"))
            .expect("no route");
        eventually("answers", || far_answers(&site));
    }
    site.finish();
}

#[test]
fn without_a_route_the_network_is_unreachable() {
    let (site, _echo) = with_far();
    assert!(far_answers(&site));
    site.lab.middle.ip("route del default").expect("no route");
    eventually("no route", || ask(&site, 32, ON_ITS_WAY) == unreachable(0, 0));
    check_traffic(&site.lab);
    site.lab
        .middle
        .ip(&format!("route add default via {SERVER}"))
        .expect("a route");
    eventually("answers", || far_answers(&site));
    assert!(site.dropped("no-route") > 0);
    site.finish();
}

#[test]
fn another_next_hop_is_followed_by_flows_under_way() {
    let (site, echo) = with_far();
    let socket = at(&site.lab.inside, || {
        std::net::UdpSocket::bind("0.0.0.0:0").expect("a port")
    });
    socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let mut buffer = [0; 100];
    let target: SocketAddr = echo.address();
    socket.send_to(b"by the server", target).expect("sent");
    assert_eq!(socket.recv(&mut buffer).expect("an answer"), 13);

    let wire = at(&site.lab.server, || {
        RawSocket::open("eth0").expect("a packet socket")
    });
    let other = Ipv4Addr::new(198, 51, 100, 9);
    let mac = [2, 0, 0, 0, 0, 9];
    let middle = &site.lab.middle;
    middle
        .ip(&format!("neigh add {other} lladdr 02:00:00:00:00:09 dev wan"))
        .expect("a neighbour");
    middle
        .ip(&format!("route add {FAR_NETWORK} via {other}"))
        .expect("a route");
    eventually("datagrams for the other router", || {
        socket.send_to(b"by the other", target).expect("sent");
        let for_other = |frame: &[u8]| read_udp(frame).filter(|_| frame.starts_with(&mac));
        let seen = wire
            .receive(Duration::from_millis(200), for_other)
            .expect("frames");
        seen.is_some_and(|datagram| datagram.payload == b"by the other")
    });
    middle.ip(&format!("route del {FAR_NETWORK}")).expect("no route");
    eventually("answers", || {
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a timeout");
        socket.send_to(b"by the server again", target).expect("sent");
        socket
            .recv(&mut buffer)
            .is_ok_and(|length| &buffer[..length] == b"by the server again")
    });
    let mappings = site.mappings();
    assert_eq!(mappings.len(), 1, "the mapping stays: {mappings:?}");
    site.finish();
}

#[test]
fn a_routes_mtu_counts() {
    let (site, _echo) = with_far();
    assert!(matches!(ask(&site, 1472, ON_ITS_WAY), Answer::Datagram(_)));
    site.lab
        .middle
        .ip(&format!("route add {FAR_NETWORK} via {SERVER} mtu lock 1300"))
        .expect("a route");
    let told = unreachable(FRAGMENTATION_NEEDED, 1300);
    eventually("fragmentation needed", || ask(&site, 1472, ON_ITS_WAY) == told);
    assert!(far_answers(&site));
    site.finish();
}
