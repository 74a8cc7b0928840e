//! Answers as tables for people.

mod pools;
mod system;

use std::io::{self, Write};

use netchannel::control::report::{Channels, Drops, Mapping, Opener, Port, Ports, Session};
use serde_json::Value;

use crate::table::Side::{Left, Right};
use crate::table::Table;
use crate::units::{bytes, count, seconds};

/// For what is not known or does not apply.
const NONE: &str = "-";

pub(super) use pools::pools;
pub(super) use system::{memory, neighbours, routes, workers};

pub(super) fn ports(report: &Ports, out: &mut impl Write) -> io::Result<()> {
    if report.ports.is_empty() {
        return writeln!(out, "no interfaces");
    }
    let columns = [
        ("INTERFACE", Left),
        ("DEVICE", Left),
        ("VLAN", Right),
        ("LINK", Left),
        ("DRIVER", Left),
        ("XDP", Left),
        ("COPY", Left),
        ("QUEUES", Right),
        ("RX PACKETS", Right),
        ("RX BYTES", Right),
        ("TX PACKETS", Right),
        ("TX BYTES", Right),
        ("DROPPED", Right),
    ];
    let rows: Vec<Vec<String>> = report.ports.iter().map(port).collect();
    Table::new(&columns).write(&rows, out)?;

    writeln!(
        out,
        "\nRings of each socket (entries), and what the kernel counted for the sockets:"
    )?;
    let columns = [
        ("INTERFACE", Left),
        ("RX RING", Right),
        ("TX RING", Right),
        ("FILL", Right),
        ("COMPLETION", Right),
        ("RX DROPPED", Right),
        ("RX RING FULL", Right),
        ("FILL EMPTY", Right),
        ("TX EMPTY", Right),
        ("REFUSED", Right),
        ("INVALID", Right),
    ];
    let rows: Vec<Vec<String>> = report.ports.iter().map(kernel).collect();
    Table::new(&columns).write(&rows, out)?;

    if report.verdicts.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nVerdicts of the XDP program:")?;
    let rows: Vec<Vec<String>> = report
        .verdicts
        .iter()
        .map(|verdict| vec![verdict.name.clone(), count(verdict.packets)])
        .collect();
    Table::new(&[("VERDICT", Left), ("PACKETS", Right)]).write(&rows, out)
}

fn port(port: &Port) -> Vec<String> {
    vec![
        port.interface.clone(),
        port.device.clone(),
        port.vlan.map_or(NONE.to_owned(), |vlan| vlan.to_string()),
        port.link.name().to_owned(),
        port.driver.clone().unwrap_or(NONE.to_owned()),
        port.xdp_mode.name().to_owned(),
        port.copy_mode.name().to_owned(),
        port.queues.to_string(),
        count(port.received.packets),
        bytes(port.received.bytes),
        count(port.transmitted.packets),
        bytes(port.transmitted.bytes),
        count(port.dropped),
    ]
}

fn kernel(port: &Port) -> Vec<String> {
    let (rings, kernel) = (&port.rings, &port.kernel);
    let rings = [rings.receive, rings.transmit, rings.fill, rings.completion].map(u64::from);
    let counters = [
        kernel.receive_dropped,
        kernel.receive_ring_full,
        kernel.fill_ring_empty,
        kernel.transmit_ring_empty,
        kernel.refused_by_kernel,
        kernel.invalid,
    ];
    let numbers = rings.into_iter().chain(counters).map(count);
    std::iter::once(port.interface.clone()).chain(numbers).collect()
}

pub(super) fn channels(report: &Channels, out: &mut impl Write) -> io::Result<()> {
    if report.channels.is_empty() {
        return writeln!(out, "no channels");
    }
    let columns = [
        ("CHANNEL", Left),
        ("KIND", Left),
        ("PACKETS", Right),
        ("BYTES", Right),
        ("FLOWS", Right),
        ("DETAILS", Left),
    ];
    let rows: Vec<Vec<String>> = report
        .channels
        .iter()
        .map(|channel| {
            let details: Vec<String> = channel
                .details
                .iter()
                .map(|(key, value)| format!("{key} {}", detail(value)))
                .collect();
            vec![
                channel.name.clone(),
                channel.kind.clone(),
                count(channel.packets),
                bytes(channel.bytes),
                count(channel.flows),
                if details.is_empty() {
                    NONE.to_owned()
                } else {
                    details.join(", ")
                },
            ]
        })
        .collect();
    Table::new(&columns).write(&rows, out)
}

