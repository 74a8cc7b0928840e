//! `[channel.log]`: what is told of mappings, and to whom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::super::error::Source;
use super::super::schema;
use super::super::section::{Section, describe, refuse};
use super::super::value;
use crate::channel::nat::Selection;
use crate::text::one_of;

/// The port that IANA gave to IPFIX.
const IPFIX_PORT: u16 = 4739;

const EVENTS: [&str; 4] = ["mappings", "sessions", "blocks", "limits"];

const DEFAULT_TEMPLATE_INTERVAL: Duration = Duration::from_secs(60);
const LONGEST_TEMPLATE_INTERVAL: Duration = Duration::from_secs(86_400);

/// The log of a translator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatLog {
    /// What is told.
    pub selection: Selection,
    /// Records that may wait to be written, 1,024 to 16,777,216.
    pub buffer: u32,
    /// Where lines of JSON go.
    pub file: Option<LogFile>,
    /// Where IPFIX messages go.
    pub ipfix: Option<Ipfix>,
}

/// Where lines of JSON go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// Standard output.
    Stdout,
    /// They are appended to a file, by its absolute path.
    Path(PathBuf),
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("on standard output"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// A collector of IPFIX messages over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipfix {
    /// Its address and port.
    pub collector: SocketAddr,
    /// The number that the messages carry to tell their origin.
    pub observation_domain: u32,
    /// How often templates are sent again, 1 second to 1 day.
    pub template_interval: Duration,
    /// The longest message, 512 to 65,507 bytes.
    pub message_size: u16,
}

/// `in_blocks`: inside hosts get their ports in blocks. A record for each of these is enough to tell who had a port.
pub(super) fn read(table: &Section<'_, '_>, in_blocks: bool, source: &mut Source<'_>) -> Option<NatLog> {
    let table = table.table("log", &schema::LOG, source)?;
    if table.value("file").is_none() && table.value("ipfix").is_none() {
        let message = "tells nobody; expected `file`, or a [channel.log.ipfix], or both";
        source.error(&table.span, "log", message);
    }
    let mut selection = Selection {
        mappings: !in_blocks,
        blocks: in_blocks,
        ..Selection::default()
    };
    if let Some(events) = table.list("events", &one_of(EVENTS), source, event) {
        let has = |event| events.iter().any(|wanted| *wanted.get_ref() == event);
        selection.mappings = has("mappings");
        selection.sessions = has("sessions");
        selection.limits = has("limits");
        selection.blocks = has("blocks");
        if selection.blocks && !in_blocks {
            let message = "there are none; expected \"blocks\" with [channel.blocks] only";
            let span = table.key_span("events").unwrap_or(table.span.clone());
            source.error(&span, "events", message);
        }
    }
    selection.destinations = table.boolean("log_destinations", false, source);
    Some(NatLog {
        selection,
        buffer: table.number("buffer", 65_536, 1_024..=1 << 24, source),
        file: file(&table, source),
        ipfix: ipfix(&table, source),
    })
}

fn event(value: &DeValue<'_>) -> Result<&'static str, String> {
    let found = value
        .as_str()
        .and_then(|text| EVENTS.into_iter().find(|event| *event == text));
    found.ok_or_else(|| format!("found {}; expected {}", describe(value), one_of(EVENTS)))
}

fn file(table: &Section<'_, '_>, source: &mut Source<'_>) -> Option<LogFile> {
    const EXPECTED: &str = "the absolute path of a file, or \"-\" for standard output";
    let path = table.string("file", EXPECTED, source)?;
    match *path.get_ref() {
        "-" => Some(LogFile::Stdout),
        path if path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') => {
            Some(LogFile::Path(PathBuf::from(path)))
        }
        _ => {
            refuse(table.value("file")?, "file", EXPECTED, source);
            None
        }
    }
}

fn ipfix(table: &Section<'_, '_>, source: &mut Source<'_>) -> Option<Ipfix> {
    const EXPECTED: &str = "the collector's address, as in \"192.0.2.10\" or \"192.0.2.10:4739\"";
    let table = table.table("ipfix", &schema::IPFIX, source)?;
    if table.value("collector").is_none() {
        table.missing("collector", EXPECTED, source);
    }
    let observation_domain = table.number("observation_domain", 1, 0..=u32::MAX, source);
    let template_interval = template_interval(&table, source);
    let message_size = table.number("message_size", 1_400, 512..=65_507, source) as u16;
    let text = table.string("collector", EXPECTED, source)?;
    let text = *text.get_ref();
    let with_port = |address: IpAddr| SocketAddr::new(address, IPFIX_PORT);
    let collector = text
        .parse::<SocketAddr>()
        .ok()
        .or(text.parse().ok().map(with_port));
    let usable = collector.filter(|collector| !collector.ip().is_unspecified() && collector.port() != 0);
    let Some(collector) = usable else {
        refuse(table.value("collector")?, "collector", EXPECTED, source);
        return None;
    };
    Some(Ipfix {
        collector,
        observation_domain,
        template_interval,
        message_size,
    })
}

fn template_interval(table: &Section<'_, '_>, source: &mut Source<'_>) -> Duration {
    let Some(value) = table.value("template_interval") else {
        return DEFAULT_TEMPLATE_INTERVAL;
    };
    match value::duration(value.get_ref()) {
        Ok(given) if (Duration::from_secs(1)..=LONGEST_TEMPLATE_INTERVAL).contains(&given) => return given,
        Ok(given) => {
            let found = value::in_units(given);
            let message = format!("found {found}; expected 1s to 1d");
            source.error(&value.span(), "template_interval", message);
        }
        Err(message) => source.error(&value.span(), "template_interval", message),
    }
    DEFAULT_TEMPLATE_INTERVAL
}
