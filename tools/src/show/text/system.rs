//! Workers, memory, routes and neighbours.

use std::io::{self, Write};

use netchannel::control::report::{Memory, Neighbour, Route, WaitMode, Worker, WorkerState, Workers};

use super::{Listing, NONE};
use crate::table::Side::{Left, Right};
use crate::table::Table;
use crate::units::{bytes, count, percent, rate, span};

pub(in crate::show) fn workers(report: &Workers, out: &mut impl Write) -> io::Result<()> {
    let columns = [
        ("WORKER", Left),
        ("CPU", Right),
        ("MAY USE", Left),
        ("WAIT", Left),
        ("STATE", Left),
        ("BUSY", Right),
        ("POLLING", Right),
        ("ASLEEP", Right),
        ("PACKETS/S", Right),
        ("BURSTS/S", Right),
        ("PER BURST", Right),
        ("BACKLOG", Right),
        ("HELD", Right),
        ("OFFLOADED", Right),
        ("QUESTIONS", Right),
    ];
    let rows: Vec<Vec<String>> = report.workers.iter().map(present).collect();
    Table::new(&columns).write(&rows, out)?;

    writeln!(out, "\nSince the start:")?;
    let columns = [
        ("WORKER", Left),
        ("PACKETS", Right),
        ("BURSTS", Right),
        ("PER BURST", Right),
        ("HANDED ON", Right),
        ("TAKEN OVER", Right),
        ("EMPTY POLLS", Right),
        ("SLEEPS", Right),
        ("BUSY", Right),
        ("CPU USER", Right),
        ("CPU SYSTEM", Right),
        ("TICKS", Right),
        ("LAST TICK", Right),
        ("LONGEST", Right),
        ("ANSWERED", Right),
    ];
    let rows: Vec<Vec<String>> = report.workers.iter().map(past).collect();
    Table::new(&columns).write(&rows, out)
}

fn present(worker: &Worker) -> Vec<String> {
    let last = &worker.last_second;
    let all = last.busy_seconds + last.polling_seconds + last.asleep_seconds;
    let share = |seconds: f64| percent((seconds * 1e9) as u64, (all * 1e9) as u64);
    let in_a_second = |number: u64| match all > 0.0 {
        true => rate(number as f64 / all),
        false => NONE.to_owned(),
    };
    let wait = match (worker.wait, worker.spin_seconds) {
        (WaitMode::Interrupt, _) => "interrupt".to_owned(),
        (WaitMode::Adaptive, None) => "adaptive".to_owned(),
        (WaitMode::Adaptive, Some(spin)) => format!("adaptive, {}", span(spin)),
        (WaitMode::BusyPoll, _) => "busy-poll".to_owned(),
    };
    let state = match worker.state {
        WorkerState::Running => "running",
        WorkerState::Asleep => "asleep",
    };
    vec![
        worker.name.clone(),
        worker.cpu.map_or(NONE.to_owned(), |cpu| cpu.to_string()),
        worker.allowed_cpus.clone().unwrap_or(NONE.to_owned()),
        wait,
        state.to_owned(),
        share(last.busy_seconds),
        share(last.polling_seconds),
        share(last.asleep_seconds),
        in_a_second(last.packets),
        in_a_second(last.bursts),
        per_burst(last.packets, last.bursts),
        count(worker.transmit_backlog),
        count(worker.held_packets),
        count(worker.offloaded_flows),
        format!("{} of {}", worker.questions_waiting, worker.questions_capacity),
    ]
}

fn past(worker: &Worker) -> Vec<String> {
    let total = &worker.total;
    let seconds = |seconds: Option<f64>| seconds.map_or(NONE.to_owned(), span);
    vec![
        worker.name.clone(),
        count(total.packets),
        count(total.bursts),
        per_burst(total.packets, total.bursts),
        count(worker.handed_on),
        count(worker.taken_over),
        count(total.empty_polls),
        count(total.sleeps),
        span(total.busy_seconds),
        seconds(worker.user_seconds),
        seconds(worker.system_seconds),
        count(worker.ticks),
        span(worker.last_tick_seconds),
        span(worker.longest_tick_seconds),
        count(worker.questions_answered),
    ]
}

