//! `netchannel show flows`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use netchannel::control::report::{Flow, Flows, Runs};
use netchannel::control::{Client, FlowPage, MAX_PAGE, TopFlows};

use super::listing::{Listed, Output};
use crate::arguments::ShowFlows;
use crate::failure::Failure;
use crate::table::Side;
use crate::table::Side::{Left, Right};
use crate::units::{bytes, count, seconds};

/// How many of a sorted listing are shown unless it is said.
const TOP: u64 = 20;

pub(super) fn flows(
    client: &mut Client,
    which: &ShowFlows,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut output = Output::<Flow, _>::new(json, out);
    let Some(sort) = which.sort else {
        return all(client, which, output);
    };
    let limit = which.limit.unwrap_or(TOP);
    let Some(limit) = u32::try_from(limit)
        .ok()
        .filter(|limit| (1..=MAX_PAGE).contains(limit))
    else {
        return Err(Failure::Usage(format!(
            "--limit {limit}: expected 1 to {MAX_PAGE} with --sort"
        )));
    };
    let Flows { flows, .. } = client.top_flows(&TopFlows {
        filter: which.filter(),
        limit,
        by: sort.into(),
        max_idle_seconds: which.max_idle.map(|idle| idle.as_secs()),
    })?;
    output.write(&flows)?;
    output.finish(false)
}

fn all(
    client: &mut Client,
    which: &ShowFlows,
    mut output: Output<'_, Flow, impl Write>,
) -> Result<(), Failure> {
    let mut left = which.limit.unwrap_or(u64::MAX);
    let mut page = FlowPage {
        filter: which.filter(),
        after: None,
        limit: MAX_PAGE,
    };
    loop {
        page.limit = u32::try_from(left.max(1)).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let Flows { mut flows, next } = client.flows(&page)?;
        flows.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= flows.len() as u64;
        output.write(&flows)?;
        if next.is_none() || left == 0 {
            return output.finish(next.is_some());
        }
        page.after = next;
    }
}

impl Listed for Flow {
    const NAME: &'static str = "flows";
    const NAMES: [&'static str; 2] = ["flow", "flows"];
    const COLUMNS: &'static [(&'static str, Side)] = &[
        ("INTERFACE", Left),
        ("PROTOCOL", Left),
        ("SOURCE", Left),
        ("DESTINATION", Left),
        ("CHANNEL", Left),
        ("RULE", Right),
        ("PACKETS", Right),
        ("BYTES", Right),
        ("IDLE", Right),
        ("RUNS IN", Left),
        ("TRANSLATED", Left),
    ];

    fn row(&self) -> Vec<String> {
        let protocol = match (&self.icmp, &self.fragment) {
            (Some((kind, code)), _) => format!("{} {kind}/{code}", self.protocol),
            (None, Some(part)) => format!("{} {part}", self.protocol),
            (None, None) => self.protocol.clone(),
        };
        vec![
            self.interface.clone(),
            protocol,
            end(self.source, self.source_port),
            end(self.destination, self.destination_port),
            self.channel.clone(),
            self.rule.map_or("-".to_owned(), |rule| rule.to_string()),
            count(self.packets),
            bytes(self.bytes),
            seconds(self.idle_seconds),
            match self.runs {
                Runs::UserSpace => "user space".to_owned(),
                Runs::Xdp => "XDP".to_owned(),
            },
            self.translation.map_or("-".to_owned(), |translation| {
                format!("{} is {}", translation.inside, translation.external)
            }),
        ]
    }
}

fn end(address: IpAddr, port: u16) -> String {
    match port {
        0 => address.to_string(),
        port => SocketAddr::new(address, port).to_string(),
    }
}
