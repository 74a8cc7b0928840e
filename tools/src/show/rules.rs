//! `netchannel show rules`.

use std::io::Write;

use netchannel::control::report::{CountedRule, CountedRules, RuleCounts};
use netchannel::control::{Client, MAX_PAGE, RulePage};

use super::listing::{Listed, Output};
use crate::arguments::ShowRules;
use crate::failure::Failure;
use crate::table::Side;
use crate::table::Side::{Left, Right};
use crate::units::{bytes, count, seconds};

pub(super) fn rules(
    client: &mut Client,
    which: &ShowRules,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut page = RulePage {
        after: None,
        limit: MAX_PAGE,
        by: which.sort.into(),
        only_unused: which.unused,
    };
    let mut left = which.limit.unwrap_or(u64::MAX);
    let mut output = Output::<CountedRule, _>::new(json, out);
    let mut others = None;
    let has_more = loop {
        page.limit = u32::try_from(left.max(1)).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let CountedRules {
            mut rules,
            others: of_others,
            next,
        } = client.rule_counters(&page)?;
        others = others.or(of_others);
        rules.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= rules.len() as u64;
        output.write(&rules)?;
        if next.is_none() || left == 0 {
            break next.is_some();
        }
        page.after = next;
    };
    let members = match &others {
        Some(others) => format!(",\"others\":{}", serde_json::to_string(others)?),
        None => String::new(),
    };
    output.finish_with(has_more, &members)?;
    if let Some(others) = others.filter(|_| !json) {
        writeln!(out, "by no configured rule: {}", in_words(&others))?;
    }
    Ok(())
}

fn in_words(counts: &RuleCounts) -> String {
    format!(
        "{} packets, {}, last {}",
        count(counts.packets),
        bytes(counts.bytes),
        last_hit(counts)
    )
}

fn last_hit(counts: &RuleCounts) -> String {
    counts
        .last_hit_seconds
        .map_or("never".to_owned(), |ago| format!("{} ago", seconds(ago)))
}

impl Listed for CountedRule {
    const NAME: &'static str = "rules";
    const NAMES: [&'static str; 2] = ["rule", "rules"];
    const COLUMNS: &'static [(&'static str, Side)] = &[
        ("NUMBER", Right),
        ("PRIORITY", Right),
        ("PACKETS", Right),
        ("BYTES", Right),
        ("FLOWS", Right),
        ("LAST HIT", Right),
        ("RULE", Left),
    ];

    fn row(&self) -> Vec<String> {
        vec![
            self.number.to_string(),
            self.priority.to_string(),
            count(self.counts.packets),
            bytes(self.counts.bytes),
            count(self.counts.flows),
            last_hit(&self.counts),
            self.rule.clone(),
        ]
    }
}