fn per_burst(packets: u64, bursts: u64) -> String {
    match bursts {
        0 => NONE.to_owned(),
        bursts => format!("{:.1}", packets as f64 / bursts as f64),
    }
}

pub(in crate::show) fn memory(report: &Memory, out: &mut impl Write) -> io::Result<()> {
    let process = &report.process;
    let figures = [
        ("resident", process.resident_bytes),
        ("most resident", process.peak_resident_bytes),
        ("locked", process.locked_bytes),
        ("address space", process.virtual_bytes),
    ];
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|(name, figure)| vec![(*name).to_owned(), figure.map_or(NONE.to_owned(), bytes)])
        .collect();
    Table::new(&[("PROCESS", Left), ("BYTES", Right)]).write(&rows, out)?;

    let frames = &report.frames;
    let mut holders = vec![
        ("free".to_owned(), frames.free),
        ("held packets".to_owned(), frames.held),
    ];
    for port in &frames.ports {
        holders.push((format!("{} receiving", port.device), port.receiving));
        holders.push((format!("{} sending", port.device), port.sending));
    }
    holders.push(("all".to_owned(), frames.frames));
    let size = frames.bytes.checked_div(frames.frames).unwrap_or(0);
    let rows: Vec<Vec<String>> = holders
        .into_iter()
        .map(|(holder, number)| {
            let share = percent(number, frames.frames);
            vec![holder, count(number), bytes(number * size), share]
        })
        .collect();
    writeln!(out)?;
    let columns = [
        ("FRAMES", Left),
        ("NUMBER", Right),
        ("BYTES", Right),
        ("SHARE", Right),
    ];
    Table::new(&columns).write(&rows, out)?;

    let rows: Vec<Vec<String>> = report
        .tables
        .iter()
        .map(|table| {
            let fill = table.entries.zip(table.capacity);
            vec![
                table.owner.clone(),
                table.name.clone(),
                table.entries.map_or(NONE.to_owned(), count),
                table.capacity.map_or(NONE.to_owned(), count),
                fill.map_or(NONE.to_owned(), |(entries, capacity)| percent(entries, capacity)),
                table.bytes.map_or(NONE.to_owned(), bytes),
            ]
        })
        .collect();
    writeln!(out)?;
    let columns = [
        ("OWNER", Left),
        ("TABLE", Left),
        ("ENTRIES", Right),
        ("ROOM FOR", Right),
        ("FILL", Right),
        ("BYTES RESERVED", Right),
    ];
    Table::new(&columns).write(&rows, out)
}

pub(in crate::show) fn routes() -> Listing<Route> {
    Listing {
        table: Table::new(&[
            ("DESTINATION", Left),
            ("KIND", Left),
            ("METRIC", Right),
            ("INTERFACE", Left),
            ("VIA", Left),
            ("WEIGHT", Right),
            ("SOURCE", Left),
            ("MTU", Right),
        ]),
        rows: |route| {
            let row = |destination: bool, hop: [String; 3]| {
                let [interface, gateway, weight] = hop;
                let only = |text: String| if destination { text } else { String::new() };
                vec![
                    only(route.destination.to_string()),
                    only(route.kind.clone()),
                    only(count(route.metric.into())),
                    interface,
                    gateway,
                    weight,
                    only(
                        route
                            .preferred_source
                            .map_or(NONE.to_owned(), |address| address.to_string()),
                    ),
                    only(route.mtu.map_or(NONE.to_owned(), |mtu| mtu.to_string())),
                ]
            };
            let hops: Vec<[String; 3]> = route
                .next_hops
                .iter()
                .map(|hop| {
                    let gateway = hop.gateway.map_or(NONE.to_owned(), |gateway| gateway.to_string());
                    [hop.interface.clone(), gateway, hop.weight.to_string()]
                })
                .collect();
            if hops.is_empty() {
                return vec![row(true, [NONE, NONE, NONE].map(str::to_owned))];
            }
            let rows = hops.into_iter().enumerate();
            rows.map(|(number, hop)| row(number == 0, hop)).collect()
        },
        names: ["route", "routes"],
        count: 0,
    }
}

