//! Events as lines of JSON.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::SystemTime;

use serde::Serialize;

use crate::channel::nat::{EndReason, Event, PortBlock, Translation};

/// One line.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line<'a> {
    time: String,
    channel: &'a str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<SocketAddrV4>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<External>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<SocketAddrV4>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum External {
    Endpoint(SocketAddrV4),
    Address(Ipv4Addr),
}

impl<'a> Line<'a> {
    /// A line about the log itself.
    pub(super) fn about_log(time: SystemTime, channel: &'a str, event: &'static str) -> Self {
        Self {
            time: in_utc(time),
            channel,
            event,
            ..Self::default()
        }
    }

    pub(super) fn lost(time: SystemTime, channel: &'a str, count: u64) -> Self {
        Self {
            count: Some(count),
            ..Self::about_log(time, channel, "records-lost")
        }
    }

    pub(super) fn of(time: SystemTime, channel: &'a str, event: &Event) -> Self {
        let translated = |event, translation: &Translation, reason: Option<EndReason>| Self {
            protocol: Some(translation.protocol.name()),
            inside: Some(translation.inside),
            external: Some(External::Endpoint(translation.external)),
            remote: translation.remote,
            reason: reason.map(EndReason::name),
            ..Self::about_log(time, channel, event)
        };
        let of_block = |event, block: &PortBlock| Self {
            host: Some(block.host),
            external: Some(External::Address(block.external)),
            ports: Some(format!("{}-{}", block.first, block.last)),
            ..Self::about_log(time, channel, event)
        };
        match event {
            Event::MappingCreated(translation) => translated("mapping-created", translation, None),
            Event::MappingDeleted(translation, reason) => {
                translated("mapping-deleted", translation, Some(*reason))
            }
            Event::SessionCreated(translation) => translated("session-created", translation, None),
            Event::SessionDeleted(translation, reason) => {
                translated("session-deleted", translation, Some(*reason))
            }
            Event::BlockAllocated(block) => of_block("block-allocated", block),
            Event::BlockReleased(block) => of_block("block-released", block),
            Event::LimitReached(reached) => Self {
                limit: Some(reached.limit.name()),
                protocol: Some(reached.protocol.name()),
                host: Some(reached.host),
                external: reached.external.map(External::Address),
                bound: Some(reached.bound),
                refused: Some(reached.refused),
                ..Self::about_log(time, channel, "limit-reached")
            },
        }
    }
}

/// `2026-05-01T12:34:56.789Z`.
fn in_utc(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::channel::nat::{LimitReached, Protocol};
    use crate::drop_reason::DropReason;

    fn line(event: &Event) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_777_777_777_042);
        serde_json::to_string(&Line::of(time, "internet", event)).unwrap()
    }

    fn translation() -> Translation {
        Translation {
            protocol: Protocol::Udp,
            inside: "10.0.0.2:5000".parse().unwrap(),
            external: "198.51.100.1:2000".parse().unwrap(),
            remote: None,
        }
    }

    #[test]
    fn lines_are_as_documented() {
        assert_eq!(
            line(&Event::MappingCreated(translation())),
            r#"{"time":"2026-05-03T03:09:37.042Z","channel":"internet","event":"mapping-created","protocol":"udp","inside":"10.0.0.2:5000","external":"198.51.100.1:2000"}"#
        );
        assert_eq!(
            line(&Event::MappingDeleted(translation(), EndReason::Expired)),
            r#"{"time":"2026-05-03T03:09:37.042Z","channel":"internet","event":"mapping-deleted","protocol":"udp","inside":"10.0.0.2:5000","external":"198.51.100.1:2000","reason":"expired"}"#
        );
        let session = Translation {
            remote: Some("192.0.2.9:53".parse().unwrap()),
            ..translation()
        };
        assert_eq!(
            line(&Event::SessionDeleted(session, EndReason::Deleted)),
            r#"{"time":"2026-05-03T03:09:37.042Z","channel":"internet","event":"session-deleted","protocol":"udp","inside":"10.0.0.2:5000","external":"198.51.100.1:2000","remote":"192.0.2.9:53","reason":"deleted"}"#
        );
        let block = PortBlock {
            host: Ipv4Addr::new(10, 0, 0, 2),
            external: Ipv4Addr::new(198, 51, 100, 1),
            first: 2048,
            last: 2559,
        };
        assert_eq!(
            line(&Event::BlockAllocated(block)),
            r#"{"time":"2026-05-03T03:09:37.042Z","channel":"internet","event":"block-allocated","host":"10.0.0.2","external":"198.51.100.1","ports":"2048-2559"}"#
        );
        let reached = LimitReached {
            limit: DropReason::NatPortsExhausted,
            protocol: Protocol::Tcp,
            host: Ipv4Addr::new(10, 0, 0, 2),
            external: Some(Ipv4Addr::new(198, 51, 100, 1)),
            bound: 31_744,
            refused: 12,
        };
        assert_eq!(
            line(&Event::LimitReached(reached)),
            r#"{"time":"2026-05-03T03:09:37.042Z","channel":"internet","event":"limit-reached","limit":"nat-ports-exhausted","protocol":"tcp","host":"10.0.0.2","external":"198.51.100.1","bound":31744,"refused":12}"#
        );
    }
}
