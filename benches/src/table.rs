//! Tables for people.

use std::fmt;

/// A table with a header; the first column is left-aligned, the others right-aligned.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&name| name.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::from(" ");
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                line += &if column == 0 {
                    format!(" {cell:<width$}")
                } else {
                    format!("  {cell:>width$}")
                };
            }
            writeln!(f, "{}", line.trim_end())?;
            if index == 0 {
                let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
                writeln!(f, "  {}", rule.join("  "))?;
            }
        }
        Ok(())
    }
}

/// A number with a unit prefix: `1.24 G`.
pub fn scaled(value: f64) -> String {
    let (value, prefix) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{value:.2} {prefix}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Table, scaled};

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["stage", "sent"]);
        table.row(["ping".to_owned(), "10".to_owned()]);
        assert_eq!(table.to_string(), "  stage  sent\n  -----  ----\n  ping     10\n");
    }

    #[test]
    fn unit_prefixes() {
        for (value, text) in [
            (0.0, "0.00"),
            (999.0, "999.00"),
            (1500.0, "1.50 k"),
            (2.0e9, "2.00 G"),
        ] {
            assert_eq!(scaled(value), text);
        }
    }
}
