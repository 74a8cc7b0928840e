//! Several workers: two on interfaces of two queues, with traffic whose answers come to the other worker's queue.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use netchannel::channel::nat::worker_of;
use netchannel::control::report::{CountedRules, Flows, Memory, Pools, PortFrames, Worker, Workers};
use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::udp::{EchoServer, echo_many};

use crate::site::{
    EXTERNAL_PORTS, ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_echo, check_tcp, check_traffic,
    eventually, lab, let_the_server_answer_inside, reaches,
};

const TWO: &str = "[workers]\ncount = 2\n";

const ROUTED: &str = r#"
[[channel]]
name = "routed"
type = "forward"
[[rule]]
from = "10.77.0.0/24"
channel = "routed"
"#;

fn two_queues() -> Options {
    Options {
        queues: 2,
        ..Options::default()
    }
}

/// Two workers that translate; `more` is added to the translator.
fn translating(more: &str) -> Site {
    Site::on(
        lab(&two_queues()),
        &[TWO, TRANSLATOR, more, TRANSLATE_ALL].concat(),
    )
}

/// Hosts inside, so many of each of two workers.
fn hosts(site: &Site, of_each: usize) -> [Vec<Ipv4Addr>; 2] {
    let mut hosts = [Vec::new(), Vec::new()];
    for last in 100..=250 {
        let host = Ipv4Addr::new(10, 77, 0, last);
        let of_worker = &mut hosts[worker_of(host, 2)];
        if of_worker.len() < of_each {
            of_worker.push(host);
            site.lab.add_inside_address(host).expect("an address");
        }
    }
    assert!(hosts.iter().all(|hosts| hosts.len() == of_each));
    hosts
}

/// Has all that a host sends come to one queue of the box.
fn send_by(namespace: &Namespace, queue: usize) {
    let processors = fs::read_to_string("/sys/devices/system/cpu/online").expect("the kernel tells");
    let last = processors.trim().rsplit(['-', ',']).next().expect("a number");
    let last: u32 = last.parse().expect("a number");
    // Groups of 32 processors.
    let all: Vec<String> = (0..=last / 32)
        .rev()
        .map(|group| match (last + 1 - 32 * group).min(32) {
            32 => "ffffffff".to_owned(),
            rest => format!("{:08x}", (1u64 << rest) - 1),
        })
        .collect();
    for number in 0..2 {
        let cpus = if number == queue {
            all.join(",")
        } else {
            "0".to_owned()
        };
        namespace
            .set_device_attribute("eth0", &format!("queues/tx-{number}/xps_cpus"), &cpus)
            .expect("a queue");
    }
}

/// Has the box learn where hosts are: no packet has to wait for that any more.
fn acquaint(site: &Site, hosts: &[Vec<Ipv4Addr>; 2]) {
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for &host in hosts.iter().flatten() {
        exchange(site, host, echo.address(), 1);
    }
}

fn workers(site: &Site) -> [Worker; 2] {
    let workers: Workers = site.show_with("workers");
    workers.workers.try_into().expect("two workers")
}

/// Waits until both workers have told of their packets: they do so ten times a second.
fn eventually_both_worked(site: &Site) {
    eventually("packets of both workers", || {
        workers(site).iter().all(|worker| worker.total.packets > 0)
    });
}

/// Where all frames are when nothing is on its way.
fn frames_at_rest(site: &Site) -> (u64, u64, Vec<PortFrames>) {
    let mut seen = None;
    eventually("no packets on their way", || {
        let frames = site.show_with::<Memory>("memory").frames;
        let of_ports: u64 = frames
            .ports
            .iter()
            .map(|port| port.receiving + port.sending)
            .sum();
        assert_eq!(frames.free + frames.held + of_ports, frames.frames, "{frames:?}");
        let rests = frames.held == 0 && frames.ports.iter().all(|port| port.sending == 0);
        seen = Some((frames.frames, frames.free, frames.ports));
        rests
    });
    seen.expect("it was looked")
}

fn exchange(site: &Site, host: Ipv4Addr, server: SocketAddr, sockets: usize) {
    let echoed = site
        .lab
        .inside
        .run(|| echo_many(host, server, sockets, 3, &Live::default()));
    let outcome = echoed.expect("sockets");
    assert!(outcome.intact(), "{host}: {outcome:?}");
}

