//! The box itself, reachable and reaching out while the daemon runs on its interfaces.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::http::{HttpServer, Method, parallel};
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::udp::{EchoServer, echo_many};
use nix::sys::signal::Signal;

use crate::site::{ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_traffic, eventually, lab, reaches};

/// A connection to a service that sends back what it reads.
struct Session(TcpStream);

impl Session {
    fn open(namespace: &Namespace, target: SocketAddr) -> Self {
        let stream = at(namespace, || {
            TcpStream::connect_timeout(&target, ON_ITS_WAY).expect("the box listens")
        });
        stream.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        Self(stream)
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the session stands");
        let mut answer = vec![0; text.len()];
        self.0.read_exact(&mut answer).expect("the session stands");
        assert_eq!(answer, text.as_bytes());
    }
}

/// A service on the box that sends back what it reads. Its threads end with their connections.
fn start_service(lab: &Lab, port: u16, connections: usize) -> thread::JoinHandle<()> {
    let listener = at(&lab.middle, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a free port")
    });
    thread::spawn(move || {
        let serve = |mut stream: TcpStream| {
            let mut buffer = [0; 1000];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&buffer[..length]).expect("the session stands");
            }
        };
        thread::scope(|scope| {
            for _ in 0..connections {
                let (stream, _) = listener.accept().expect("a connection");
                scope.spawn(move || serve(stream));
            }
        });
    })
}

/// Sessions with port 22 of the box: from inside to the outside address too, which is the box's own.
fn open_sessions(lab: &Lab) -> [Session; 3] {
    [
        (&lab.inside, BOX_INSIDE),
        (&lab.inside, BOX_OUTSIDE),
        (&lab.server, BOX_OUTSIDE),
    ]
    .map(|(namespace, address)| Session::open(namespace, (address, 22).into()))
}

/// What an ssh session to the box sees of the daemon's start and end.
#[test]
fn sessions_with_the_box_outlive_the_daemon() {
    let lab = lab(&Options::default());
    let service = start_service(&lab, 22, 6);
    let mut early = open_sessions(&lab);
    early
        .iter_mut()
        .for_each(|session| session.say("before the daemon"));
    let mut site = Site::on(lab, &[TRANSLATOR, TRANSLATE_ALL].concat());
    early
        .iter_mut()
        .for_each(|session| session.say("while the daemon runs"));
    let mut later = open_sessions(&site.lab);
    later
        .iter_mut()
        .for_each(|session| session.say("opened while the daemon runs"));
    check_traffic(&site.lab);

    site.stop(Signal::SIGTERM);
    early
        .iter_mut()
        .chain(&mut later)
        .for_each(|session| session.say("after the daemon"));
    drop((early, later));
    service.join().expect("all sessions have ended");
}

#[test]
fn the_box_answers_echo_requests_from_both_sides() {
    let site = Site::new();
    // Identifiers within the translator's range and beyond it.
    for identifier in [0, 1023, 1024, 20_000, 32_767, 32_768, 65_535] {
        for (namespace, address) in [
            (&site.lab.inside, BOX_INSIDE),
            (&site.lab.inside, BOX_OUTSIDE),
            (&site.lab.server, BOX_OUTSIDE),
            (&site.lab.middle, SERVER),
            (&site.lab.middle, INSIDE),
        ] {
            let some = Ping {
                count: 3,
                identifier,
                interval: Duration::ZERO,
                ..Ping::default()
            };
            let answers = namespace.run(|| ping(address, &some, &Live::default()));
            let outcome = answers.expect("a raw socket").outcome;
            assert!(
                outcome.intact(),
                "{address}, identifier {identifier}: {outcome:?}"
            );
        }
    }
    site.finish();
}

#[test]
fn the_box_has_connections_of_its_own() {
    let site = Site::new();
    let web = HttpServer::start(&site.lab.server, (SERVER, 80).into()).expect("port 80");
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let live = Live::default();
    for method in [Method::Download, Method::Upload] {
        let transfers = site
            .lab
            .middle
            .run(|| parallel(web.address(), method, 5, 300_000, &live));
        let outcome = transfers.expect("no signal");
        assert!(outcome.intact(), "{method:?}: {outcome:?}");
    }
    let echoed = site
        .lab
        .middle
        .run(|| echo_many(BOX_OUTSIDE, echo.address(), 20, 3, &live));
    let outcome = echoed.expect("sockets");
    assert!(outcome.intact(), "{outcome:?}");
    assert_eq!(site.drops().received, 0, "{:?}", site.drops());
    assert!(site.verdict("passed_external_other") > 60);
    check_traffic(&site.lab);

    // And with the inside host.
    let inside = EchoServer::start(&site.lab.inside, (INSIDE, 53).into()).expect("port 53");
    let echoed = site
        .lab
        .middle
        .run(|| echo_many(BOX_INSIDE, inside.address(), 5, 2, &live));
    assert!(echoed.expect("sockets").intact());
    assert_eq!(
        inside.peers().iter().map(SocketAddr::ip).collect::<Vec<_>>(),
        [IpAddr::V4(BOX_INSIDE); 5]
    );
    site.finish();
}

#[test]
fn a_service_of_the_box_on_udp_is_reached_from_both_sides() {
    let site = Site::new();
    let inside = EchoServer::start(&site.lab.middle, (BOX_INSIDE, 53).into()).expect("port 53");
    let outside = EchoServer::start(&site.lab.middle, (BOX_OUTSIDE, 53).into()).expect("port 53");
    for (namespace, source, server) in [
        (&site.lab.inside, INSIDE, &inside),
        (&site.lab.server, SERVER, &outside),
        (&site.lab.inside, INSIDE, &outside),
    ] {
        let echoed = namespace.run(|| echo_many(source, server.address(), 5, 2, &Live::default()));
        let outcome = echoed.expect("sockets");
        assert!(
            outcome.intact(),
            "{source} asks {}: {outcome:?}",
            server.address()
        );
    }
    site.finish();
}

#[test]
fn an_address_that_the_box_gets_later_is_its_own() {
    let site = Site::new();
    for (namespace, interface, address) in [
        (&site.lab.inside, "lan", Ipv4Addr::new(10, 77, 0, 50)),
        (&site.lab.server, "wan", Ipv4Addr::new(198, 51, 100, 50)),
    ] {
        site.lab
            .middle
            .ip(&format!("addr add {address}/24 dev {interface}"))
            .expect("an address");
        for host in [namespace, &site.lab.inside] {
            eventually("an echo reply", || reaches(host, address));
        }
        let listener = at(&site.lab.middle, || {
            TcpListener::bind((address, 80)).expect("a port")
        });
        let target = listener.local_addr().expect("bound");
        at(namespace, || {
            TcpStream::connect_timeout(&target, ON_ITS_WAY).expect("the box listens")
        });
    }
    check_traffic(&site.lab);
    site.finish();
}
