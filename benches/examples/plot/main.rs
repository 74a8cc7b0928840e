//! Draws what the classifier's structures cost against the number of rules, beside other classifiers: lookup time
//! and memory. Prints the figures as Markdown tables.
//!
//! ```text
//! make bench-classify
//! cargo run --release -p netchannel-benches --example plot -- target/classify/figures.jsonl
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use netchannel_benches::chart::{Bar, Chart, Group, Line, Marker, Panel, Style};

mod figures;
mod peers;
mod tables;

use figures::{Figures, Run};
use peers::{Change, MEMORY_RULES, PEERS};

/// The structures, in the order of the legend and of the tables' columns.
const STRUCTURES: [&str; 4] = ["tuple", "trie", "interval", "linear"];

/// Colours that the colour-blind can tell apart (Okabe and Ito), one a structure.
const STRUCTURE_COLOURS: [(&str, Marker); 5] = [
    ("#0072b2", Marker::Circle),
    ("#d55e00", Marker::Square),
    ("#009e73", Marker::Diamond),
    ("#cc79a7", Marker::Triangle),
    ("#e69f00", Marker::Cross),
];

/// Of the peers, one each.
const PEER_COLOURS: [(&str, Marker); PEERS.len()] = [
    ("#555555", Marker::Circle),
    ("#8c6d31", Marker::Square),
    ("#7b4173", Marker::Diamond),
    ("#637939", Marker::Triangle),
    ("#c0392b", Marker::Cross),
    ("#000000", Marker::Square),
    ("#5254a3", Marker::Diamond),
    ("#b8860b", Marker::Triangle),
    ("#a0522d", Marker::Cross),
    ("#999999", Marker::Circle),
];

/// Draws lookup time and memory of the classifier's structures, and prints tables of their figures.
#[derive(Debug, Parser)]
struct Arguments {
    /// What `netchannel bench classify --json` printed, each object on a line of its own, with the key `set` for the
    /// name of the rule set: FAMILY_SIZE, as in acl1_10k or fw_1000000. Of several lines for one set and one structure
    /// the last one counts
    #[arg(value_name = "FILE")]
    figures: PathBuf,
    /// Where lookup-time.svg and memory.svg are written
    #[arg(long, value_name = "DIRECTORY", default_value = "docs")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match plot(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plot(arguments: &Arguments) -> Result<()> {
    let run = Run::read(&arguments.figures)?;
    write(&arguments.output.join("lookup-time.svg"), &lookup_time(&run))?;
    write(&arguments.output.join("memory.svg"), &memory(&run))?;
    print!("{}", tables::markdown(&run));
    Ok(())
}

fn write(file: &Path, chart: &Chart) -> Result<()> {
    fs::write(file, chart.to_svg()).with_context(|| format!("can not write {}", file.display()))?;
    eprintln!("plot: wrote {}", file.display());
    Ok(())
}

fn lookup_time(run: &Run) -> Chart {
    let panel = |family: &String| {
        let mut lines = structures(run, family, |figures| figures.ns_per_lookup_burst);
        let peers = PEERS.iter().zip(0..).map(|(peer, number)| Line {
            style: peer_style(number),
            points: peer.points(family),
        });
        lines.extend(peers.filter(|line| !line.points.is_empty()));
        Panel {
            title: family.clone(),
            lines,
            bars: Vec::new(),
        }
    };
    let panels: Vec<Panel> = run.families.iter().map(panel).collect();
    let with_peers = run
        .families
        .iter()
        .any(|family| PEERS.iter().any(|peer| !peer.points(family).is_empty()));
    let mut notes = vec!["Bursts of 32 headers, each rule equally likely, one thread."];
    if with_peers {
        notes.push(
            "Peers: on the ClassBench sets acl1, fw1, ipc1; one header at a time, but for rte_acl (bursts of 64).",
        );
    }
    Chart {
        title: "Lookup time",
        x_label: "rules",
        y_label: "nanoseconds a lookup",
        panels,
        legend: legend(run, |_| with_peers),
        notes,
    }
}

fn memory(run: &Run) -> Chart {
    let panel = |family: &String| Panel {
        title: family.clone(),
        lines: structures(run, family, |figures| figures.bytes_per_rule),
        bars: peers_memory(family),
    };
    let drawn = |number: usize| {
        let memory = PEERS[number].memory;
        memory.is_some_and(|memory| run.families.iter().any(|family| memory.is_of(family)))
    };
    let mut notes = Vec::new();
    if (0..PEERS.len()).any(drawn) {
        notes.push(
            "Peers: at 100,000 rules, lowest to highest of the ClassBench sets acl1, fw1 and ipc1; rte_acl: fw1.",
        );
    }
    Chart {
        title: "Memory",
        x_label: "rules",
        y_label: "bytes a rule",
        panels: run.families.iter().map(panel).collect(),
        legend: legend(run, drawn),
        notes,
    }
}

fn peers_memory(family: &str) -> Vec<Bar> {
    let bars = PEERS.iter().zip(0..).filter_map(|(peer, number)| {
        let memory = peer.memory.filter(|memory| memory.is_of(family))?;
        Some(Bar {
            style: peer_style(number),
            at: MEMORY_RULES,
            lowest: memory.lowest,
            highest: memory.highest,
        })
    });
    bars.collect()
}

/// A line for each structure that was measured on the family's sets.
fn structures(run: &Run, family: &str, figure: fn(&Figures) -> f64) -> Vec<Line> {
    let lines = run.structures.iter().zip(0..).map(|(structure, number)| Line {
        style: structure_style(number),
        points: run.points(family, structure, figure),
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}

fn legend(run: &Run, drawn: impl Fn(usize) -> bool) -> Vec<Group> {
    let structures = run.structures.iter().zip(0..);
    let peers = |change: Change| {
        let peers = PEERS.iter().zip(0..);
        let entries = peers.filter(|(peer, number)| peer.change == change && drawn(*number));
        entries
            .map(|(peer, number)| (peer.name.to_owned(), peer_style(number)))
            .collect()
    };
    vec![
        Group {
            title: "netchannel",
            entries: structures
                .map(|(name, number)| (name.clone(), structure_style(number)))
                .collect(),
        },
        Group {
            title: "peers, updatable",
            entries: peers(Change::Updatable),
        },
        Group {
            title: "peers, static",
            entries: peers(Change::Static),
        },
        Group {
            title: "baseline",
            entries: peers(Change::Baseline),
        },
    ]
}

fn structure_style(number: usize) -> Style {
    let (colour, marker) = STRUCTURE_COLOURS[number % STRUCTURE_COLOURS.len()];
    Style {
        colour,
        width: 2.6,
        dashed: false,
        marker,
    }
}

fn peer_style(number: usize) -> Style {
    let (colour, marker) = PEER_COLOURS[number];
    Style {
        colour,
        width: 1.0,
        dashed: PEERS[number].change == Change::Static,
        marker,
    }
}
