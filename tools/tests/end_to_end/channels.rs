//! The channels `drop`, `pass` and `forward`, chosen by rules.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use netchannel_benches::topology::{
    BOX_INSIDE, BOX_OUTSIDE, BOX_OUTSIDE_V6, INSIDE, INSIDE_V6, Options, SERVER, SERVER_V6,
};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::http::{HttpServer, Method, parallel};
use netchannel_benches::traffic::probe::{Answer, Hop, Probe, UNREACHABLE, probe, traceroute};
use netchannel_benches::traffic::udp::{EchoServer, echo_many};

use crate::site::{
    ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_echo, check_tcp, check_traffic, eventually,
    exchange_udp, lab, let_the_kernel_forward, let_the_server_answer_inside,
};

/// Who the server sees.
fn seen(echo: &EchoServer) -> Vec<IpAddr> {
    let addresses: BTreeSet<IpAddr> = echo.peers().iter().map(SocketAddr::ip).collect();
    addresses.into_iter().collect()
}

/// A rule before those of no priority.
fn first_rule(matches: &str, channel: &str) -> String {
    format!("[[rule]]\npriority = 10\n{matches}\nchannel = \"{channel}\"\n")
}

#[test]
fn what_a_rule_drops_does_not_cross() {
    let rule = first_rule("protocol = \"udp\"\ndestination_ports = \"9000-9999\"", "drop");
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, TRANSLATE_ALL, &rule].concat(),
    );
    let [below, forbidden, above] = [8999, 9500, 10_000]
        .map(|port| EchoServer::start(&site.lab.server, (SERVER, port).into()).expect("a port"));
    let socket = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    for _ in 0..5 {
        socket.send_to(b"forbidden", forbidden.address()).expect("sent");
    }
    for allowed in [&below, &above] {
        assert!(exchange_udp(&site.lab, allowed.address(), 5, 2).intact());
    }
    assert_eq!(seen(&forbidden), [] as [IpAddr; 0]);
    assert_eq!(site.dropped("rule"), 5);
    let channel = site.channel("drop");
    assert_eq!((channel.packets, channel.flows), (5, 1));
    check_traffic(&site.lab);
    site.finish();
}

/// A rule that names no addresses says nothing of answers, which come to ports drawn by lot.
#[test]
fn rules_without_addresses_let_answers_in() {
    let last = "[[rule]]\npriority = 1000\nchannel = \"drop\"\n";
    let ports = "protocol = [\"udp\", \"tcp\"]\ndestination_ports = \"1024-32767\"";
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, TRANSLATE_ALL, last, &first_rule(ports, "drop")].concat(),
    );
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let outcome = exchange_udp(&site.lab, echo.address(), 10, 3);
    assert!(outcome.intact(), "{outcome:?}");
    check_traffic(&site.lab);
    check_echo(&site.lab.inside, SERVER);
    site.finish();
}

