//! What can be asked, and how it is written.

use serde::{Deserialize, Serialize};

use super::VERSION;

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
    /// One page of the translators' mappings: [`report::Mappings`](super::report::Mappings).
    Mappings {
        /// The `next` of the page before, `None` for the first page. Text of whoever answers, at most 256 bytes; a
        /// client may send anything, so it is to be checked.
        after: Option<String>,
        /// Entries at most, 1 to [`MAX_PAGE`].
        limit: u32,
    },
    /// Totals and drops by reason: [`report::Drops`](super::report::Drops).
    Drops,
}

/// A request as it stands in its line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    show: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
}

impl Request {
    /// The first page of mappings.
    pub fn mappings() -> Request {
        Request::Mappings {
            after: None,
            limit: DEFAULT_PAGE,
        }
    }

    /// Reads a line; the error is text for the client.
    pub(super) fn parse(line: &[u8]) -> Result<Request, String> {
        const EXPECTED: &str = "expected for example {\"show\":\"ports\"}";
        let line: Line =
            serde_json::from_slice(line).map_err(|error| format!("not a request: {error}; {EXPECTED}"))?;
        if let Some(version) = line.version.filter(|version| *version != VERSION) {
            return Err(format!(
                "version {version} of the protocol is not spoken here; expected version {VERSION}"
            ));
        }
        let paged = line.after.is_some() || line.limit.is_some();
        let request = match line.show.as_str() {
            "mappings" => {
                if line.after.as_ref().is_some_and(|after| after.len() > MAX_CURSOR) {
                    return Err(format!(
                        "`after` is longer than {MAX_CURSOR} bytes; expected the `next` of a page"
                    ));
                }
                let limit = line.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
                return Ok(Request::Mappings {
                    after: line.after,
                    limit,
                });
            }
            "ports" => Request::Ports,
            "channels" => Request::Channels,
            "drops" => Request::Drops,
            _ => {
                let known = "expected \"ports\", \"channels\", \"mappings\" or \"drops\"";
                return Err(format!("nothing of this name to show; {known}"));
            }
        };
        if paged {
            return Err("`after` and `limit` belong to {\"show\":\"mappings\"} only".to_owned());
        }
        Ok(request)
    }

    /// The line, with its line feed.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let (show, after, limit) = match self {
            Request::Ports => ("ports", None, None),
            Request::Channels => ("channels", None, None),
            Request::Mappings { after, limit } => ("mappings", after.clone(), Some(*limit)),
            Request::Drops => ("drops", None, None),
        };
        let line = Line {
            version: Some(VERSION),
            show: show.to_owned(),
            after,
            limit,
        };
        // Text and numbers always have a JSON form.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way_over_a_line() {
        let page = Request::Mappings {
            after: Some("7:\n\"x".to_owned()),
            limit: 9,
        };
        for request in [
            Request::Ports,
            Request::Channels,
            Request::Drops,
            Request::mappings(),
            page,
        ] {
            let line = request.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(Request::parse(&line), Ok(request));
        }
    }

    #[test]
    fn pages_are_bounded() {
        let limit = |line: &str| match Request::parse(line.as_bytes()) {
            Ok(Request::Mappings { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(r#"{"show":"mappings"}"#), DEFAULT_PAGE);
        assert_eq!(limit(r#"{"show":"mappings","limit":0}"#), 1);
        assert_eq!(limit(r#"{"show":"mappings","limit":4000000000}"#), MAX_PAGE);
    }

    #[test]
    fn what_is_no_request_is_told_so() {
        let error = |line: &str| Request::parse(line.as_bytes()).unwrap_err();
        assert!(error("").contains("not a request"));
        assert!(error("[1]").contains("not a request"));
        assert!(error(r#"{"show":"ports","colour":1}"#).contains("unknown field `colour`"));
        assert!(error(r#"{"show":"everything"}"#).contains("expected \"ports\""));
        assert!(error(r#"{"version":2,"show":"ports"}"#).contains("expected version 1"));
        assert!(error(r#"{"show":"ports","limit":2}"#).contains("mappings"));
        let long = format!(r#"{{"show":"mappings","after":"{}"}}"#, "x".repeat(257));
        assert!(error(&long).contains("longer than 256 bytes"));
    }
}
