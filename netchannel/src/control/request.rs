//! What can be asked.

mod line;
mod packets;

pub use packets::{
    Capture, DEFAULT_SNAP_LENGTH, DEFAULT_TRACE_RATE, FlowOrder, FlowPage, MAX_TRACE_RATE, RuleOrder,
    RulePage, Side, TopFlows, Trace,
};

use ipnet::IpNet;

use super::{Filter, RulesRequest, Watch};

/// Entries of a page when the request names no number.
pub const DEFAULT_PAGE: u32 = 256;

/// The most entries of a page; a request for more gets this many.
pub const MAX_PAGE: u32 = 1024;

/// The longest cursor, in bytes.
const MAX_CURSOR: usize = 256;

/// A question to a running netchannel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Interfaces, their sockets and counters: [`report::Ports`](super::report::Ports).
    Ports,
    /// Channels and their counters: [`report::Channels`](super::report::Channels).
    Channels,
    /// Totals and drops by reason: [`report::Drops`](super::report::Drops).
    Drops,
    /// The translators' mappings: [`report::Mappings`](super::report::Mappings).
    Mappings(Page),
    /// The translators' sessions: [`report::Sessions`](super::report::Sessions).
    Sessions(Page),
    /// The translators' external addresses and limits: [`report::Pools`](super::report::Pools).
    Pools(Page),
    /// Delete mappings: [`report::Deleted`](super::report::Deleted).
    DeleteMappings(Page),
    /// Look at the rules in force, or change them.
    Rules(RulesRequest),
    /// Workers and what they do: [`report::Workers`](super::report::Workers).
    Workers,
    /// Who has how much memory: [`report::Memory`](super::report::Memory).
    Memory,
    /// Routes that the packet path knows: [`report::Routes`](super::report::Routes).
    Routes(NetworkPage),
    /// Neighbours that the packet path knows: [`report::Neighbours`](super::report::Neighbours).
    Neighbours(NetworkPage),
    /// The flow table: [`report::Flows`](super::report::Flows).
    Flows(FlowPage),
    /// The flows that have most of something: [`report::Flows`](super::report::Flows), without `next`.
    TopFlows(TopFlows),
    /// The rules and what was counted for them: [`report::CountedRules`](super::report::CountedRules).
    RuleCounters(RulePage),
}

/// One page of routes or neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPage {
    /// As that of [`Page`].
    pub after: Option<String>,
    /// Entries at most, 1 to [`MAX_PAGE`]; a prefix with several routes may make it a few more.
    pub limit: u32,
    /// Only what lies in this prefix.
    pub prefix: Option<IpNet>,
    /// Only what leaves by, or is on, this interface of the kernel.
    pub interface: Option<String>,
}

impl NetworkPage {
    /// The first page of all there is.
    pub fn first() -> Self {
        Self {
            after: None,
            limit: DEFAULT_PAGE,
            prefix: None,
            interface: None,
        }
    }
}

/// One page of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The `next` of the page before, `None` for the first page. Text of whoever answers, at most 256 bytes; a client may send
    /// anything, so it is to be checked.
    pub after: Option<String>,
    /// Entries at most, 1 to [`MAX_PAGE`].
    pub limit: u32,
    /// What is asked for.
    pub filter: Filter,
}

impl Page {
    /// The first page of all that a filter lets through.
    pub fn first(filter: Filter) -> Self {
        Self {
            after: None,
            limit: DEFAULT_PAGE,
            filter,
        }
    }
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// One answer.
    Once(Request),
    /// A stream.
    Watch(Watch),
}

impl Asked {
    /// Whether it is for those only who may change things.
    pub(super) fn is_for_some(&self) -> bool {
        match self {
            Self::Once(request) => request.changes(),
            Self::Watch(watch) => watch.shows_packets(),
        }
    }
}

/// Whether a line, without its line feed, is a request; what the server would tell its client if not. A line that is one is read
/// once more as it would be written by a client here: the result is whether it means the same.
///
/// # Errors
/// What is wrong with the line.
pub fn check_line(line: &[u8]) -> Result<bool, String> {
    let asked = Asked::parse(line)?;
    let again = match &asked {
        Asked::Once(request) => request.to_line(),
        Asked::Watch(watch) => watch.to_line(),
    };
    Ok(Asked::parse(again.trim_ascii_end()) == Ok(asked))
}

impl Request {
    /// Whether it changes something, and is not for everybody then.
    pub fn changes(&self) -> bool {
        match self {
            Self::Ports
            | Self::Channels
            | Self::Drops
            | Self::Mappings(_)
            | Self::Sessions(_)
            | Self::Pools(_)
            | Self::Workers
            | Self::Memory
            | Self::Routes(_)
            | Self::Neighbours(_)
            | Self::Flows(_)
            | Self::TopFlows(_)
            | Self::RuleCounters(_) => false,
            Self::DeleteMappings(_) => true,
            Self::Rules(request) => request.changes(),
        }
    }

    /// The first page of all mappings.
    pub fn mappings() -> Request {
        Request::Mappings(Page::first(Filter::default()))
    }
}

#[cfg(test)]
mod tests;
