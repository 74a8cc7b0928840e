//! What an operator sees of mappings and does to them: `show mappings`, `show sessions`, `show pools`, `nat delete`.

use std::net::UdpSocket;

use netchannel::control::report::{Mapping, Mappings, Opener, Pools, Session, Sessions};
use netchannel_benches::topology::{BOX_OUTSIDE, SERVER};
use netchannel_benches::traffic::http::HttpServer;
use netchannel_benches::traffic::udp::EchoServer;
use serde_json::Value;

use crate::site::{Site, at, check_tcp, exchange_udp};

fn mappings(site: &Site, options: &str) -> Vec<Mapping> {
    site.json::<Mappings>(&format!("show mappings -j {options}"))
        .mappings
}

fn sessions(site: &Site, options: &str) -> Vec<Session> {
    site.json::<Sessions>(&format!("show sessions -j {options}"))
        .sessions
}

/// A socket inside at a port of its own, that has sent to the server and got its answer.
fn inside_socket(site: &Site, port: u16, echo: &EchoServer) -> UdpSocket {
    let socket = site.inside_socket(port);
    assert!(is_echoed(&socket, echo));
    socket
}

fn is_echoed(socket: &UdpSocket, echo: &EchoServer) -> bool {
    socket.send_to(b"again", echo.address()).expect("sent");
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).expect("an answer");
    &buffer[..length] == b"again"
}

#[test]
fn listings_are_filtered_as_asked() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let _sockets: Vec<UdpSocket> = (0..5)
        .map(|number| inside_socket(&site, 4000 + number, &echo))
        .collect();
    check_tcp(&site.lab, 2, 10_000);

    let one = mappings(&site, "--inside 10.77.0.2:4003");
    let [mapping] = &one[..] else { panic!("{one:?}") };
    assert_eq!((mapping.inside.as_str(), mapping.sessions), ("10.77.0.2:4003", 1));
    // Found by either of its ends.
    assert_eq!(
        mappings(&site, &format!("--external {}", mapping.external))[0].inside,
        mapping.inside
    );
    assert_eq!(mappings(&site, "--protocol udp").len(), 5);
    let connections = mappings(&site, "--protocol tcp --inside 10.77.0.0/24");
    assert!(connections.iter().all(|mapping| mapping.protocol == "tcp") && !connections.is_empty());
    assert_eq!(mappings(&site, "--min-age 1h"), []);
    assert_eq!(mappings(&site, "--protocol udp --max-age 1h --limit 2").len(), 2);
    assert_eq!(mappings(&site, "--inside 10.77.0.3"), []);

    let to_server = sessions(&site, &format!("--remote {SERVER}:53"));
    assert_eq!(to_server.len(), 5);
    for session in &to_server {
        assert_eq!(session.remote, format!("{SERVER}:53"));
        assert_eq!(
            (session.protocol.as_str(), session.opened_by),
            ("udp", Opener::Inside)
        );
        assert!(
            session.external.starts_with(&BOX_OUTSIDE.to_string()),
            "{session:?}"
        );
        assert!((200..=300).contains(&session.expires_in_seconds), "{session:?}");
    }
    let over_tcp = sessions(&site, "--protocol tcp");
    assert!(over_tcp.iter().all(|session| session.state.is_some()) && !over_tcp.is_empty());

    let text = site.out("show sessions --inside :4001");
    assert!(
        text.starts_with("CHANNEL") && text.ends_with("\n1 session\n"),
        "{text}"
    );
    let text = site.out("show mappings --protocol udp --limit 2");
    assert!(text.ends_with("\n2 mappings, and there are more\n"), "{text}");
    site.finish();
}

