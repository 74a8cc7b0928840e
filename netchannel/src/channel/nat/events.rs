//! What a translator tells its log: mappings and sessions that come and go, and limits that are reached. The packet thread only puts a
//! small record into a ring; what becomes of it is up to whoever has the other end ([`crate::event_log`]).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::flow::{Endpoint, Protocol};
use super::mapping::Mapping;
use super::refusals::Refusals;
use super::session::Session;
use crate::drop_reason::DropReason;
use crate::events::{Kind, Wanted};
use crate::time::Time;

/// Something that happened, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: Time,
    /// What.
    pub event: Event,
}

/// Something that happened in a translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An inside endpoint got an external one.
    MappingCreated(Translation),
    /// It has it no more.
    MappingDeleted(Translation, EndReason),
    /// A mapping is in use with another outside endpoint.
    SessionCreated(Translation),
    /// It is no more.
    SessionDeleted(Translation, EndReason),
    /// An inside host got a block of ports; its mappings have ports of its blocks only.
    BlockAllocated(PortBlock),
    /// It has it no more.
    BlockReleased(PortBlock),
    /// Mappings or sessions were refused for want of room (RFC 6888 REQ-11 (C)).
    LimitReached(LimitReached),
}

/// Which inside endpoint is known outside by which external one. For ICMP queries, ports are identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The protocol.
    pub protocol: Protocol,
    /// The inside host's address and port.
    pub inside: SocketAddrV4,
    /// What they are translated to.
    pub external: SocketAddrV4,
    /// The outside endpoint: only if destinations are recorded (RFC 6888 REQ-12), and, for a mapping, only as far as the
    /// mapping depends on it.
    pub remote: Option<SocketAddrV4>,
}

/// Ports of an external address that are one inside host's, of all protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlock {
    /// The inside host.
    pub host: Ipv4Addr,
    /// The external address.
    pub external: Ipv4Addr,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Why a mapping or session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// No packet came in time.
    Expired,
    /// The TCP connection was closed or reset, and the time after that has passed.
    Closed,
    /// The operator deleted it.
    Deleted,
}

impl EndReason {
    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Closed => "closed",
            Self::Deleted => "deleted",
        }
    }
}

/// A limit at which something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Which limit, as refused packets are counted.
    pub limit: DropReason,
    /// The protocol of the packet that was refused last.
    pub protocol: Protocol,
    /// The inside host that was refused last; the only one if the limit is one on each host.
    pub host: Ipv4Addr,
    /// The external address that is out of ports, if it is only one.
    pub external: Option<Ipv4Addr>,
    /// What is allowed: entries, or new ones in a second.
    pub bound: u32,
    /// Refusals since the limit was last told of.
    pub refused: u32,
}

/// What is recorded for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Mappings that come and go.
    pub mappings: bool,
    /// Sessions that come and go.
    pub sessions: bool,
    /// Blocks of ports that come and go.
    pub blocks: bool,
    /// Limits that are reached.
    pub limits: bool,
    /// Whether the outside endpoints are told too. RFC 6888 REQ-12 asks not to.
    pub destinations: bool,
}

impl Selection {
    /// Nothing.
    pub const NONE: Self = Self {
        mappings: false,
        sessions: false,
        blocks: false,
        limits: false,
        destinations: false,
    };

    /// Whether events like this one are.
    pub fn has(&self, event: &Event) -> bool {
        match event {
            Event::MappingCreated(_) | Event::MappingDeleted(..) => self.mappings,
            Event::SessionCreated(_) | Event::SessionDeleted(..) => self.sessions,
            Event::BlockAllocated(_) | Event::BlockReleased(_) => self.blocks,
            Event::LimitReached(_) => self.limits,
        }
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            mappings: true,
            sessions: false,
            blocks: true,
            limits: true,
            destinations: false,
        }
    }
}

/// The packet thread's end.
pub struct Recorder {
    selection: Selection,
    /// What is recorded besides, while somebody watches.
    wanted: Wanted,
    ring: Producer<Record>,
    lost: Arc<AtomicU64>,
    refusals: Refusals,
}

/// The other end.
pub struct Recording {
    ring: Consumer<Record>,
    lost: Arc<AtomicU64>,
}

/// Makes both ends, with room for `capacity` records in between. Each takes some 48 bytes.
pub fn recording(selection: Selection, capacity: usize) -> (Recorder, Recording) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let lost = Arc::new(AtomicU64::new(0));
    (
        Recorder {
            selection,
            wanted: Wanted::default(),
            ring: producer,
            lost: Arc::clone(&lost),
            refusals: Refusals::new(),
        },
        Recording { ring: consumer, lost },
    )
}

/// What there is now; more may come after the end.
impl Iterator for Recording {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.ring.pop().ok()
    }
}

