//! `netchannel rules explain`.

use std::io::{BufWriter, Write};
use std::net::IpAddr;

use netchannel::control::report::Mapping;
use netchannel::control::{Client, Filter, RulesRequest};
use netchannel::rules::explain::{Explanation, Flow, ShownRule, World, explain};
use netchannel::rules::{Options, RuleList};
use serde::Serialize;

use super::files;
use crate::arguments::Explain;
use crate::check::load;
use crate::failure::Failure;
use crate::table::{Side, Table};

/// What is said, and of a running netchannel also what the source has already.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mappings: Vec<Mapping>,
}

pub(super) fn run(arguments: &Explain) -> Result<(), Failure> {
    let report = if arguments.rules.is_none() && arguments.config.is_none() {
        let mut client = Client::connect(&arguments.socket)?;
        Report {
            explanation: client.rules(RulesRequest::Explain {
                flow: arguments.flow.to_string(),
                verbose: arguments.verbose,
            })?,
            mappings: mappings(&mut client, &arguments.flow)?,
        }
    } else {
        Report {
            explanation: of_files(arguments)?,
            mappings: Vec::new(),
        }
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        tell(&mut out, &report)?;
    }
    out.flush()?;
    Ok(())
}

/// By the rules of a file, or of a configuration.
fn of_files(arguments: &Explain) -> Result<Explanation, Failure> {
    let refused = |error| Failure::Refused(vec![error]);
    let config = arguments.config.as_deref().map(load).transpose();
    let config = config.map_err(refused)?;
    let options = Options {
        format: arguments.format,
        import: arguments.import.options(),
        ..Options::default()
    };
    let list = match (&arguments.rules, &config) {
        (Some(file), _) => files::read(file, &options).map_err(refused)?,
        (None, Some(config)) => config.rules.clone(),
        (None, None) => RuleList::default(),
    };
    let world = World::new(config.as_ref());
    let show = |rule: usize| ShownRule::of(&list.rules[rule]);
    Ok(explain(
        &world,
        &list,
        arguments.flow.clone(),
        arguments.verbose,
        show,
    ))
}

/// The mappings that running translators have for the source.
fn mappings(client: &mut Client, flow: &Flow) -> Result<Vec<Mapping>, Failure> {
    let (IpAddr::V4(source), IpAddr::V4(_)) = (flow.source, flow.destination) else {
        return Ok(Vec::new());
    };
    let filter = Filter {
        inside: Some(source.to_string().parse()?),
        ..Filter::default()
    };
    let mut found = Vec::new();
    for mapping in client.mappings(filter) {
        found.push(mapping?);
    }
    Ok(found)
}

fn tell(
    out: &mut impl Write,
    Report {
        explanation,
        mappings,
    }: &Report,
) -> std::io::Result<()> {
    let kind = explanation
        .kind
        .as_ref()
        .filter(|kind| **kind != explanation.channel);
    let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
    writeln!(out, "{}", explanation.flow)?;
    writeln!(out, "goes to {}{kind}", explanation.channel)?;
    match (explanation.by.as_str(), &explanation.rule) {
        ("rule", Some(rule)) => writeln!(out, "by    {}: {}", rule.place(), rule.text)?,
        ("way_back", Some(rule)) => {
            writeln!(
                out,
                "for it comes back of what this rule forwards, and no rule matches:"
            )?;
            writeln!(out, "      {}: {}", rule.place(), rule.text)?;
        }
        ("claim", _) => writeln!(
            out,
            "for the destination is an external address of this translator"
        )?,
        _ => writeln!(out, "for no rule matches: it is the kernel's")?,
    }
    if !explanation.others.is_empty() {
        writeln!(out, "these match too, in this order:")?;
        for other in &explanation.others {
            writeln!(out, "      {}: {}", other.place(), other.text)?;
        }
    }
    for line in &explanation.translation {
        writeln!(out, "nat   {line}")?;
    }
    for mapping in mappings {
        writeln!(
            out,
            "has   {} {} as {} by {}",
            mapping.protocol, mapping.inside, mapping.external, mapping.channel
        )?;
    }
    if !explanation.dimensions.is_empty() {
        writeln!(out)?;
        let mut table = Table::new(&[
            ("DIMENSION", Side::Left),
            ("VALUE", Side::Left),
            ("INTERVAL", Side::Left),
            ("OF", Side::Right),
            ("BOXES LEFT", Side::Right),
            ("RULES LEFT", Side::Right),
        ]);
        let rows: Vec<Vec<String>> = explanation
            .dimensions
            .iter()
            .map(|step| {
                let (first, last) = &step.interval;
                let interval = if first == last {
                    first.clone()
                } else {
                    format!("{first}-{last}")
                };
                vec![
                    step.dimension.clone(),
                    step.value.clone(),
                    interval,
                    step.intervals.to_string(),
                    step.boxes.to_string(),
                    step.rules.to_string(),
                ]
            })
            .collect();
        table.write(&rows, out)?;
    }
    Ok(())
}
