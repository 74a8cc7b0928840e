//! The laboratory itself, proven on the kernel's own translation and forwarding. Needs root.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use netchannel_benches::Error;
use netchannel_benches::bpf::{Counter, Generator, Load};
use netchannel_benches::daemon::STANDARD_CONFIGURATION;
use netchannel_benches::measure::{Processors, hardware_address, prepare_packets};
use netchannel_benches::namespace::{Namespace, sweep};
use netchannel_benches::process::words;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use netchannel_benches::subject::Subject;
use netchannel_benches::topology::{
    BOX_INSIDE, BOX_OUTSIDE, FAR, INSIDE, Lab, Offloads, Options, SERVER, SERVER_V6,
};
use netchannel_benches::traffic::datagram::Flow;
use netchannel_benches::traffic::http::{HttpServer, Method, parallel};
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::probe::{self, Answer, Hop, Probe, probe, traceroute};
use netchannel_benches::traffic::raw::RawSocket;
use netchannel_benches::traffic::stream::{Sink, throughput};
use netchannel_benches::traffic::udp::{EchoServer, echo_many};
use netchannel_benches::traffic::{Live, Outcome, STALL_LIMIT};

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

fn ping_server(lab: &Lab, payload: usize) -> Outcome {
    ping_server_within(lab, payload, STALL_LIMIT)
}

fn ping_server_within(lab: &Lab, payload: usize, limit: Duration) -> Outcome {
    let some = Ping {
        count: 3,
        payload,
        interval: Duration::ZERO,
        limit,
        ..Ping::default()
    };
    lab.inside
        .run(|| ping(SERVER, &some, &Live::default()))
        .expect("a raw socket")
        .outcome
}

#[test]
fn a_namespace_goes_with_its_value() {
    let namespace = Namespace::new("gone").expect("root");
    let name = namespace.name().to_owned();
    assert!(exists(&name));
    let links = namespace
        .command("ls /sys/class/net")
        .expect("a /sys of the namespace");
    assert_eq!(links.trim(), "lo");
    drop(namespace);
    assert!(!exists(&name));
}

#[test]
fn leftovers_of_dead_runs_are_swept() {
    // No process can have this identifier.
    let mut leftover = Namespace::named("nc-4194305-0-left").expect("root");
    leftover.keep();
    drop(leftover);
    let living = Namespace::new("living").expect("root");
    let removed = sweep().expect("root");
    assert!(removed.contains(&"nc-4194305-0-left".to_owned()), "{removed:?}");
    assert!(!exists("nc-4194305-0-left") && exists(living.name()));
}

#[test]
fn the_standard_configuration_is_accepted() {
    let text = STANDARD_CONFIGURATION.replace("{socket}", "/run/control.sock");
    let config = netchannel::config::Config::parse(&text, "standard").expect("accepted");
    assert_eq!(config.interfaces.len(), 2);
}

#[test]
fn a_panic_inside_goes_on_outside_and_cleans_up() {
    let mut name = String::new();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let namespace = Namespace::new("panic").expect("root");
        namespace.name().clone_into(&mut name);
        let _ = namespace.run(|| -> Result<(), Error> { panic!("on purpose") });
    }));
    assert_eq!(
        panic.expect_err("it panicked").downcast_ref(),
        Some(&"on purpose")
    );
    assert!(!name.is_empty() && !exists(&name));
}

#[test]
fn a_process_goes_with_its_value() {
    let namespace = Namespace::new("process").expect("root");
    let process = namespace.spawn(words("sleep 1000")).expect("sleep");
    let pid = process.pid();
    let pids = namespace_pids(&namespace);
    assert!(pids.contains(&pid.to_string()), "{pid} is not among {pids:?}");
    drop(process);
    assert!(namespace_pids(&namespace).is_empty());
    let missing = namespace
        .spawn(Command::new("no-such-program"))
        .expect_err("no such program");
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
}

