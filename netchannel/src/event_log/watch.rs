//! What is recorded, as those who watch are told it.

use std::time::SystemTime;

use super::{AT_ONCE, Now};
use crate::channel::ChannelId;
use crate::channel::nat;
use crate::config::{Config, RESERVED_CHANNELS};
use crate::dispatch::{FlowRecord, FlowRecording, RuleNumber};
use crate::events::{ClosedFlow, Events, Flow, Kind, What};
use crate::interface::InterfaceId;

/// Publishes what a translator recorded.
pub(super) fn publish(events: &Events, channel: &str, time: SystemTime, event: &nat::Event) {
    if let Some(what) = What::of_translator(channel, event) {
        events.publish_at(what.kind(), || time, || what);
    }
}

/// Publishes flows that open and close.
pub(super) struct Flows {
    /// One for each worker.
    recordings: Vec<FlowRecording>,
    /// Records that were reported as lost.
    lost: u64,
    interfaces: Vec<String>,
    channels: Vec<String>,
}

impl Flows {
    pub(super) fn new(config: &Config, recordings: Vec<FlowRecording>) -> Self {
        let channels = config.channels.iter().map(|channel| channel.name.as_str());
        let interfaces = config.interfaces.iter();
        Self {
            recordings,
            lost: 0,
            interfaces: interfaces.map(|interface| interface.name.clone()).collect(),
            channels: RESERVED_CHANNELS
                .into_iter()
                .chain(channels)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Publishes what there is, and returns how many records that were.
    pub(super) fn work(&mut self, now: Now, events: &Events) -> usize {
        let mut taken = 0;
        let mut recordings = std::mem::take(&mut self.recordings);
        for recording in &mut recordings {
            for record in std::iter::from_fn(|| recording.next()).take(AT_ONCE) {
                taken += 1;
                events.publish_at(
                    Kind::Flows,
                    || now.wall_time_of(record.time),
                    || self.event(&record),
                );
            }
        }
        let lost = recordings.iter().map(FlowRecording::lost).sum();
        self.recordings = recordings;
        events.lose(Kind::Flows, lost - self.lost);
        self.lost = lost;
        taken
    }

    fn event(&self, record: &FlowRecord) -> What {
        let flow = Flow {
            interface: self.interface(record.key.interface),
            source: record.key.source,
            destination: record.key.destination,
            protocol: record.key.protocol,
            source_port: record.key.source_port,
            destination_port: record.key.destination_port,
            channel: self.channel(record.channel),
            rule: Some(record.rule.0).filter(|_| record.rule != RuleNumber::NONE),
        };
        match record.closed {
            None => What::FlowOpened(flow),
            Some(closed) => What::FlowClosed(ClosedFlow {
                flow,
                packets: closed.packets,
                bytes: closed.bytes,
                reason: closed.reason.name().to_owned(),
            }),
        }
    }

    fn interface(&self, id: InterfaceId) -> String {
        let name = self.interfaces.get(usize::from(id.0));
        name.cloned().unwrap_or_else(|| id.0.to_string())
    }

    fn channel(&self, id: ChannelId) -> String {
        let name = self.channels.get(usize::from(id.0));
        name.cloned().unwrap_or_else(|| id.0.to_string())
    }
}
