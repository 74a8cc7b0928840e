//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// At most so many problems of one file are kept; more are only counted.
pub const MAX_PROBLEMS: usize = 100;

/// The longest piece of a source line that is shown under a problem, in characters.
const SHOWN_LINE: usize = 120;

/// A place in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong, or (as a warning) probably not meant.
///
/// Prints as a compiler would: `FILE:LINE:COLUMN: KEY: MESSAGE`, then the source line with the place marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to [`Config::load`](super::Config::load).
    pub file: PathBuf,
    /// The place; absent only when the file could not be read at all.
    pub position: Option<Position>,
    /// The key at fault, empty for a problem of the whole file.
    pub key: String,
    /// What was found and what was expected, in one line.
    pub message: String,
    /// The source line, control characters replaced, cut around the place if it is long.
    excerpt: Option<Excerpt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters before the mark, tabs kept so that the mark stands right.
    indent: String,
    /// Length of the mark in characters.
    marked: usize,
}

impl Problem {
    /// What is wrong with the whole of a file.
    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Problem {
            file: file.to_owned(),
            position: None,
            key: String::new(),
            message: visible(&message.into()),
            excerpt: None,
        }
    }

    /// What is wrong with something in a file that has a name and no place.
    pub(crate) fn of_key(file: &Path, key: &str, message: &str) -> Self {
        Problem {
            key: visible(key),
            ..Self::of_file(file, message)
        }
    }

    /// What is wrong at a place of a file, of which nothing is shown.
    pub(crate) fn at(file: &Path, position: Option<Position>, message: impl Into<String>) -> Self {
        Problem {
            position,
            ..Self::of_file(file, message)
        }
    }

    /// What is wrong in a line of a file that is read line by line: `number` counts lines from 1, `at` is the place in the line.
    pub(crate) fn in_line(file: &Path, number: u32, line: &str, at: &Range<usize>, message: &str) -> Self {
        let position = Position {
            line: number,
            column: clamp(characters(line, at.start)),
        };
        Problem {
            position: Some(position),
            excerpt: Some(Excerpt::of(line, at)),
            ..Self::of_file(file, message)
        }
    }

    /// The first line of the report: file, place, key and message, without the source line.
    pub fn headline(&self) -> String {
        let mut line = self.file.display().to_string();
        if let Some(position) = self.position {
            line.push_str(&format!(":{position}"));
        }
        if !self.key.is_empty() {
            line.push_str(&format!(": {}", self.key));
        }
        format!("{line}: {}", self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        let (Some(position), Some(excerpt)) = (self.position, &self.excerpt) else {
            return Ok(());
        };
        let number = position.line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "\n{number} | {}", excerpt.text)?;
        write!(f, "\n{gutter} | {}{}", excerpt.indent, "^".repeat(excerpt.marked))
    }
}

/// The configuration was refused: everything that is wrong with it, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, as it was named to [`Config::load`](super::Config::load).
    pub file: PathBuf,
    /// The problems, at least one, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many further problems were found and not kept.
    pub more: usize,
}

impl ConfigError {
    /// An error of the whole file, which could not be read as text.
    pub(crate) fn unreadable(file: &Path, message: impl Into<String>) -> Self {
        ConfigError {
            file: file.to_owned(),
            problems: vec![Problem::of_file(file, message)],
            more: 0,
        }
    }

    /// How many problems were found.
    pub fn count(&self) -> usize {
        self.problems.len() + self.more
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n... and {} more", self.more)?;
        }
        Ok(())
    }
}

/// The texts of a configuration's files, one behind the other: turns byte offsets into places and collects problems.
pub(super) struct Source<'t> {
    name: &'t Path,
    texts: Vec<Text<'t>>,
    errors: Vec<(usize, Problem)>,
    warnings: Vec<(usize, Problem)>,
    more: usize,
}

/// The text of one file.
struct Text<'t> {
    file: Arc<Path>,
    text: &'t str,
    /// Byte offset of its start among all texts.
    base: usize,
    /// Byte offset in it at which each line starts.
    lines: Vec<usize>,
}

