//! `netchannel rules lint`.

use std::io::{BufWriter, Write};

use netchannel::rules::explain::ShownRule;
use netchannel::rules::lint::{Finding, lint};
use netchannel::rules::{Options, RuleList};
use serde::Serialize;

use super::files;
use crate::arguments::Lint;
use crate::check::{counted, load};
use crate::failure::Failure;

/// Tells what was found; tells by the exit code too whether there was something.
pub(super) fn run(arguments: &Lint) -> Result<(), Failure> {
    let refused = |error| Failure::Refused(vec![error]);
    let config = arguments
        .config
        .as_deref()
        .map(load)
        .transpose()
        .map_err(refused)?;
    let options = Options {
        format: arguments.format,
        lenient: arguments.lenient,
        import: arguments.import.options(),
        ..Options::default()
    };
    let list = match (&arguments.file, &config) {
        (Some(file), _) => files::read(file, &options).map_err(refused)?,
        (None, Some(config)) => config.rules.clone(),
        (None, None) => RuleList::default(),
    };
    let findings = lint(&list, config.as_ref());
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.json {
        let findings: Vec<Told> = findings.iter().map(|finding| Told::of(finding, &list)).collect();
        writeln!(out, "{}", serde_json::json!({ "findings": findings }))?;
    } else {
        for finding in &findings {
            tell(&mut out, &Told::of(finding, &list))?;
        }
        let found = match findings.len() {
            0 => "nothing found".to_owned(),
            count => counted(count, "finding"),
        };
        writeln!(out, "{}: {found}", counted(list.len(), "rule"))?;
    }
    out.flush()?;
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

#[derive(Serialize)]
struct Told {
    kind: &'static str,
    #[serde(skip)]
    message: String,
    rule: ShownRule,
    others: Vec<ShownRule>,
}

impl Told {
    fn of(finding: &Finding, list: &RuleList) -> Self {
        let (kind, message, others) = match finding {
            Finding::Never { by, count: 1, .. } => (
                "never",
                "never wins, for this rule takes all its packets before:".to_owned(),
                by.clone(),
            ),
            Finding::Never { by, count, .. } => {
                let which = if *count > by.len() {
                    format!(", the first {} of them", by.len())
                } else {
                    String::new()
                };
                (
                    "never",
                    format!("never wins, for {count} rules together take all its packets before{which}:"),
                    by.clone(),
                )
            }
            Finding::Duplicate { of, .. } => (
                "duplicate",
                "is there twice; the first one is:".to_owned(),
                vec![*of],
            ),
            Finding::Order { others, .. } => (
                "order",
                "overlaps rules of the same priority that do something else; their order alone decides:"
                    .to_owned(),
                others.clone(),
            ),
            Finding::Redundant { by, .. } => (
                "redundant",
                "changes nothing, for without it this rule does the same:".to_owned(),
                vec![*by],
            ),
            Finding::Undecided { .. } => (
                "undecided",
                "overlaps so many rules that it was not found out whether it can win".to_owned(),
                Vec::new(),
            ),
        };
        let shown = |rule: usize| ShownRule::of(&list.rules[rule]);
        Self {
            kind,
            message,
            rule: shown(finding.rule()),
            others: others.into_iter().map(shown).collect(),
        }
    }
}

fn tell(out: &mut impl Write, told: &Told) -> std::io::Result<()> {
    writeln!(out, "{}: {}: {}", told.rule.place(), told.kind, told.message)?;
    writeln!(out, "  {}", told.rule.text)?;
    for other in &told.others {
        writeln!(out, "    {}: {}", other.place(), other.text)?;
    }
    Ok(())
}
