//! The metrics of the reports.

use prometheus::TextEncoder;

use super::families::Families;
use crate::control::report::{Channels, Drops, LinkState, Memory, Pool, Ports, RulesState, Workers};

/// What the metrics are made of.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// When the process started, in seconds since 1970.
    pub start_time: f64,
    /// Interfaces.
    pub ports: Ports,
    /// Channels.
    pub channels: Channels,
    /// Where packets went.
    pub drops: Drops,
    /// What translators have.
    pub pools: Vec<Pool>,
    /// Workers.
    pub workers: Workers,
    /// Memory.
    pub memory: Memory,
    /// The rules, in short.
    pub rules: Option<RulesState>,
}

/// The metrics in Prometheus's text format, version 0.0.4.
pub fn write(reports: &Reports) -> String {
    let mut families = Families::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    families.gauge(
        "netchannel_build_info",
        "The program's version; always 1.",
        &version,
        1.0,
    );
    families.gauge(
        "netchannel_start_time_seconds",
        "When the process started, in seconds since 1970.",
        &[],
        reports.start_time,
    );
    ports(&reports.ports, &mut families);
    packets(&reports.drops, &mut families);
    channels(&reports.channels, &mut families);
    reports.pools.iter().for_each(|pool| nat(pool, &mut families));
    workers(&reports.workers, &mut families);
    memory(&reports.memory, &mut families);
    if let Some(rules) = &reports.rules {
        self::rules(rules, &mut families);
    }
    let mut text = String::new();
    // Only families without samples or names are refused, and there are none.
    if let Err(error) = TextEncoder::new().encode_utf8(&families.into_inner(), &mut text) {
        log::error!("the metrics have no text form: {error}");
    }
    text
}

fn ports(report: &Ports, to: &mut Families) {
    for port in &report.ports {
        let name = [("interface", port.interface.as_str())];
        let info = [
            name[0],
            ("device", port.device.as_str()),
            ("driver", port.driver.as_deref().unwrap_or("")),
            ("xdp_mode", port.xdp_mode.name()),
            ("copy_mode", port.copy_mode.name()),
        ];
        to.gauge(
            "netchannel_port_info",
            "How an interface's sockets run; always 1.",
            &info,
            1.0,
        );
        let is_up = port.link == LinkState::Up;
        to.gauge(
            "netchannel_port_up",
            "Whether packets can pass the interface.",
            &name,
            is_up.into(),
        );
        to.gauge(
            "netchannel_port_queues",
            "Queues, each with a socket.",
            &name,
            port.queues.into(),
        );
        let (received, transmitted, kernel) = (port.received, port.transmitted, port.kernel);
        for (metric, help, value) in [
            (
                "received_packets",
                "Packets taken from the receive rings.",
                received.packets,
            ),
            (
                "received_bytes",
                "Bytes of packets taken from the receive rings.",
                received.bytes,
            ),
            ("transmitted_packets", "Packets sent.", transmitted.packets),
            ("transmitted_bytes", "Bytes of packets sent.", transmitted.bytes),
            (
                "transmit_dropped_packets",
                "Packets to be sent here that were dropped.",
                port.dropped,
            ),
            (
                "kernel_receive_dropped_packets",
                "Packets that the kernel dropped for other reasons than full rings.",
                kernel.receive_dropped,
            ),
            (
                "kernel_receive_ring_full_packets",
                "Packets that the kernel dropped because the receive ring was full.",
                kernel.receive_ring_full,
            ),
            (
                "kernel_fill_ring_empty_packets",
                "Packets for which the kernel found no free frame.",
                kernel.fill_ring_empty,
            ),
            (
                "kernel_transmit_ring_empty",
                "Times that the kernel found nothing to send.",
                kernel.transmit_ring_empty,
            ),
            (
                "kernel_refused_descriptors",
                "Descriptors that the kernel refused; not zero means a defect.",
                kernel.refused_by_kernel,
            ),
            (
                "kernel_invalid_frames",
                "Frames that could not be used; not zero means a defect.",
                kernel.invalid,
            ),
        ] {
            to.count(&format!("netchannel_port_{metric}_total"), help, &name, value);
        }
    }
    for verdict in &report.verdicts {
        to.count(
            "netchannel_xdp_packets_total",
            "Packets by what the XDP program decided.",
            &[("verdict", verdict.name.as_str())],
            verdict.packets,
        );
    }
}