impl<'t> Source<'t> {
    /// Of one file.
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self::of(file, [(file, text)])
    }

    /// Of these files, of which there is at least one, under one name.
    pub(super) fn of(name: &'t Path, files: impl IntoIterator<Item = (&'t Path, &'t str)>) -> Self {
        let mut base = 0;
        let text = |(file, text): (&Path, &'t str)| {
            let starts = text
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at + 1);
            let here = base;
            // A place behind the last character is still in the text.
            base += text.len() + 1;
            Text {
                file: Arc::from(file),
                text,
                base: here,
                lines: std::iter::once(0).chain(starts).collect(),
            }
        };
        Source {
            name,
            texts: files.into_iter().map(text).collect(),
            errors: Vec::new(),
            warnings: Vec::new(),
            more: 0,
        }
    }

    /// The offset at which a file starts, by its number.
    pub(super) fn base(&self, file: usize) -> usize {
        self.texts.get(file).map_or(0, |text| text.base)
    }

    /// The file of a byte offset.
    pub(super) fn file_at(&self, offset: usize) -> Arc<Path> {
        Arc::clone(&self.text_at(offset).file)
    }

    fn text_at(&self, offset: usize) -> &Text<'t> {
        let after = self.texts.partition_point(|text| text.base <= offset);
        &self.texts[after.saturating_sub(1)]
    }

    /// Records that what stands at `span` makes the configuration unusable.
    pub(super) fn error(&mut self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        if self.errors.len() >= MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let problem = self.problem(span, key, message.into());
        self.errors.push((span.start, problem));
    }

    /// Records what is wrong with a file that is named at `span`.
    pub(super) fn error_elsewhere(&mut self, span: &Range<usize>, problem: Problem) {
        if self.errors.len() < MAX_PROBLEMS {
            self.errors.push((span.start, problem));
        } else {
            self.more += 1;
        }
    }

    /// Records what is probably not meant, in whatever file.
    pub(super) fn warning_elsewhere(&mut self, problem: Problem) {
        if self.warnings.len() < MAX_PROBLEMS {
            self.warnings.push((usize::MAX, problem));
        }
    }

    /// Records that what stands at `span` can be used but is probably not meant.
    pub(super) fn warning(&mut self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        if self.warnings.len() < MAX_PROBLEMS {
            let problem = self.problem(span, key, message.into());
            self.warnings.push((span.start, problem));
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// What was reported as an error, in the order of the file.
    pub(super) fn into_error(self) -> ConfigError {
        ConfigError {
            file: self.name.to_owned(),
            problems: in_order(self.errors),
            more: self.more,
        }
    }

    /// What was reported as a warning, in the order of the file.
    pub(super) fn into_warnings(self) -> Vec<Problem> {
        in_order(self.warnings)
    }

    /// The place of a byte offset in its file. An offset past the end or inside a character is moved back to a valid one.
    pub(super) fn position(&self, offset: usize) -> Position {
        let text = self.text_at(offset);
        let (line, start, offset) = text.locate(offset - text.base);
        Position {
            line: clamp(line),
            column: clamp(characters(&text.text[start..], offset - start)),
        }
    }

    /// What is to be said of what stands at `span`.
    pub(super) fn problem(&self, span: &Range<usize>, key: &str, message: String) -> Problem {
        Problem {
            file: self.file_at(span.start).to_path_buf(),
            position: Some(self.position(span.start)),
            key: visible(key),
            message: visible(&message),
            excerpt: Some(self.text_at(span.start).excerpt(span)),
        }
    }
}

impl Text<'_> {
    /// Line (from 0), byte offset of its start, and the offset itself on a character boundary.
    fn locate(&self, offset: usize) -> (usize, usize, usize) {
        let offset = boundary(self.text, offset);
        let line = self.lines.partition_point(|start| *start <= offset) - 1;
        (line, self.lines[line], offset)
    }

    fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let (line, start, offset) = self.locate(span.start - self.base);
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let (_, _, stop) = self.locate(span.end.saturating_sub(self.base));
        Excerpt::of(
            &self.text[start..end],
            &(offset - start..stop.max(offset) - start),
        )
    }
}

