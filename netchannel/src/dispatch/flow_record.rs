//! Flows that open and close, told to those who watch: the packet thread only puts a small record into a ring, and only while
//! somebody wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::flow_key::FlowKey;
use super::flow_table::Flow;
use super::rule_counters::RuleNumber;
use crate::channel::ChannelId;
use crate::events::{Kind, Wanted};
use crate::time::Time;

/// A flow that opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// When.
    pub time: Time,
    /// Which flow.
    pub key: FlowKey,
    /// The rule that decided it.
    pub rule: RuleNumber,
    /// The channel of its packets.
    pub channel: ChannelId,
    /// If it closed, why and after what.
    pub closed: Option<FlowClosed>,
}

/// The end of a flow's entry in the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowClosed {
    /// Why.
    pub reason: CloseReason,
    /// Its packets.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
}

/// Why an entry of the flow table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Another flow took its place.
    Replaced,
    /// The rules that decided it are no more.
    Rules,
}

impl CloseReason {
    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Rules => "rules",
        }
    }
}

/// The packet thread's end.
pub struct FlowRecorder {
    wanted: Wanted,
    /// Flows of channels from this number on are recorded by the worker that they are handed to.
    channels: usize,
    ring: Producer<FlowRecord>,
    lost: Arc<AtomicU64>,
}

/// The other end.
pub struct FlowRecording {
    ring: Consumer<FlowRecord>,
    lost: Arc<AtomicU64>,
}

/// Makes both ends, with room for `capacity` records in between, each of some 96 bytes. Nothing is recorded unless flows are wanted.
pub fn flow_recording(wanted: Wanted, capacity: usize) -> (FlowRecorder, FlowRecording) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let lost = Arc::new(AtomicU64::new(0));
    let recorder = FlowRecorder {
        wanted,
        channels: usize::MAX,
        ring: producer,
        lost: Arc::clone(&lost),
    };
    (recorder, FlowRecording { ring: consumer, lost })
}

impl FlowRecorder {
    /// Whether somebody wants to be told: one atomic load.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.wanted.has(Kind::Flows)
    }

    /// Tells of a flow that opened. Asked for with [`is_wanted`](Self::is_wanted).
    pub fn opened(&mut self, key: FlowKey, flow: &Flow, now: Time) {
        self.put(FlowRecord {
            time: now,
            key,
            rule: flow.rule,
            channel: flow.channel,
            closed: None,
        });
    }

    /// Tells of a flow that closed. Asked for with [`is_wanted`](Self::is_wanted).
    pub fn closed(&mut self, key: FlowKey, flow: &Flow, reason: CloseReason, now: Time) {
        self.put(FlowRecord {
            time: now,
            key,
            rule: flow.rule,
            channel: flow.channel,
            closed: Some(FlowClosed {
                reason,
                packets: flow.packets,
                bytes: flow.bytes,
            }),
        });
    }

    /// Has it tell only of flows of the channels below a number.
    pub(super) fn of_channels(self, channels: usize) -> Self {
        Self { channels, ..self }
    }

    fn put(&mut self, record: FlowRecord) {
        if usize::from(record.channel.0) >= self.channels {
            return;
        }
        if self.ring.push(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl FlowRecording {
    /// Records for which there was no room so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What there is now; more may come after the end.
impl Iterator for FlowRecording {
    type Item = FlowRecord;

    fn next(&mut self) -> Option<FlowRecord> {
        self.ring.pop().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_large_as_the_documentation_says() {
        assert!(size_of::<FlowRecord>() <= 96, "{}", size_of::<FlowRecord>());
    }
}
