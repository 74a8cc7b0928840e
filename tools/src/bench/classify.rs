//! `netchannel bench classify`.

use std::io::Write;
use std::thread;

use anyhow::anyhow;
use netchannel::measure::{self, Figures, MeasureError, Structure, Workload};

use crate::arguments::Classify;
use crate::failure::Failure;
use crate::table::{Side, Table};
use crate::units::{bytes, count};

/// Measures structures and prints their figures.
pub(crate) fn classify(arguments: &Classify) -> Result<(), Failure> {
    log::info!(
        "reading {} and {}",
        arguments.input.rules.display(),
        arguments.input.trace.display()
    );
    let (rules, headers) = crate::rules::read(&arguments.input)?;
    log::info!(
        "searching {} headers one rule after the other",
        measure::SAMPLE.min(headers.len())
    );
    let workload = Workload::new(&rules, &headers)?;
    if thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
        log::warn!(
            "one processor for all threads: the time that each has it is measured, not the time that goes by"
        );
    }
    let named = arguments.structure.named();
    let structures = named.map_or(Structure::ALL.to_vec(), |structure| vec![structure]);
    let mut progress = |what: &str| log::info!("{what}");
    let mut all = Vec::new();
    for structure in structures {
        match measure::classify(structure, &workload, arguments.seconds, &mut progress) {
            Ok(figures) if arguments.json => {
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&figures)?)?;
                all.push(figures);
            }
            Ok(figures) => all.push(figures),
            // The others may hold what this one can't.
            Err(error @ MeasureError::Refused { .. }) if named.is_none() => log::warn!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    if !arguments.json {
        print(&all, &mut std::io::stdout().lock())?;
    }
    let wrong: Vec<String> = all
        .iter()
        .filter(|figures| figures.mismatches > 0)
        .map(|figures| format!("{} {}", figures.structure, figures.mismatches))
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        let list = wrong.join(", ");
        Err(anyhow!("answers that differ from a linear search or from the trace: {list}").into())
    }
}

/// A table with a column for each structure.
fn print(all: &[Figures], out: &mut impl Write) -> std::io::Result<()> {
    let mut columns = vec![("", Side::Left)];
    columns.extend(all.iter().map(|figures| (figures.structure.name(), Side::Right)));
    type Figure = (&'static str, fn(&Figures) -> String);
    let figures: [Figure; 14] = [
        ("rules", |of| count(of.rules as u64)),
        ("headers", |of| count(of.headers as u64)),
        ("build time, s", |of| format!("{:.3}", of.build_seconds)),
        ("memory", |of| bytes((of.bytes_per_rule * of.rules as f64) as u64)),
        ("bytes/rule", |of| tenths(of.bytes_per_rule)),
        ("ns/lookup, single", |of| tenths(of.ns_per_lookup)),
        ("ns/lookup, bursts of 32", |of| tenths(of.ns_per_lookup_burst)),
        ("lookups/s, single", |of| per_second(of.ns_per_lookup)),
        ("lookups/s, bursts of 32", |of| per_second(of.ns_per_lookup_burst)),
        ("inserts/s", |of| count(of.inserts_per_second as u64)),
        ("removes/s", |of| count(of.removes_per_second as u64)),
        ("ns/lookup while writing, bursts of 32", |of| {
            tenths(of.ns_per_lookup_burst_while_writing)
        }),
        ("lookups/s while writing, bursts of 32", |of| {
            per_second(of.ns_per_lookup_burst_while_writing)
        }),
        ("mismatches", |of| count(of.mismatches as u64)),
    ];
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|(name, figure)| {
            let cells = all.iter().map(figure);
            std::iter::once((*name).to_owned()).chain(cells).collect()
        })
        .collect();
    Table::new(&columns).write(&rows, out)
}

/// How many of what takes so many nanoseconds there are in a second.
fn per_second(nanoseconds: f64) -> String {
    count((1e9 / nanoseconds) as u64)
}

/// One digit after the point, or groups of three where that does not matter.
fn tenths(number: f64) -> String {
    if number < 1000.0 {
        format!("{number:.1}")
    } else {
        count(number as u64)
    }
}
