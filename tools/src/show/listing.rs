//! A listing that is written page by page, as a table or as JSON.

use std::io::Write;
use std::marker::PhantomData;

use serde::Serialize;

use crate::failure::Failure;
use crate::table::{Side, Table};
use crate::units::count;

/// What is listed.
pub(super) trait Listed: Serialize {
    /// The key of the list in JSON.
    const NAME: &'static str;
    /// One of them, and several.
    const NAMES: [&'static str; 2];
    /// The table's columns.
    const COLUMNS: &'static [(&'static str, Side)];

    /// A line of the table.
    fn row(&self) -> Vec<String>;
}

/// Where a listing goes. Nothing is written before the first page has come: an error may come in its place.
pub(super) struct Output<'o, T, W> {
    out: &'o mut W,
    table: Option<Table>,
    written: u64,
    listed: PhantomData<T>,
}

impl<'o, T: Listed, W: Write> Output<'o, T, W> {
    pub(super) fn new(json: bool, out: &'o mut W) -> Self {
        Self {
            out,
            table: (!json).then(|| Table::new(T::COLUMNS)),
            written: 0,
            listed: PhantomData,
        }
    }

    pub(super) fn write(&mut self, page: &[T]) -> Result<(), Failure> {
        if page.is_empty() {
            return Ok(());
        }
        if let Some(table) = &mut self.table {
            let rows: Vec<Vec<String>> = page.iter().map(T::row).collect();
            table.write(&rows, self.out)?;
            self.written += page.len() as u64;
            return Ok(());
        }
        for entry in page {
            let before = if self.written == 0 {
                self.head()
            } else {
                ",".to_owned()
            };
            write!(self.out, "{before}")?;
            serde_json::to_writer(&mut *self.out, entry)?;
            self.written += 1;
        }
        Ok(())
    }

    fn head(&self) -> String {
        format!("{{\"{}\":[", T::NAME)
    }

    /// What stands below the table, or behind the list.
    pub(super) fn finish(self, has_more: bool) -> Result<(), Failure> {
        self.finish_with(has_more, "")
    }

    /// As [`finish`](Self::finish), with more members of the object in JSON.
    pub(super) fn finish_with(self, has_more: bool, members: &str) -> Result<(), Failure> {
        if self.table.is_none() {
            if self.written == 0 {
                write!(self.out, "{}", self.head())?;
            }
            writeln!(self.out, "]{members}}}")?;
            return Ok(());
        }
        let [one, several] = T::NAMES;
        let more = if has_more { ", and there are more" } else { "" };
        match self.written {
            0 => writeln!(self.out, "no {several}{more}")?,
            1 => writeln!(self.out, "1 {one}{more}")?,
            number => writeln!(self.out, "{} {several}{more}", count(number))?,
        }
        Ok(())
    }
}
