//! `[[channel]]`: where packets go once a rule has chosen.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;

use super::error::{Position, Source};
use super::interface::KnownInterfaces;
use super::nat::{self, Externals, Nat};
use super::schema;
use super::section::Section;
use crate::channel::nat::{MappingBehavior, PerProtocol};
use crate::text::quoted;

/// Channels that always exist and can not be defined: `drop` drops, `pass` hands to the kernel.
pub const RESERVED_CHANNELS: [&str; 2] = ["drop", "pass"];

const TYPES: [(&str, Kind); 3] = [
    ("nat", Kind::Nat),
    ("forward", Kind::Forward),
    ("custom", Kind::Custom),
];

/// The longest name of a channel, in bytes.
pub const MAX_CHANNEL_NAME: usize = 32;

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name: 1 to 32 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What it does.
    pub kind: ChannelKind,
    /// Where it stands in the file.
    pub position: Position,
}

/// What a channel does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// Routes packets as they are.
    Forward,
    /// A channel that the program brings itself: see [`Daemon::start_with`](crate::daemon::Daemon::start_with).
    Custom,
    /// Translates many internal addresses to few external ones, with ports.
    Nat(Box<Nat>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forward,
    Custom,
    Nat,
}

/// A name that rules may use, right or wrong.
pub(super) struct KnownChannel {
    pub(super) is_nat: bool,
    /// What the mappings of a translator depend on, if that could be read.
    pub(super) mapping: Option<PerProtocol<MappingBehavior>>,
    pub(super) name_span: Range<usize>,
    pub(super) used: bool,
}

pub(super) type KnownChannels = HashMap<String, KnownChannel>;

pub(super) fn read(
    file: &Section<'_, '_>,
    interfaces: &KnownInterfaces,
    source: &mut Source<'_>,
) -> (Vec<Channel>, KnownChannels) {
    let mut known = KnownChannels::new();
    let mut channels = Vec::new();
    let mut externals = Externals::default();
    for table in &file.tables("channel", &schema::CHANNEL, source) {
        let name = table.string("name", "the name of a channel", source);
        if table.value("name").is_none() {
            table.missing("name", "the name that rules use for the channel", source);
        }
        let name = name.filter(|name| check_name(name, source));
        if table.value("type").is_none() {
            table.missing("type", "\"nat\", \"forward\" or \"custom\"", source);
        }
        let kind = table.choice("type", &TYPES, source);
        if let Some(name) = &name {
            let entry = KnownChannel {
                is_nat: kind == Some(Kind::Nat),
                mapping: None,
                name_span: name.span(),
                used: false,
            };
            if known.insert(name.get_ref().to_string(), entry).is_some() {
                let message = format!(
                    "{} is here twice; expected a name of its own",
                    quoted(name.get_ref())
                );
                source.error(&name.span(), "name", message);
            }
        }
        let kind = match kind {
            None => None,
            Some(Kind::Forward) => {
                refuse_nat_keys(table, "forward", source);
                Some(ChannelKind::Forward)
            }
            Some(Kind::Custom) => {
                refuse_nat_keys(table, "custom", source);
                Some(ChannelKind::Custom)
            }
            Some(Kind::Nat) => {
                nat::read(table, interfaces, source).map(|nat| ChannelKind::Nat(Box::new(nat)))
            }
        };
        let Some((name, kind)) = name.zip(kind) else {
            continue;
        };
        if let (ChannelKind::Nat(nat), Some(entry)) = (&kind, known.get_mut(*name.get_ref())) {
            entry.mapping = Some(nat.mapping);
        }
        let channel = Channel {
            name: name.get_ref().to_string(),
            kind,
            position: source.position(table.span.start),
        };
        externals.claim(&channel, table, source);
        channels.push(channel);
    }
    (channels, known)
}

fn check_name(name: &Spanned<&str>, source: &mut Source<'_>) -> bool {
    let text = *name.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let message = if RESERVED_CHANNELS.contains(&text) {
        format!("{} always exists; expected another name", quoted(text))
    } else if text.is_empty() || text.len() > MAX_CHANNEL_NAME || !text.chars().all(plain) {
        format!(
            "{} is not a name; expected 1 to {MAX_CHANNEL_NAME} letters, digits, -, _ and .",
            quoted(text)
        )
    } else {
        return true;
    };
    source.error(&name.span(), "name", message);
    false
}

fn refuse_nat_keys(table: &Section<'_, '_>, kind: &str, source: &mut Source<'_>) {
    let nat_keys = schema::CHANNEL
        .keys
        .iter()
        .filter(|key| !["name", "type"].contains(key));
    for key in nat_keys {
        if let Some(span) = table.key_span(key) {
            source.error(
                &span,
                key,
                format!("a {kind} channel has no such key; expected it in a nat channel only"),
            );
        }
    }
}
