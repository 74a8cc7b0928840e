//! The metrics as Prometheus takes them, and the dashboard that asks for them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use netchannel::control::report::{
    Channel, Channels, CopyMode, DropReason, Drops, Frames, KernelStatistics, LinkState, Memory, Pool, Port,
    PortFrames, Ports, ProcessMemory, Rings, RulesState, Table, Traffic, Verdict, Worker, Workers, XdpMode,
};
use netchannel::metrics::{Reports, write};

/// A report of everything, with names as bad as they can be.
fn everything() -> Reports {
    let nasty = "a \"b\\c\nd\u{e9} {x=1}";
    let port = |interface: &str, link| Port {
        interface: interface.to_owned(),
        device: "eth0".to_owned(),
        vlan: None,
        link,
        driver: None,
        xdp_mode: XdpMode::Native,
        copy_mode: CopyMode::ZeroCopy,
        queues: 2,
        rings: Rings::default(),
        received: Traffic {
            packets: 1_234_567,
            bytes: 98_765_432_109,
        },
        transmitted: Traffic::default(),
        dropped: 3,
        kernel: KernelStatistics::default(),
    };
    let channel = |name: &str| Channel {
        name: name.to_owned(),
        kind: "nat".to_owned(),
        packets: 5,
        bytes: 500,
        flows: 1,
        details: Default::default(),
    };
    let mut pool = Pool {
        channel: "internet".to_owned(),
        sessions: 7,
        ..Pool::default()
    };
    pool.mappings.udp = 4;
    pool.limits.mappings = Some(65_536);
    pool.limits.sessions = Some(262_144);
    pool.limits.new_mappings_per_second = Some(100);
    Reports {
        start_time: 1_777_777_777.5,
        ports: Ports {
            ports: vec![port("lan0", LinkState::Up), port(nasty, LinkState::Down)],
            verdicts: vec![Verdict {
                name: "redirected".to_owned(),
                packets: u64::MAX,
            }],
        },
        channels: Channels {
            channels: vec![channel("internet"), channel(nasty)],
        },
        drops: Drops {
            received: 9,
            reasons: vec![DropReason {
                reason: "ttl-expired".to_owned(),
                packets: 1,
                explanation: String::new(),
            }],
            ..Drops::default()
        },
        pools: vec![pool],
        workers: Workers {
            workers: vec![Worker {
                name: "packets".to_owned(),
                user_seconds: Some(1.5),
                offloaded_flows: 11,
                system_seconds: Some(0.25),
                ..Worker::default()
            }],
        },
        memory: Memory {
            process: ProcessMemory {
                resident_bytes: Some(1 << 20),
                virtual_bytes: Some(1 << 30),
                locked_bytes: Some(1 << 19),
                peak_resident_bytes: Some(1 << 21),
            },
            frames: Frames {
                frames: 16_384,
                bytes: 64 << 20,
                free: 8_000,
                held: 1,
                ports: vec![PortFrames {
                    device: "eth0".to_owned(),
                    receiving: 8_000,
                    sending: 383,
                }],
            },
            tables: vec![Table {
                owner: "flow table".to_owned(),
                name: "ipv4".to_owned(),
                entries: Some(5),
                capacity: Some(10),
                bytes: Some(650),
            }],
        },
        rules: Some(RulesState {
            version: 3,
            rules: 12,
            source: nasty.to_owned(),
            since: 1_777_777_777,
            former: 1,
            is_on_trial: false,
        }),
    }
}

/// Each metric's name with its type, in the order of the text.
fn types(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

fn assert_that_promtool_agrees(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in the package prometheus; tools/install-dependencies installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn promtool_finds_nothing_wrong() {
    assert_that_promtool_agrees(&write(&everything()));
    assert_that_promtool_agrees(&write(&Reports::default()));
}

#[test]
fn samples_say_what_the_reports_say() {
    let text = write(&everything());
    for line in [
        "netchannel_port_received_packets_total{interface=\"lan0\"} 1234567",
        "netchannel_port_received_bytes_total{interface=\"lan0\"} 98765432109",
        "netchannel_port_up{interface=\"lan0\"} 1",
        "netchannel_port_up{interface=\"a \\\"b\\\\c\\nd\u{e9} {x=1}\"} 0",
        "netchannel_dropped_packets_total{reason=\"ttl-expired\"} 1",
        "netchannel_nat_mappings{channel=\"internet\",protocol=\"udp\"} 4",
        "netchannel_nat_mappings_limit{channel=\"internet\"} 65536",
        "netchannel_worker_cpu_seconds_total{worker=\"packets\",mode=\"user\"} 1.5",
        "netchannel_worker_offloaded_flows{worker=\"packets\"} 11",
        "netchannel_umem_frames{holder=\"sending\",device=\"eth0\"} 383",
        "netchannel_table_entries{owner=\"flow table\",table=\"ipv4\"} 5",
        "netchannel_rules_changes_total 2",
        "netchannel_start_time_seconds 1777777777.5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn names_are_given_once_and_follow_the_conventions() {
    let text = write(&everything());
    let types = types(&text);
    let names: BTreeSet<&str> = types.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), types.len());
    for (name, kind) in types {
        assert!(
            name.starts_with("netchannel_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
}

/// Every query of the dashboard asks for metrics that there are, by labels that they have.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana-dashboard.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let text = write(&everything());
    let known: BTreeSet<&str> = types(&text).iter().map(|(name, _)| *name).collect();
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    assert!(expressions.len() > 30, "{expressions:?}");
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for expression in &expressions {
        let names: Vec<&str> = expression
            .split(|letter| !is_word(letter))
            .filter(|word| word.starts_with("netchannel_") || word.starts_with("process_"))
            .collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(known.contains(name), "{name} in {expression}");
        }
    }
    // What legends name are labels of some metric.
    for label in expressions_labels(&dashboard) {
        assert!(text.contains(&format!("{label}=\"")), "no label {label}");
    }
}

/// The queries: `expr` of panels and annotations, `query` of variables.
fn collect(value: &serde_json::Value, to: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                match value.as_str() {
                    Some(text) if key == "expr" || (key == "query" && text.contains("netchannel")) => {
                        to.push(text.to_owned());
                    }
                    _ => collect(value, to),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, to)),
        _ => {}
    }
}

fn expressions_labels(value: &serde_json::Value) -> BTreeSet<String> {
    let text = value.to_string();
    let pieces = text
        .split("{{")
        .skip(1)
        .filter_map(|piece| piece.split_once("}}"));
    pieces.map(|(label, _)| label.trim().to_owned()).collect()
}
