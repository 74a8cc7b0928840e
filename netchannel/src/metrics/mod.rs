//! Metrics for Prometheus, in its text format, over HTTP.
//!
//! Names and units follow Prometheus's conventions: a counter ends in `_total`, times are in seconds, sizes in bytes, and what does not
//! change is a label of an `_info` metric. The number of series is bounded by the configuration: interfaces, channels, drop reasons,
//! workers, tables. There are none for each host, mapping, flow or address.
//!
//! [`write()`] makes the text of [`Reports`], which are those of the [control socket](crate::control::report); [`Server`] serves it. A client can
//! do nothing to it: [`Limits`] bounds connections, the length of a request, and the time that one may take.

mod families;
mod http;
mod text;

pub use http::{Gather, Limits, Server, ServerError};
pub use text::{Reports, write};

/// The usual port, after the name of nothing else in Prometheus's list of exporters.
pub const DEFAULT_PORT: u16 = 9478;