fn packets(drops: &Drops, to: &mut Families) {
    for (metric, help, value) in [
        ("received", "Packets received on all interfaces.", drops.received),
        (
            "originated",
            "Packets made here, such as ICMP errors.",
            drops.originated,
        ),
        (
            "transmitted",
            "Packets sent on all interfaces.",
            drops.transmitted,
        ),
        ("passed", "Packets handed to the kernel.", drops.passed),
        ("consumed", "Packets that ended in a channel.", drops.consumed),
    ] {
        to.count(&format!("netchannel_{metric}_packets_total"), help, &[], value);
    }
    to.gauge(
        "netchannel_held_packets",
        "Packets that wait for a next hop, or that channels keep.",
        &[],
        drops.held as f64,
    );
    for drop in &drops.reasons {
        to.count(
            "netchannel_dropped_packets_total",
            "Packets dropped, by reason.",
            &[("reason", drop.reason.as_str())],
            drop.packets,
        );
    }
}

fn channels(report: &Channels, to: &mut Families) {
    for channel in &report.channels {
        let labels = [
            ("channel", channel.name.as_str()),
            ("kind", channel.kind.as_str()),
        ];
        for (metric, help, value) in [
            ("packets", "Packets handed to a channel.", channel.packets),
            ("bytes", "Bytes of packets handed to a channel.", channel.bytes),
            ("flows", "Flows that were opened for a channel.", channel.flows),
        ] {
            to.count(
                &format!("netchannel_channel_{metric}_total"),
                help,
                &labels,
                value,
            );
        }
    }
}

fn nat(pool: &Pool, to: &mut Families) {
    let channel = [("channel", pool.channel.as_str())];
    let mappings = &pool.mappings;
    for (protocol, number) in [
        ("tcp", mappings.tcp),
        ("udp", mappings.udp),
        ("icmp", mappings.icmp),
    ] {
        let labels = [channel[0], ("protocol", protocol)];
        to.gauge(
            "netchannel_nat_mappings",
            "Mappings; each has an external port.",
            &labels,
            number as f64,
        );
    }
    for (metric, help, value) in [
        ("sessions", "Sessions.", pool.sessions),
        ("hosts", "Inside hosts that have an external address.", pool.hosts),
        ("external_addresses", "External addresses.", pool.addresses),
        (
            "ports",
            "External ports, or identifiers, of all addresses, for each protocol.",
            pool.ports_per_protocol,
        ),
        (
            "held_ports",
            "External ports that are held back from reuse.",
            pool.ports_held,
        ),
    ] {
        to.gauge(&format!("netchannel_nat_{metric}"), help, &channel, value as f64);
    }
    for (metric, help, limit) in [
        (
            "mappings_limit",
            "Mappings that there may be.",
            pool.limits.mappings,
        ),
        (
            "sessions_limit",
            "Sessions that there may be.",
            pool.limits.sessions,
        ),
        (
            "new_mappings_per_second_limit",
            "New mappings that there may be in a second.",
            pool.limits.new_mappings_per_second,
        ),
    ] {
        if let Some(limit) = limit {
            to.gauge(&format!("netchannel_nat_{metric}"), help, &channel, limit.into());
        }
    }
}

