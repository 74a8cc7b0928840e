//! What was measured, and the file that has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use netchannel_benches::measure::median;
use serde::{Deserialize, Serialize};

use crate::plan::{Peer, Plan};

/// A run of the benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// How it was called.
    pub(crate) command: String,
    pub(crate) kernel: String,
    /// Model of the processors, and how many there are.
    pub(crate) processor: String,
    pub(crate) processors: usize,
    /// Those that were used, the sender's first.
    pub(crate) processors_used: Vec<usize>,
    pub(crate) rounds: u32,
    /// Of all links, in bytes.
    #[serde(default = "standard_mtu")]
    pub(crate) mtu: u32,
    /// Of each measurement.
    pub(crate) seconds: f64,
    pub(crate) subjects: Vec<Figures>,
}

/// What was measured of a subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) subject: Peer,
    pub(crate) name: String,
    /// Why it could not be measured, if so.
    pub(crate) unavailable: Option<String>,
    /// By the key of the column.
    pub(crate) figures: BTreeMap<String, Figure>,
}

/// A figure: that of every round, and the one in the middle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) rounds: Vec<f64>,
}

/// The MTU of all figures that say nothing else, and of those that are expected.
pub(crate) const STANDARD_MTU: u32 = 1500;

fn standard_mtu() -> u32 {
    STANDARD_MTU
}

impl Run {
    /// Nothing measured yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let command = match arguments.as_slice() {
            [] => "make bench-traffic".to_owned(),
            arguments => format!("make bench-traffic ARGS=\"{}\"", arguments.join(" ")),
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let subjects = plan.subjects.iter().map(|contestant| Figures {
            subject: contestant.peer,
            name: contestant.peer.title().to_owned(),
            unavailable: None,
            figures: BTreeMap::new(),
        });
        Self {
            command,
            kernel: kernel.trim().to_owned(),
            processor: model.unwrap_or("unknown processor").to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            processors_used: plan.processors.clone(),
            rounds: plan.rounds,
            mtu: plan.mtu,
            seconds: plan.times.window.as_secs_f64(),
            subjects: subjects.collect(),
        }
    }

    /// Reads the figures of an earlier run.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("can not read {}", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} does not have the figures of a run", file.display()))
    }

    /// Writes them, in a directory that is made if there is none.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let write = || {
            if let Some(directory) = file.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(file, serde_json::to_string_pretty(self)? + "\n")?;
            anyhow::Ok(())
        };
        write().with_context(|| format!("can not write {}", file.display()))
    }

    /// The median of a column for a subject, if it was measured.
    pub(crate) fn median(&self, subject: Peer, column: &str) -> Option<f64> {
        let figures = self.subjects.iter().find(|figures| figures.subject == subject)?;
        figures.figures.get(column).map(|figure| figure.median)
    }
}

impl Figures {
    /// Adds what a round has given.
    pub(crate) fn add(&mut self, column: &str, value: f64) {
        let figure = self.figures.entry(column.to_owned()).or_default();
        figure.rounds.push(value);
        figure.median = median(&figure.rounds).unwrap_or(value);
    }

    /// What the last round has given.
    pub(crate) fn latest(&self, column: &str) -> Option<f64> {
        self.figures.get(column)?.rounds.last().copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run with two rounds of one column each.
    pub(crate) fn run(figures: &[(Peer, &str, [f64; 2])]) -> Run {
        let subjects = Peer::ALL.map(|subject| {
            let mut of_subject = Figures {
                subject,
                name: subject.title().to_owned(),
                unavailable: None,
                figures: BTreeMap::new(),
            };
            for (_, column, rounds) in figures.iter().filter(|(peer, ..)| *peer == subject) {
                rounds.iter().for_each(|value| of_subject.add(column, *value));
            }
            of_subject
        });
        Run {
            command: "traffic --rounds 2".to_owned(),
            kernel: "6.1".to_owned(),
            processor: "some".to_owned(),
            processors: 4,
            processors_used: vec![0, 1],
            rounds: 2,
            mtu: STANDARD_MTU,
            seconds: 1.0,
            subjects: subjects.to_vec(),
        }
    }

    #[test]
    fn files_hold_all_figures() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("new/traffic.json");
        let run = run(&[(Peer::Masquerade, "packets_1", [1.0, 2.0])]);
        run.write(&file).expect("written");
        let read = Run::read(&file).expect("read");
        assert_eq!(read, run);
        assert_eq!(read.median(Peer::Masquerade, "packets_1"), Some(1.5));
        assert_eq!(read.median(Peer::Masquerade, "tcp_1"), None);
        for damaged in ["", "[]", "{\"command\":1}"] {
            fs::write(&file, damaged).expect("written");
            let error = Run::read(&file).expect_err("refused");
            assert!(
                format!("{error:#}").contains("does not have the figures"),
                "{error:#}"
            );
        }
    }
}
