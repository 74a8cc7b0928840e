use super::template::{OPTIONS_TEMPLATES, TEMPLATES, VARIABLE, length};
use super::*;
use crate::channel::nat::EndReason;

const INSTANCE: u32 = 3;

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(0x0000_0123_4567_89ab)
}

fn translation() -> Translation {
    Translation {
        protocol: Protocol::Udp,
        inside: "10.0.0.2:5000".parse().unwrap(),
        external: "198.51.100.1:2000".parse().unwrap(),
        remote: None,
    }
}

fn message_of(events: &[Event]) -> Vec<u8> {
    let mut message = Message::new(7, 1400);
    for event in events {
        assert!(message.add(&DataRecord::of(INSTANCE, time(), event).unwrap()));
    }
    message.finish(SystemTime::UNIX_EPOCH + Duration::from_secs(0x0102_0304))
}

/// The header and one set around `records`.
fn expected(sequence: u32, set: u16, records: &[u8]) -> Vec<u8> {
    let length = |more: usize| ((more + records.len()) as u16).to_be_bytes();
    [
        &[0, 10][..],
        &length(20),
        &[1, 2, 3, 4],
        &sequence.to_be_bytes(),
        &[0, 0, 0, 7],
        &set.to_be_bytes(),
        &length(4),
        records,
    ]
    .concat()
}

const TIME: [u8; 8] = [0, 0, 1, 0x23, 0x45, 0x67, 0x89, 0xab];
const ENDPOINTS: [u8; 13] = [10, 0, 0, 2, 198, 51, 100, 1, 17, 0x13, 0x88, 0x07, 0xd0];

fn record(event: u8, rest: &[u8]) -> Vec<u8> {
    [&TIME[..], &[event, 0, 0, 0, 3], rest].concat()
}

/// 8158-t2: natEvent 8 and 9 with time, both endpoints and protocol; 6888-12: no destination.
#[test]
fn rfc_8158_t2_mappings_byte_for_byte() {
    let message = message_of(&[
        Event::MappingCreated(translation()),
        Event::MappingDeleted(translation(), EndReason::Expired),
    ]);
    let records = [record(8, &ENDPOINTS), record(9, &ENDPOINTS)].concat();
    assert_eq!(message, expected(0, 256, &records));
}

/// 8158-t1: natEvent 4 and 5; the destination only if it is recorded.
#[test]
fn rfc_8158_t1_sessions_byte_for_byte() {
    let message = message_of(&[Event::SessionCreated(translation())]);
    assert_eq!(message, expected(0, 256, &record(4, &ENDPOINTS)));
    let to_server = Translation {
        remote: Some("192.0.2.9:53".parse().unwrap()),
        ..translation()
    };
    let message = message_of(&[Event::SessionDeleted(to_server, EndReason::Closed)]);
    let destination = [192, 0, 2, 9, 192, 0, 2, 9, 0, 53, 0, 53];
    let rest = [&ENDPOINTS[..], &destination].concat();
    assert_eq!(message, expected(0, 257, &record(5, &rest)));
}

/// 8158-t3: natEvent 16 and 17; every port from the first to the last.
#[test]
fn rfc_8158_t3_blocks_of_ports_byte_for_byte() {
    let block = PortBlock {
        host: Ipv4Addr::new(10, 0, 0, 2),
        external: Ipv4Addr::new(198, 51, 100, 1),
        first: 0x0800,
        last: 0x09ff,
    };
    let message = message_of(&[Event::BlockAllocated(block), Event::BlockReleased(block)]);
    let block = [10, 0, 0, 2, 198, 51, 100, 1, 8, 0, 9, 0xff, 0, 1, 2, 0];
    let records = [record(16, &block), record(17, &block)].concat();
    assert_eq!(message, expected(0, 265, &records));
    let mut template = Vec::new();
    PORT_BLOCK.put(&mut template);
    let elements = template[4..]
        .chunks(4)
        .map(|field| u16::from_be_bytes([field[0], field[1]]));
    assert!(elements.eq([323, 230, 463, 8, 225, 361, 362, 363, 364]));
}