/// 6888-10: pools, limits and sessions are there for programs.
#[test]
fn rfc_6888_10_pools_and_limits_are_told() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    assert!(exchange_udp(&site.lab, echo.address(), 10, 1).intact());
    let pools: Pools = site.json("show pools -j");
    let [pool] = &pools.pools[..] else {
        panic!("{pools:?}")
    };
    assert_eq!(
        (pool.channel.as_str(), pool.addresses, pool.hosts),
        ("internet", 1, 1)
    );
    assert_eq!(
        (pool.mappings.udp, pool.sessions, pool.ports_per_protocol),
        (10, 10, 31_744)
    );
    assert_eq!(pool.limits.mappings, Some(65_536));
    let [address] = &pools.addresses[..] else {
        panic!("{pools:?}")
    };
    assert_eq!((address.address.as_str(), address.hosts), ("198.51.100.1", 1));
    assert_eq!((address.ports.udp.used, address.ports.udp.free), (10, 31_734));
    // What is deleted is held as any port is.
    assert_eq!(site.out("nat delete --all"), "10 mappings deleted\n");
    let pools: Pools = site.json("show pools -j --external 198.51.100.0/24 --channel internet");
    let udp = pools.addresses[0].ports.udp;
    assert_eq!((udp.used, udp.held, pools.pools[0].hosts), (0, 10, 0));
    let text = site.out("show pools");
    assert!(
        text.contains("udp mappings") && text.contains("198.51.100.1"),
        "{text}"
    );
    site.finish();
}

#[test]
fn deleted_mappings_are_made_anew_by_the_next_packet() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let first = inside_socket(&site, 4000, &echo);
    let second = inside_socket(&site, 4001, &echo);
    let external = |port: u16| mappings(&site, &format!("--inside :{port}"))[0].external.clone();
    let (of_first, of_second) = (external(4000), external(4001));

    let listed = site.out("nat delete --inside 10.77.0.2:4000 --dry-run");
    assert!(
        listed.contains(&of_first) && listed.ends_with("\n1 mapping\n"),
        "{listed}"
    );
    assert_eq!(external(4000), of_first, "a dry run deletes nothing");
    assert_eq!(
        site.out("nat delete --inside 10.77.0.2:4000"),
        "1 mapping deleted\n"
    );
    assert_eq!(mappings(&site, "--inside :4000"), []);
    assert_eq!(external(4001), of_second, "the other one is left alone");
    let again: Value = site.json("nat delete --inside 10.77.0.2:4000 -j");
    assert_eq!(again["deleted"], 0);

    // The flow goes on from another port, and the server sees that.
    assert!(is_echoed(&first, &echo) && is_echoed(&second, &echo));
    assert_ne!(external(4000), of_first);
    assert_eq!(external(4001), of_second);
    assert_eq!(echo.peers().len(), 3);
    site.finish();
}

#[test]
fn a_deleted_connection_is_over() {
    let site = Site::new();
    let server = HttpServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    let stream = at(&site.lab.inside, || {
        std::net::TcpStream::connect(server.address()).expect("a connection")
    });
    let connections = sessions(&site, &format!("--remote {}", server.address()));
    assert_eq!(
        connections[0].state.as_deref(),
        Some("established"),
        "{connections:?}"
    );
    assert_eq!(site.out("nat delete --protocol tcp"), "1 mapping deleted\n");
    let before = site.dropped("nat-not-opening");
    std::io::Write::write_all(&mut &stream, b"GET / HTTP/1.0\r\n\r\n").expect("the socket takes it");
    crate::site::eventually("a drop", || site.dropped("nat-not-opening") > before);
    assert_eq!(mappings(&site, "--protocol tcp"), []);
    site.finish();
}

#[test]
fn what_can_not_be_meant_is_refused() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let _socket = inside_socket(&site, 4000, &echo);
    for (line, code, expected) in [
        ("nat delete", 2, "expected an option that says which"),
        (
            "nat delete --inside 10.77.0.2/99",
            2,
            "expected an IPv4 address or prefix",
        ),
        (
            "nat delete --channel intrenet",
            1,
            "there is no channel \"intrenet\"; the channels that translate are: internet",
        ),
        ("show mappings --channel wan", 1, "there is no channel \"wan\""),
        ("show sessions --min-age never", 2, "is not a time"),
    ] {
        let (found, out, err) = site.run(line);
        assert_eq!((found, out.as_str()), (code, ""), "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
    assert_eq!(mappings(&site, "").len(), 1, "nothing was deleted");
    site.finish();
}
