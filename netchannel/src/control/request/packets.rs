//! Requests about flows, rules and single packets. They pick packets by what rules say of them: `match` is the part of a rule in front of
//! its action, as [`rules::text`](crate::rules::text) reads it.

use serde::{Deserialize, Serialize};

use super::{Asked, DEFAULT_PAGE, MAX_CURSOR, MAX_PAGE, Request};
use crate::control::{VERSION, Watch};

/// Packets in a second that a trace shows if the request says nothing else.
pub const DEFAULT_TRACE_RATE: u32 = 100;

/// The most packets in a second that a trace shows.
pub const MAX_TRACE_RATE: u32 = 10_000;

/// Bytes of a packet that a capture takes if the request says nothing else: all of the longest.
pub const DEFAULT_SNAP_LENGTH: u32 = 65_535;

/// A page of the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowPage {
    /// Which flows: the match part of a rule; empty for all.
    pub filter: String,
    /// The `next` of the page before, `None` for the first page.
    pub after: Option<String>,
    /// Entries at most, 1 to [`MAX_PAGE`].
    pub limit: u32,
}

/// The flows that have most of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopFlows {
    /// Which flows: the match part of a rule; empty for all.
    pub filter: String,
    /// How many, 1 to [`MAX_PAGE`].
    pub limit: u32,
    /// Most of what.
    pub by: FlowOrder,
    /// Only flows that had a packet in the last so many seconds.
    pub max_idle_seconds: Option<u64>,
}

/// What flows are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowOrder {
    /// Most bytes first.
    #[default]
    Bytes,
    /// Most packets first.
    Packets,
    /// Shortest silence first.
    Idle,
}

/// A page of the rules with their counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulePage {
    /// The `next` of the page before, `None` for the first page.
    pub after: Option<String>,
    /// Entries at most, 1 to [`MAX_PAGE`].
    pub limit: u32,
    /// What is listed first. All pages have that of the first.
    pub by: RuleOrder,
    /// Only rules that no packet has hit.
    pub only_unused: bool,
}

/// What rules are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleOrder {
    /// As they are tried.
    #[default]
    Priority,
    /// Most packets first.
    Packets,
    /// Most bytes first.
    Bytes,
    /// Shortest time since the last hit first.
    Recent,
}

/// Which packets are traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Which packets, as they come in: the match part of a rule; empty for all.
    pub filter: String,
    /// The packets that answer them as well.
    pub with_answers: bool,
    /// Packets at most; `None` for no bound.
    pub count: Option<u64>,
    /// Packets in a second at most, 1 to [`MAX_TRACE_RATE`].
    pub per_second: u32,
}

/// Which packets are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Which packets, as they come in: the match part of a rule; empty for all.
    pub filter: String,
    /// The packets that answer them as well.
    pub with_answers: bool,
    /// Packets at most; `None` for no bound.
    pub count: Option<u64>,
    /// Bytes of each frame at most.
    pub snap_length: u32,
    /// Which frames of the packets.
    pub side: Side,
}

/// Which frames of a packet are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What came in and what left.
    #[default]
    Both,
    /// What came in.
    In,
    /// What left.
    Out,
    /// What came in and was dropped.
    Drops,
}

/// A request as it stands in its line.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<String>,
    #[serde(rename = "match", skip_serializing_if = "String::is_empty")]
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_idle_seconds: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    unused: bool,
    #[serde(skip_serializing_if = "is_false")]
    answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snap_length: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What a line is about.
#[derive(Deserialize)]
struct About {
    show: Option<String>,
    watch: Option<String>,
}

/// Reads a line if it is about flows, rules or packets; the error is text for the client.
pub(super) fn parse(line: &[u8]) -> Result<Option<Asked>, String> {
    let Ok(About { show, watch }) = serde_json::from_slice(line) else {
        return Ok(None);
    };
    let read = || -> Result<Line, String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))?;
        match line.version.filter(|version| *version != VERSION) {
            Some(version) => Err(format!(
                "version {version} of the protocol is not spoken here; expected version {VERSION}"
            )),
            None => Ok(line),
        }
    };
    let asked = match (show.as_deref(), watch.as_deref()) {
        (Some("flows"), None) => Asked::Once(Request::Flows(read()?.into_flows()?)),
        (Some("top-flows"), None) => Asked::Once(Request::TopFlows(read()?.into_top_flows()?)),
        (Some("rules"), None) => Asked::Once(Request::RuleCounters(read()?.into_rules()?)),
        (None, Some("trace")) => Asked::Watch(Watch::Trace(read()?.into_trace()?)),
        (None, Some("capture")) => Asked::Watch(Watch::Capture(read()?.into_capture()?)),
        _ => return Ok(None),
    };
    Ok(Some(asked))
}

