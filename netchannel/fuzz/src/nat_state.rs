//! State files, and what a translator does with them.

use std::time::{Duration, SystemTime};

use netchannel::channel::nat::state::{Restored, Saved, Writer};

use super::common::TestBox;
use super::packets::*;
use super::translator::translating_box;

/// Takes the input as settings, the number of records and the content of a state file, and gives it a right beginning and checksum: it is
/// refused, or some of it taken up. What was taken up is taken up again by another translator, all of it.
pub fn nat_state(input: &[u8]) {
    let _ = Saved::read(input, "nat");
    let Some((&[choices, count], content)) = input.split_first_chunk::<2>() else {
        return;
    };
    let mut first = translating_box(choices);
    let front = &saved(&first)[..12];
    let mut file = [front, content, &u64::from(count).to_le_bytes()].concat();
    file.extend(crc32fast::hash(&file).to_le_bytes());
    let Some(restored) = take_up(&mut first, &file) else {
        return;
    };
    let again = saved(&first);
    let mut second = translating_box(choices);
    let repeated = take_up(&mut second, &again).expect("what was written can be read");
    assert_eq!(
        (repeated.mappings, repeated.sessions, repeated.held_ports),
        (restored.mappings, restored.sessions, restored.held_ports),
    );
    assert!(repeated.left_out.is_empty(), "{repeated}");
    // It works, and ends.
    for (from_inside, packet) in [
        (
            true,
            packet(Body::Udp, at([10, 0, 0, 2], 5000), at([8, 8, 8, 8], 53)),
        ),
        (
            false,
            packet(Body::Udp, at([8, 8, 8, 8], 53), at(EXTERNAL.octets(), 5000)),
        ),
    ] {
        let frame = frame(from_inside, &packet);
        assert!(if from_inside { &first.lan } else { &first.wan }.send(&frame));
        first.run();
        first.assert_all_accounted_for();
    }
    first.now = first.now + Duration::from_secs(100_000);
    first.dispatcher.tick(first.now);
    let left = first
        .dispatcher
        .state("nat", 0, 1000, first.now)
        .expect("a translator");
    assert!(left.records.is_empty());
}

fn saved(test: &TestBox) -> Vec<u8> {
    let part = |after| {
        let part = test.dispatcher.state("nat", after, 7, test.now);
        part.expect("a translator has a state")
    };
    let mut next = part(0);
    let mut writer = Writer::new(Vec::new(), "nat", next.basis, SystemTime::UNIX_EPOCH).expect("memory");
    loop {
        writer.add(&next.records).expect("memory");
        let Some(after) = next.next else { break };
        next = part(after);
    }
    writer.finish().expect("memory").0
}

fn take_up(test: &mut TestBox, file: &[u8]) -> Option<Restored> {
    let saved = Saved::read(file, "nat").ok()?;
    // Late enough that all that is saved has begun.
    test.now = test.now + Duration::from_secs(50_000);
    test.dispatcher.restore("nat", &saved, Duration::ZERO, test.now)
}
