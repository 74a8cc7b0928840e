//! The native text form of rules: one rule a line, which reads like a sentence. `docs/rules.md` has the grammar.
//!
//! ```
//! use netchannel::rules::text;
//!
//! let read = text::parse(
//!     r#"
//!     set office = { 10.0.0.0/24, 10.1.0.0/16 }
//!     set web = { 80, 443, 8000-8099 }
//!     priority 10 tcp from @office to any port @web on lan0 use internet comment "web"
//!     tcp flags syn/syn,ack from 10.0.0.0/8 to 192.0.2.1 port {25, 465} drop
//!     "#,
//!     "example.rules",
//! )?;
//! assert_eq!(read.rules.rules[0].priority, 10);
//! assert_eq!(
//!     text::rule_text(&read.rules.rules[1]),
//!     "priority 100 tcp flags syn/syn,ack from 10.0.0.0/8 to 192.0.2.1 port {25, 465} drop"
//! );
//! # Ok::<(), netchannel::config::ConfigError>(())
//! ```
//!
//! A text is taken whole or refused whole, with everything that is wrong with it, up to a bound. Time and memory are linear in the length of
//! the text.

mod clause;
mod include;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

use self::include::Files;
use self::lexer::Kind;
use self::parser::{Content, NoFiles, Parser};
use super::reader::Reader;
use super::{Loaded, MAX_SIZE, Rule, RuleList, files};
use crate::config::ConfigError;

pub use writer::{match_text, rule_text, write};

/// The most files that may be open, one including the other, besides the first.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// The most files that one may include, all together.
pub const MAX_FILES: usize = 4_096;

/// Reads a file and all that it includes; together at most [`MAX_SIZE`] bytes.
///
/// # Errors
/// Everything that is wrong with them, each with file, line and column; one problem without a position if the file can't be read.
pub fn read(path: impl AsRef<Path>) -> Result<Loaded, ConfigError> {
    let path = path.as_ref();
    let text = files::read_text(path, MAX_SIZE);
    let text = text.map_err(|message| ConfigError::unreadable(path, message))?;
    parse_file(&text, path)
}

/// Reads a file and all that it includes behind others.
///
/// # Errors
/// Why it can't be read, to be put behind its name; what is wrong in it is noted in `reader`.
pub(super) fn read_into(path: &Path, reader: &mut Reader) -> Result<(), String> {
    Files::new().read(path, reader)
}

/// Reads the text of a file, which may include others.
///
/// # Errors
/// As [`read`] has them.
pub(super) fn parse_file(text: &str, path: &Path) -> Result<Loaded, ConfigError> {
    let mut reader = Reader::new();
    Files::new().first(path, text, &mut reader);
    reader.finish(path).map(Loaded::from)
}

/// Reads the text of a file, which includes no others. `file` is its name in errors.
///
/// # Errors
/// Everything that is wrong with the text, each with its position.
pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Loaded, ConfigError> {
    let file = file.as_ref();
    let mut reader = Reader::new();
    Parser::new(text, file, Some(file.into()), &mut reader).all(Content::All, &mut NoFiles);
    reader.finish(file).map(Loaded::from)
}

/// Reads rules, one a line, that may name the sets of a list.
///
/// # Errors
/// Everything that is wrong with them. `rule` stands for the name of a file.
pub fn parse_rules(text: &str, sets: &RuleList) -> Result<Vec<Rule>, ConfigError> {
    let name = Path::new("rule");
    let mut reader = Reader::with_sets(sets);
    Parser::new(text, name, None, &mut reader).all(Content::Rules, &mut NoFiles);
    reader.finish(name).map(|(list, _)| list.rules)
}

/// Reads what stands before the action of a rule, such as `tcp from 10.0.0.0/24 to any port 443 on lan0`: a filter of packets. It may name
/// the sets of a list. Gives a rule of the channel `drop`, which matches what the filter does; an empty text and `any` match everything.
///
/// # Errors
/// Everything that is wrong with it. `filter` stands for the name of a file.
pub fn parse_match(text: &str, sets: &RuleList) -> Result<Rule, ConfigError> {
    let name = Path::new("filter");
    let mut reader = Reader::with_sets(sets);
    let mut rule = Rule::any(reader.drop.clone());
    let mut parser = Parser::new(text, name, None, &mut reader);
    parser.begin();
    let outcome = parser
        .clauses(&mut rule, false)
        .and_then(|()| match parser.peek() {
            end if end.kind == Kind::End => Ok(()),
            other => Err(parser.unexpected(other, "the end of the filter, which has no action")),
        });
    match outcome {
        Ok(()) if !parser.is_wrong => parser.check(&rule, 0..text.len()),
        Ok(()) => {}
        Err(wrong) => parser.wrong(wrong.at, &wrong.message),
    }
    reader.finish(name).map(|_| rule)
}