impl Recording {
    /// Records for which there was no room so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Recorder {
    /// Records what is wanted, too, while it is: mappings, blocks and limits.
    pub fn watched(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    fn wants_mappings(&self) -> bool {
        self.selection.mappings || self.wanted.has(Kind::Mappings)
    }

    fn wants_sessions(&self) -> bool {
        self.selection.sessions
    }

    fn wants_blocks(&self) -> bool {
        self.selection.blocks || self.wanted.has(Kind::Mappings)
    }

    fn wants_limits(&self) -> bool {
        self.selection.limits || self.wanted.has(Kind::Limits)
    }

    fn put(&mut self, event: Event, time: Time) {
        if self.ring.push(Record { time, event }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The recorder of a translator that has one.
pub(super) struct Events(Option<Box<Recorder>>);

impl Events {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn to(recorder: Recorder) -> Self {
        Self(Some(Box::new(recorder)))
    }

    fn selected(&mut self, is_wanted: impl FnOnce(&Recorder) -> bool) -> Option<&mut Recorder> {
        self.0.as_deref_mut().filter(|recorder| is_wanted(recorder))
    }

    #[inline]
    pub(super) fn mapping_created(&mut self, mapping: &Mapping, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_mappings) {
            let translation = of_mapping(mapping, recorder.selection.destinations);
            recorder.put(Event::MappingCreated(translation), now);
        }
    }

    #[inline]
    pub(super) fn mapping_deleted(&mut self, mapping: &Mapping, reason: EndReason, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_mappings) {
            let translation = of_mapping(mapping, recorder.selection.destinations);
            recorder.put(Event::MappingDeleted(translation, reason), now);
        }
    }

    #[inline]
    pub(super) fn session_created(&mut self, mapping: &Mapping, session: &Session, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_sessions) {
            let translation = of_session(mapping, session, recorder.selection.destinations);
            recorder.put(Event::SessionCreated(translation), now);
        }
    }

    #[inline]
    pub(super) fn session_deleted(
        &mut self,
        mapping: &Mapping,
        session: &Session,
        reason: EndReason,
        now: Time,
    ) {
        if let Some(recorder) = self.selected(Recorder::wants_sessions) {
            let translation = of_session(mapping, session, recorder.selection.destinations);
            recorder.put(Event::SessionDeleted(translation, reason), now);
        }
    }

    pub(super) fn block_allocated(&mut self, block: PortBlock, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_blocks) {
            recorder.put(Event::BlockAllocated(block), now);
        }
    }

    pub(super) fn block_released(&mut self, block: PortBlock, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_blocks) {
            recorder.put(Event::BlockReleased(block), now);
        }
    }

    /// Records for which there was no room; `None` without a log.
    pub(super) fn lost(&self) -> Option<u64> {
        let recorder = self.0.as_ref()?;
        (recorder.selection != Selection::NONE).then(|| recorder.lost.load(Ordering::Relaxed))
    }

    pub(super) fn wants_limits(&self) -> bool {
        self.0.as_deref().is_some_and(Recorder::wants_limits)
    }

    /// Something was refused at a limit. Refusals at one limit are told of together.
    pub(super) fn limit_reached(&mut self, reached: LimitReached, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_limits)
            && let Some(reached) = recorder.refusals.add(reached, now)
        {
            recorder.put(Event::LimitReached(reached), now);
        }
    }

    /// Tells of what was refused since, some ten times a second.
    pub(super) fn tick(&mut self, now: Time) {
        if let Some(recorder) = self.selected(Recorder::wants_limits) {
            while let Some(reached) = recorder.refusals.next_due(now) {
                recorder.put(Event::LimitReached(reached), now);
            }
        }
    }
}

fn of_mapping(mapping: &Mapping, with_destination: bool) -> Translation {
    let remote = mapping.remote();
    Translation {
        protocol: mapping.protocol,
        inside: mapping.inside.into(),
        external: mapping.external.into(),
        remote: (with_destination && remote != Endpoint::NONE).then(|| remote.into()),
    }
}

fn of_session(mapping: &Mapping, session: &Session, with_destination: bool) -> Translation {
    Translation {
        protocol: mapping.protocol,
        inside: mapping.inside.into(),
        external: mapping.external.into(),
        remote: with_destination.then(|| session.remote.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_large_as_the_documentation_says() {
        assert!(size_of::<Record>() <= 48, "{}", size_of::<Record>());
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (mut recorder, mut recording) = recording(Selection::default(), 2);
        let reached = LimitReached {
            limit: DropReason::NatSessionLimit,
            protocol: Protocol::Udp,
            host: Ipv4Addr::new(10, 0, 0, 2),
            external: None,
            bound: 1,
            refused: 1,
        };
        for second in 0..5 {
            recorder.put(Event::LimitReached(reached), Time::from_secs(second));
        }
        assert_eq!(recording.lost(), 3);
        let times: Vec<Time> = recording.by_ref().map(|record| record.time).collect();
        assert_eq!(times, [Time::ZERO, Time::from_secs(1)]);
    }
}
