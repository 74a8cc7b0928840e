//! `netchannel rules explain`.

use std::io::{BufWriter, Write};
use std::net::IpAddr;

use netchannel::config::{ChannelKind, Config};
use netchannel::control::report::Mapping;
use netchannel::control::{Client, Filter};
use netchannel::rules::explain::{Decider, Flow, Narrowing, World, narrow, translation};
use netchannel::rules::{Options, RuleList};
use serde::Serialize;

use super::shown::Shown;
use super::{files, running};
use crate::arguments::Explain;
use crate::check::load;
use crate::failure::Failure;
use crate::table::{Side, Table};

#[derive(Serialize)]
struct Explanation {
    flow: String,
    channel: String,
    /// nat, forward, drop, pass or custom; nothing if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// rule, claim, way_back or nothing.
    by: &'static str,
    /// The rule that wins, or that a way back belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Shown>,
    /// Other rules that match, in the order in which they are tried.
    others: Vec<Shown>,
    translation: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dimensions: Vec<Narrowing>,
}

pub(super) fn run(arguments: &Explain) -> Result<(), Failure> {
    let refused = |error| Failure::Refused(vec![error]);
    let config = arguments
        .config
        .as_deref()
        .map(load)
        .transpose()
        .map_err(refused)?;
    let options = Options {
        format: arguments.format,
        import: arguments.import.options(),
        ..Options::default()
    };
    let is_running = arguments.rules.is_none() && config.is_none();
    let list = match (&arguments.rules, &config) {
        (Some(file), _) => files::read(file, &options).map_err(refused)?,
        (None, Some(config)) => config.rules.clone(),
        (None, None) => running::in_force(&arguments.socket)?,
    };
    let mut flow = arguments.flow.clone();
    let world = World::new(config.as_ref());
    world.complete(&mut flow);
    let mut explanation = explain(&world, &list, &flow);
    if arguments.verbose {
        explanation.dimensions = narrow(&list, &flow, &interfaces(&list, config.as_ref()));
    }
    if is_running {
        let mut client = Client::connect(&arguments.socket)?;
        explanation.mappings = mappings(&mut client, &flow)?;
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
    } else {
        tell(&mut out, &explanation)?;
    }
    out.flush()?;
    Ok(())
}

fn explain(world: &World<'_>, list: &RuleList, flow: &Flow) -> Explanation {
    let decision = world.decide(list, flow);
    let (by, rule) = match decision.by {
        Decider::Rule(rule) => ("rule", Some(rule)),
        Decider::WayBack(rule) => ("way_back", Some(rule)),
        Decider::Claim => ("claim", None),
        Decider::Nothing => ("nothing", None),
    };
    let shown = |rule: usize| Shown::of(&list.rules[rule]);
    let others = decision
        .matching
        .iter()
        .copied()
        .filter(|other| Some(*other) != rule);
    let kind = match (decision.channel.as_str(), world.config) {
        ("drop", _) => Some("drop"),
        ("pass", _) => Some("pass"),
        (name, Some(config)) => config.channel(name).map(|channel| match channel.kind {
            ChannelKind::Nat(_) => "nat",
            ChannelKind::Forward => "forward",
            ChannelKind::Custom => "custom",
        }),
        (_, None) => None,
    };
    let translated = world
        .config
        .map(|config| translation(config, &decision.channel, flow));
    Explanation {
        flow: flow.to_string(),
        kind,
        by,
        rule: rule.map(shown),
        others: others.map(shown).collect(),
        translation: translated.unwrap_or_default(),
        mappings: Vec::new(),
        dimensions: Vec::new(),
        channel: decision.channel,
    }
}

/// The names of all interfaces: of the configuration, or those that rules name.
fn interfaces<'l>(list: &'l RuleList, config: Option<&'l Config>) -> Vec<&'l str> {
    match config {
        Some(config) => config.interface_names(),
        None => {
            let names: std::collections::BTreeSet<&str> = list
                .iter()
                .flat_map(|rule| rule.interfaces.iter().map(AsRef::as_ref))
                .collect();
            names.into_iter().collect()
        }
    }
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

fn tell(out: &mut impl Write, explanation: &Explanation) -> std::io::Result<()> {
    let kind = explanation.kind.filter(|kind| *kind != explanation.channel);
    let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
    writeln!(out, "{}", explanation.flow)?;
    writeln!(out, "goes to {}{kind}", explanation.channel)?;
    match (explanation.by, &explanation.rule) {
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
    for mapping in &explanation.mappings {
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
                    step.dimension.to_owned(),
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
