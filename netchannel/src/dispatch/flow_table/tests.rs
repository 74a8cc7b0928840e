use super::*;
use crate::packet::Fragment;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Half of them of each IP version.
pub(super) fn key(number: u16) -> FlowKey {
    let (source, destination) = if number.is_multiple_of(2) {
        let source = IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
        (source, IpAddr::from([192, 0, 2, 1]))
    } else {
        let source = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number));
        (source.into(), Ipv6Addr::LOCALHOST.into())
    };
    FlowKey {
        source,
        destination,
        source_port: number,
        destination_port: 80,
        protocol: 6,
        interface: InterfaceId(0),
        message: 0,
        fragment: Fragment::Whole,
    }
}

impl FlowTable {
    fn open_key(&mut self, number: u16, channel: u16, now: Time) -> FlowId {
        let sought = self.seek(PackedKey::from(&key(number)));
        self.open(&sought, ChannelId(channel), now)
    }

    fn find_key(&self, number: u16) -> Option<FlowId> {
        self.find(&self.seek(PackedKey::from(&key(number))))
    }
}

#[test]
fn a_full_bucket_replaces_the_flow_that_was_silent_longest() {
    let mut table = FlowTable::new(8);
    for number in 0..8 {
        table.open_key(2 * number, 0, Time::from_secs(u64::from(number)));
    }
    let touched = table.find_key(0).unwrap();
    table.flow_mut(touched).unwrap().last_seen = Time::from_secs(100);
    table.open_key(16, 0, Time::from_secs(101));
    assert!(table.find_key(2).is_none());
    assert!(table.find_key(0).is_some());
    assert_eq!((table.len(), table.capacity(), table.replaced()), (8, 8, 1));
}

#[test]
fn flows_of_single_packets_give_way_to_others_first() {
    let mut table = FlowTable::new(8);
    for number in 0..8 {
        let flow = table.open_key(2 * number, 0, Time::from_secs(10));
        // The first two are conversations; of one nothing was heard for long.
        table.flow_mut(flow).unwrap().packets = if number < 2 { 2 } else { 1 };
        table.flow_mut(flow).unwrap().last_seen = Time::from_secs([10, 55][usize::from(number > 0)]);
    }
    // Single packets come in great numbers.
    for number in 8..100 {
        let now = Time::from_secs(60) + std::time::Duration::from_millis(number.into());
        let flow = table.open_key(2 * number, 0, now);
        table.flow_mut(flow).unwrap().packets = 1;
    }
    assert!(table.find_key(0).is_none());
    assert!(table.find_key(2).is_some());
}

#[test]
fn flows_are_told_while_somebody_watches() {
    use super::super::flow_record::{CloseReason, flow_recording};
    use crate::events::{Events, Kind};

    let events = Events::new();
    let (recorder, mut recording) = flow_recording(events.wanted(), 64);
    let mut table = FlowTable::new(8);
    table.record(recorder);
    table.open_key(0, 0, Time::from_secs(1));
    assert_eq!(recording.next(), None, "nobody watches");
    let _watching = events.subscribe([Kind::Flows].into_iter().collect());
    for number in 1..=8 {
        table.open_key(2 * number, 3, Time::from_secs(10 + u64::from(number)));
    }
    table.invalidate();
    table.open_key(16, 4, Time::from_secs(30));
    let told: Vec<_> = recording.by_ref().collect();
    let opened = told.iter().filter(|record| record.closed.is_none());
    let opened: Vec<(FlowKey, u16)> = opened.map(|record| (record.key, record.channel.0)).collect();
    let mut expected: Vec<(FlowKey, u16)> = (1..=8).map(|number| (key(2 * number), 3)).collect();
    expected.push((key(16), 4));
    assert_eq!(opened, expected);
    let closed = told
        .iter()
        .filter_map(|record| Some((record.key, record.closed?.reason)));
    assert_eq!(
        closed.collect::<Vec<_>>(),
        [(key(0), CloseReason::Replaced), (key(16), CloseReason::Rules)]
    );
    // Those that had no packet since are closed by the sweep.
    table.sweep(usize::MAX, Time::from_secs(31));
    let swept = recording
        .by_ref()
        .filter_map(|record| Some((record.key.source_port, record.closed?.reason)));
    let mut swept: Vec<_> = swept.collect();
    swept.sort_by_key(|(port, _)| *port);
    let expected: Vec<_> = (1..=7).map(|number| (2 * number, CloseReason::Rules)).collect();
    assert_eq!(swept, expected);
}

#[test]
fn a_new_rule_set_makes_every_flow_be_decided_again() {
    let mut table = FlowTable::new(64);
    for number in [1, 2] {
        table.open_key(number, 1, Time::ZERO);
    }
    table.invalidate();
    for number in [1, 2] {
        assert!(table.find_key(number).is_none());
        table.open_key(number, 2, Time::ZERO);
        let id = table.find_key(number).unwrap();
        assert_eq!(table.flow_mut(id).unwrap().channel, ChannelId(2));
    }
    assert_eq!(table.len(), 2);
}

#[test]
fn a_flow_is_not_taken_for_the_one_that_replaced_it() {
    let mut table = FlowTable::new(8);
    let id = table.open_key(0, 0, Time::ZERO);
    for number in 1..=8 {
        table.open_key(2 * number, 0, Time::from_secs(1));
    }
    assert!(table.flow_mut(id).is_none());
}

proptest! {
    /// A found flow is always the one that was opened last under its key, the bound holds, and all flows are listed.
    #[test]
    fn agrees_with_a_map(operations in proptest::collection::vec((0u16..200, any::<bool>(), 0u16..4), 1..500)) {
        let mut table = FlowTable::new(64);
        let mut model = HashMap::new();
        for (step, (number, open, channel)) in operations.into_iter().enumerate() {
            if open {
                table.open_key(number, channel, Time::from_secs(step as u64));
                model.insert(number, channel);
                prop_assert!(table.find_key(number).is_some());
            }
            if let Some(id) = table.find_key(number) {
                prop_assert_eq!(Some(&table.flow_mut(id).unwrap().channel.0), model.get(&number));
            }
            prop_assert!(table.len() <= 2 * table.capacity());
        }
        prop_assert_eq!(table.iter().count(), table.len());
        for (listed, flow) in table.iter() {
            let number = listed.source_port;
            prop_assert_eq!(listed, key(number));
            prop_assert_eq!(Some(&flow.channel.0), model.get(&number));
        }
    }
}