pub(in crate::show) fn neighbours() -> Listing<Neighbour> {
    Listing {
        table: Table::new(&[
            ("INTERFACE", Left),
            ("ADDRESS", Left),
            ("ETHERNET ADDRESS", Left),
            ("STATE", Left),
        ]),
        rows: |neighbour| {
            vec![vec![
                neighbour.interface.clone(),
                neighbour.address.to_string(),
                neighbour.mac.clone().unwrap_or(NONE.to_owned()),
                neighbour.state.clone(),
            ]]
        },
        names: ["neighbour", "neighbours"],
        count: 0,
    }
}

#[cfg(test)]
mod tests {
    use netchannel::control::report::{
        Frames, NextHop, PortFrames, ProcessMemory, Table as MemoryTable, Work,
    };

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn workers_are_shown_with_their_load() {
        let work = Work {
            bursts: 1_000,
            packets: 64_000,
            empty_polls: 5,
            sleeps: 2,
            busy_seconds: 0.25,
            polling_seconds: 0.05,
            asleep_seconds: 0.7,
        };
        let worker = Worker {
            name: "packets".to_owned(),
            cpu: Some(1),
            allowed_cpus: Some("0-1".to_owned()),
            wait: WaitMode::Adaptive,
            spin_seconds: Some(50e-6),
            last_second: work,
            offloaded_flows: 11,
            questions_capacity: 64,
            longest_tick_seconds: 0.001_234,
            ..Worker::default()
        };
        let text = written(|out| {
            workers(
                &Workers {
                    workers: vec![worker],
                },
                out,
            )
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "packets 1 0-1 adaptive, 50.0 us running 25.0 % 5.0 % 70.0 % 64.0 k 1.00 k 64.0 0 0 11 0 of 64"
        );
        assert!(lines[5].contains("1.23 ms"), "{text}");
    }

    #[test]
    fn memory_is_shown_by_who_has_it() {
        let memory_of = Memory {
            process: ProcessMemory {
                resident_bytes: Some(1_500_000),
                ..ProcessMemory::default()
            },
            frames: Frames {
                frames: 100,
                bytes: 409_600,
                free: 90,
                held: 1,
                ports: vec![PortFrames {
                    device: "lan0".to_owned(),
                    receiving: 8,
                    sending: 1,
                }],
            },
            tables: vec![MemoryTable {
                owner: "flow table".to_owned(),
                name: "ipv4".to_owned(),
                entries: Some(5),
                capacity: Some(50),
                bytes: Some(3_250),
            }],
        };
        let text = written(|out| memory(&memory_of, out));
        for line in [
            "resident       1.50 MB",
            "locked               -",
            "lan0 receiving       8  32.8 kB    8.0 %",
            "flow table  ipv4         5        50  10.0 %         3.25 kB",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_route_has_a_line_for_each_next_hop() {
        let hop = |interface: &str, gateway: &str| NextHop {
            interface: interface.to_owned(),
            gateway: gateway.parse().ok(),
            weight: 1,
        };
        let route = |destination: &str, kind: &str, next_hops| Route {
            destination: destination.parse().unwrap(),
            kind: kind.to_owned(),
            metric: 100,
            preferred_source: None,
            mtu: None,
            next_hops,
        };
        let page = [
            route(
                "0.0.0.0/0",
                "unicast",
                vec![hop("wan0", "192.0.2.254"), hop("wan1", "")],
            ),
            route("10.9.0.0/16", "blackhole", Vec::new()),
        ];
        let mut listing = routes();
        let text = written(|out| {
            listing.write(&page, out)?;
            listing.write_count(false, out)
        });
        let expected = "\
DESTINATION  KIND       METRIC  INTERFACE  VIA          WEIGHT  SOURCE  MTU
0.0.0.0/0    unicast       100  wan0       192.0.2.254       1  -         -
                                wan1       -                 1
10.9.0.0/16  blackhole     100  -          -                 -  -         -
2 routes
";
        assert_eq!(text, expected);
    }
}
