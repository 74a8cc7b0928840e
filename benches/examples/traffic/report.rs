//! The figures for people: tables on the terminal and in Markdown, and a picture.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use netchannel_benches::chart::{BarChart, BarPanel, Value};
use netchannel_benches::table::Table;
use netchannel_benches::traffic::datagram::FRAME;

use crate::columns::{COLUMNS, Column};
use crate::expected::{Bound, expected, ratio};
use crate::figures::{Figures, Run, STANDARD_MTU};
use crate::plan::Peer;

/// Cells of a table; the first row is its header.
type Cells = Vec<Vec<String>>;

/// Everything, with tables that line up.
pub(crate) fn terminal(run: &Run) -> String {
    let table = |cells: Cells| {
        let mut rows = cells.into_iter();
        let header = rows.next().unwrap_or_default();
        let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
        rows.for_each(|row| table.row(row));
        table.to_string()
    };
    format!("{}\n\n{}", run.command, tables(run, table))
}

/// Writes `traffic.md` and `traffic.svg` to a directory.
pub(crate) fn write(run: &Run, directory: &Path) -> Result<()> {
    let markdown = format!("    {}\n\n{}", run.command, tables(run, markdown_table));
    for (name, content) in [("traffic.md", markdown), ("traffic.svg", picture(run).to_svg())] {
        let file = directory.join(name);
        fs::write(&file, content).with_context(|| format!("can not write {}", file.display()))?;
        eprintln!("traffic: wrote {}", file.display());
    }
    Ok(())
}

fn tables(run: &Run, table: impl Fn(Cells) -> String) -> String {
    let mut text = format!("{}\n\n{}\n", conditions(run), table(figures(run)));
    for figures in run.subjects.iter().filter(|figures| figures.subject.is_ours()) {
        let ratios = ratios(run, figures.subject);
        if ratios.len() > 1 {
            let _ = writeln!(
                text,
                "{} against its peers{}:\n\n{}",
                figures.name,
                if run.mtu == STANDARD_MTU {
                    "; what is expected in brackets"
                } else {
                    ""
                },
                table(ratios)
            );
        }
    }
    for figures in &run.subjects {
        if let Some(why) = &figures.unavailable {
            let _ = writeln!(text, "{} was not measured: {why}.", figures.name);
        }
    }
    text
}

fn conditions(run: &Run) -> String {
    let used: Vec<String> = run.processors_used.iter().map(usize::to_string).collect();
    format!(
        "Linux {}, {} x {}, processors {} used. Frames of {FRAME} bytes, MTU {}. Medians of {} round(s) of {} s.",
        run.kernel,
        run.processors,
        run.processor,
        used.join(" and "),
        run.mtu,
        run.rounds,
        run.seconds,
    )
}

fn measured(run: &Run) -> impl Iterator<Item = &Figures> {
    run.subjects.iter().filter(|figures| !figures.figures.is_empty())
}

/// Columns in rows, subjects in columns.
fn figures(run: &Run) -> Cells {
    let mut header = vec![String::new()];
    header.extend(measured(run).map(|figures| figures.name.clone()));
    let mut cells = vec![header];
    for column in &COLUMNS {
        let medians: Vec<_> = measured(run)
            .map(|figures| run.median(figures.subject, column.key))
            .collect();
        if medians.iter().any(Option::is_some) {
            let written = medians
                .into_iter()
                .map(|median| median.map_or_else(|| "-".to_owned(), |figure| column.unit.write(figure)));
            cells.push([column.title.to_owned()].into_iter().chain(written).collect());
        }
    }
    cells
}