impl Excerpt {
    /// Of a line with the place marked.
    fn of(line: &str, at: &Range<usize>) -> Self {
        let whole = line.trim_end_matches('\r');
        let offset = boundary(whole, at.start);
        let before = characters(whole, offset);
        let marked = whole[offset..boundary(whole, at.end).max(offset)].chars().count();

        // A long line is cut so that the place stays in view.
        let skipped = if before > SHOWN_LINE * 2 / 3 {
            before - SHOWN_LINE / 3
        } else {
            0
        };
        let shown = whole
            .chars()
            .filter(|c| *c != '\u{feff}')
            .skip(skipped)
            .take(SHOWN_LINE);
        let text: String = shown.map(visible_char).collect();
        let keep_tab = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent = text.chars().take(before - skipped).map(keep_tab).collect();
        let room = text.chars().count().saturating_sub(before - skipped);
        Excerpt {
            text,
            indent,
            marked: marked.min(room).max(1),
        }
    }
}

/// The last place in a text, up to this one, between two of its characters.
fn boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// How many characters stand before a place of a line.
fn characters(line: &str, offset: usize) -> usize {
    let before = line[..boundary(line, offset)].chars();
    before.filter(|c| *c != '\u{feff}').count()
}

/// A number that counts from 1.
fn clamp(number: usize) -> u32 {
    u32::try_from(number + 1).unwrap_or(u32::MAX)
}

fn in_order(mut problems: Vec<(usize, Problem)>) -> Vec<Problem> {
    problems.sort_by_key(|(at, _)| *at);
    problems.into_iter().map(|(_, problem)| problem).collect()
}

/// Keeps what a file holds from moving the cursor of the terminal that shows it.
fn visible_char(c: char) -> char {
    let moves_text = matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if (c.is_control() && c != '\t') || moves_text {
        '\u{fffd}'
    } else {
        c
    }
}

fn visible(text: &str) -> String {
    text.chars().map(visible_char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, span: Range<usize>) -> Problem {
        let mut source = Source::new(Path::new("netchannel.toml"), text);
        source.error(&span, "key", "is wrong");
        source.into_error().problems.remove(0)
    }

    #[test]
    fn prints_like_a_compiler() {
        let text = "a = 1\nports = [\"70000\"]\n";
        let at = text.find("\"70000\"").unwrap();
        assert_eq!(
            one(text, at..at + 7).to_string(),
            "netchannel.toml:2:10: key: is wrong\n2 | ports = [\"70000\"]\n  |          ^^^^^^^"
        );
    }

    #[test]
    fn columns_count_characters_and_tabs_stay() {
        let text = "\u{feff}\té = ü!\r\n";
        let at = text.find('ü').unwrap();
        let problem = one(text, at..at + 2);
        assert_eq!(problem.position, Some(Position { line: 1, column: 6 }));
        assert!(
            problem.to_string().ends_with("\n1 | \té = ü!\n  | \t    ^"),
            "{problem}"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("x = \"{}!{}\"", "a".repeat(5000), "b".repeat(5000));
        let at = text.find('!').unwrap();
        let shown = one(&text, at..at + 1).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].len() < 150, "{shown}");
        assert_eq!(lines[1].find('!'), lines[2].find('^'), "{shown}");
    }

    #[test]
    fn control_characters_are_not_sent_to_the_terminal() {
        assert!(!one("x = \"\u{1b}[2J\"", 4..5).to_string().contains('\u{1b}'));
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_are_bounded() {
        let text = "x".repeat(1000);
        let mut source = Source::new(Path::new("f"), &text);
        for at in (0..150).rev() {
            source.error(&(at..at + 1), "", "no");
        }
        let error = source.into_error();
        assert_eq!(
            (error.problems.len(), error.more, error.count()),
            (MAX_PROBLEMS, 50, 150)
        );
        assert!(error.problems.is_sorted_by_key(|problem| problem.position));
        assert!(error.to_string().ends_with("... and 50 more"));
    }
}