fn detail(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), count),
        Value::Array(values) => values.iter().map(detail).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A table that is written page by page.
pub(super) struct Listing<T> {
    table: Table,
    /// The lines of an entry.
    rows: fn(&T) -> Vec<Vec<String>>,
    /// One of them, and several.
    names: [&'static str; 2],
    count: u64,
}

impl<T> Listing<T> {
    pub(super) fn write(&mut self, page: &[T], out: &mut impl Write) -> io::Result<()> {
        self.count += page.len() as u64;
        let rows: Vec<Vec<String>> = page.iter().flat_map(self.rows).collect();
        self.table.write(&rows, out)
    }

    /// What stands below the table.
    pub(super) fn write_count(&self, has_more: bool, out: &mut impl Write) -> io::Result<()> {
        let [one, several] = self.names;
        let more = if has_more { ", and there are more" } else { "" };
        match self.count {
            0 => writeln!(out, "no {several}{more}"),
            1 => writeln!(out, "1 {one}{more}"),
            number => writeln!(out, "{} {several}{more}", count(number)),
        }
    }
}

pub(super) fn mappings() -> Listing<Mapping> {
    Listing {
        table: Table::new(&[
            ("CHANNEL", Left),
            ("PROTOCOL", Left),
            ("INSIDE", Left),
            ("EXTERNAL", Left),
            ("SESSIONS", Right),
            ("AGE", Right),
            ("IDLE", Right),
            ("EXPIRES IN", Right),
            ("STATE", Left),
        ]),
        rows: |mapping| {
            vec![vec![
                mapping.channel.clone(),
                mapping.protocol.clone(),
                mapping.inside.clone(),
                mapping.external.clone(),
                count(mapping.sessions),
                seconds(mapping.age_seconds),
                seconds(mapping.idle_seconds),
                seconds(mapping.expires_in_seconds),
                mapping.state.clone().unwrap_or(NONE.to_owned()),
            ]]
        },
        names: ["mapping", "mappings"],
        count: 0,
    }
}

pub(super) fn sessions() -> Listing<Session> {
    Listing {
        table: Table::new(&[
            ("CHANNEL", Left),
            ("PROTOCOL", Left),
            ("INSIDE", Left),
            ("EXTERNAL", Left),
            ("REMOTE", Left),
            ("OPENED BY", Left),
            ("MAPPING AGE", Right),
            ("IDLE", Right),
            ("EXPIRES IN", Right),
            ("STATE", Left),
        ]),
        rows: |session| {
            let opener = match session.opened_by {
                Opener::Inside => "inside",
                Opener::Outside => "outside",
            };
            vec![vec![
                session.channel.clone(),
                session.protocol.clone(),
                session.inside.clone(),
                session.external.clone(),
                session.remote.clone(),
                opener.to_owned(),
                seconds(session.mapping_age_seconds),
                seconds(session.idle_seconds),
                seconds(session.expires_in_seconds),
                session.state.clone().unwrap_or(NONE.to_owned()),
            ]]
        },
        names: ["session", "sessions"],
        count: 0,
    }
}

pub(super) fn drops(report: &Drops, out: &mut impl Write) -> io::Result<()> {
    let totals = [
        ("received", report.received),
        ("originated here", report.originated),
        ("transmitted", report.transmitted),
        ("passed to the kernel", report.passed),
        ("consumed by channels", report.consumed),
        ("held now", report.held),
        ("dropped", report.dropped()),
    ];
    let rows: Vec<Vec<String>> = totals
        .iter()
        .map(|(name, packets)| vec![(*name).to_owned(), count(*packets)])
        .collect();
    Table::new(&[("TOTAL", Left), ("PACKETS", Right)]).write(&rows, out)?;
    writeln!(out)?;

    let mut reasons: Vec<_> = report.reasons.iter().filter(|drop| drop.packets > 0).collect();
    if reasons.is_empty() {
        return writeln!(out, "no drops");
    }
    reasons.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.reason.cmp(&b.reason)));
    let rows: Vec<Vec<String>> = reasons
        .iter()
        .map(|drop| vec![drop.reason.clone(), count(drop.packets), drop.explanation.clone()])
        .collect();
    Table::new(&[("REASON", Left), ("PACKETS", Right), ("EXPLANATION", Left)]).write(&rows, out)
}
