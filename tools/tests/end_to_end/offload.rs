//! Flows that the XDP program carries between real interfaces.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;

use netchannel::control::report::{Flow, Flows, Runs, Workers};
use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{
    ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_tcp, eventually, exchange_udp, lab,
};

/// Packets after which a flow is carried, and some more.
pub(crate) const ENOUGH: usize = 40;

/// Has the end hosts take redirected frames: a veth does that only if its owner polls.
pub(crate) fn poll_at_the_ends(lab: &Lab) {
    for host in [&lab.inside, &lab.server] {
        host.command("ethtool -K eth0 gro on").expect("a veth can");
    }
}

/// The usual site, between hosts that take redirected frames.
fn site() -> Site {
    site_with("")
}

fn site_with(more: &str) -> Site {
    let lab = lab(&Options::default());
    poll_at_the_ends(&lab);
    Site::on(lab, &[TRANSLATOR, TRANSLATE_ALL, more].concat())
}

fn flows(site: &Site) -> Vec<Flow> {
    site.show_with::<Flows>("flows").flows
}

fn carried(site: &Site) -> usize {
    let flows = flows(site);
    flows.iter().filter(|flow| flow.runs == Runs::Xdp).count()
}

/// Two ends that talk, each at its socket.
pub(crate) struct Talk {
    inside: UdpSocket,
    server: UdpSocket,
}

impl Talk {
    pub(crate) fn new(lab: &Lab) -> Self {
        let bound = |namespace, address| {
            let socket = at(namespace, || UdpSocket::bind((address, 0)).expect("a port"));
            socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
            socket
        };
        let (inside, server) = (bound(&lab.inside, INSIDE), bound(&lab.server, SERVER));
        inside
            .connect(server.local_addr().expect("bound"))
            .expect("a route");
        Self { inside, server }
    }

    /// A datagram there and one back, so many times.
    pub(crate) fn exchange(&self, rounds: usize) {
        let mut buffer = [0; 100];
        for round in 0..rounds {
            let text = format!("number {round}");
            self.inside.send(text.as_bytes()).expect("sent");
            let (length, from) = self.server.recv_from(&mut buffer).expect("a datagram");
            assert_eq!(&buffer[..length], text.as_bytes());
            assert_eq!(from.ip(), BOX_OUTSIDE);
            self.server.send_to(b"answer", from).expect("sent");
            let length = self.inside.recv(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..length], b"answer");
        }
    }
}

#[test]
fn flows_with_many_packets_are_carried_and_in_every_counter() {
    let site = site();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let before = site.port("lan");
    let (sockets, rounds) = (5, 3 * ENOUGH);
    let outcome = exchange_udp(&site.lab, echo.address(), sockets, rounds);
    assert!(outcome.intact(), "{outcome:?}");
    let flows = flows(&site);
    assert_eq!(flows.len(), 2 * sockets, "{flows:?}");
    for flow in &flows {
        assert_eq!(flow.runs, Runs::Xdp, "{flow:?}");
        assert_eq!(flow.packets, rounds as u64, "{flow:?}");
    }
    let workers = site.show_with::<Workers>("workers").workers;
    let offloaded = workers.iter().map(|worker| worker.offloaded_flows).sum::<u64>();
    assert_eq!(offloaded, flows.len() as u64);
    let exchanged = (sockets * rounds) as u64;
    assert!(site.verdict("offloaded") >= exchanged);
    let after = site.port("lan");
    assert_eq!(after.received.packets - before.received.packets, exchanged);
    assert_eq!(after.transmitted.packets - before.transmitted.packets, exchanged);
    assert_eq!(site.channel("internet").packets, 2 * exchanged);
    let table = site.command("show flows").output().expect("it runs");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("RUNS IN") && table.contains("  XDP  "), "{table}");
    site.finish();
}

#[test]
fn connections_are_carried_until_they_close() {
    let site = site();
    check_tcp(&site.lab, 4, 4_000_000);
    assert!(site.verdict("offloaded") > 1000, "{}", site.verdict("offloaded"));
    eventually("closed connections are carried no more", || carried(&site) == 0);
    site.finish();
}

#[test]
fn none_are_carried_if_that_is_off() {
    let site = site_with("[flow_table]\noffload = \"off\"\n");
    check_tcp(&site.lab, 1, 1_000_000);
    assert_eq!((site.verdict("offloaded"), carried(&site)), (0, 0));
    site.finish();
}

/// Redirected frames to a veth whose owner polls nothing are lost in silence.
#[test]
fn what_would_be_lost_on_its_way_goes_through_user_space() {
    let site = Site::new();
    let talk = Talk::new(&site.lab);
    talk.exchange(2 * ENOUGH);
    assert_eq!(carried(&site), 0);
    // It is noticed when hosts begin to poll, and when they end it.
    poll_at_the_ends(&site.lab);
    eventually("both directions are carried", || {
        talk.exchange(ENOUGH);
        carried(&site) == 2
    });
    let server = &site.lab.server;
    server.command("ethtool -K eth0 gro off").expect("a veth can");
    eventually("it is noticed", || carried(&site) == 0);
    talk.exchange(2 * ENOUGH);
    assert_eq!(carried(&site), 1, "only what leaves to the inside host");
    site.finish();
}

#[test]
fn a_host_with_another_ethernet_address_is_found() {
    let site = site();
    let talk = Talk::new(&site.lab);
    talk.exchange(2 * ENOUGH);
    assert_eq!(carried(&site), 2);
    let inside = &site.lab.inside;
    inside
        .ip("link set eth0 address 02:00:00:00:77:09")
        .expect("an address");
    let learn = "neigh replace 10.77.0.2 lladdr 02:00:00:00:77:09 dev lan";
    site.lab.middle.ip(learn).expect("an entry");
    talk.exchange(2 * ENOUGH);
    eventually("both directions are carried again", || carried(&site) == 2);
    site.finish();
}

#[test]
fn a_rule_holds_for_carried_flows_at_once() {
    let site = site();
    let talk = Talk::new(&site.lab);
    talk.exchange(2 * ENOUGH);
    assert_eq!(carried(&site), 2);
    let mut rules = site.command("rules add");
    let added = rules
        .arg("priority 1 udp from 10.77.0.2 drop")
        .output()
        .expect("it runs");
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    let before = site.channel("drop").packets;
    talk.inside.send(b"never again").expect("sent");
    eventually("it is dropped", || site.channel("drop").packets == before + 1);
    site.finish();
}

#[test]
fn a_trace_sees_packets_of_carried_flows() {
    let site = site();
    let talk = Talk::new(&site.lab);
    talk.exchange(2 * ENOUGH);
    assert_eq!(carried(&site), 2);
    let mut trace = site
        .command("trace --count 2 udp from 10.77.0.2")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(trace.stdout.take().expect("piped")).lines();
    let seen = std::thread::scope(|scope| {
        let first = scope.spawn(move || lines.next());
        while !first.is_finished() {
            talk.exchange(1);
        }
        first.join().expect("no panic")
    });
    assert!(seen.is_some_and(|line| line.is_ok()));
    eventually("the trace ends", || {
        talk.exchange(1);
        trace.try_wait().expect("a child").is_some()
    });
    eventually("they are carried again", || {
        talk.exchange(ENOUGH);
        carried(&site) == 2
    });
    site.finish();
}
