//! Rules as JSON: an object with `sets` and `rules`, whose keys are those of `[[set]]` and `[[rule]]` in the configuration.
//!
//! ```
//! use netchannel::rules::{json, text};
//!
//! let read = json::parse(
//!     r#"{"sets": [{"name": "web", "ports": [80, "8000-8099"]}],
//!         "rules": [{"priority": 10, "protocol": "tcp", "destination_ports": "@web", "channel": "internet"}]}"#,
//!     "example.json",
//! )?;
//! assert_eq!(
//!     text::rule_text(&read.rules.rules[0]),
//!     "priority 10 tcp to any port @web use internet"
//! );
//! # Ok::<(), netchannel::config::ConfigError>(())
//! ```
//!
//! Every list may be a single value. A file is taken whole or refused whole. Rules are read one by one into the list, and written one by one
//! from it; besides the text of a file nothing is held that grows with it.

mod read;
#[cfg(test)]
mod tests;
mod value;
mod write;

use std::path::Path;

use super::reader::Reader;
use super::{Loaded, MAX_SIZE, files};
use crate::config::ConfigError;

pub use write::{RuleForm, write};

/// Reads a file of at most [`MAX_SIZE`] bytes.
///
/// # Errors
/// Everything that is wrong with it, by the number of the rule and its key; where it is no JSON, the place.
pub fn read(path: impl AsRef<Path>) -> Result<Loaded, ConfigError> {
    let path = path.as_ref();
    let text = files::read_text(path, MAX_SIZE);
    let text = text.map_err(|message| ConfigError::unreadable(path, message))?;
    parse(&text, path)
}

/// Reads the text of a file. `file` is its name in errors.
///
/// # Errors
/// As [`read`] has them.
pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Loaded, ConfigError> {
    let file = file.as_ref();
    let mut reader = Reader::new();
    read_text_into(text, file, &mut reader);
    reader.finish(file).map(Loaded::from)
}

/// Reads the text of a file behind others; what is wrong is noted in `reader`.
pub(super) fn read_text_into(text: &str, file: &Path, reader: &mut Reader) {
    read::read(text, file, reader);
}
