//! What each pane shows: tables made of two samples.

use std::collections::HashMap;
use std::net::IpAddr;

use netchannel::control::report::Flow;

use super::grid::{Cell, Grid};
use super::sample::Sample;
use crate::table::Side::{Left, Right};
use crate::units::{count, rate};

/// The panes, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Overview,
    Ports,
    Flows,
    Subscribers,
    Channels,
    Drops,
}

impl Pane {
    pub(super) const ALL: [Self; 6] = [
        Self::Overview,
        Self::Ports,
        Self::Flows,
        Self::Subscribers,
        Self::Channels,
        Self::Drops,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Ports => "Ports",
            Self::Flows => "Flows",
            Self::Subscribers => "Subscribers",
            Self::Channels => "Channels",
            Self::Drops => "Drops",
        }
    }

    /// The column that it is sorted by at first.
    pub(super) fn first_column(self) -> usize {
        match self {
            Self::Overview | Self::Ports => 0,
            Self::Flows => 5,
            Self::Subscribers => 3,
            Self::Channels => 2,
            Self::Drops => 1,
        }
    }
}

/// Two samples: what there is, and how much it is a second.
pub(super) struct Pair<'a> {
    pub(super) now: &'a Sample,
    pub(super) before: Option<&'a Sample>,
}

