//! What can be watched while it happens, and the reports on workers, memory, routes and neighbours.

use std::process::Command;

use netchannel::control::report::{Memory, Neighbours, Routes, Workers};
use netchannel_benches::topology::SERVER;
use netchannel_benches::traffic::udp::EchoServer;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::running::Running;
use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, check_traffic, exchange_udp, lab};

/// A monitor that is sure to hear what happens from now on.
fn monitor(site: &Site, words: &str) -> Running {
    let running = Running::start(site.command(&format!("monitor {words}")));
    // It is told of what it starts with as soon as it listens: a route nobody uses, until one is told.
    let mut number = 0_u32;
    crate::site::eventually("a monitor that listens", || {
        number += 1;
        let route = format!("10.99.{}.0/24", number % 250);
        site.lab
            .middle
            .ip(&format!("route replace blackhole {route}"))
            .expect("a route");
        !running.lines().is_empty()
    });
    running
}

fn parsed(lines: &[String]) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"));
    lines.iter().map(parse).collect()
}

#[test]
fn monitor_tells_what_happens_while_it_happens() {
    let mut site = Site::new();
    let text = monitor(&site, "");
    let json = monitor(&site, "-j mappings flows links routes neighbours daemon");
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    assert!(exchange_udp(&site.lab, echo.address(), 3, 1).intact());
    let mapping = site.mappings().remove(0);

    text.wait_for("a mapping", |line| {
        line.contains("mapping created: internet udp ")
            && line.contains(&mapping.inside)
            && line.ends_with(&format!("is {} outside", mapping.external))
    });
    text.wait_for("a flow from inside", |line| {
        line.contains(&format!(
            "flow opened: udp {} > {SERVER}:53 on lan to internet",
            mapping.inside
        ))
    });
    text.wait_for("the flow back", |line| {
        line.contains(&format!(
            "flow opened: udp {SERVER}:53 > {} on wan to internet",
            mapping.external
        ))
    });

    // Each is told before the next: what is undone at once is no change.
    for (change, told) in [
        (
            "address add 203.0.113.1/24 dev wan",
            "address added: wan 203.0.113.1/24",
        ),
        (
            "address del 203.0.113.1/24 dev wan",
            "address removed: wan 203.0.113.1/24",
        ),
        (
            "neighbour replace 198.51.100.77 lladdr 02:00:00:00:00:77 dev wan nud permanent",
            "neighbour changed: 198.51.100.77 at 02:00:00:00:00:77 on wan, fresh",
        ),
        (
            "route add 10.98.0.0/16 via 198.51.100.2",
            "route added: 10.98.0.0/16 via 198.51.100.2 dev wan",
        ),
        (
            "route del 10.98.0.0/16",
            "route removed: 10.98.0.0/16 via 198.51.100.2 dev wan",
        ),
        (
            "link add name spare type veth peer name spare-peer",
            "link added: spare",
        ),
        ("link set spare name other", "link renamed: other (was spare)"),
        ("link set other mtu 1400", "link changed: other"),
        ("link del other", "link removed: other"),
        ("link set lan down", "link down: lan"),
        ("link set lan up", "link up: lan"),
    ] {
        site.lab.middle.ip(change).expect("a change");
        text.wait_for(told, |line| line.ends_with(told));
    }
    let deleted = site.command("nat delete --all").output().expect("it runs");
    assert!(deleted.status.success());
    text.wait_for("the mapping's end", |line| {
        line.contains("mapping deleted: ") && line.contains(&mapping.inside) && line.ends_with(", deleted")
    });

    site.stop(Signal::SIGTERM);
    for (monitor, is_json) in [(text, false), (json, true)] {
        let (status, lines, error) = monitor.end();
        assert_eq!((status.code(), error.as_str()), (Some(0), ""));
        assert!(lines.last().expect("lines").contains("stopping"), "{lines:?}");
        if is_json {
            let events = parsed(&lines);
            assert!(
                events
                    .iter()
                    .all(|event| event["time"].is_string() && event["event"].is_string())
            );
            let created = events.iter().filter(|event| event["event"] == "mapping-created");
            assert_eq!(created.count(), 3);
            let opened: Vec<_> = events
                .iter()
                .filter(|event| event["event"] == "flow-opened")
                .collect();
            assert_eq!(opened.iter().filter(|flow| flow["interface"] == "lan").count(), 3);
            assert_eq!(opened.iter().filter(|flow| flow["interface"] == "wan").count(), 3);
        }
    }
}