impl Line {
    /// Refuses what does not belong to a request.
    fn only(&self, names: &[&str]) -> Result<(), String> {
        let given = [
            ("match", !self.filter.is_empty()),
            ("after", self.after.is_some()),
            ("limit", self.limit.is_some()),
            ("sort", self.sort.is_some()),
            ("max_idle_seconds", self.max_idle_seconds.is_some()),
            ("unused", self.unused),
            ("answers", self.answers),
            ("count", self.count.is_some()),
            ("per_second", self.per_second.is_some()),
            ("snap_length", self.snap_length.is_some()),
            ("side", self.side.is_some()),
        ];
        let strange = given
            .iter()
            .find(|(name, is_given)| *is_given && !names.contains(name));
        match strange {
            Some((name, _)) => Err(format!(
                "`{name}` does not belong to this request; expected only `{}`",
                names.join("`, `")
            )),
            None => Ok(()),
        }
    }

    fn page_limit(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE)
    }

    fn cursor(&mut self) -> Result<Option<String>, String> {
        match self.after.take() {
            Some(after) if after.len() > MAX_CURSOR => Err(format!(
                "`after` is longer than {MAX_CURSOR} bytes; expected the `next` of a page"
            )),
            after => Ok(after),
        }
    }

    /// What `sort` names.
    fn order<T: Default + serde::de::DeserializeOwned>(&self, expected: &str) -> Result<T, String> {
        let Some(name) = &self.sort else {
            return Ok(T::default());
        };
        serde_json::from_value(name.as_str().into())
            .map_err(|_| format!("nothing of this name to `sort` by; expected {expected}"))
    }

    fn into_flows(mut self) -> Result<FlowPage, String> {
        self.only(&["match", "after", "limit"])?;
        Ok(FlowPage {
            after: self.cursor()?,
            limit: self.page_limit(),
            filter: self.filter,
        })
    }

    fn into_top_flows(self) -> Result<TopFlows, String> {
        self.only(&["match", "limit", "sort", "max_idle_seconds"])?;
        Ok(TopFlows {
            limit: self.page_limit(),
            by: self.order("\"bytes\", \"packets\" or \"idle\"")?,
            max_idle_seconds: self.max_idle_seconds,
            filter: self.filter,
        })
    }

    fn into_rules(mut self) -> Result<RulePage, String> {
        self.only(&["after", "limit", "sort", "unused"])?;
        Ok(RulePage {
            after: self.cursor()?,
            limit: self.page_limit(),
            by: self.order("\"priority\", \"packets\", \"bytes\" or \"recent\"")?,
            only_unused: self.unused,
        })
    }

    fn into_trace(self) -> Result<Trace, String> {
        self.only(&["match", "answers", "count", "per_second"])?;
        let per_second = self.per_second.unwrap_or(DEFAULT_TRACE_RATE);
        Ok(Trace {
            with_answers: self.answers,
            count: self.count,
            per_second: per_second.clamp(1, MAX_TRACE_RATE),
            filter: self.filter,
        })
    }

    fn into_capture(self) -> Result<Capture, String> {
        self.only(&["match", "answers", "count", "snap_length", "side"])?;
        let snap_length = self.snap_length.unwrap_or(DEFAULT_SNAP_LENGTH);
        Ok(Capture {
            with_answers: self.answers,
            count: self.count,
            snap_length: snap_length.clamp(1, DEFAULT_SNAP_LENGTH),
            side: self.side.unwrap_or_default(),
            filter: self.filter,
        })
    }

    fn showing(what: &str) -> Self {
        Self {
            version: Some(VERSION),
            show: Some(what.to_owned()),
            ..Self::default()
        }
    }

    fn watching(what: &str) -> Self {
        Self {
            version: Some(VERSION),
            watch: Some(what.to_owned()),
            ..Self::default()
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Text and numbers always have a JSON form.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What an order is called in a line.
fn name_of(order: impl Serialize) -> Option<String> {
    serde_json::to_value(order).ok()?.as_str().map(str::to_owned)
}

impl FlowPage {
    pub(super) fn to_line(&self) -> Vec<u8> {
        Line {
            filter: self.filter.clone(),
            after: self.after.clone(),
            limit: Some(self.limit),
            ..Line::showing("flows")
        }
        .to_bytes()
    }
}

impl TopFlows {
    pub(super) fn to_line(&self) -> Vec<u8> {
        Line {
            filter: self.filter.clone(),
            limit: Some(self.limit),
            sort: name_of(self.by),
            max_idle_seconds: self.max_idle_seconds,
            ..Line::showing("top-flows")
        }
        .to_bytes()
    }
}

impl RulePage {
    pub(super) fn to_line(&self) -> Vec<u8> {
        Line {
            after: self.after.clone(),
            limit: Some(self.limit),
            sort: name_of(self.by),
            unused: self.only_unused,
            ..Line::showing("rules")
        }
        .to_bytes()
    }
}

impl Trace {
    pub(super) fn to_line(&self) -> Vec<u8> {
        Line {
            filter: self.filter.clone(),
            answers: self.with_answers,
            count: self.count,
            per_second: Some(self.per_second),
            ..Line::watching("trace")
        }
        .to_bytes()
    }
}

impl Capture {
    pub(super) fn to_line(&self) -> Vec<u8> {
        Line {
            filter: self.filter.clone(),
            answers: self.with_answers,
            count: self.count,
            snap_length: Some(self.snap_length),
            side: Some(self.side),
            ..Line::watching("capture")
        }
        .to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way_over_a_line() {
        let filter = "tcp from 10.0.0.0/24 \"\n".to_owned();
        let (after, limit) = (Some("7".to_owned()), 9);
        for request in [
            Request::Flows(FlowPage {
                filter: filter.clone(),
                after: after.clone(),
                limit,
            }),
            Request::TopFlows(TopFlows {
                filter: filter.clone(),
                limit,
                by: FlowOrder::Idle,
                max_idle_seconds: Some(5),
            }),
            Request::RuleCounters(RulePage {
                after,
                limit,
                by: RuleOrder::Recent,
                only_unused: true,
            }),
        ] {
            assert_eq!(Asked::parse(&request.to_line()), Ok(Asked::Once(request)));
        }
        for watch in [
            Watch::Trace(Trace {
                filter: filter.clone(),
                with_answers: true,
                count: Some(3),
                per_second: 5,
            }),
            Watch::Capture(Capture {
                filter: filter.clone(),
                with_answers: false,
                count: None,
                snap_length: 96,
                side: Side::Drops,
            }),
        ] {
            let line = watch.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(Asked::parse(&line), Ok(Asked::Watch(watch)));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let error = |line: &str| Asked::parse(line.as_bytes()).unwrap_err();
        assert!(error(r#"{"show":"flows","sort":"bytes"}"#).contains("`sort` does not belong"));
        assert!(error(r#"{"show":"flows","colour":1}"#).contains("unknown field `colour`"));
        assert!(error(r#"{"show":"flows","version":2}"#).contains("expected version 1"));
        assert!(error(r#"{"show":"top-flows","sort":"age"}"#).contains("expected \"bytes\""));
        assert!(error(r#"{"show":"rules","match":"tcp"}"#).contains("`match` does not belong"));
        assert!(error(r#"{"watch":"trace","side":"in"}"#).contains("`side` does not belong"));
        assert!(error(r#"{"watch":"capture","side":"left"}"#).contains("unknown variant `left`"));
        assert!(error(r#"{"watch":"trace","show":"flows"}"#).contains("`watch`"));
        let long = format!(r#"{{"show":"flows","after":"{}"}}"#, "x".repeat(257));
        assert!(error(&long).contains("longer than 256 bytes"));
    }

    #[test]
    fn what_is_asked_for_is_bounded() {
        let watch = |line: &str| match Asked::parse(line.as_bytes()) {
            Ok(Asked::Watch(watch)) => watch,
            other => panic!("{other:?}"),
        };
        for (asked, given) in [(0, 1), (7, 7), (u32::MAX, MAX_TRACE_RATE)] {
            let line = format!(r#"{{"watch":"trace","per_second":{asked}}}"#);
            assert!(matches!(watch(&line), Watch::Trace(trace) if trace.per_second == given));
        }
        for (asked, given) in [(0, 1), (7, 7), (u32::MAX, DEFAULT_SNAP_LENGTH)] {
            let line = format!(r#"{{"watch":"capture","snap_length":{asked}}}"#);
            assert!(matches!(watch(&line), Watch::Capture(capture) if capture.snap_length == given));
        }
    }
}
