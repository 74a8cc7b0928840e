//! Tables whose rows are sorted by a column, cut to the width that there is.

use crate::table::Side;

/// A cell: what is shown, and what it is sorted by.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// `None`: by its text.
    number: Option<f64>,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            number: None,
        }
    }

    pub(super) fn number(number: f64, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            number: Some(number),
        }
    }
}

/// Columns and rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Grid {
    pub(super) columns: Vec<(&'static str, Side)>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// By which column rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: usize,
    /// Numbers from the smallest, text from its end.
    pub(super) is_reversed: bool,
}

impl Grid {
    /// Sorts the rows: numbers from the largest, text from A; equal ones stay as they are.
    pub(super) fn sort(&mut self, sort: Sort) {
        self.rows.sort_by(|one, other| {
            let (Some(one), Some(other)) = (one.get(sort.column), other.get(sort.column)) else {
                return std::cmp::Ordering::Equal;
            };
            let order = match (one.number, other.number) {
                (Some(one), Some(other)) => other.total_cmp(&one),
                _ => one.text.cmp(&other.text),
            };
            if sort.is_reversed { order.reverse() } else { order }
        });
    }

    /// The header and the rows as lines of at most `width` characters. The column that rows are sorted by is marked.
    pub(super) fn lines(&self, sort: Sort, width: usize) -> (String, Vec<String>) {
        let headers: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(
                |(column, (title, _))| match (column == sort.column, sort.is_reversed) {
                    (false, _) => (*title).to_owned(),
                    (true, false) => format!("{title}*"),
                    (true, true) => format!("{title}^"),
                },
            )
            .collect();
        let widths = self.widths(&headers, width);
        let rows = self.rows.iter().map(|row| {
            let texts: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
            self.line(&texts, &widths, width)
        });
        let texts: Vec<&str> = headers.iter().map(String::as_str).collect();
        (self.line(&texts, &widths, width), rows.collect())
    }

    /// What each column needs; if that is more than there is, the widest with text give way.
    fn widths(&self, headers: &[String], width: usize) -> Vec<usize> {
        const LEAST: usize = 6;
        let mut widths: Vec<usize> = headers.iter().map(|header| header.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let gaps = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let of_text = widths.iter_mut().zip(&self.columns);
            let of_text = of_text.filter(|(width, (_, side))| *side == Side::Left && **width > LEAST);
            match of_text.max_by_key(|(width, _)| **width) {
                Some((widest, _)) => *widest -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, texts: &[&str], widths: &[usize], width: usize) -> String {
        let mut line = String::new();
        for ((text, (_, side)), &cell) in texts.iter().zip(&self.columns).zip(widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let shown = cut(text, cell);
            match side {
                Side::Left => line.push_str(&format!("{shown:<cell$}")),
                Side::Right => line.push_str(&format!("{shown:>cell$}")),
            }
        }
        line.chars().take(width).collect()
    }
}

/// The text, with `~` in place of what does not fit.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(width.saturating_sub(1)).collect();
    shown.push('~');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Side::{Left, Right};

    fn grid() -> Grid {
        let row = |name: &str, number: f64| vec![Cell::text(name), Cell::number(number, format!("{number}"))];
        Grid {
            columns: vec![("NAME", Left), ("RATE", Right)],
            rows: vec![row("b", 9.0), row("a-long-name", 100.0), row("c", 20.0)],
        }
    }

    fn names(grid: &Grid) -> Vec<&str> {
        grid.rows.iter().map(|row| row[0].text.as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_by_numbers_or_text() {
        let mut grid = grid();
        let mut sorted = |column, is_reversed| {
            grid.sort(Sort { column, is_reversed });
            names(&grid).join(" ")
        };
        assert_eq!(
            sorted(1, false),
            "a-long-name c b",
            "100 is more than 20, not less"
        );
        assert_eq!(sorted(1, true), "b c a-long-name");
        assert_eq!(sorted(0, false), "a-long-name b c");
        assert_eq!(sorted(9, false), "a-long-name b c", "no such column");
    }

    #[test]
    fn lines_fit_the_width() {
        let sort = Sort {
            column: 1,
            is_reversed: false,
        };
        let (header, rows) = grid().lines(sort, 40);
        assert_eq!(header, "NAME         RATE*");
        assert_eq!(rows[1], "a-long-name    100");
        let (_, rows) = grid().lines(sort, 14);
        assert_eq!(rows[1], "a-long~    100".to_owned());
        for width in 0..20 {
            let (header, rows) = grid().lines(sort, width);
            assert!(
                rows.iter()
                    .chain([&header])
                    .all(|line| line.chars().count() <= width)
            );
        }
    }
}