/// The ratios of a subject to all others, with what is expected of them.
fn ratios(run: &Run, of: Peer) -> Cells {
    let peers: Vec<&Figures> = measured(run).filter(|figures| figures.subject != of).collect();
    let mut header = vec![String::new()];
    header.extend(peers.iter().map(|figures| figures.name.clone()));
    let mut cells = vec![header];
    for column in &COLUMNS {
        let ratio = |figures: &&Figures| {
            let ratio = ratio(run, of, column.key, figures.subject);
            let expected = expected(of, column.key, figures.subject);
            ratio.map(|ratio| with_bound(ratio, expected.filter(|_| run.mtu == STANDARD_MTU)))
        };
        let ratios: Vec<_> = peers.iter().map(ratio).collect();
        if ratios.iter().any(Option::is_some) {
            let mut row = vec![column.title.to_owned()];
            row.extend(
                ratios
                    .into_iter()
                    .map(|ratio| ratio.unwrap_or_else(|| "-".to_owned())),
            );
            cells.push(row);
        }
    }
    cells
}

fn with_bound(ratio: f64, bound: Option<Bound>) -> String {
    let Some(bound) = bound else {
        return format!("{ratio:.2}");
    };
    let sign = if bound.holds(ratio) { "" } else { "!" };
    match bound {
        Bound::AtLeast(bound) => format!("{sign}{ratio:.2} (>= {bound})"),
        Bound::AtMost(bound) => format!("{sign}{ratio:.2} (<= {bound})"),
    }
}

fn markdown_table(cells: Cells) -> String {
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        let escaped: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", escaped.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
        }
    }
    text
}

fn picture(run: &Run) -> BarChart {
    let panel = |column: &Column| {
        let value = |figures: &Figures| Value {
            name: figures.name.clone(),
            colour: colour(figures.subject),
            figure: run
                .median(figures.subject, column.key)
                .map(|figure| (figure, column.unit.write(figure))),
        };
        BarPanel {
            title: column.title.to_owned(),
            values: measured(run).map(value).collect(),
        }
    };
    let drawn = COLUMNS.iter().filter(|column| column.drawn).map(panel);
    let panels = drawn.filter(|panel| panel.values.iter().any(|value| value.figure.is_some()));
    BarChart {
        title: "Traffic between network namespaces".to_owned(),
        panels: panels.collect(),
        notes: vec![
            conditions(run),
            "Of CPU time and round trips less is better, of all else more.".to_owned(),
        ],
    }
}

/// Colours that the colour-blind can tell apart (Okabe and Ito): ours stand out.
fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::NetchannelOn => "#d55e00",
        Peer::NetchannelOff => "#e69f00",
        Peer::Forwarding => "#0072b2",
        Peer::Masquerade | Peer::Flowtable => "#56b4e9",
        Peer::BareAfXdp | Peer::BareXdp => "#999999",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Run {
        crate::figures::tests::run(&[
            (Peer::NetchannelOn, "packets_1", [1_900_000.0, 1_900_000.0]),
            (Peer::Masquerade, "packets_1", [1_000_000.0, 1_000_000.0]),
            (Peer::Masquerade, "tcp_1", [3.5e9, 3.5e9]),
        ])
    }

    #[test]
    fn tables_have_figures_ratios_and_what_was_expected() {
        let mut run = some();
        run.subjects[2].unavailable = Some("no flow tables".to_owned());
        let text = tables(&run, markdown_table);
        for part in [
            "|  | nftables masquerade | netchannel, offload on |\n| --- | --- | --- |",
            "| packets/s, XDP sender, 1 flow | 1,000,000 | 1,900,000 |",
            "| TCP, 1 stream, Gbit/s | 3.50 | - |",
            "| packets/s, XDP sender, 1 flow | !1.90 (>= 2) |",
            "nftables flowtable was not measured: no flow tables.",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("offload off"), "{text}");
    }

    #[test]
    fn pictures_show_what_was_measured() {
        let picture = picture(&some());
        let titles: Vec<&str> = picture.panels.iter().map(|panel| panel.title.as_str()).collect();
        assert_eq!(titles, ["packets/s, XDP sender, 1 flow", "TCP, 1 stream, Gbit/s"]);
        assert_eq!(picture.panels[1].values.len(), 2);
    }
}
