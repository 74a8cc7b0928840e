//! The figures: one object a line, as `netchannel bench classify --json` prints them, with the name of the rule set.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::STRUCTURES;

/// What a structure costs on a rule set.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Figures {
    pub(crate) set: String,
    pub(crate) structure: String,
    pub(crate) rules: u32,
    pub(crate) build_seconds: f64,
    pub(crate) bytes_per_rule: f64,
    pub(crate) ns_per_lookup: f64,
    pub(crate) ns_per_lookup_burst: f64,
    pub(crate) inserts_per_second: f64,
    pub(crate) removes_per_second: f64,
    pub(crate) ns_per_lookup_burst_while_writing: f64,
    mismatches: u64,
}

impl Figures {
    /// What sets of different sizes have in common: `acl1` of `acl1_10k`.
    pub(crate) fn family(&self) -> &str {
        family(&self.set)
    }

    /// That they can be drawn on a logarithmic scale, and are of right answers.
    fn check(&self) -> Result<()> {
        let Self { set, structure, .. } = self;
        ensure!(self.rules > 0, "{set}, {structure}: no rules");
        for (name, figure) in [
            ("build_seconds", self.build_seconds),
            ("bytes_per_rule", self.bytes_per_rule),
            ("ns_per_lookup", self.ns_per_lookup),
            ("ns_per_lookup_burst", self.ns_per_lookup_burst),
            ("inserts_per_second", self.inserts_per_second),
            ("removes_per_second", self.removes_per_second),
            (
                "ns_per_lookup_burst_while_writing",
                self.ns_per_lookup_burst_while_writing,
            ),
        ] {
            ensure!(
                (1e-9..=1e15).contains(&figure),
                "{set}, {structure}: found {name} = {figure}, expected 0.000000001 to 10^15"
            );
        }
        if self.mismatches > 0 {
            let wrong = self.mismatches;
            bail!("{set}, {structure}: {wrong} wrong answers; figures of a structure that errs mean nothing");
        }
        Ok(())
    }
}

fn family(set: &str) -> &str {
    set.rsplit_once(['_', ' ']).map_or(set, |(family, _)| family)
}

/// All figures of a run, those of a family together and by number of rules.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) figures: Vec<Figures>,
    /// As they first appear.
    pub(crate) families: Vec<String>,
    /// The default structure first.
    pub(crate) structures: Vec<String>,
}

impl Run {
    /// Reads a file. Of several lines for one structure and set the last one counts.
    ///
    /// # Errors
    ///
    /// If the file can't be read, a line is no such object, or there is none.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let opened = File::open(file).with_context(|| format!("can not open {}", file.display()))?;
        Self::of_lines(BufReader::new(opened)).with_context(|| file.display().to_string())
    }

    fn of_lines(lines: impl BufRead) -> Result<Self> {
        let mut figures: Vec<Figures> = Vec::new();
        for (line, number) in lines.lines().zip(1..) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let found: Figures = serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
            found.check().with_context(|| format!("line {number}"))?;
            figures.retain(|other| (&other.set, &other.structure) != (&found.set, &found.structure));
            figures.push(found);
        }
        ensure!(!figures.is_empty(), "found no figures");

        let families = distinct(figures.iter().map(Figures::family));
        let mut structures = distinct(figures.iter().map(|figures| figures.structure.as_str()));
        // Names that are not known come last.
        structures.sort_by_key(|name| {
            let known = STRUCTURES.iter().position(|known| known == name);
            known.unwrap_or(STRUCTURES.len())
        });
        figures.sort_by_key(|of| {
            let family = families.iter().position(|family| family == of.family());
            (family, of.rules)
        });
        Ok(Self {
            figures,
            families,
            structures,
        })
    }

    /// Rule sets, in order, each with its number of rules.
    pub(crate) fn sets(&self) -> Vec<(&str, u32)> {
        let mut sets: Vec<_> = self
            .figures
            .iter()
            .map(|figures| (figures.set.as_str(), figures.rules))
            .collect();
        sets.dedup();
        sets
    }

    pub(crate) fn find(&self, set: &str, structure: &str) -> Option<&Figures> {
        let mut figures = self.figures.iter();
        figures.find(|figures| figures.set == set && figures.structure == structure)
    }

    /// Rules and a figure of a structure, for each set of a family.
    pub(crate) fn points(
        &self,
        family: &str,
        structure: &str,
        figure: fn(&Figures) -> f64,
    ) -> Vec<(f64, f64)> {
        let of = |figures: &&Figures| figures.family() == family && figures.structure == structure;
        let figures = self.figures.iter().filter(of);
        figures
            .map(|figures| (f64::from(figures.rules), figure(figures)))
            .collect()
    }
}

/// Each name once, as they first appear.
fn distinct<'name>(names: impl Iterator<Item = &'name str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.iter().any(|other| other == name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(set: &str, structure: &str, rules: u32, nanoseconds: f64, mismatches: u64) -> String {
        format!(
            r#"{{"set":"{set}","structure":"{structure}","rules":{rules},"headers":9,"build_seconds":0.1,
            "bytes_per_rule":80.0,"ns_per_lookup":20.0,"ns_per_lookup_burst":{nanoseconds},"inserts_per_second":1e7,
            "removes_per_second":1e7,"ns_per_lookup_burst_while_writing":30.0,"mismatches":{mismatches}}}"#
        )
        .replace('\n', " ")
    }

    fn read(lines: &[String]) -> Result<Run> {
        Run::of_lines(lines.join("\n").as_bytes())
    }

    #[test]
    fn the_last_line_of_a_set_and_a_structure_counts() {
        let run = read(&[
            line("fw_10000", "linear", 10_000, 90.0, 0),
            line("acl1_1k", "other", 944, 9.0, 0),
            line("acl1_1k", "tuple", 944, 9.0, 0),
            line("fw_1000", "linear", 1_000, 80.0, 0),
            line("fw_10000", "linear", 10_000, 70.0, 0),
        ])
        .unwrap();
        assert_eq!(run.families, ["acl1", "fw"]);
        assert_eq!(run.structures, ["tuple", "linear", "other"]);
        assert_eq!(
            run.sets(),
            [("acl1_1k", 944), ("fw_1000", 1_000), ("fw_10000", 10_000)]
        );
        let burst = |figures: &Figures| figures.ns_per_lookup_burst;
        assert_eq!(run.points("fw", "linear", burst), [(1e3, 80.0), (1e4, 70.0)]);
        assert!(run.find("fw_1000", "tuple").is_none());
    }

    #[test]
    fn what_can_not_be_drawn_is_refused_with_its_line() {
        let good = line("acl_1000", "tuple", 1_000, 9.0, 0);
        for (bad, why) in [
            ("{}".to_owned(), "missing field"),
            ("nonsense".to_owned(), "expected"),
            (line("acl_1000", "trie", 1_000, 9.0, 3), "3 wrong answers"),
            (line("acl_1000", "trie", 1_000, 0.0, 0), "ns_per_lookup_burst = 0"),
            (line("acl_1000", "trie", 0, 9.0, 0), "no rules"),
        ] {
            let error = format!("{:#}", read(&[good.clone(), bad]).unwrap_err());
            assert!(error.starts_with("line 2: ") && error.contains(why), "{error}");
        }
        assert_eq!(read(&[]).unwrap_err().to_string(), "found no figures");
    }
}