fn workers(report: &Workers, to: &mut Families) {
    for worker in &report.workers {
        let name = [("worker", worker.name.as_str())];
        let total = &worker.total;
        for (state, seconds) in [
            ("busy", total.busy_seconds),
            ("polling", total.polling_seconds),
            ("asleep", total.asleep_seconds),
        ] {
            to.counter(
                "netchannel_worker_seconds_total",
                "Time of a worker by how it was spent: with packets, looking for some in vain, or asleep.",
                &[name[0], ("state", state)],
                seconds,
            );
        }
        for (mode, seconds) in [("user", worker.user_seconds), ("system", worker.system_seconds)] {
            if let Some(seconds) = seconds {
                to.counter(
                    "netchannel_worker_cpu_seconds_total",
                    "CPU time that the kernel counted for a worker.",
                    &[name[0], ("mode", mode)],
                    seconds,
                );
            }
        }
        for (metric, help, value) in [
            (
                "packets",
                "Packets that a worker received or took over.",
                total.packets,
            ),
            ("bursts", "Rounds of a worker that found packets.", total.bursts),
            (
                "handed_on_packets",
                "Packets that came to a worker and were handed to the one that they belong to.",
                worker.handed_on,
            ),
            (
                "taken_over_packets",
                "Packets that other workers handed to a worker.",
                worker.taken_over,
            ),
            (
                "empty_polls",
                "Rounds of a worker that found none.",
                total.empty_polls,
            ),
            ("sleeps", "Times that a worker went to sleep.", total.sleeps),
            (
                "ticks",
                "Times at which time passed for a worker's channels.",
                worker.ticks,
            ),
            (
                "questions",
                "Questions that a worker answered.",
                worker.questions_answered,
            ),
        ] {
            to.count(&format!("netchannel_worker_{metric}_total"), help, &name, value);
        }
        to.gauge(
            "netchannel_worker_longest_tick_seconds",
            "The longest time that a tick took.",
            &name,
            worker.longest_tick_seconds,
        );
        to.gauge(
            "netchannel_worker_transmit_backlog_frames",
            "Frames that wait to be sent.",
            &name,
            worker.transmit_backlog as f64,
        );
        to.gauge(
            "netchannel_worker_waiting_questions",
            "Questions that wait in a worker's mailbox.",
            &name,
            worker.questions_waiting as f64,
        );
        to.gauge(
            "netchannel_worker_offloaded_flows",
            "Flows of a worker that the XDP program carries now.",
            &name,
            worker.offloaded_flows as f64,
        );
    }
}

fn memory(report: &Memory, to: &mut Families) {
    let process = &report.process;
    for (metric, help, value) in [
        (
            "process_resident_memory_bytes",
            "Memory of the process that is resident.",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Address space of the process.",
            process.virtual_bytes,
        ),
        (
            "netchannel_locked_memory_bytes",
            "Memory of the process that is locked.",
            process.locked_bytes,
        ),
    ] {
        if let Some(value) = value {
            to.gauge(metric, help, &[], value as f64);
        }
    }
    let frames = &report.frames;
    let mut holder = |holder: &str, device: &str, number: u64| {
        to.gauge(
            "netchannel_umem_frames",
            "Frames of the packet memory by who has them.",
            &[("holder", holder), ("device", device)],
            number as f64,
        );
    };
    holder("free", "", frames.free);
    holder("held", "", frames.held);
    for port in &frames.ports {
        holder("receiving", &port.device, port.receiving);
        holder("sending", &port.device, port.sending);
    }
    to.gauge(
        "netchannel_umem_bytes",
        "Size of the packet memory.",
        &[],
        frames.bytes as f64,
    );
    for table in &report.tables {
        let labels = [("owner", table.owner.as_str()), ("table", table.name.as_str())];
        for (metric, help, value) in [
            ("entries", "Entries of a table in use.", table.entries),
            (
                "capacity_entries",
                "Entries that a table has room for.",
                table.capacity,
            ),
            ("bytes", "Bytes that a table reserves.", table.bytes),
        ] {
            if let Some(value) = value {
                to.gauge(&format!("netchannel_table_{metric}"), help, &labels, value as f64);
            }
        }
    }
}

fn rules(state: &RulesState, to: &mut Families) {
    to.gauge("netchannel_rules", "Rules in force.", &[], state.rules as f64);
    to.count(
        "netchannel_rules_changes_total",
        "Changes of the rules since the start.",
        &[],
        state.version.saturating_sub(1),
    );
    to.gauge(
        "netchannel_rules_loaded_timestamp_seconds",
        "When the rules in force came, in seconds since 1970.",
        &[],
        state.since as f64,
    );
    to.gauge(
        "netchannel_rules_on_trial",
        "Whether the rules in force wait for confirmation.",
        &[],
        state.is_on_trial.into(),
    );
}