/// One record feeds the log and those who watch; who watches adds nothing to the log.
#[test]
fn limits_are_told_to_those_who_watch_without_a_log() {
    let limited = format!("{TRANSLATOR}\n[channel.host_limits]\nmappings = 2\n{TRANSLATE_ALL}");
    let site = Site::on(lab(&Default::default()), &limited);
    let watching = monitor(&site, "limits routes -j");
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    exchange_udp(&site.lab, echo.address(), 3, 1);
    let told = watching.wait_for("the limit", |line| line.contains("limit-reached"));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["limit"], "nat-host-mapping-limit");
    assert_eq!((&told["host"], &told["bound"]), (&"10.77.0.2".into(), &2.into()));
    // Ctrl-C is a good end.
    watching.signal(Signal::SIGINT);
    let (status, lines, error) = watching.end();
    assert_eq!((status.code(), error.as_str()), (Some(0), ""));
    assert!(
        !lines.iter().any(|line| line.contains("mapping-created")),
        "{lines:?}"
    );
    site.finish();
}

#[test]
fn wrong_use_of_monitor_says_what_to_do() {
    let run = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netchannel"));
        let output = command.args(words.split_whitespace()).output().expect("it runs");
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("text"),
        )
    };
    let (code, error) = run("monitor colours");
    assert_eq!(code, Some(2));
    assert!(error.contains("expected flows, mappings, limits"), "{error}");
    let (code, error) = run("monitor --socket /nowhere/control.sock");
    assert_eq!(code, Some(1));
    assert!(
        error.contains("no netchannel is running at /nowhere/control.sock"),
        "{error}"
    );
    for wrong in ["0", "x", "-1", "1e9"] {
        let (code, error) = run(&format!("show ports --watch={wrong}"));
        assert_eq!(code, Some(2), "{wrong}");
        assert!(error.contains("from 0.1 to 86400"), "{error}");
    }
    let (code, error) = run("show routes --prefix 10.0.0.0/40");
    assert_eq!(code, Some(2));
    assert!(error.contains("expected a prefix such as 10.0.0.0/8"), "{error}");
}

#[test]
fn workers_and_memory_agree_with_the_traffic() {
    let site = Site::new();
    check_traffic(&site.lab);
    let received = site.drops().received;
    let workers: Workers = site.show_with("workers");
    let [worker] = &workers.workers[..] else {
        panic!("{workers:?}")
    };
    assert_eq!(worker.total.packets, received, "{worker:?}");
    assert!(worker.total.bursts > 0 && worker.total.bursts <= received);
    assert!(worker.total.sleeps > 0 && worker.ticks > 0 && worker.questions_answered > 0);
    assert!(
        worker.cpu.is_some() && worker.allowed_cpus.is_some(),
        "{worker:?}"
    );
    assert!(worker.total.busy_seconds > 0.0 && worker.total.asleep_seconds > 0.0);
    assert_eq!((worker.held_packets, worker.questions_capacity), (0, 64));

    let memory: Memory = site.show_with("memory");
    let frames = &memory.frames;
    let of_ports: u64 = frames
        .ports
        .iter()
        .map(|port| port.receiving + port.sending)
        .sum();
    assert_eq!(frames.free + frames.held + of_ports, frames.frames, "{frames:?}");
    assert_eq!(frames.ports.len(), 2);
    assert!(memory.process.resident_bytes.expect("the kernel tells") > 1 << 20);
    let table = |owner: &str, name: &str| {
        let found = memory
            .tables
            .iter()
            .find(|table| table.owner == owner && table.name == name);
        found
            .unwrap_or_else(|| panic!("{owner} {name}: {:?}", memory.tables))
            .clone()
    };
    let mappings = table("channel internet", "mappings");
    assert_eq!(mappings.entries, Some(site.mappings().len() as u64));
    assert!(mappings.capacity >= mappings.entries && mappings.bytes > Some(0));
    assert!(table("flow table", "ipv4").entries >= Some(2));
    assert!(table("rules", "ipv4").entries >= Some(1) && table("rules", "ipv4").bytes > Some(0));
    assert!(table("events", "flows").bytes > Some(0));

    let text = site.daemon.show_text("memory").expect("a table");
    assert!(
        text.contains("lan receiving") && text.contains("BYTES RESERVED"),
        "{text}"
    );
    let text = site.daemon.show_text("workers").expect("a table");
    assert!(text.contains("packets") && text.contains("of 64"), "{text}");
    site.finish();
}

