//! Columns that stand under each other.

use std::io::{self, Write};

/// Which side of a column its text stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// A table that can be written in pieces: later pieces keep the widths of the earlier ones, or widen them.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    widths: Vec<usize>,
    started: bool,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Side)]) -> Self {
        let widths = columns.iter().map(|(header, _)| header.chars().count()).collect();
        Table {
            columns: columns.to_vec(),
            widths,
            started: false,
        }
    }

    /// Writes rows, before the first ones the headers. A row has a text for each column.
    pub(crate) fn write(&mut self, rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.started {
            self.started = true;
            let headers: Vec<String> = self
                .columns
                .iter()
                .map(|(header, _)| (*header).to_owned())
                .collect();
            self.line(&headers, out)?;
        }
        rows.iter().try_for_each(|row| self.line(row, out))
    }

    fn line(&self, cells: &[String], out: &mut impl Write) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, (_, side)), width) in cells.iter().zip(&self.columns).zip(&self.widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            match side {
                Side::Left => line.push_str(&format!("{cell:<width$}")),
                Side::Right => line.push_str(&format!("{cell:>width$}")),
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_over_pieces() {
        let mut table = Table::new(&[
            ("NAME", Side::Left),
            ("PACKETS", Side::Right),
            ("NOTE", Side::Left),
        ]);
        let row = |cells: [&str; 3]| vec![cells.map(str::to_owned).to_vec()];
        let mut out = Vec::new();
        table.write(&row(["a", "5", ""]), &mut out).unwrap();
        table.write(&row(["longer", "1,000", "x"]), &mut out).unwrap();
        table.write(&row(["b", "7", "y"]), &mut out).unwrap();
        let expected = "NAME  PACKETS  NOTE\na           5\nlonger    1,000  x\nb             7  y\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
