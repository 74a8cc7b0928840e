//! The notations of rules, by name.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::str::FromStr;

use super::reader::Reader;
use super::{
    ImportOptions, Loaded, MAX_SIZE, Name, RuleList, classbench, files, iptables, json, nftables, text,
};
use crate::config::{ConfigError, MAX_PROBLEMS, Problem, reason};
use crate::text::one_of;
use crate::workload;

/// A notation of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// [Text](super::text) that reads like a sentence.
    Native,
    /// [JSON](super::json).
    Json,
    /// [ClassBench](super::classbench)'s text format.
    Classbench,
    /// What [`iptables-save` and `ip6tables-save`](super::iptables) print.
    Iptables,
    /// What [`nft -j list ruleset`](super::nftables) prints.
    Nftables,
}

impl Format {
    /// Those that can be read.
    pub const READABLE: [Format; 5] = [
        Format::Native,
        Format::Json,
        Format::Classbench,
        Format::Iptables,
        Format::Nftables,
    ];
    /// Those that can be written.
    pub const WRITABLE: [Format; 3] = [Format::Native, Format::Json, Format::Classbench];

    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Format::Native => "native",
            Format::Json => "json",
            Format::Classbench => "classbench",
            Format::Iptables => "iptables",
            Format::Nftables => "nftables",
        }
    }

    /// What a file holds, by its first bytes, or else the ending of its name. Native, if nothing tells.
    fn guess(file: &Path, head: &[u8]) -> Format {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
        let first = first.unwrap_or_default();
        if first.starts_with(b"@") {
            return Format::Classbench;
        }
        if first.starts_with(b"*") {
            return Format::Iptables;
        }
        let start: Vec<u8> = head
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .take(11)
            .collect();
        if start == b"{\"nftables\"" {
            return Format::Nftables;
        }
        // A rule of the native form may begin with a list in braces too, but not of texts in quotes.
        let inner = first.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        let is_json =
            inner.is_some_and(|inner| inner.is_empty() || inner.starts_with(b"\"") || inner == b"}");
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Format::Json,
            Some("rules") => Format::Native,
            _ if is_json => Format::Json,
            _ => Format::Native,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::READABLE.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| format!("expected {}", one_of(Self::READABLE)))
    }
}

/// How rules are read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The notation; what the file looks like, if it is not given.
    pub format: Option<Format>,
    /// Whether what rules can't say is left out and told, in place of refusing the file.
    pub lenient: bool,
    /// The channel of rules in notations that have no channels; `drop`, if it is not given.
    pub channel: Option<Name>,
    /// What the rules of the kernel's packet filters mean.
    pub import: ImportOptions,
}

/// Reads a file of rules, or standard input if it is named `-`. It may be compressed with gzip.
///
/// # Errors
/// Everything that is wrong with it; one problem without a position if it can't be read.
pub fn read(file: &Path, options: &Options) -> Result<Loaded, ConfigError> {
    let unreadable = |message: String| ConfigError::unreadable(file, message);
    if file == Path::new("-") {
        return read_from(file, io::stdin().lock(), options);
    }
    if file.is_dir() {
        return Err(unreadable("is a directory; expected a file of rules".to_owned()));
    }
    let input = workload::open(file).map_err(|error| classbench::refusal(file, error))?;
    read_from(file, input, options)
}

fn read_from(file: &Path, mut input: impl BufRead, options: &Options) -> Result<Loaded, ConfigError> {
    let unreadable = |message: String| ConfigError::unreadable(file, message);
    let head = input.fill_buf();
    let head = head.map_err(|error| unreadable(format!("can not be read: {}", reason(&error))))?;
    let format = options.format.unwrap_or_else(|| Format::guess(file, head));
    let text = |input| files::read_all(input, MAX_SIZE, Vec::new()).map_err(unreadable);
    match format {
        Format::Native => text::parse_file(&text(input)?, file),
        Format::Json => json::parse(&text(input)?, file),
        Format::Classbench => {
            let channel = options.channel.clone().unwrap_or_else(|| "drop".into());
            classbench::parse(file, input, &channel, options.lenient)
        }
        Format::Iptables => iptables::read(file, &text(input)?, &options.import, options.lenient),
        Format::Nftables => nftables::read(file, &text(input)?, &options.import, options.lenient),
    }
}

