//! More packets than can be carried.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netchannel_benches::bpf::{Flood, Generator};
use netchannel_benches::measure::hardware_address;
use netchannel_benches::topology::{INSIDE, Options, SERVER};
use netchannel_benches::traffic::datagram::Flow;
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, at, eventually, lab};

const WITHOUT_OFFLOAD: &str = "[flow_table]\noffload = \"off\"\n";

/// The whole of 10.77.0.0/16 is inside: floods come from there.
fn configuration(more: &str) -> String {
    let translator = TRANSLATOR.replace(
        "role = \"inside\"",
        "role = \"inside\"\nprefixes = [\"10.77.0.0/16\"]",
    );
    let rule = TRANSLATE_ALL.replace("10.77.0.0/24", "10.77.0.0/16");
    [&translator, &rule, more].concat()
}

/// First packets of new flows of as many hosts, as fast as they can be made, while `work` is done. Returns how many.
fn flood_while(site: &Site, hosts: u16, work: impl FnOnce()) -> u64 {
    let flood = Flood {
        rate: None,
        one_known_in: 1024,
        known_flows: 1,
        hosts,
    };
    generate_while(site, &flood, work)
}

/// Packets as fast as they can be made, while `work` is done. Returns how many.
fn generate_while(site: &Site, flood: &Flood, work: impl FnOnce()) -> u64 {
    let flow = Flow {
        hardware: (
            hardware_address(&site.lab.inside, "eth0").expect("it has one"),
            hardware_address(&site.lab.middle, "lan").expect("it has one"),
        ),
        addresses: (INSIDE, SERVER),
        ports: (20_000, 9),
    };
    let generator = Generator::flood(&site.lab.inside, "eth0", &flow, flood).expect("a program");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let run = || generator.run(0, Duration::from_millis(200));
                site.lab.inside.run(run).expect("live frames");
            }
        });
        // A failure ends the flood too.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    generator.sent().expect("a count")
}

/// Packets that the XDP program handed to user space, and what the kernel and the worker say of them.
fn check_that_counters_add_up(site: &Site) {
    let counted = || {
        let ports = site.ports().ports;
        let sum = |of: fn(&netchannel::control::report::Port) -> u64| ports.iter().map(of).sum::<u64>();
        let received = sum(|port| port.received.packets);
        let lost = sum(|port| {
            let kernel = &port.kernel;
            kernel.receive_ring_full + kernel.fill_ring_empty + kernel.receive_dropped
        });
        (received, lost)
    };
    eventually("every packet is received or lost at a ring", || {
        let (received, lost) = counted();
        site.verdict("redirected") == received + lost && site.drops().received == received
    });
    assert!(counted().1 > 0, "the ring was full: {:?}", site.ports());
}

#[test]
fn an_established_flow_survives_floods_and_everything_is_accounted_for() {
    // Known flows are to meet the flood in user space.
    let site = Site::on(lab(&Options::default()), &configuration(WITHOUT_OFFLOAD));
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let socket = at(&site.lab.inside, || {
        std::net::UdpSocket::bind((INSIDE, 5000)).expect("a free port")
    });
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a limit");
    let mut number = 0u32;
    let mut is_answered = || {
        number += 1;
        socket
            .send_to(&number.to_be_bytes(), echo.address())
            .expect("sent");
        socket.recv(&mut [0; 10]).is_ok()
    };
    eventually("an answer", &mut is_answered);
    let external = || {
        let mappings = site.mappings();
        let mut found = mappings
            .iter()
            .filter(|mapping| mapping.inside.ends_with(":5000") && mapping.protocol == "udp");
        found.next().map(|mapping| mapping.external.clone())
    };
    let before = external().expect("a mapping");
    for hosts in [1, 16_384] {
        let turned_away = site.dropped("new-flow-limit");
        let sent = flood_while(&site, hosts, || {
            eventually("new flows are turned away", || {
                site.dropped("new-flow-limit") > turned_away
            });
            for _ in 0..5 {
                eventually("an answer during the flood", &mut is_answered);
            }
        });
        assert!(sent > 2048, "{sent}");
        check_that_counters_add_up(&site);
    }
    eventually("an answer after the floods", &mut is_answered);
    assert_eq!(external(), Some(before));
    site.finish();
}

/// Known flows alone are more than can be carried, and some others begin among them.
#[test]
fn few_new_flows_are_not_turned_away_whatever_is_lost() {
    let site = Site::on(lab(&Options::default()), &configuration(WITHOUT_OFFLOAD));
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let known = Flood {
        rate: None,
        one_known_in: 1,
        known_flows: 1,
        hosts: 1,
    };
    generate_while(&site, &known, || {
        eventually("the ring is full", || {
            site.port("lan").kernel.receive_ring_full > 100_000
        });
        // Each is sent once, and the ring leaves but few.
        eventually("answers to first packets", || {
            at(&site.lab.inside, || {
                let socket = || std::net::UdpSocket::bind((INSIDE, 0)).expect("a free port");
                let sockets: Vec<_> = (0..20).map(|_| socket()).collect();
                for socket in &sockets {
                    socket.send_to(b"first", echo.address()).expect("sent");
                }
                let is_answered = |socket: &std::net::UdpSocket| {
                    let limit = Some(Duration::from_millis(5));
                    socket.set_read_timeout(limit).expect("a limit");
                    socket.recv(&mut [0; 10]).is_ok()
                };
                sockets.iter().any(is_answered)
            })
        });
    });
    check_that_counters_add_up(&site);
    assert_eq!(site.dropped("new-flow-limit"), 0);
    site.finish();
}

#[test]
fn nothing_is_turned_away_if_that_is_not_wanted() {
    let more = "[flow_table]\nlimit_new_flows = false\n";
    let site = Site::on(lab(&Options::default()), &configuration(more));
    flood_while(&site, 1, || {
        eventually("the ring is full", || {
            site.port("lan").kernel.receive_ring_full > 10_000
        });
    });
    check_that_counters_add_up(&site);
    assert_eq!(site.dropped("new-flow-limit"), 0);
    site.finish();
}