#[test]
fn two_workers_forward_what_comes_to_their_queues() {
    let lab = lab(&two_queues());
    let_the_server_answer_inside(&lab);
    let site = Site::on(lab, &[TWO, TRANSLATOR, ROUTED].concat());
    let before = frames_at_rest(&site);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    exchange(&site, INSIDE, echo.address(), 40);
    assert!(echo.peers().iter().all(|peer| peer.ip() == INSIDE));
    check_tcp(&site.lab, 10, 200_000);
    check_echo(&site.lab.inside, SERVER);
    eventually_both_worked(&site);
    let names = workers(&site).map(|worker| worker.name);
    assert_eq!(names, ["packets-0", "packets-1"]);
    assert!(workers(&site).iter().all(|worker| worker.handed_on == 0));
    assert!(site.ports().ports.iter().all(|port| port.queues == 2));
    assert_eq!(site.verdict("passed_no_socket"), 0);

    // Both directions of 40 flows of UDP, each once, however they are listed.
    let count = |options: &str| {
        let flows: Flows = site.show_with(&format!("flows {options}"));
        let all: HashSet<_> = flows
            .flows
            .iter()
            .map(|flow| {
                (
                    flow.source,
                    flow.source_port,
                    flow.destination,
                    flow.destination_port,
                )
            })
            .collect();
        assert_eq!(all.len(), flows.flows.len(), "none twice");
        all.len()
    };
    assert_eq!(count(&format!("udp to {SERVER}")), 40);
    assert_eq!(count(&format!("udp from {SERVER}")), 40);
    let counted: CountedRules = site.show_with("rules");
    let of_rules = counted.rules.iter().map(|rule| rule.counts.packets).sum::<u64>();
    let others = counted.others.expect("the first page").packets;
    assert_eq!(of_rules + others, site.channel("routed").packets);
    assert_eq!(frames_at_rest(&site), before);
    site.finish();
}

/// What comes to the queue of the one and belongs to the other crosses once, and frames return to the memory that they came from.
#[test]
fn answers_that_come_to_the_other_worker_s_queue_arrive() {
    let site = translating("");
    let hosts = hosts(&site, 2);
    let before = frames_at_rest(&site);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for (of_inside, of_server) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        send_by(&site.lab.inside, of_inside);
        send_by(&site.lab.server, of_server);
        for &host in hosts.iter().flatten() {
            exchange(&site, host, echo.address(), 10);
        }
        check_tcp(&site.lab, 4, 500_000);
        check_echo(&site.lab.inside, SERVER);
    }
    // Each queue served hosts of both.
    let workers = workers(&site);
    assert!(
        workers
            .iter()
            .all(|worker| worker.handed_on > 0 && worker.taken_over > 0),
        "{workers:#?}"
    );
    let crossed = |of: fn(&Worker) -> u64| workers.iter().map(of).sum::<u64>();
    assert_eq!(
        crossed(|worker| worker.handed_on),
        crossed(|worker| worker.taken_over)
    );
    assert_eq!(site.dropped("handoff-full"), 0);
    assert_eq!(site.external("udp").len(), 4 * 4 * 10);
    assert_eq!(frames_at_rest(&site), before);
    site.finish();
}

/// So do packets that don't fit in one frame.
#[test]
fn long_packets_cross_from_worker_to_worker() {
    let lab = lab(&Options {
        mtu: 9000,
        ..two_queues()
    });
    let site = Site::on(lab, &[TWO, TRANSLATOR, TRANSLATE_ALL].concat());
    let before = frames_at_rest(&site);
    let long = Ping {
        count: 5,
        payload: 9000 - 28,
        ..Ping::default()
    };
    for (of_inside, of_server) in [(0, 1), (1, 0)] {
        send_by(&site.lab.inside, of_inside);
        send_by(&site.lab.server, of_server);
        check_tcp(&site.lab, 4, 500_000);
        let answers = site.lab.inside.run(|| ping(SERVER, &long, &Live::default()));
        let outcome = answers.expect("a raw socket").outcome;
        assert!(outcome.intact(), "{outcome:?}");
    }
    let crossed: u64 = workers(&site).iter().map(|worker| worker.handed_on).sum();
    assert!(crossed > 10, "{crossed}");
    assert_eq!(site.dropped("handoff-full"), 0);
    assert_eq!(site.verdict("passed_too_long"), 0);
    assert_eq!(frames_at_rest(&site), before);
    site.finish();
}

