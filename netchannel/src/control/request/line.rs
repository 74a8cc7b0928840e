//! How requests are written, all but those about packets.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::super::{Filter, RulesRequest, VERSION, Watch};
use super::{Asked, DEFAULT_PAGE, MAX_CURSOR, MAX_PAGE, NetworkPage, Page, Request, packets};
use crate::events::{Kind, Kinds};

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

impl Asked {
    /// Reads a line; the error is text for the client.
    pub(in super::super) fn parse(line: &[u8]) -> Result<Self, String> {
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
    pub(in super::super) fn to_line(&self) -> Vec<u8> {
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
    pub(in super::super) fn to_line(&self) -> Vec<u8> {
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
