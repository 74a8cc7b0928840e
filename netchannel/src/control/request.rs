//! What can be asked, and how it is written.

mod packets;

pub use packets::{
    Capture, DEFAULT_SNAP_LENGTH, DEFAULT_TRACE_RATE, FlowOrder, FlowPage, MAX_TRACE_RATE, RuleOrder,
    RulePage, Side, TopFlows, Trace,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Filter, RulesRequest, VERSION, Watch};
use crate::events::{Kind, Kinds};

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

/// A request as it stands in its line.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<String>,
    /// Of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Filter>,
    /// Of routes and neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<IpNet>,
    /// Of routes and neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// Of a deletion without a filter: that it is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<RulesRequest>,
}

impl Line {
    fn into_network_page(self) -> Result<NetworkPage, String> {
        if self.filter.is_some() {
            return Err("routes and neighbours are filtered by `prefix` and `interface`".to_owned());
        }
        let (prefix, interface) = (self.prefix, self.interface.clone());
        let page = Self {
            prefix: None,
            interface: None,
            ..self
        }
        .into_page()?;
        Ok(NetworkPage {
            after: page.after,
            limit: page.limit,
            prefix: prefix.map(|prefix| prefix.trunc()),
            interface,
        })
    }

    fn into_page(self) -> Result<Page, String> {
        if self.prefix.is_some() || self.interface.is_some() {
            return Err(OF_NETWORK.to_owned());
        }
        if self.after.as_ref().is_some_and(|after| after.len() > MAX_CURSOR) {
            return Err(format!(
                "`after` is longer than {MAX_CURSOR} bytes; expected the `next` of a page"
            ));
        }
        Ok(Page {
            after: self.after,
            limit: self.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE),
            filter: self.filter.unwrap_or_default(),
        })
    }

    /// A listing without pages.
    fn whole(self, request: Request) -> Result<Request, String> {
        if self.after.is_some() || self.limit.is_some() || self.filter.is_some() {
            return Err(
                "`after`, `limit` and `filter` belong to \"mappings\", \"sessions\" and \"pools\" only"
                    .to_owned(),
            );
        }
        if self.prefix.is_some() || self.interface.is_some() {
            return Err(OF_NETWORK.to_owned());
        }
        Ok(request)
    }
}

const OF_NETWORK: &str = "`prefix` and `interface` belong to \"routes\" and \"neighbours\" only";

/// What is told with a line that asks for nothing.
const EXPECTED: &str = "expected for example {\"show\":\"ports\"}";

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

impl Asked {
    /// Reads a line; the error is text for the client.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        // A list of values without names would do, too.
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(format!("not a request; {EXPECTED}"));
        }
        if let Some(asked) = packets::parse(line)? {
            return Ok(asked);
        }
        let line: Line =
            serde_json::from_slice(line).map_err(|error| format!("not a request: {error}; {EXPECTED}"))?;
        if let Some(version) = line.version.filter(|version| *version != VERSION) {
            return Err(format!(
                "version {version} of the protocol is not spoken here; expected version {VERSION}"
            ));
        }
        if line.rules.is_some() {
            return Request::of_rules(line).map(Self::Once);
        }
        if line.watch.is_some() || line.kinds.is_some() {
            return Watch::of(&line).map(Self::Watch);
        }
        Request::of(line).map(Self::Once)
    }
}

impl Watch {
    fn of(line: &Line) -> Result<Self, String> {
        if line.show.is_some() || line.delete.is_some() || line.all.is_some() {
            return Err("`watch` goes with `kinds` only".to_owned());
        }
        match line.watch.as_deref() {
            Some("events") => {
                let Some(kinds) = &line.kinds else {
                    return Ok(Self::Events(Kinds::ALL));
                };
                let kinds: Result<Kinds, _> = kinds.iter().map(|kind| kind.parse::<Kind>()).collect();
                kinds.map(Self::Events).map_err(|error| error.to_string())
            }
            Some(_) => {
                Err("nothing of this name to watch; expected \"events\", \"trace\" or \"capture\"".to_owned())
            }
            None => Err("`kinds` belongs to {\"watch\":\"events\"} only".to_owned()),
        }
    }

