//! `netchannel rules match`.

use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use netchannel::dispatch::dimensions::{WHOLE, dimension};
use netchannel::measure;
use netchannel::rules::explain::{Flow, ShownRule, matching};
use netchannel::rules::{Format, Options, RuleList};
use netchannel::workload::trace::{self, Header};

use super::{files, read_classbench};
use crate::arguments::Match;
use crate::failure::Failure;

/// Prints the winner of each header or flow.
pub(super) fn run(arguments: &Match) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match (&arguments.trace, arguments.format) {
        (Some(trace), None | Some(Format::Classbench)) => {
            let (rules, headers) = read_classbench(&arguments.rules, trace)?;
            for winner in measure::best_rules(arguments.structure, &rules, &headers)? {
                tell(&mut out, winner)?;
            }
        }
        (Some(trace), Some(_)) => {
            let list = rules(arguments)?;
            let headers = trace::read(trace).map_err(Failure::of_reading)?;
            for header in &headers {
                let winner = matching(&list.rules, &flow(header)).first().copied();
                tell(&mut out, winner.map(|rule| number(&list, rule, &arguments.rules)))?;
            }
        }
        (None, _) => {
            let list = rules(arguments)?;
            for flow in &arguments.flows {
                match matching(&list.rules, flow).first() {
                    Some(&rule) => {
                        let shown = ShownRule::of(&list.rules[rule]);
                        writeln!(out, "{}: {}", shown.place(), shown.text)?;
                    }
                    None => writeln!(out, "-")?,
                }
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn rules(arguments: &Match) -> Result<RuleList, Failure> {
    let options = Options {
        format: arguments.format,
        import: arguments.import.options(),
        ..Options::default()
    };
    files::read(&arguments.rules, &options).map_err(|error| Failure::Refused(vec![error]))
}

fn tell(out: &mut impl Write, winner: Option<impl std::fmt::Display>) -> std::io::Result<()> {
    match winner {
        Some(number) => writeln!(out, "{number}"),
        None => writeln!(out, "-"),
    }
}

/// The line of a rule in the file; its number, from 1, where it has none there.
fn number(list: &RuleList, rule: usize, file: &Path) -> u64 {
    let place = &list.rules[rule].place;
    let is_there = place.file.as_deref() == Some(file);
    match place.position.filter(|_| is_there) {
        Some(position) => position.line.into(),
        None => rule as u64 + 1,
    }
}

/// The packet of a header: what traces do not tell is as `netchannel rules explain` has it.
fn flow(header: &Header) -> Flow {
    let values = header.key.values();
    let address = |dimension: usize| IpAddr::V4(Ipv4Addr::from_bits(values[dimension]));
    let protocol = values[dimension::PROTOCOL] as u8;
    Flow {
        source: address(dimension::SOURCE_ADDRESS),
        destination: address(dimension::DESTINATION_ADDRESS),
        protocol,
        source_port: values[dimension::SOURCE_PORT] as u16,
        destination_port: values[dimension::DESTINATION_PORT] as u16,
        tcp_flags: if protocol == 6 { 0x02 } else { 0 },
        icmp: if protocol == 1 { (8, 0) } else { (0, 0) },
        interface: None,
        vlan: 0,
        dscp: 0,
        fragment: WHOLE,
    }
}