fn namespace_pids(namespace: &Namespace) -> Vec<String> {
    let list = netchannel_benches::process::run(&mut words(&format!("ip netns pids {}", namespace.name())));
    list.expect("ip netns pids")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn nothing_crosses_before_something_forwards() {
    let lab = Lab::new(&Options::default()).expect("root");
    let in_vain = || ping_server_within(&lab, 56, Duration::from_secs(1));
    assert_eq!(in_vain().received, 0);
    let running = Subject::Nftables.start(&lab).expect("nft");
    assert_eq!(ping_server(&lab, 56).received, 3);
    drop(running);
    assert_eq!(in_vain().received, 0);
}

#[test]
fn everything_crosses_a_masquerade() {
    let lab = Lab::new(&Options {
        far_mtu: Some(1400),
        ..Options::default()
    })
    .expect("root");
    let _running = Subject::Nftables.start(&lab).expect("nft");
    let web = HttpServer::start(&lab.server, SocketAddr::from((SERVER, 80))).expect("port 80");
    for method in [Method::Download, Method::Upload] {
        let live = Live::default();
        let outcome = lab
            .inside
            .run(|| parallel(web.address(), method, 8, 300_000, &live))
            .expect("sockets");
        assert!(outcome.intact(), "{method:?}: {outcome:?}");
        assert_eq!(live.read(), (8, 8, 2_400_000));
    }

    let echo = EchoServer::start(&lab.server, SocketAddr::from((SERVER, 53))).expect("port 53");
    let other = Ipv4Addr::new(10, 77, 0, 9);
    lab.add_inside_address(other).expect("a further address");
    for source in [INSIDE, other] {
        let echoed = lab
            .inside
            .run(|| echo_many(source, echo.address(), 10, 3, &Live::default()));
        let outcome = echoed.expect("sockets");
        assert!(outcome.intact(), "{outcome:?}");
    }
    let peers: HashSet<IpAddr> = echo.peers().iter().map(SocketAddr::ip).collect();
    assert_eq!(peers, HashSet::from([IpAddr::V4(BOX_OUTSIDE)]));
    assert_eq!(echo.peers().len(), 20);

    assert!(ping_server(&lab, 1472).intact());
    let hops = lab
        .inside
        .run(|| traceroute(FAR, 5, &Live::default()))
        .expect("sockets");
    let way: Vec<_> = hops.iter().map(Hop::from).collect();
    assert_eq!(way, [Some(BOX_INSIDE), Some(SERVER), Some(FAR)]);

    let large = Probe {
        payload: 1472,
        dont_fragment: true,
        ..Probe::to(SocketAddrV4::new(FAR, 9))
    };
    let answer = lab.inside.run(|| probe(&large)).expect("a socket");
    let (kind, code) = (probe::UNREACHABLE, probe::FRAGMENTATION_NEEDED);
    assert_eq!(
        answer,
        Answer::Icmp {
            from: SERVER,
            kind,
            code,
            mtu: 1400
        }
    );
}

fn unreachables_received(namespace: &Namespace) -> u64 {
    let counters = namespace.command("cat /proc/net/snmp").expect("counters");
    let mut icmp = counters.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (icmp.next().expect("names"), icmp.next().expect("values"));
    let position = names.split(' ').position(|name| name == "InDestUnreachs");
    let value = values.split(' ').nth(position.expect("a counter of the kernel"));
    value.and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn no_icmp_error_is_held_back() {
    const DATAGRAMS: u64 = 200;
    let lab = Lab::new(&Options::default()).expect("root");
    lab.middle
        .run(|| {
            let socket = UdpSocket::bind((BOX_OUTSIDE, 0)).expect("a port");
            for _ in 0..DATAGRAMS {
                socket.send_to(b"anybody there?", (SERVER, 9)).expect("a route");
            }
            Ok(())
        })
        .expect("the namespace can be entered");
    let all_told = || Ok((unreachables_received(&lab.middle) >= DATAGRAMS).then_some(()));
    wait_until("an error for each datagram", PATIENCE, all_told).expect("nothing is held back");
}

#[test]
fn variants_carry_traffic() {
    let standard = Options::default();
    for options in [
        Options {
            mtu: 9000,
            queues: 2,
            ..standard.clone()
        },
        Options {
            ipv6: true,
            offloads: Offloads::Default,
            ..standard
        },
    ] {
        let lab = Lab::new(&options).expect("root");
        let _running = Subject::Forwarding.start(&lab).expect("a route");
        assert!(ping_server(&lab, 56).intact(), "{options:?}");
        let sink = Sink::start(&lab.server, SocketAddr::from((SERVER, 5001))).expect("port 5001");
        let rate = lab
            .inside
            .run(|| throughput(&sink, 2, Duration::from_millis(200)))
            .expect("streams");
        assert!(rate > 0.0, "{options:?}");
        if options.ipv6 {
            lab.middle
                .set_parameter("ipv6/conf/all/forwarding", "1")
                .expect("IPv6 forwarding");
            lab.server
                .ip("-6 route add fd77::/64 via 2001:db8:51::1")
                .expect("a route back");
            let web = HttpServer::start(&lab.server, SocketAddr::from((SERVER_V6, 80))).expect("port 80");
            let outcome = lab
                .inside
                .run(|| parallel(web.address(), Method::Download, 2, 100_000, &Live::default()));
            let outcome = outcome.expect("sockets");
            assert!(outcome.intact(), "{outcome:?}");
        }
    }
}

fn generate(lab: &Lab, flow: &Flow, load: &Load, duration: Duration) -> u64 {
    let generator = Generator::new(&lab.inside, "eth0", flow, load).expect("a program");
    lab.inside
        .run(|| generator.run(0, duration))
        .expect("live frames");
    generator.sent().expect("a count")
}

#[test]
fn the_counter_counts_what_the_generator_sends() {
    let lab = Lab::new(&Options::default()).expect("root");
    let counter = Counter::attach(&lab.middle, "lan", SERVER, Some(9)).expect("native XDP");
    let flow = Flow {
        hardware: ([2; 6], [4; 6]),
        addresses: (INSIDE, SERVER),
        ports: (20_000, 9),
    };
    let short = Duration::from_millis(200);
    let other = Flow {
        ports: (20_000, 10),
        ..flow
    };
    generate(
        &lab,
        &other,
        &Load {
            rate: Some(1000),
            ..Load::default()
        },
        short,
    );
    let paced = generate(
        &lab,
        &flow,
        &Load {
            rate: Some(1000),
            ..Load::default()
        },
        short,
    );
    assert!((1..=1000).contains(&paced), "{paced}");
    // Frames arrive in the order in which they were sent: those to the other port have come by, uncounted.
    let arrived = || Ok((counter.count()? >= paced).then_some(()));
    wait_until("all frames", PATIENCE, arrived).expect("none is lost");
    assert_eq!(counter.count().expect("a count"), paced);
    let fast = generate(&lab, &flow, &Load::default(), short);
    assert!(fast > paced, "{fast}");
}

#[test]
fn generated_datagrams_are_whole() {
    let lab = Lab::new(&Options::default()).expect("root");
    let subject = Subject::Nftables;
    let _running = subject.start(&lab).expect("nft");
    prepare_packets(
        &lab,
        &subject,
        Processors {
            sender: 0,
            forwarder: 0,
        },
    )
    .expect("ethtool");
    assert!(ping_server(&lab, 56).intact());
    let echo = EchoServer::start(&lab.server, SocketAddr::from((SERVER, 9))).expect("port 9");
    let hardware = [(&lab.inside, "eth0"), (&lab.middle, "lan")]
        .map(|(namespace, interface)| hardware_address(namespace, interface).expect("an address"));
    let flow = Flow {
        hardware: hardware.into(),
        addresses: (INSIDE, SERVER),
        ports: (20_000, 9),
    };
    generate(
        &lab,
        &flow,
        &Load {
            rate: Some(1000),
            flows: 4,
        },
        Duration::from_millis(200),
    );
    let all = || Ok((echo.peers().len() == 4).then_some(()));
    wait_until("datagrams of four flows", PATIENCE, all).expect("they pass all checks");
}

#[test]
fn raw_frames_arrive_as_they_were_sent() {
    let lab = Lab::new(&Options::default()).expect("root");
    let receiver = lab
        .middle
        .run(|| RawSocket::open("lan"))
        .expect("a packet socket");
    let sender = lab
        .inside
        .run(|| RawSocket::open("eth0"))
        .expect("a packet socket");
    let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
    let experimental = [0x88, 0xb5];
    for tags in [
        &[][..],
        &[0x81, 0, 0x20, 100],
        &[0x88, 0xa8, 0, 7, 0x81, 0, 0x20, 100],
    ] {
        frame.truncate(12);
        frame.extend([tags, &experimental[..], &[0x5a; 60]].concat());
        sender.send(&frame).expect("a frame");
        let same = |found: &[u8]| (found == frame).then_some(());
        let arrived = receiver.receive(PATIENCE, same).expect("frames");
        assert_eq!(arrived, Some(()), "{tags:x?}");
    }
}