#[test]
fn a_flow_keeps_its_order_across_workers() {
    let site = translating("");
    send_by(&site.lab.inside, 0);
    send_by(&site.lab.server, 1);
    let hosts = hosts(&site, 1);
    acquaint(&site, &hosts);
    for host in hosts.into_iter().flatten() {
        let inside = at(&site.lab.inside, || UdpSocket::bind((host, 0)).expect("a port"));
        let outside = at(&site.lab.server, || UdpSocket::bind((SERVER, 0)).expect("a port"));
        for socket in [&inside, &outside] {
            socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        }
        let target = outside.local_addr().expect("bound");
        let next = |socket: &UdpSocket| {
            let mut number = [0; 4];
            let (length, from) = socket.recv_from(&mut number).expect("a datagram");
            assert_eq!(length, 4);
            (u32::from_be_bytes(number), from)
        };
        for first in (0..2_000_u32).step_by(50) {
            for number in first..first + 50 {
                inside.send_to(&number.to_be_bytes(), target).expect("sent");
            }
            for number in first..first + 50 {
                let (arrived, from) = next(&outside);
                assert_eq!(arrived, number, "{host}");
                outside.send_to(&number.to_be_bytes(), from).expect("sent");
            }
            for number in first..first + 50 {
                assert_eq!(next(&inside).0, number, "{host}");
            }
        }
    }
    site.finish();
}

/// Two inside hosts reach each other by their external endpoints, whichever workers they belong to and whichever queue their packets come to.
#[test]
fn hosts_of_two_workers_reach_each_other_by_external_endpoints() {
    let site = translating("");
    let [first, second] = hosts(&site, 2);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for queue in [0, 1] {
        send_by(&site.lab.inside, queue);
        for (one, other) in [
            (first[0], second[0]),
            (second[0], first[0]),
            (first[0], first[1]),
            (second[0], second[1]),
        ] {
            let open = |host| {
                let socket = at(&site.lab.inside, || UdpSocket::bind((host, 0)).expect("a port"));
                socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
                let known = echo.peers();
                socket.send_to(b"what am I?", echo.address()).expect("sent");
                socket.recv_from(&mut [0; 16]).expect("an echo");
                let mut new: Vec<SocketAddr> = echo.peers().difference(&known).copied().collect();
                (socket, new.pop().expect("a new external endpoint"))
            };
            let ((one, seen_one), (other, seen_other)) = (open(one), open(other));
            for (from, seen, to, target) in [
                (&one, seen_one, &other, seen_other),
                (&other, seen_other, &one, seen_one),
            ] {
                from.send_to(b"hello", target).expect("sent");
                let mut heard = [0; 16];
                let (length, source) = to.recv_from(&mut heard).expect("a datagram");
                assert_eq!((&heard[..length], source), (&b"hello"[..], seen), "queue {queue}");
            }
        }
    }
    site.finish();
}

#[test]
fn forwarded_ports_lead_to_hosts_of_both_workers() {
    let lab = lab(&two_queues());
    let forward = |host: usize, port: u16| {
        let hosts: Vec<_> = (100..=250).map(|last| Ipv4Addr::new(10, 77, 0, last)).collect();
        let to = hosts.into_iter().find(|&to| worker_of(to, 2) == host);
        let to = to.expect("an address of each worker");
        lab.add_inside_address(to).expect("an address");
        (
            to,
            port,
            format!("[[channel.forward]]\nprotocol = \"tcp\"\nports = {port}\nto = \"{to}\"\n"),
        )
    };
    let forwards = [forward(0, 8080), forward(1, 8081)];
    let text: String = forwards.iter().map(|(_, _, text)| text.as_str()).collect();
    let site = Site::on(lab, &[TWO, TRANSLATOR, &text, TRANSLATE_ALL].concat());
    for queue in [0, 1] {
        send_by(&site.lab.server, queue);
        for &(host, port, _) in &forwards {
            let listener = at(&site.lab.inside, || {
                TcpListener::bind((host, port)).expect("a port")
            });
            let stream = at(&site.lab.server, || {
                TcpStream::connect_timeout(&(BOX_OUTSIDE, port).into(), ON_ITS_WAY)
            });
            let stream = stream.expect("a connection");
            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(Ok(peer), stream.local_addr().map_err(drop), "queue {queue}");
        }
    }
    site.finish();
}