impl Pair<'_> {
    /// Of a counter, by its value now and before: how much it is a second. `None` if that is not known: it was not there before, or counts
    /// anew.
    fn per_second(&self, now: u64, before: Option<u64>) -> Option<f64> {
        let seconds = self.now.at.duration_since(self.before?.at).as_secs_f64();
        let difference = now.checked_sub(before?)?;
        (seconds > 0.0).then(|| difference as f64 / seconds)
    }

    /// Packets and bits in a second that an interface receives and sends.
    pub(super) fn of_port(&self, interface: &str) -> [Option<f64>; 4] {
        let find = |sample: &Sample| {
            let mut ports = sample.ports.ports.iter();
            let port = ports.find(|port| port.interface == interface)?;
            let (received, transmitted) = (port.received, port.transmitted);
            Some([
                received.packets,
                received.bytes,
                transmitted.packets,
                transmitted.bytes,
            ])
        };
        let (Some(now), before) = (find(self.now), self.before.and_then(find)) else {
            return [None; 4];
        };
        let of = |place: usize| self.per_second(now[place], before.map(|before| before[place]));
        [of(0), of(1).map(bits), of(2), of(3).map(bits)]
    }

    pub(super) fn grid(&self, pane: Pane) -> Grid {
        match pane {
            Pane::Overview | Pane::Ports => self.ports(),
            Pane::Flows => self.flows(),
            Pane::Subscribers => self.subscribers(),
            Pane::Channels => self.channels(),
            Pane::Drops => self.drops(),
        }
    }

    fn ports(&self) -> Grid {
        let rows = self.now.ports.ports.iter().map(|port| {
            let [received, received_bits, sent, sent_bits] = self.of_port(&port.interface);
            let lost =
                port.kernel.receive_ring_full + port.kernel.fill_ring_empty + port.kernel.receive_dropped;
            vec![
                Cell::text(&port.interface),
                Cell::text(port.link.name()),
                rated(received),
                rated(received_bits),
                rated(sent),
                rated(sent_bits),
                counted(lost),
                counted(port.dropped),
            ]
        });
        Grid {
            columns: vec![
                ("INTERFACE", Left),
                ("LINK", Left),
                ("RX PKT/S", Right),
                ("RX BIT/S", Right),
                ("TX PKT/S", Right),
                ("TX BIT/S", Right),
                ("RX LOST", Right),
                ("TX LOST", Right),
            ],
            rows: rows.collect(),
        }
    }

    /// Each flow with its packets and bits in a second.
    fn rated_flows(&self) -> impl Iterator<Item = (&Flow, Option<f64>, Option<f64>)> {
        let before = self
            .before
            .map(|sample| &sample.flows.flows[..])
            .unwrap_or_default();
        let before: HashMap<String, &Flow> = before.iter().map(|flow| (key(flow), flow)).collect();
        self.now.flows.flows.iter().map(move |flow| {
            let old = before.get(&key(flow));
            let packets = self.per_second(flow.packets, old.map(|old| old.packets));
            let bytes = self.per_second(flow.bytes, old.map(|old| old.bytes));
            (flow, packets, bytes.map(bits))
        })
    }

    fn flows(&self) -> Grid {
        let rows = self.rated_flows().map(|(flow, packets, bits)| {
            vec![
                Cell::text(&flow.protocol),
                Cell::text(endpoint(flow.source, flow.source_port)),
                Cell::text(endpoint(flow.destination, flow.destination_port)),
                Cell::text(&flow.channel),
                rated(packets),
                rated(bits),
            ]
        });
        Grid {
            columns: vec![
                ("PROTO", Left),
                ("SOURCE", Left),
                ("DESTINATION", Left),
                ("CHANNEL", Left),
                ("PKT/S", Right),
                ("BIT/S", Right),
            ],
            rows: rows.collect(),
        }
    }

    /// Inside hosts of translators, with the sum of their flows in both directions.
    fn subscribers(&self) -> Grid {
        #[derive(Default)]
        struct Sum {
            flows: u64,
            packets: f64,
            bits: f64,
        }
        let mut hosts: HashMap<IpAddr, Sum> = HashMap::new();
        for (flow, packets, bits) in self.rated_flows() {
            let Some(translation) = &flow.translation else {
                continue;
            };
            let sum = hosts.entry((*translation.inside.ip()).into()).or_default();
            sum.flows += 1;
            sum.packets += packets.unwrap_or(0.0);
            sum.bits += bits.unwrap_or(0.0);
        }
        let mut hosts: Vec<(IpAddr, Sum)> = hosts.into_iter().collect();
        hosts.sort_unstable_by_key(|(host, _)| *host);
        let rows = hosts.into_iter().map(|(host, sum)| {
            vec![
                Cell::text(host.to_string()),
                counted(sum.flows),
                rated(Some(sum.packets)),
                rated(Some(sum.bits)),
            ]
        });
        Grid {
            columns: vec![
                ("INSIDE HOST", Left),
                ("BUSY FLOWS", Right),
                ("PKT/S", Right),
                ("BIT/S", Right),
            ],
            rows: rows.collect(),
        }
    }

    fn channels(&self) -> Grid {
        let rows = self.now.channels.channels.iter().map(|channel| {
            let mut before = self
                .before
                .into_iter()
                .flat_map(|sample| &sample.channels.channels);
            let before = before.find(|before| before.name == channel.name);
            let packets = self.per_second(channel.packets, before.map(|before| before.packets));
            let bytes = self.per_second(channel.bytes, before.map(|before| before.bytes));
            let flows = self.per_second(channel.flows, before.map(|before| before.flows));
            vec![
                Cell::text(&channel.name),
                Cell::text(&channel.kind),
                rated(packets),
                rated(bytes.map(bits)),
                rated(flows),
                counted(channel.packets),
            ]
        });
        Grid {
            columns: vec![
                ("CHANNEL", Left),
                ("KIND", Left),
                ("PKT/S", Right),
                ("BIT/S", Right),
                ("NEW FLOWS/S", Right),
                ("PACKETS", Right),
            ],
            rows: rows.collect(),
        }
    }

    fn drops(&self) -> Grid {
        let mut rows = Vec::new();
        for drop in self.now.drops.reasons.iter().filter(|drop| drop.packets > 0) {
            let mut before = self.before.into_iter().flat_map(|sample| &sample.drops.reasons);
            let before = before.find(|before| before.reason == drop.reason);
            // One that may be left out is there with nothing.
            let before = self.before.map(|_| before.map_or(0, |before| before.packets));
            rows.push(vec![
                Cell::text(&drop.reason),
                rated(self.per_second(drop.packets, before)),
                counted(drop.packets),
                Cell::text(&drop.explanation),
            ]);
        }
        Grid {
            columns: vec![
                ("REASON", Left),
                ("PKT/S", Right),
                ("PACKETS", Right),
                ("EXPLANATION", Left),
            ],
            rows,
        }
    }
}

fn bits(bytes: f64) -> f64 {
    bytes * 8.0
}

/// What is not known yet is less than nothing.
fn rated(number: Option<f64>) -> Cell {
    match number {
        Some(number) => Cell::number(number, rate(number)),
        None => Cell::number(-1.0, "-"),
    }
}

fn counted(number: u64) -> Cell {
    Cell::number(number as f64, count(number))
}

fn endpoint(address: IpAddr, port: u16) -> String {
    match port {
        0 => address.to_string(),
        port => std::net::SocketAddr::new(address, port).to_string(),
    }
}

fn key(flow: &Flow) -> String {
    format!(
        "{} {} {}:{} {}:{} {:?} {:?}",
        flow.interface,
        flow.protocol,
        flow.source,
        flow.source_port,
        flow.destination,
        flow.destination_port,
        flow.icmp,
        flow.fragment
    )
}
