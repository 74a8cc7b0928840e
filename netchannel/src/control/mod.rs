//! The control socket: how a running netchannel is asked what it does.
//!
//! # Protocol, version 1
//! A Unix stream socket; JSON, one value a line, UTF-8. The client writes a request and reads one answer, as often as it
//! likes; answers come in the order of the requests. A request line has at most [`MAX_REQUEST`] bytes.
//!
//! | request | answer, in `ok` |
//! | --- | --- |
//! | `{"show":"ports"}` | [`report::Ports`] |
//! | `{"show":"channels"}` | [`report::Channels`] |
//! | `{"show":"drops"}` | [`report::Drops`] |
//! | `{"show":"mappings","after":CURSOR,"limit":N,"filter":FILTER}` | [`report::Mappings`]: one page |
//! | `{"show":"sessions","after":CURSOR,"limit":N,"filter":FILTER}` | [`report::Sessions`]: one page |
//! | `{"show":"pools","after":CURSOR,"limit":N,"filter":FILTER}` | [`report::Pools`]: one page |
//! | `{"show":"workers"}` | [`report::Workers`] |
//! | `{"show":"memory"}` | [`report::Memory`] |
//! | `{"show":"routes","after":CURSOR,"limit":N,"prefix":PREFIX,"interface":NAME}` | [`report::Routes`]: one page |
//! | `{"show":"neighbours","after":CURSOR,"limit":N,"prefix":PREFIX,"interface":NAME}` | [`report::Neighbours`]: one page |
//! | `{"rules":{"list":{}}}` and so on | see [`RulesRequest`] |
//! | `{"show":"flows","match":MATCH,"after":CURSOR,"limit":N}` | [`report::Flows`]: one page |
//! | `{"show":"top-flows","match":MATCH,"limit":N,"sort":ORDER,"max_idle_seconds":N}` | [`report::Flows`]: those with most `bytes` or `packets`, or least `idle` |
//! | `{"show":"rules","after":CURSOR,"limit":N,"sort":ORDER,"unused":BOOL}` | [`report::CountedRules`]: one page, in the order of `priority`, or by most `packets` or `bytes`, or the most `recent` hit |
//! | `{"delete":"mappings","after":CURSOR,"limit":N,"filter":FILTER}` | [`report::Deleted`]: what one page did |
//! | `{"watch":"events","kinds":[KIND,...]}` | an empty object, and then a stream of [`Event`](crate::events::Event)s |
//! | `{"watch":"trace","match":MATCH,"answers":BOOL,"count":N,"per_second":N}` | an empty object, and then a stream of [`report::TracedPacket`]s |
//! | `{"watch":"capture","match":MATCH,"answers":BOOL,"count":N,"snap_length":N,"side":SIDE}` | an empty object, and then a stream of [`report::Captured`] |
//!
//! An answer is `{"version":1,"ok":VALUE}` or `{"version":1,"error":{"message":TEXT}}`. After an error the connection stays
//! usable, unless the line was too long or the server is full. `after`, `limit` and `filter` may be left out: the first page,
//! of [`DEFAULT_PAGE`] entries, of all there is; a page has at most [`MAX_PAGE`]. `after` is the last page's `next`, to be handed
//! back as it is; a page without `next` is the last one, and one before it may be empty. A [`Filter`] is an object:
//! `{"inside":"10.0.0.0/24","protocol":"udp"}`. A `MATCH` is the part of a rule in front of its action, [as text](crate::rules::text): `"tcp from 10.0.0.0/24"`; it picks packets
//! as they come in, and flows by their packets. A `SIDE` is `both`, `in`, `out` or `drops`. A deletion needs a filter that is not empty, or `"all":true`. A request may carry `"version":1`; another version is an error that names
//! the one spoken here. Unknown fields of a request are an error; a client ignores unknown fields of an answer, so fields
//! may be added within a version.
//!
//! # Streams
//! After the answer to a `watch`, the server writes a line for each thing that happens: `{"version":1,"event":EVENT}`. A client
//! that does not read fast enough loses events, and where they are missing it is told so: `{"version":1,"lost":N}`. What it
//! writes meanwhile is not read. A stream ends when the client closes the connection, or by `{"version":1,"end":true}`: nothing more
//! will come, because the daemon stops, say. After that line the connection takes requests again, unless it is closed. `kinds` may be
//! left out: all [kinds](crate::events::Kind).
//!
//! # Who may ask
//! Whoever can connect may look: the socket has mode 0660, and the group that [`Access`] names. Changes (`delete`, and `rules` but for `state`
//! and `list`), and the streams of packets (`trace`, `capture`), are for root, the user that serves, and members of that group, by the credentials that the kernel has of the client (`SO_PEERCRED`); an
//! error answer says so to others.
//!
//! # What a client can do to the server
//! Nothing: [`Limits`] bounds the number of clients, the length of a line, and the time for which a client may be silent,
//! be in the middle of a line, or not read its answer. What watching clients have not yet read is bounded, too; one that reads nothing at
//! all for [`Limits::answer`] is sent away, and some places are never taken by those who watch.

mod access;
mod client;
mod filter;
mod line;
pub mod report;
mod request;
mod rules;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod watch;

pub use access::{Access, NoSuchGroup};
pub use client::{Client, ClientError, PageRequest, Paged, Pages, Told, WatchEnd, Watching};
pub use filter::{Endpoints, Filter, WrongEndpoints};
pub use request::{
    Capture, DEFAULT_PAGE, DEFAULT_SNAP_LENGTH, DEFAULT_TRACE_RATE, FlowOrder, FlowPage, MAX_PAGE,
    MAX_TRACE_RATE, NetworkPage, Page, Request, RuleOrder, RulePage, Side, TopFlows, Trace, check_line,
};
pub use rules::RulesRequest;
pub use server::{ControlError, Inspect, Limits, Server};
pub use socket::ServerError;
pub use watch::{Next, Watch, Watched};

/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/netchannel/control.sock";

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The longest line of a request, in bytes, with its line feed.
pub const MAX_REQUEST: usize = 64 << 10;