#[test]
fn what_is_told_of_translations_is_that_of_both_workers() {
    let site = translating("");
    let hosts = hosts(&site, 3);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for &host in hosts.iter().flatten() {
        exchange(&site, host, echo.address(), 10);
    }
    let external = site.external("udp");
    assert_eq!(external.len(), 60, "mappings, each once");
    assert_eq!(external, echo.peers(), "and they are what the server sees");
    let pools: Pools = site.show_with("pools");
    let [pool] = &pools.pools[..] else {
        panic!("{pools:?}");
    };
    assert_eq!((pool.addresses, pool.hosts, pool.sessions), (1, 6, 60));
    assert_eq!(pool.mappings.udp, 60);
    assert_eq!(pool.limits.mappings, Some(65_536));
    let [address] = &pools.addresses[..] else {
        panic!("{pools:?}");
    };
    let udp = address.ports.udp;
    assert_eq!((address.hosts, udp.used), (6, 60));
    assert_eq!(udp.used + udp.free + udp.held, 31_744);
    let channel = site.channel("internet");
    assert_eq!(channel.details["mappings"]["udp"], 60);
    assert_eq!(channel.details["ports"], serde_json::json!(["1024-32767"]));
    let counted: CountedRules = site.show_with("rules");
    let inside = counted.rules[0].counts;
    assert_eq!(
        (inside.packets, inside.flows),
        (180, 60),
        "decided once, where it belongs"
    );

    let deleted = site
        .command("nat delete --inside 10.77.0.0/24")
        .output()
        .expect("the command");
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(site.external("udp").len(), 0);
    site.finish();
}

/// Both workers have the ports of all hosts, and each counts those of its own.
#[test]
fn ports_of_hosts_own_are_counted_once() {
    let translator = TRANSLATOR.replace("external = \"wan\"", &format!("external = \"{BOX_OUTSIDE}\""));
    let own = "[channel.deterministic]\ninside = \"10.77.0.0/24\"\n";
    let configuration = [TWO, &translator, own, TRANSLATE_ALL].concat();
    let site = Site::on(lab(&two_queues()), &configuration);
    let hosts = hosts(&site, 2);
    acquaint(&site, &hosts);
    let pools: Pools = site.show_with("pools");
    let all = EXTERNAL_PORTS.len() as u64;
    assert_eq!(pools.pools[0].ports_per_protocol, all);
    let ports = &pools.addresses[0].ports;
    assert_eq!((ports.udp.used, ports.udp.free), (4, all - 4));
    assert_eq!((ports.tcp.used, ports.tcp.free), (0, all));
    site.finish();
}

#[test]
fn rules_change_at_both_workers() {
    let site = translating("");
    let hosts = hosts(&site, 2);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    let dropped = || site.channel("drop").packets;
    let exchange_all = || {
        for &host in hosts.iter().flatten() {
            exchange(&site, host, echo.address(), 5);
        }
    };
    exchange_all();
    let blocking = site.daemon.directory().join("blocking.rules");
    let text = format!("udp from any to {SERVER} drop\nfrom 10.77.0.0/24 use internet\n");
    fs::write(&blocking, text).expect("the directory is there");
    let path = blocking.to_str().expect("text");
    let run = |words: &[&str]| {
        let mut command = site.command(&format!("rules {}", words[0]));
        let output = command.args(&words[1..]).output();
        let output = output.expect("the command");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
    };
    let send_all = |expected: u64| {
        for &host in hosts.iter().flatten() {
            let socket = at(&site.lab.inside, || UdpSocket::bind((host, 0)).expect("a port"));
            socket.send_to(b"blocked?", echo.address()).expect("sent");
        }
        eventually("all are dropped", || dropped() == expected);
    };
    run(&["load", path]);
    send_all(4);
    run(&["undo"]);
    exchange_all();
    assert_eq!(dropped(), 4);
    // In place, which both workers' sets are changed by.
    run(&["add", &format!("priority 7 udp from any to {SERVER} drop")]);
    send_all(8);
    run(&["undo"]);
    exchange_all();
    // With packets all the time.
    let other = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    std::thread::scope(|scope| {
        let loads = scope.spawn(|| {
            for _ in 0..20 {
                run(&["load", path]);
                run(&["undo"]);
            }
        });
        while !loads.is_finished() {
            for &host in hosts.iter().flatten() {
                let socket = at(&site.lab.inside, || UdpSocket::bind((host, 0)).expect("a port"));
                socket.send_to(b"whatever", other.address()).expect("sent");
            }
        }
        loads.join().expect("all loads succeed");
    });
    exchange_all();
    site.finish();
}

