//! The figures as Markdown tables: rule sets in rows, structures in columns.

use netchannel_benches::chart::grouped;

use crate::figures::{Figures, Run};
use crate::peers::{self, Change};

/// A table: what it shows, and how a figure is written.
type Shown = (&'static str, fn(&Figures) -> String);

const TABLES: [Shown; 7] = [
    (LOOKUP, |of| digits(of.ns_per_lookup_burst)),
    ("Nanoseconds a lookup, one at a time", |of| {
        digits(of.ns_per_lookup)
    }),
    (
        "Nanoseconds a lookup, bursts of 32, while another thread writes",
        |of| digits(of.ns_per_lookup_burst_while_writing),
    ),
    ("Bytes a rule", |of| digits(of.bytes_per_rule)),
    ("Million insertions a second", |of| {
        millions(of.inserts_per_second)
    }),
    ("Million removals a second", |of| millions(of.removes_per_second)),
    ("Seconds to build", |of| format!("{:.3}", of.build_seconds)),
];

/// The table that shows the peers too.
const LOOKUP: &str = "Nanoseconds a lookup, bursts of 32";

/// All tables. What was not measured is an empty cell.
pub(crate) fn markdown(run: &Run) -> String {
    let tables: Vec<String> = TABLES.iter().map(|shown| table(run, shown)).collect();
    tables.join("\n")
}

fn table(run: &Run, (title, figure): &Shown) -> String {
    let sets = run.sets();
    let of_classbench = |(set, _): &(&str, u32)| peers::best(set, Change::Updatable).is_some();
    let with_peers = *title == LOOKUP && sets.iter().any(of_classbench);

    let mut header = vec!["set".to_owned(), "rules".to_owned()];
    header.extend(run.structures.iter().cloned());
    if with_peers {
        header.extend(["best updatable peer", "best static peer"].map(str::to_owned));
    }
    let mut text = format!("{title}:\n\n{}", row(&header));
    text += &row(&vec!["---".to_owned(); header.len()]);
    for (set, rules) in sets {
        let mut cells = vec![set.replace('|', "\\|"), grouped(rules.into())];
        let figures = |structure: &String| run.find(set, structure).map(figure).unwrap_or_default();
        cells.extend(run.structures.iter().map(figures));
        if with_peers {
            cells.extend([Change::Updatable, Change::Static].map(|change| {
                let best = peers::best(set, change);
                best.map(|(peer, nanoseconds)| format!("{nanoseconds:.0} ({})", peer.name))
                    .unwrap_or_default()
            }));
        }
        text += &row(&cells);
    }
    text
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// About three digits.
fn digits(figure: f64) -> String {
    if figure < 99.95 {
        format!("{figure:.1}")
    } else {
        grouped(figure.round() as u64)
    }
}

fn millions(figure: f64) -> String {
    match figure / 1e6 {
        few if few < 1.0 => format!("{few:.3}"),
        many => digits(many),
    }
}
