//! A box with a translator between `lan` and `wan`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use classifier::{Range, Rule};
use netchannel::channel::nat::{
    Filtering, NatSettings, PreparedNat, Recorder, Recording, Selection, recording,
};
use netchannel::channel::{ChannelId, Drop, Forward, MappingEntry, Netchannel, Pass, Slice, Sliced};
use netchannel::control::Filter;
use netchannel::dispatch::dimensions::{Ipv4Dimensions, Ipv4Rule, dimension};
use netchannel::dispatch::{Action, Registry, RuleSet};
use netchannel::drop_reason::DropReason;
use netchannel::events::Events;
use netchannel::interface::Interfaces;
use netchannel::network::NetworkBuilder;
use netchannel::packet::Headers;
use serde_json::{Value, json};

use crate::common::{HOST_MAC, LAN, TestBox, WAN_MAC, interfaces, ip, network};
use crate::packets::*;

/// The external address; not one of the box's own, so that nothing is for the box itself.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The box's own address on `wan`.
pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host inside that most tests send from.
pub const INSIDE: &str = "10.0.0.2:5000";
/// A server outside.
pub const SERVER: &str = "8.8.8.8:53";

pub const NAT: ChannelId = ChannelId(2);

fn as_json(entry: &MappingEntry) -> Value {
    json!({
        "protocol": entry.protocol.name(),
        "inside": entry.inside,
        "external": entry.external,
        "sessions": entry.sessions,
        "age_seconds": entry.age.as_secs(),
        "idle_seconds": entry.idle.as_secs(),
        "expires_in_seconds": entry.left.as_secs(),
        "state": entry.state,
    })
}

pub struct NatBox {
    pub test: TestBox,
}

/// What left the box after one packet came in.
#[derive(Debug, Default)]
pub struct Seen {
    pub lan: Vec<Vec<u8>>,
    pub wan: Vec<Vec<u8>>,
    pub passed: Vec<Vec<u8>>,
    pub dropped: Vec<DropReason>,
}

impl Seen {
    /// What left after another packet, behind what left before.
    pub fn add(&mut self, other: Self) {
        self.lan.extend(other.lan);
        self.wan.extend(other.wan);
        self.passed.extend(other.passed);
        self.dropped.extend(other.dropped);
    }

    /// The one packet that left by `wan`.
    #[track_caller]
    pub fn out(&self) -> &[u8] {
        assert!(
            self.wan.len() == 1 && self.lan.is_empty() && self.dropped.is_empty(),
            "{self:?}"
        );
        &self.wan[0]
    }

    /// The one packet that left by `lan`.
    #[track_caller]
    pub fn at_host(&self) -> &[u8] {
        assert!(
            self.lan.len() == 1 && self.wan.is_empty() && self.dropped.is_empty(),
            "{self:?}"
        );
        &self.lan[0]
    }

    /// Why the packet was dropped, without any answer.
    #[track_caller]
    pub fn dropped(&self) -> DropReason {
        assert!(
            self.wan.is_empty() && self.lan.is_empty() && self.passed.is_empty() && self.dropped.len() == 1,
            "{self:?}"
        );
        self.dropped[0]
    }
}

/// The test box's network with more hosts inside.
pub fn wider_network() -> NetworkBuilder {
    (3..=250u8).fold(network(), |network, last| {
        network.neighbour(LAN, ip(&format!("10.0.0.{last}")), HOST_MAC)
    })
}

/// The frame, addressed to the box's Ethernet address on `wan`.
pub fn to_wan(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(destination) = frame.first_chunk_mut() {
        *destination = WAN_MAC;
    }
    frame
}

/// A rule by which mappings that are opened towards this port filter so.
pub fn towards(port: u16, filtering: Filtering) -> Ipv4Rule<Action> {
    let action = Action {
        parameter: filtering.parameter(),
        ..NAT.into()
    };
    let mut rule = Rule::any::<Ipv4Dimensions>(1, action);
    rule.ranges[dimension::DESTINATION_PORT] = Range::exact(port.into());
    rule
}

