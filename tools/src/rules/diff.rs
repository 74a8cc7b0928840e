//! `netchannel rules diff`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use netchannel::rules::json::RuleForm;
use netchannel::rules::{Difference, Options, Rule, RuleList, difference, text};
use serde::Serialize;

use super::{files, running};
use crate::arguments::DiffRules;
use crate::color;
use crate::failure::Failure;

/// Compares two files; tells by the exit code too whether they differ.
pub(super) fn diff(arguments: &DiffRules) -> Result<(), Failure> {
    let options = Options {
        format: arguments.format,
        ..Options::default()
    };
    let read = |file: &PathBuf| files::read(file, &options).map_err(|error| Failure::Refused(vec![error]));
    let ((first, first_name), second_file) = match &arguments.files[..] {
        [first, second] => ((read(first)?, first.display().to_string()), second),
        files => {
            let list = running::in_force(&arguments.socket)?;
            ((list, "rules in force".to_owned()), &files[0])
        }
    };
    let second = read(second_file)?;
    let found = difference(&first, &second);
    let mut out = BufWriter::new(io::stdout().lock());
    if arguments.json {
        serde_json::to_writer(&mut out, &Report::of(&found))?;
        writeln!(out)?;
    } else if !found.is_none() {
        let colors = color::is_wanted();
        let mut lines = Lines {
            out: &mut out,
            colors,
        };
        lines.plain(&format!("--- {}", first_name))?;
        lines.plain(&format!("+++ {}", second_file.display()))?;
        lines.sets(&found, &first, &second)?;
        lines.rules(&found)?;
    }
    out.flush()?;
    if found.is_none() {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

struct Lines<'o, W> {
    out: &'o mut W,
    colors: bool,
}

/// How a line differs, with the colour that `diff` and `git` give it.
#[derive(Clone, Copy)]
enum Mark {
    Removed,
    Added,
    Moved,
}

impl<W: Write> Lines<'_, W> {
    fn plain(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    fn line(&mut self, mark: Mark, text: &str) -> io::Result<()> {
        let (sign, color) = match mark {
            Mark::Removed => ('-', 31),
            Mark::Added => ('+', 32),
            Mark::Moved => ('~', 36),
        };
        if self.colors {
            writeln!(self.out, "\x1b[{color}m{sign} {text}\x1b[0m")
        } else {
            writeln!(self.out, "{sign} {text}")
        }
    }

    fn sets(&mut self, found: &Difference<'_>, first: &RuleList, second: &RuleList) -> io::Result<()> {
        for name in &found.removed_sets {
            self.set(Mark::Removed, name, first)?;
        }
        for name in &found.changed_sets {
            self.set(Mark::Removed, name, first)?;
            self.set(Mark::Added, name, second)?;
        }
        for name in &found.added_sets {
            self.set(Mark::Added, name, second)?;
        }
        Ok(())
    }

    fn set(&mut self, mark: Mark, name: &str, list: &RuleList) -> io::Result<()> {
        let mut text = Vec::new();
        let of_name = RuleList {
            address_sets: list.address_set(name).into_iter().cloned().collect(),
            port_sets: list.port_set(name).into_iter().cloned().collect(),
            ..RuleList::default()
        };
        text::write(&of_name, &mut text)?;
        for line in String::from_utf8_lossy(&text).lines() {
            self.line(mark, line)?;
        }
        Ok(())
    }

    /// All rules in the order in which they are tried.
    fn rules(&mut self, found: &Difference<'_>) -> io::Result<()> {
        let mut lines: Vec<(u32, Mark, String)> = Vec::new();
        let line = |rule: &Rule, mark| (rule.priority, mark, text::rule_text(rule));
        lines.extend(found.removed.iter().map(|rule| line(rule, Mark::Removed)));
        lines.extend(found.added.iter().map(|rule| line(rule, Mark::Added)));
        for (old, new) in &found.moved {
            let (_, mark, text) = line(new, Mark::Moved);
            lines.push((
                new.priority,
                mark,
                format!("{text}   # was of priority {}", old.priority),
            ));
        }
        for rule in &found.reordered {
            let (priority, mark, text) = line(rule, Mark::Moved);
            lines.push((priority, mark, format!("{text}   # in another order")));
        }
        lines.sort_by_key(|(priority, ..)| *priority);
        for (_, mark, text) in lines {
            self.line(mark, &text)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Report<'f> {
    removed: Vec<RuleForm<'f>>,
    added: Vec<RuleForm<'f>>,
    moved: Vec<Moved<'f>>,
    reordered: Vec<RuleForm<'f>>,
    removed_sets: &'f [&'f str],
    added_sets: &'f [&'f str],
    changed_sets: &'f [&'f str],
}

#[derive(Serialize)]
struct Moved<'f> {
    former_priority: u32,
    rule: RuleForm<'f>,
}

impl<'f> Report<'f> {
    fn of(found: &'f Difference<'f>) -> Self {
        let forms = |rules: &'f [&'f Rule]| rules.iter().map(|rule| RuleForm(rule)).collect();
        let moved = found.moved.iter().map(|(old, new)| Moved {
            former_priority: old.priority,
            rule: RuleForm(new),
        });
        Self {
            removed: forms(&found.removed),
            added: forms(&found.added),
            moved: moved.collect(),
            reordered: forms(&found.reordered),
            removed_sets: &found.removed_sets,
            added_sets: &found.added_sets,
            changed_sets: &found.changed_sets,
        }
    }
}