/// 8158-t4 and 8158-q: exhaustion names the pool or the address, quotas their bound.
#[test]
fn rfc_8158_t4_and_q_limits_byte_for_byte() {
    let reached = |limit, external: Option<&str>| {
        Event::LimitReached(LimitReached {
            limit,
            protocol: Protocol::Tcp,
            host: Ipv4Addr::new(10, 0, 0, 2),
            external: external.map(|address| address.parse().unwrap()),
            bound: 0x0102_0304,
            refused: 5,
        })
    };
    let bound = [1, 2, 3, 4];
    let quota = |number: u8| [0, 0, 0, number];
    let of_host = [quota(3), bound, [10, 0, 0, 2]].concat();
    use DropReason::*;
    for (event, set, expected_record) in [
        (reached(NatPortsExhausted, None), 258, record(3, &[0, 0, 0, 3])),
        (
            reached(NatPortsExhausted, Some("198.51.100.1")),
            259,
            record(12, &[0, 0, 0, 3, 198, 51, 100, 1, 6]),
        ),
        (
            reached(NatSessionLimit, None),
            260,
            record(13, &[quota(1), bound].concat()),
        ),
        (
            reached(NatMappingLimit, None),
            261,
            record(13, &[quota(2), bound].concat()),
        ),
        (reached(NatHostMappingLimit, None), 262, record(13, &of_host)),
        (reached(NatHostBlockLimit, None), 262, record(13, &of_host)),
        (reached(NatHostSessionLimit, None), 262, record(13, &of_host)),
        (reached(NatMappingSessionLimit, None), 262, record(13, &of_host)),
    ] {
        assert_eq!(
            message_of(&[event]),
            expected(0, set, &expected_record),
            "{event:?}"
        );
    }
    // RFC 8158 has no event for these.
    for limit in [NatRateLimit, NatHostRateLimit] {
        assert!(DataRecord::of(INSTANCE, time(), &reached(limit, None)).is_none());
    }
}

#[test]
fn options_byte_for_byte() {
    let mut message = Message::new(7, 1400);
    assert!(message.add(&DataRecord::pool_name(INSTANCE, "internet")));
    let name = [&[0, 0, 0, 3, 8][..], b"internet"].concat();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(0x0102_0304);
    assert_eq!(message.finish(at), expected(0, 263, &name));
    assert!(message.add(&DataRecord::not_sent(INSTANCE, 9)));
    assert_eq!(
        message.finish(at),
        expected(1, 264, &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9])
    );
}

#[test]
fn the_mapping_template_byte_for_byte() {
    let mut template = Vec::new();
    MAPPING.put(&mut template);
    let fields = [
        (323, 8),
        (230, 1),
        (463, 4),
        (8, 4),
        (225, 4),
        (4, 1),
        (7, 2),
        (227, 2),
    ];
    let fields =
        fields.map(|(element, length): (u16, u16)| [element.to_be_bytes(), length.to_be_bytes()].concat());
    assert_eq!(template, [&[1, 0, 0, 8][..], &fields.concat()].concat());
    let mut options = Vec::new();
    POOL_NAME.put(&mut options);
    assert_eq!(options, [1, 7, 0, 2, 0, 1, 1, 27, 0, 4, 1, 28, 255, 255]);
}

/// The smallest message that the configuration allows has room for all templates and a name.
#[test]
fn templates_fit_the_smallest_message() {
    let mut message = Message::new(7, 512);
    assert!(message.add_templates());
    assert!(message.add(&DataRecord::pool_name(INSTANCE, &"n".repeat(32))));
    let bytes = message.finish(time());
    assert!(bytes.len() <= 512);
    assert_eq!(bytes[16..18], [0, 2]);
}

/// Records are as long as their templates say, for every kind.
#[test]
fn records_are_as_long_as_their_templates_say() {
    for template in TEMPLATES.into_iter().chain(OPTIONS_TEMPLATES) {
        for element in template.elements {
            let mut out = Vec::new();
            Values::of(INSTANCE).put(*element, &mut out);
            let expected = match length(*element) {
                VARIABLE => 1,
                length => length,
            };
            assert_eq!(out.len(), usize::from(expected), "{element}");
        }
    }
}

/// A message that is full takes nothing more and is well formed; the sequence counts data records.
#[test]
fn messages_are_bounded_and_numbered() {
    let mut message = Message::new(7, 512);
    let mut records = 0u32;
    for _ in 0..5 {
        assert!(message.is_empty());
        let mut here = 0;
        let event = Event::MappingCreated(translation());
        while message.add(&DataRecord::of(INSTANCE, time(), &event).unwrap()) {
            here += 1;
        }
        let bytes = message.finish(time());
        assert_eq!(here, (512 - 20) / 26);
        assert_eq!(bytes.len(), 20 + 26 * here as usize);
        assert_eq!(bytes[2..4], (bytes.len() as u16).to_be_bytes());
        assert_eq!(bytes[18..20], (bytes.len() as u16 - 16).to_be_bytes());
        assert_eq!(bytes[8..12], records.to_be_bytes());
        records += here;
    }
}