impl NatBox {
    pub fn new(change: impl FnOnce(&mut NatSettings)) -> Self {
        Self::with_rules(change, |_, _| {})
    }

    /// All goes to the translator unless `rules` say otherwise; they may name a channel that forwards.
    pub fn with_rules(
        change: impl FnOnce(&mut NatSettings),
        rules: impl FnOnce(&mut RuleSet, ChannelId),
    ) -> Self {
        Self::build(interfaces(), change, rules, None)
    }

    /// With these interfaces in place of the test box's own.
    pub fn on(interfaces: Interfaces, change: impl FnOnce(&mut NatSettings)) -> Self {
        Self::build(interfaces, change, |_, _| {}, None)
    }

    /// One that records what happens, with room for so many records.
    pub fn recorded(
        change: impl FnOnce(&mut NatSettings),
        selection: Selection,
        capacity: usize,
    ) -> (Self, Recording) {
        let (recorder, recording) = recording(selection, capacity);
        (
            Self::build(interfaces(), change, |_, _| {}, Some(recorder)),
            recording,
        )
    }

    /// One that records what is watched, with room for so many records.
    pub fn watched(events: &Events, capacity: usize) -> (Self, Recording) {
        let (recorder, recording) = recording(Selection::NONE, capacity);
        let recorder = recorder.watched(events.wanted());
        (
            Self::build(interfaces(), |_| {}, |_, _| {}, Some(recorder)),
            recording,
        )
    }

    fn build(
        interfaces: Interfaces,
        change: impl FnOnce(&mut NatSettings),
        rules: impl FnOnce(&mut RuleSet, ChannelId),
        recorder: Option<Recorder>,
    ) -> Self {
        let mut settings = NatSettings::new(vec![EXTERNAL]);
        change(&mut settings);
        let mut channels = Registry::new();
        channels.register("drop", Box::new(Drop)).unwrap();
        channels.register("pass", Box::new(Pass)).unwrap();
        let mut nat = PreparedNat::new(settings).unwrap();
        if let Some(recorder) = recorder {
            nat.record(recorder);
        }
        channels.register("nat", Box::new(nat.into_channel())).unwrap();
        let forward = channels.register("forward", Box::new(Forward)).unwrap();
        let mut rule_set = RuleSet::new(NAT);
        rules(&mut rule_set, forward);
        let mut test = TestBox::on(interfaces, channels, rule_set);
        test.network.publish(wider_network().build());
        test.run();
        Self { test }
    }

    pub fn plain() -> Self {
        Self::new(|_| {})
    }

    fn after(&mut self, send: impl FnOnce(&mut TestBox)) -> Seen {
        let result = self.after_any(send);
        for frame in result.lan.iter().chain(&result.wan) {
            if Headers::parse(frame).is_ok() {
                assert_checksums(frame);
            }
        }
        result
    }

    /// As the others, for a frame whose checksums may be wrong.
    pub fn any_frame(&mut self, is_inside: bool, frame: &[u8]) -> Seen {
        self.after_any(|test| {
            let sent = match is_inside {
                true => test.lan.send(frame),
                false => test.wan.send(&to_wan(frame)),
            };
            assert!(sent);
        })
    }

    fn after_any(&mut self, send: impl FnOnce(&mut TestBox)) -> Seen {
        let before = self.test.dispatcher.totals().dropped;
        let passed = self.test.kernel.passed.borrow().len();
        send(&mut self.test);
        self.test.run();
        let after = self.test.dispatcher.totals().dropped;
        let dropped = DropReason::ALL
            .iter()
            .flat_map(|&reason| {
                let count = after.get(reason) - before.get(reason);
                std::iter::repeat_n(reason, count as usize)
            })
            .collect();
        let result = Seen {
            lan: self.test.lan.sent_all(),
            wan: self.test.wan.sent_all(),
            passed: self.test.kernel.passed.borrow()[passed..].to_vec(),
            dropped,
        };
        self.test.assert_all_accounted_for();
        assert_eq!(self.test.dispatcher.totals().consumed(), 0);
        result
    }