#[test]
fn routes_and_neighbours_are_the_kernel_s() {
    let site = Site::new();
    let middle = &site.lab.middle;
    for number in 0..20 {
        middle
            .ip(&format!("route add 10.50.{number}.0/24 via {SERVER} metric 7"))
            .expect("a route");
    }
    middle.ip("route add blackhole 10.51.0.0/16").expect("a route");
    let wanted = "routes --prefix 10.48.0.0/14";
    crate::site::eventually("the last route", || {
        site.show_with::<Routes>(wanted).routes.len() == 21
    });
    let routes: Routes = site.show_with(wanted);
    let of_server = routes.routes.iter().filter(|route| route.kind == "unicast");
    for route in of_server {
        assert_eq!(route.metric, 7);
        assert_eq!(route.next_hops[0].interface, "wan");
        assert_eq!(route.next_hops[0].gateway, Some(SERVER.into()));
    }
    assert!(routes.routes.iter().any(|route| route.kind == "blackhole"));
    let by_interface: Routes = site.show_with("routes --interface lan");
    assert!(
        by_interface
            .routes
            .iter()
            .all(|route| route.next_hops[0].interface == "lan")
    );
    let text = site.daemon.show_text("routes").expect("a table");
    assert!(
        text.contains("10.51.0.0/16") && text.contains("blackhole"),
        "{text}"
    );
    let limited = site.command("show routes --limit 3").output().expect("it runs");
    let limited = String::from_utf8(limited.stdout).expect("text");
    assert!(limited.ends_with("3 routes, and there are more\n"), "{limited}");
    let absent = site
        .command("show routes --interface wan9")
        .output()
        .expect("it runs");
    assert_eq!(absent.status.code(), Some(1));
    let error = String::from_utf8(absent.stderr).expect("text");
    assert!(
        error.contains("there is no interface \"wan9\"") && error.contains("lan"),
        "{error}"
    );

    check_traffic(&site.lab);
    let neighbours: Neighbours = site.show_with("neighbours --interface wan");
    let server = neighbours
        .neighbours
        .iter()
        .find(|neighbour| neighbour.address == std::net::IpAddr::from(SERVER));
    assert!(server.expect("it was talked to").mac.is_some(), "{neighbours:?}");
    let of_server: Neighbours = site.show_with(&format!("neighbours --prefix {SERVER}"));
    assert_eq!(of_server.neighbours.len(), 1);
    site.finish();
}

#[test]
fn shows_can_be_repeated_until_a_signal() {
    let site = Site::new();
    for what in [
        "ports", "drops", "mappings", "pools", "workers", "memory", "routes",
    ] {
        let watching = Running::start(site.command(&format!("show {what} --watch 0.1")));
        let is_time = |line: &str| line.starts_with("20") && line.ends_with('Z');
        crate::site::eventually("three looks", || {
            watching.lines().iter().filter(|line| is_time(line)).count() >= 3
        });
        watching.signal(Signal::SIGINT);
        let (status, lines, error) = watching.end();
        assert_eq!((status.code(), error.as_str()), (Some(0), ""), "{what}");
        assert!(is_time(&lines[0]), "{what}: {lines:?}");
        assert!(
            !lines.iter().any(|line| line.contains('\x1b')),
            "{what}: no terminal"
        );
    }
    let watching = Running::start(site.command("show drops -j --watch=0.1"));
    crate::site::eventually("three looks", || watching.lines().len() >= 3);
    watching.signal(Signal::SIGTERM);
    let (status, lines, _) = watching.end();
    assert_eq!(status.code(), Some(0));
    assert!(parsed(&lines).iter().all(|report| report["received"].is_u64()));
    site.finish();
}