/// Each answers to its own ports.
#[test]
fn two_translators_share_an_address() {
    let first = TRANSLATOR.replace("external = \"wan\"", "external = \"wan\"\nports = \"1024-9999\"");
    let second = "[[channel]]\nname = \"guests\"\ntype = \"nat\"\nexternal = \"wan\"\n\
                  ports = [\"10000-10099\", \"20000-29999\"]\n";
    let rule = first_rule("from = \"10.77.0.128/25\"", "guests");
    let site = Site::on(
        lab(&Options::default()),
        &[&first, second, &rule, TRANSLATE_ALL].concat(),
    );
    let guest = Ipv4Addr::new(10, 77, 0, 200);
    site.lab.add_inside_address(guest).expect("an address");
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    for (host, ports) in [(INSIDE, 1024..=9999), (guest, 10_000..=29_999)] {
        let before = echo.peers();
        let echoed = site
            .lab
            .inside
            .run(|| echo_many(host, echo.address(), 10, 3, &Live::default()));
        let outcome = echoed.expect("sockets");
        assert!(outcome.intact(), "{host}: {outcome:?}");
        let after = echo.peers();
        let new: Vec<&SocketAddr> = after.difference(&before).collect();
        assert_eq!(new.len(), 10);
        assert!(
            new.iter().all(|peer| ports.contains(&peer.port())),
            "{host}: {new:?}"
        );
    }
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn what_a_rule_passes_is_the_kernels() {
    let lab = lab(&Options::default());
    let_the_kernel_forward(&lab);
    let rule = first_rule(
        "protocol = [\"udp\", \"tcp\"]\ndestination_ports = [53, 80]",
        "pass",
    );
    let site = Site::on(lab, &[TRANSLATOR, TRANSLATE_ALL, &rule].concat());
    let [passed, translated] =
        [53, 54].map(|port| EchoServer::start(&site.lab.server, (SERVER, port).into()).expect("a port"));
    for echo in [&passed, &translated] {
        let outcome = exchange_udp(&site.lab, echo.address(), 10, 5);
        assert!(outcome.intact(), "{outcome:?}");
    }
    assert_eq!(seen(&passed), [INSIDE]);
    assert_eq!(seen(&translated), [BOX_OUTSIDE]);
    // The first packet of each flow came by, the others went the short way.
    assert_eq!(site.channel("pass").flows, 10);
    assert_eq!(site.drops().passed, 10);
    assert_eq!(site.verdict("passed_flow"), 40);

    let web = HttpServer::start(&site.lab.server, (SERVER, 80).into()).expect("port 80");
    for method in [Method::Download, Method::Upload] {
        let transfers = || parallel(web.address(), method, 5, 300_000, &Live::default());
        let outcome = site.lab.inside.run(transfers).expect("no signal");
        assert!(outcome.intact(), "{method:?}: {outcome:?}");
    }
    check_traffic(&site.lab);
    site.finish();
}

/// What no rule matches is the kernel's as well.
#[test]
fn what_no_rule_matches_is_the_kernels() {
    let lab = lab(&Options::default());
    let_the_kernel_forward(&lab);
    let rule = "[[rule]]\nfrom = \"10.77.0.0/24\"\nprotocol = \"tcp\"\nchannel = \"internet\"\n";
    let site = Site::on(lab, &[TRANSLATOR, rule].concat());
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    assert!(exchange_udp(&site.lab, echo.address(), 10, 2).intact());
    assert_eq!(seen(&echo), [INSIDE]);
    check_tcp(&site.lab, 3, 200_000);
    assert_eq!(site.mappings().len(), 6);
    site.finish();
}

const ROUTER: &str = r#"
[control]
socket = "{socket}"

[[interface]]
name = "lan"
role = "inside"

[[interface]]
name = "wan"
role = "outside"

[[channel]]
name = "routed"
type = "forward"

[[rule]]
channel = "routed"
"#;

/// The kernel of the box does not forward: all that crosses, the daemon forwarded.
fn router() -> Site {
    let lab = lab(&Options {
        ipv6: true,
        ..Options::default()
    });
    let_the_server_answer_inside(&lab);
    lab.server
        .ip(&format!("-6 route add fd77::/64 via {BOX_OUTSIDE_V6}"))
        .expect("a route");
    Site::on(lab, ROUTER)
}

#[test]
fn forward_routes_ipv4_untranslated() {
    let site = router();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    assert!(exchange_udp(&site.lab, echo.address(), 10, 2).intact());
    assert_eq!(seen(&echo), [INSIDE]);
    check_tcp(&site.lab, 3, 300_000);
    let hops = site.lab.inside.run(|| traceroute(SERVER, 5, &Live::default()));
    let hops = hops.expect("sockets");
    assert_eq!(
        hops.iter().map(Hop::from).collect::<Vec<_>>(),
        [Some(BOX_INSIDE), Some(SERVER)]
    );

    // From outside too.
    let inside = EchoServer::start(&site.lab.inside, (INSIDE, 53).into()).expect("port 53");
    let SocketAddr::V4(target) = inside.address() else {
        unreachable!("bound to an IPv4 address")
    };
    let ask = Probe {
        timeout: ON_ITS_WAY,
        ..Probe::to(target)
    };
    let answer = site.lab.server.run(|| probe(&ask)).expect("a socket");
    assert!(matches!(answer, Answer::Datagram(_)), "{answer:?}");
    assert_eq!(seen(&inside), [SERVER]);
    assert_eq!(site.drops().passed, 0);
    site.finish();
}

#[test]
fn forward_routes_ipv6() {
    let site = router();
    let web = HttpServer::start(&site.lab.server, (SERVER_V6, 80).into()).expect("port 80");
    for method in [Method::Download, Method::Upload] {
        let transfers = || parallel(web.address(), method, 5, 300_000, &Live::default());
        let outcome = site.lab.inside.run(transfers).expect("no signal");
        assert!(outcome.intact(), "{method:?}: {outcome:?}");
    }
    let web = HttpServer::start(&site.lab.inside, (INSIDE_V6, 80).into()).expect("port 80");
    let transfers = || parallel(web.address(), Method::Download, 3, 100_000, &Live::default());
    let outcome = site.lab.server.run(transfers).expect("no signal");
    assert!(outcome.intact(), "{outcome:?}");
    assert!(site.channel("routed").packets > 1000);
    assert_eq!(site.drops().passed, 0);
    site.finish();
}

#[test]
fn what_is_too_big_for_ipv6_is_told() {
    let site = router();
    for (namespace, interface) in [(&site.lab.inside, "eth0"), (&site.lab.middle, "lan")] {
        namespace
            .ip(&format!("link set {interface} mtu 3000"))
            .expect("an MTU");
    }
    let server = at(&site.lab.server, || {
        UdpSocket::bind((SERVER_V6, 0)).expect("a port")
    });
    let target = server.local_addr().expect("bound");
    server.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let socket = at(&site.lab.inside, || {
        UdpSocket::bind((INSIDE_V6, 0)).expect("a port")
    });
    socket.send_to(&[7; 2000], target).expect("sent");
    eventually("the path's MTU", || {
        let route = site.lab.inside.ip(&format!("-6 route get {SERVER_V6}"));
        route.is_ok_and(|route| route.contains("mtu 1500"))
    });
    // What the sender itself fragments, a router forwards.
    socket.send_to(&[8; 2000], target).expect("sent");
    let mut buffer = [0; 3000];
    assert_eq!(server.recv(&mut buffer).expect("a datagram"), 2000);
    assert!(buffer[..2000] == [8; 2000]);
    site.wait_for_drops("too-big", 1);
    site.finish();
}

/// Two channels beside each other: what goes to one host is routed and so are its answers, the rest is translated.
#[test]
fn rules_choose_among_channels() {
    let lab = lab(&Options::default());
    let_the_server_answer_inside(&lab);
    let routed = "[[channel]]\nname = \"routed\"\ntype = \"forward\"\n";
    let rule = first_rule("from = \"10.77.0.0/24\"\nto = \"198.51.100.2\"", "routed");
    let site = Site::on(lab, &[TRANSLATOR, routed, &rule, TRANSLATE_ALL].concat());
    site.lab
        .server
        .ip("addr add 198.51.100.3/24 dev eth0")
        .expect("an address");
    let direct = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let other = SocketAddr::from(([198, 51, 100, 3], 53));
    let translated = EchoServer::start(&site.lab.server, other).expect("port 53");
    for echo in [&direct, &translated] {
        let outcome = exchange_udp(&site.lab, echo.address(), 5, 3);
        assert!(outcome.intact(), "{outcome:?}");
    }
    assert_eq!(seen(&direct), [INSIDE]);
    assert_eq!(seen(&translated), [BOX_OUTSIDE]);
    assert_eq!(site.drops().passed, 0);
    let closed = Probe {
        timeout: ON_ITS_WAY,
        ..Probe::to(SocketAddrV4::new(SERVER, 9))
    };
    let answer = site.lab.inside.run(|| probe(&closed)).expect("a socket");
    assert!(
        matches!(
            answer,
            Answer::Icmp {
                from: SERVER,
                kind: UNREACHABLE,
                ..
            }
        ),
        "{answer:?}"
    );
    site.finish();
}