#[test]
fn an_interface_with_too_few_queues_is_not_taken_back() {
    let site = translating("");
    check_traffic(&site.lab);
    site.lab.middle.ip("link del lan").expect("removed");
    eventually("the removal", || site.daemon.log().contains("lan is gone"));
    site.lab.restore_inside(1).expect("a link");
    eventually("a complaint", || {
        site.daemon.log().contains("`lan` has 1 queue for 2 workers")
    });
    site.lab.middle.ip("link del lan").expect("removed");
    site.lab.restore_inside(2).expect("a link");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    assert_eq!(site.port("lan").queues, 2);
    site.finish();
}

#[test]
fn there_are_as_many_as_there_are_queues_and_no_more() {
    let automatic = "[workers]\ncount = \"auto\"\n";
    let count = |options: &Options| {
        let site = Site::on(lab(options), &[automatic, TRANSLATOR, TRANSLATE_ALL].concat());
        check_traffic(&site.lab);
        let workers: Workers = site.show_with("workers");
        site.finish();
        workers.workers.len()
    };
    let processors = std::thread::available_parallelism()
        .expect("the system tells")
        .get();
    assert_eq!(count(&Options::default()), 1);
    assert_eq!(count(&two_queues()), processors.min(2));
}

#[test]
fn workers_are_pinned_to_the_processors_that_are_given() {
    let configuration = ["[workers]\ncount = 2\ncpus = [0]\n", TRANSLATOR, TRANSLATE_ALL].concat();
    let site = Site::on(lab(&two_queues()), &configuration);
    check_traffic(&site.lab);
    for worker in workers(&site) {
        assert_eq!(worker.allowed_cpus.as_deref(), Some("0"), "{worker:?}");
    }
    site.finish();
}

/// Which packets of both directions are told does not depend on the queue that they come to.
#[test]
fn packets_of_both_workers_are_traced() {
    let site = translating("");
    send_by(&site.lab.inside, 0);
    send_by(&site.lab.server, 1);
    let hosts = hosts(&site, 1);
    acquaint(&site, &hosts);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 5353).into()).expect("a port");
    let mut command = site.command("trace udp from 10.77.0.0/24 to any port 5353 --both -j --count 8");
    let mut tracing = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program");
    let mut errors = std::io::BufReader::new(tracing.stderr.take().expect("a pipe"));
    let mut said = String::new();
    std::io::BufRead::read_line(&mut errors, &mut said).expect("text");
    assert!(said.contains("Ctrl-C ends it"), "{said}");
    for &host in hosts.iter().flatten() {
        let echoed = site
            .lab
            .inside
            .run(|| echo_many(host, echo.address(), 1, 2, &Live::default()));
        assert!(echoed.expect("sockets").intact());
    }
    let output = tracing.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let packets: Vec<netchannel::control::report::TracedPacket> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a packet"))
        .collect();
    assert_eq!(packets.len(), 8, "{packets:#?}");
    let by = |interface: &str| {
        let of = packets
            .iter()
            .filter(|packet| packet.interface.as_deref() == Some(interface));
        of.count()
    };
    assert_eq!((by("lan"), by("wan")), (4, 4), "{packets:#?}");
    assert!(
        packets.iter().all(|packet| packet.verdict == "transmitted"),
        "{packets:#?}"
    );
    let times: Vec<&str> = packets.iter().map(|packet| packet.time.as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    check_traffic(&site.lab);
    site.finish();
}