    /// The line, with its line feed.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let kinds = match self {
            Self::Events(kinds) => kinds,
            Self::Trace(trace) => return trace.to_line(),
            Self::Capture(capture) => return capture.to_line(),
        };
        let kinds = kinds.iter().map(|kind| kind.name().to_owned());
        Line {
            watch: Some("events".to_owned()),
            kinds: Some(kinds.collect()),
            ..Line::of(None)
        }
        .to_bytes()
    }
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

    fn of_rules(mut line: Line) -> Result<Request, String> {
        let request = line.rules.take();
        line.version = None;
        match request {
            Some(request) if line == Line::default() => Ok(Request::Rules(request)),
            _ => Err("`rules` goes with nothing else".to_owned()),
        }
    }

    fn of(line: Line) -> Result<Request, String> {
        match (line.show.as_deref(), line.delete.as_deref()) {
            (Some(_), None) if line.all.is_some() => {
                Err("`all` belongs to {\"delete\":\"mappings\"} only".to_owned())
            }
            (Some("ports"), None) => line.whole(Request::Ports),
            (Some("channels"), None) => line.whole(Request::Channels),
            (Some("drops"), None) => line.whole(Request::Drops),
            (Some("workers"), None) => line.whole(Request::Workers),
            (Some("memory"), None) => line.whole(Request::Memory),
            (Some("routes"), None) => line.into_network_page().map(Request::Routes),
            (Some("neighbours"), None) => line.into_network_page().map(Request::Neighbours),
            (Some("mappings"), None) => without_remote(line.into_page()?).map(Request::Mappings),
            (Some("sessions"), None) => line.into_page().map(Request::Sessions),
            (Some("pools"), None) => of_addresses(line.into_page()?).map(Request::Pools),
            (Some(_), None) => {
                let known = "\"ports\", \"channels\", \"mappings\", \"sessions\", \"pools\", \"drops\", \"workers\", \"memory\", \"routes\", \
                             \"neighbours\", \"flows\", \"top-flows\" or \"rules\"";
                Err(format!("nothing of this name to show; expected {known}"))
            }
            (None, Some("mappings")) => {
                let is_meant = line.all == Some(true);
                let page = without_remote(line.into_page()?)?;
                if page.filter.is_empty() && !is_meant {
                    return Err(
                        "this would delete all mappings; expected a `filter`, or \"all\":true if that is meant".to_owned(),
                    );
                }
                Ok(Request::DeleteMappings(page))
            }
            (None, Some(_)) => Err("nothing of this name to delete; expected \"mappings\"".to_owned()),
            (Some(_), Some(_)) => Err("both `show` and `delete`; expected one of them".to_owned()),
            (None, None) => Err(format!("neither `show` nor `delete`; {EXPECTED}")),
        }
    }

    /// The line, with its line feed.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let shown = |what: &str, page: Option<&Page>| Line {
            show: Some(what.to_owned()),
            ..Line::of(page)
        };
        let line = match self {
            Request::Ports => shown("ports", None),
            Request::Channels => shown("channels", None),
            Request::Drops => shown("drops", None),
            Request::Workers => shown("workers", None),
            Request::Memory => shown("memory", None),
            Request::Routes(page) => Line::of_network("routes", page),
            Request::Neighbours(page) => Line::of_network("neighbours", page),
            Request::Mappings(page) => shown("mappings", Some(page)),
            Request::Sessions(page) => shown("sessions", Some(page)),
            Request::Pools(page) => shown("pools", Some(page)),
            Request::Rules(request) => Line {
                rules: Some(request.clone()),
                ..Line::of(None)
            },
            Request::Flows(page) => return page.to_line(),
            Request::TopFlows(top) => return top.to_line(),
            Request::RuleCounters(page) => return page.to_line(),
            Request::DeleteMappings(page) => Line {
                delete: Some("mappings".to_owned()),
                all: page.filter.is_empty().then_some(true),
                ..Line::of(Some(page))
            },
        };
        line.to_bytes()
    }
}

