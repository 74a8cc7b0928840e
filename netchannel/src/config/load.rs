//! From a file to a configuration.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::channel::KnownChannels;
use super::error::{ConfigError, Source};
use super::files::{Files, INCLUDE};
use super::schema;
use super::section::Section;
use super::{Config, channel, files, interface, replay, rule, settings};
use crate::rules::RuleList;
use crate::text::quoted;

/// The longest file that is read, in bytes.
pub const MAX_FILE_SIZE: u64 = 16 << 20;

impl Config {
    /// Reads and checks a file and what it includes, or all files of a directory whose names end in `.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with them; one problem without a position if one can not be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        read(path, &Files::read(path)?)
    }

    /// Checks the text of a file. `file` is the name to use in errors, and what the text includes is beside it.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each problem with its position.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Config, ConfigError> {
        Config::parse_bytes(text.as_bytes(), file.as_ref())
    }

    pub(super) fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Config, ConfigError> {
        read(file, &Files::of(file, bytes.to_vec())?)
    }
}

pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn read(name: &Path, files: &Files) -> Result<Config, ConfigError> {
    let mut checked = files.source(name);
    let source = &mut checked;
    let mut document = DeTable::new();
    for (number, (_, text)) in files.texts.iter().enumerate() {
        let base = source.base(number);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            source.error(&(span.start + base..span.end + base), "", error.message());
        }
        let mut table = table.into_inner();
        // It is read already.
        table.remove(INCLUDE);
        files::merge(&mut document, table, base, source);
    }
    let document = &document;
    if !source.has_errors() && document.is_empty() {
        source.error(
            &(0..0),
            "",
            "the file holds no settings; expected interfaces, channels and rules",
        );
    }
    if source.has_errors() {
        // What was recovered may lack what is there: checking it would report things that are not so.
        return Err(checked.into_error());
    }

    let top = Section::open(document, 0..0, &schema::FILE, source);
    let tables = match document.get("interface").map(|value| value.get_ref()) {
        Some(DeValue::Array(tables)) => tables.len(),
        _ => 1,
    };
    let settings = settings::read(&top, tables, source);
    let (interfaces, known_interfaces) = interface::read(&top, source);
    let (channels, mut known_channels) = channel::read(&top, &known_interfaces, source);
    let rules = rule::read(&top, &mut known_channels, &known_interfaces, source);
    let replay = replay::read(&top, &interfaces, &known_interfaces, source);
    warn(&rules, &known_channels, source);
    if source.has_errors() {
        return Err(checked.into_error());
    }
    Ok(Config {
        file: name.to_owned(),
        files: files.texts.iter().map(|(file, _)| file.clone()).collect(),
        control: settings.control,
        metrics: settings.metrics,
        service: settings.service,
        state: settings.state,
        workers: settings.workers,
        memory: settings.memory,
        rings: settings.rings,
        flow_table: settings.flow_table,
        interfaces,
        channels,
        rules,
        replay,
        warnings: checked.into_warnings(),
    })
}

/// Reports what can be used but does nothing.
fn warn(rules: &RuleList, channels: &KnownChannels, source: &mut Source<'_>) {
    if rules.is_empty() {
        source.warning(&(0..0), "", "no [[rule]]: every packet goes to the kernel");
    }
    for (name, channel) in channels {
        if !channel.used && !rules.is_empty() {
            let message = format!("no rule sends packets to channel {}", quoted(name));
            source.warning(&channel.name_span, "name", message);
        }
    }
}
