//! From a file to a configuration.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::channel::KnownChannels;
use super::error::{ConfigError, Source};
use super::schema;
use super::section::Section;
use super::{Config, channel, interface, replay, rule, settings};
use crate::rules::RuleList;
use crate::text::quoted;

/// The longest file that is read, in bytes.
pub const MAX_FILE_SIZE: u64 = 16 << 20;

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with the file; one problem without a position if it can not be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        let unreadable = |error: std::io::Error| {
            ConfigError::unreadable(path, format!("can not be read: {}", reason(&error)))
        };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(ConfigError::unreadable(
                path,
                "is a directory; expected a configuration file",
            ));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_SIZE {
            let message = format!(
                "is longer than {} MiB; expected a configuration file",
                MAX_FILE_SIZE >> 20
            );
            return Err(ConfigError::unreadable(path, message));
        }
        Config::parse_bytes(&bytes, path)
    }

    /// Checks the text of a file. `file` is the name to use in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each problem with its position.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Config, ConfigError> {
        Config::parse_bytes(text.as_bytes(), file.as_ref())
    }

    pub(super) fn parse_bytes(bytes: &[u8], file: &Path) -> Result<Config, ConfigError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                // Shown with the bytes that are text replaced by what can be printed.
                let valid = error.valid_up_to();
                let shown = String::from_utf8_lossy(bytes);
                let mut source = Source::new(file, &shown);
                let message = format!(
                    "the byte 0x{:02x} is not UTF-8 text; expected a TOML file",
                    bytes[valid]
                );
                source.error(&(valid..valid + 1), "", message);
                return Err(source.into_error());
            }
        };
        read(file, text)
    }
}

pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn read(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut checked = Source::new(file, text);
    let source = &mut checked;
    let (document, errors) = DeTable::parse_recoverable(text);
    let document = document.get_ref();
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        source.error(&span, "", error.message());
    }
    if errors.is_empty() && document.is_empty() {
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
        file: file.to_owned(),
        control: settings.control,
        state: settings.state,
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