/// Reads a file of rules, which may name the sets that are known already, behind others: JSON if its name ends so, else text.
///
/// # Errors
/// Why it can't be read, to be put behind its name; what is wrong in it is noted in `reader`.
pub(crate) fn read_into(file: &Path, reader: &mut Reader) -> Result<(), String> {
    if file.extension().is_some_and(|ending| ending == "json") {
        json::read_text_into(&files::read_text(file, MAX_SIZE)?, file, reader);
        return Ok(());
    }
    text::read_into(file, reader)
}

/// Why rules were not written, or not all.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The notation has no words for some of them.
    #[error(transparent)]
    Refused(ConfigError),
    /// The notation is only read.
    #[error("rules are read from {0}, not written in it; expected {expected}", expected = one_of(Format::WRITABLE))]
    NotWritten(Format),
    /// The output failed.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl WriteError {
    /// Of rules that can't be written, at least one.
    pub(super) fn refused(mut problems: Vec<Problem>) -> Self {
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        let file = problems.first().map(|problem| problem.file.clone());
        Self::Refused(ConfigError {
            file: file.unwrap_or_default(),
            problems,
            more,
        })
    }
}

/// Writes rules in a notation. Those that it has no words for are refused; if `lenient`, they are left out and returned.
///
/// # Errors
/// [`WriteError::Refused`] and [`WriteError::NotWritten`], and then nothing is written; [`WriteError::Output`].
pub fn write(
    list: &RuleList,
    format: Format,
    lenient: bool,
    out: &mut (impl Write + ?Sized),
) -> Result<Vec<Problem>, WriteError> {
    match format {
        Format::Native => text::write(list, out)?,
        Format::Json => json::write(list, out)?,
        Format::Classbench => return classbench::write(list, lenient, out),
        Format::Iptables | Format::Nftables => return Err(WriteError::NotWritten(format)),
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_what_stands_in_the_file() {
        for (file, head, expected) in [
            ("a.rules", "@10.0.0.0/8 ...", Format::Classbench),
            ("a", "# comment\n\n @10.0.0.0/8", Format::Classbench),
            ("a.rules", "tcp drop", Format::Native),
            ("a", "", Format::Native),
            ("a", "{tcp, udp} drop", Format::Native),
            ("a", "{\"rules\": []}", Format::Json),
            ("a", "{\n \"rules\": []}", Format::Json),
            ("a.json", "", Format::Json),
            ("a.json", "{ \"nftables\": []}", Format::Nftables),
            (
                "a.rules",
                "# Generated by iptables-save\n*filter",
                Format::Iptables,
            ),
        ] {
            assert_eq!(
                Format::guess(file.as_ref(), head.as_bytes()),
                expected,
                "{file} {head}"
            );
        }
        for format in Format::READABLE {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert_eq!(
            "xml".parse::<Format>(),
            Err("expected \"native\", \"json\", \"classbench\", \"iptables\" or \"nftables\"".to_owned())
        );
    }

    #[test]
    fn every_format_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let list = text::parse("priority 1 tcp from 10.0.0.0/8 to 192.0.2.1 port 443 drop", "t")
            .unwrap()
            .rules;
        for format in Format::WRITABLE {
            let file = directory.path().join("list");
            let mut out = Vec::new();
            write(&list, format, false, &mut out).unwrap();
            std::fs::write(&file, out).unwrap();
            assert_eq!(read(&file, &Options::default()).unwrap().rules, list, "{format}");
        }
        let error = read(directory.path(), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        let error = read(&directory.path().join("none"), &Options::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("none: can not be read: there is no such file"),
            "{error}"
        );
    }
}