impl Line {
    fn to_bytes(&self) -> Vec<u8> {
        // Text and numbers always have a JSON form.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    fn of_network(what: &str, page: &NetworkPage) -> Self {
        Line {
            show: Some(what.to_owned()),
            after: page.after.clone(),
            limit: Some(page.limit),
            prefix: page.prefix,
            interface: page.interface.clone(),
            ..Line::of(None)
        }
    }

    fn of(page: Option<&Page>) -> Self {
        Line {
            version: Some(VERSION),
            after: page.and_then(|page| page.after.clone()),
            limit: page.map(|page| page.limit),
            filter: page
                .map(|page| page.filter.clone())
                .filter(|filter| !filter.is_empty()),
            ..Line::default()
        }
    }
}

/// Mappings are not with one outside endpoint.
fn without_remote(page: Page) -> Result<Page, String> {
    match page.filter.remote {
        Some(_) => Err("mappings are asked for by `remote`, which only sessions have".to_owned()),
        None => Ok(page),
    }
}

/// Addresses have neither ports nor protocols, hosts or ages.
fn of_addresses(page: Page) -> Result<Page, String> {
    let addresses_only = Filter {
        channel: page.filter.channel.clone(),
        external: page.filter.external.filter(|external| external.port.is_none()),
        ..Filter::default()
    };
    if page.filter == addresses_only {
        Ok(page)
    } else {
        Err("pools are filtered by `channel` and by `external` without a port only".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[u8]) -> Result<Request, String> {
        match Asked::parse(line)? {
            Asked::Once(request) => Ok(request),
            Asked::Watch(watch) => Err(format!("{watch:?}")),
        }
    }

    #[test]
    fn what_is_watched_survives_the_way_over_a_line() {
        let some = Kinds::from_iter([Kind::Links, Kind::Flows]);
        for kinds in [Kinds::ALL, Kinds::NONE, some] {
            let watch = Watch::Events(kinds);
            assert_eq!(Asked::parse(&watch.to_line()), Ok(Asked::Watch(watch)));
        }
        let all = Ok(Asked::Watch(Watch::Events(Kinds::ALL)));
        assert_eq!(Asked::parse(br#"{"watch":"events"}"#), all);
        let error = |line: &str| Asked::parse(line.as_bytes()).unwrap_err();
        assert!(error(r#"{"watch":"paint"}"#).contains("expected \"events\""));
        assert!(error(r#"{"watch":"events","kinds":["flows","x"]}"#).contains("kind \"x\"; expected flows,"));
        assert!(error(r#"{"show":"ports","kinds":["flows"]}"#).contains("`watch` goes with"));
        assert!(error(r#"{"kinds":["flows"]}"#).contains("`kinds` belongs to"));
        assert!(error(r#"{"watch":"events","delete":"mappings"}"#).contains("`watch` goes with"));
    }

    #[test]
    fn requests_survive_the_way_over_a_line() {
        let page = Page {
            after: Some("7:\n\"x".to_owned()),
            limit: 9,
            filter: Filter {
                inside: Some("10.0.0.0/24:7".parse().unwrap()),
                max_age_seconds: Some(60),
                ..Filter::default()
            },
        };
        let of_channel = Page::first(Filter {
            channel: Some("internet".to_owned()),
            external: Some("192.0.2.0/24".parse().unwrap()),
            ..Filter::default()
        });
        let network = NetworkPage {
            after: Some("x".to_owned()),
            limit: 5,
            prefix: Some("2001:db8::/32".parse().unwrap()),
            interface: Some("wan0".to_owned()),
        };
        for request in [
            Request::Workers,
            Request::Memory,
            Request::Routes(network.clone()),
            Request::Neighbours(NetworkPage::first()),
            Request::Ports,
            Request::Channels,
            Request::Drops,
            Request::mappings(),
            Request::Mappings(page.clone()),
            Request::Sessions(page.clone()),
            Request::Pools(of_channel),
            Request::DeleteMappings(page),
            Request::DeleteMappings(Page::first(Filter::default())),
            Request::Rules(RulesRequest::Begin {}),
            Request::Rules(RulesRequest::Part {
                load: 7,
                text: "from 10.0.0.0/8\n drop\n".to_owned(),
            }),
            Request::Rules(RulesRequest::Delete {
                numbers: vec![1, 2],
                version: Some(3),
                confirm_within: Some(60),
            }),
            Request::Rules(RulesRequest::List { after: None }),
        ] {
            let line = request.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(parse(&line), Ok(request));
        }
    }

    #[test]
    fn pages_are_bounded() {
        let limit = |line: &str| match parse(line.as_bytes()) {
            Ok(Request::Mappings(page)) => page.limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(r#"{"show":"mappings"}"#), DEFAULT_PAGE);
        assert_eq!(limit(r#"{"show":"mappings","limit":0}"#), 1);
        assert_eq!(limit(r#"{"show":"mappings","limit":4000000000}"#), MAX_PAGE);
    }

    #[test]
    fn what_is_no_request_is_told_so() {
        let error = |line: &str| parse(line.as_bytes()).unwrap_err();
        assert!(error("").contains("not a request"));
        assert!(error("[1]").contains("not a request"));
        assert!(error("{}").contains("neither `show` nor `delete`"));
        assert!(error(r#"{"show":"ports","colour":1}"#).contains("unknown field `colour`"));
        assert!(error(r#"{"show":"everything"}"#).contains("expected \"ports\""));
        assert!(error(r#"{"version":2,"show":"ports"}"#).contains("expected version 1"));
        assert!(error(r#"{"show":"ports","limit":2}"#).contains("\"mappings\""));
        assert!(error(r#"{"show":"drops","filter":{}}"#).contains("\"mappings\""));
        let long = format!(r#"{{"show":"mappings","after":"{}"}}"#, "x".repeat(257));
        assert!(error(&long).contains("longer than 256 bytes"));
        assert!(error(r#"{"show":"mappings","filter":{"inside":"h"}}"#).contains("\"h\" names no endpoints"));
        assert!(error(r#"{"show":"mappings","filter":{"remote":"1.2.3.4"}}"#).contains("only sessions have"));
        assert!(error(r#"{"show":"pools","filter":{"external":":80"}}"#).contains("without a port"));
        assert!(error(r#"{"show":"pools","filter":{"protocol":"tcp"}}"#).contains("without a port"));
        assert!(error(r#"{"show":"mappings","prefix":"10.0.0.0/8"}"#).contains("\"routes\""));
        assert!(error(r#"{"show":"ports","interface":"x"}"#).contains("\"routes\""));
        assert!(error(r#"{"show":"routes","prefix":"10.0.0.0/64"}"#).contains("not a request"));
        assert!(error(r#"{"show":"routes","filter":{}}"#).contains("filtered by `prefix`"));
        assert!(error(r#"{"show":"mappings","delete":"mappings"}"#).contains("one of them"));
        assert!(error(r#"{"delete":"channels"}"#).contains("expected \"mappings\""));
        assert!(error(r#"{"show":"mappings","all":true}"#).contains("`all` belongs"));
        assert!(error(r#"{"rules":{"undo":{}},"show":"ports"}"#).contains("`rules` goes with nothing else"));
        assert!(error(r#"{"rules":{"list":{"before":1}}}"#).contains("unknown field `before`"));
        assert!(error(r#"{"rules":"everything"}"#).contains("unknown variant"));
    }

    /// Nobody deletes everything by leaving something out.
    #[test]
    fn all_mappings_are_deleted_only_if_that_is_said() {
        let error = |line: &str| parse(line.as_bytes()).unwrap_err();
        for line in [
            r#"{"delete":"mappings"}"#,
            r#"{"delete":"mappings","filter":{}}"#,
            r#"{"delete":"mappings","all":false}"#,
        ] {
            assert!(error(line).contains("would delete all"), "{line}");
        }
        let all = parse(br#"{"delete":"mappings","all":true}"#);
        assert!(matches!(all, Ok(Request::DeleteMappings(_))));
    }
}