    /// Has an inside host send an IPv4 packet.
    pub fn inside(&mut self, packet: &[u8]) -> Seen {
        self.inside_frame(&frame(packet))
    }

    pub fn inside_frame(&mut self, frame: &[u8]) -> Seen {
        self.after(|test| assert!(test.lan.send(frame)))
    }

    /// Has an outside host send an IPv4 packet.
    pub fn outside(&mut self, packet: &[u8]) -> Seen {
        self.outside_frame(&frame(packet))
    }

    pub fn outside_frame(&mut self, frame: &[u8]) -> Seen {
        let frame = &to_wan(frame);
        self.after(|test| assert!(test.wan.send(frame)))
    }

    pub fn send(&mut self, body: Body, from: SocketAddrV4, to: SocketAddrV4) -> Seen {
        self.inside(&ip_packet(body, from, to, b"to the outside"))
    }

    pub fn reply(&mut self, body: Body, from: SocketAddrV4, to: SocketAddrV4) -> Seen {
        self.outside(&ip_packet(body, from, to, b"to the inside"))
    }

    /// Sends a packet out that must leave, and returns the external endpoint that it left from.
    #[track_caller]
    pub fn open(&mut self, body: Body, from: SocketAddrV4, to: SocketAddrV4) -> SocketAddrV4 {
        let result = self.send(body, from, to);
        let (source, destination) = ends(result.out());
        assert_eq!(destination.ip(), to.ip());
        source
    }

    /// Whether a packet from outside reaches the inside host `inside`.
    #[track_caller]
    pub fn reaches(
        &mut self,
        body: Body,
        from: SocketAddrV4,
        external: SocketAddrV4,
        inside: SocketAddrV4,
    ) -> bool {
        let result = self.reply(body, from, external);
        match result.lan.first() {
            Some(packet) => {
                let (source, destination) = ends(packet);
                assert_eq!(destination, inside);
                assert_eq!(source.ip(), from.ip());
                true
            }
            None => {
                result.dropped();
                false
            }
        }
    }

    /// Lets time pass, with a tick each second for a minute at the end and fewer before.
    pub fn wait(&mut self, seconds: u64) {
        let end = self.test.now + Duration::from_secs(seconds);
        let mut left = seconds;
        while left > 0 {
            let step = if left > 60 { left - 60 } else { 1 };
            left -= step;
            self.test.now = self.test.now + Duration::from_secs(step);
            self.test.dispatcher.tick(self.test.now);
        }
        assert_eq!(self.test.now, end);
    }

    /// Lets time pass without the channel noticing.
    pub fn leap(&mut self, duration: Duration) {
        self.test.now = self.test.now + duration;
    }

    pub fn nat(&self) -> &dyn Netchannel {
        let channels = self.test.dispatcher.channels();
        channels.iter().find(|(name, _, _)| *name == "nat").unwrap().1
    }

    pub fn mappings(&self) -> Vec<Value> {
        let mut mappings = Vec::new();
        let mut after = Some(0);
        while let Some(place) = after {
            let page = self.mappings_from(&Filter::default(), place, usize::MAX);
            mappings.extend(page.entries.iter().map(as_json));
            after = page.next;
        }
        mappings
    }

    pub fn mappings_from(&self, filter: &Filter, after: u64, limit: usize) -> Sliced<MappingEntry> {
        let slice = Slice { filter, after, limit };
        self.nat().mappings(slice, self.test.now)
    }

    pub fn delete(&mut self, slice: Slice<'_>) -> (u64, Option<u64>) {
        let mut channels = self.test.dispatcher.channels_mut();
        let (_, nat) = channels.find(|(name, _)| *name == "nat").unwrap();
        let deleted = nat.delete_mappings(slice, self.test.now);
        drop(channels);
        self.test.dispatcher.take_back_offloaded();
        deleted
    }

    pub fn detail(&self, pointer: &str) -> Value {
        serde_json::json!(self.nat().details())
            .pointer(pointer)
            .unwrap()
            .clone()
    }
}
