use std::cell::RefCell;
use std::io::{self, Cursor, Write};
use std::rc::Rc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::port::{FramePool, PacketIo};
use crate::time::Time;

const DAY: Duration = Duration::from_secs(86_400);

/// A file in memory that can be looked at while it is written.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read(bytes: &[u8], interface: Option<&str>) -> Result<CaptureReader, CaptureError> {
    CaptureReader::from_source("x.cap", Cursor::new(bytes.to_vec()), interface)
}

/// All packets up to the end or an error.
fn packets(reader: Result<CaptureReader, CaptureError>) -> (Vec<Packet>, Option<CaptureError>) {
    let mut packets = Vec::new();
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (packets, Some(error)),
    };
    while let Some(packet) = reader.peek() {
        packets.push(packet.clone());
        if let Err(error) = reader.advance() {
            assert!(reader.peek().is_none(), "nothing follows an error");
            return (packets, Some(error));
        }
    }
    (packets, None)
}

/// A pcap file in microseconds, little-endian.
fn pcap(link_type: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // The snap length is smaller than packets are on the wire, as in captures that cut them off.
    file.extend(96u32.to_le_bytes());
    file.extend(link_type.to_le_bytes());
    for (seconds, microseconds, original, bytes) in packets {
        for word in [*seconds, *microseconds, bytes.len() as u32, *original] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*bytes);
    }
    file
}

/// A block of a pcapng file, big-endian.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let length = (padded.len() as u32 + 12).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, &padded, &length].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1 << 16, u32::MAX, u32::MAX]))
}

/// An interface with a name of four letters, and its unit of time if not microseconds.
fn interface(link_type: u32, name: &str, resolution: Option<u8>) -> Vec<u8> {
    let mut body = words(&[link_type << 16, 0, 2 << 16 | 4]);
    body.extend(name.as_bytes());
    if let Some(resolution) = resolution {
        body.extend(words(&[9 << 16 | 1, u32::from(resolution) << 24]));
    }
    body.extend(words(&[0]));
    block(1, &body)
}

fn enhanced(interface: u32, ticks: u64, original: u32, bytes: &[u8]) -> Vec<u8> {
    let head = words(&[
        interface,
        (ticks >> 32) as u32,
        ticks as u32,
        bytes.len() as u32,
        original,
    ]);
    block(6, &[&head[..], bytes].concat())
}

#[test]
fn a_pcap_file_is_read_packets_that_were_cut_off_included() {
    let file = pcap(1, &[(10, 500_000, 2, b"ab"), (11, 0, 1500, b"cdefg")]);
    let (packets, error) = packets(read(&file, None));
    assert!(error.is_none());
    let expected = [
        (Duration::from_millis(10_500), 2, b"ab".to_vec()),
        (Duration::from_secs(11), 1500, b"cdefg".to_vec()),
    ];
    assert_eq!(
        packets,
        expected.map(|(time, original_length, bytes)| Packet {
            time,
            original_length,
            bytes
        })
    );
}

#[test]
fn the_packets_of_one_interface_are_chosen_by_its_name() {
    let file = [
        section(),
        interface(1, "lan0", None),
        interface(1, "wan0", Some(9)),
        enhanced(0, 5_000_000, 3, b"abc"),
        enhanced(1, 7_000_000_001, 4, b"defg"),
        block(3, &[&words(&[2])[..], b"hi"].concat()),
        // An obsolete packet block: interface and drops share a word.
        block(2, &[&words(&[1 << 16, 1, 2, 1, 1])[..], b"j"].concat()),
        block(0x0bad_0001, b"of somebody else's"),
        // A second section counts its interfaces anew.
        section(),
        interface(1, "wan0", None),
        enhanced(0, 9_000_000, 1, b"k"),
    ]
    .concat();
    let bytes = |interface| {
        let (packets, error) = packets(read(&file, interface));
        assert!(error.is_none(), "{error:?}");
        packets
            .into_iter()
            .map(|packet| (packet.time.as_nanos(), packet.bytes))
            .collect::<Vec<_>>()
    };
    let lan = [(5_000_000_000, b"abc".to_vec()), (5_000_000_000, b"hi".to_vec())];
    let wan = [
        (7_000_000_001, b"defg".to_vec()),
        ((1 << 32) + 2, b"j".to_vec()),
        (9_000_000_000, b"k".to_vec()),
    ];
    assert_eq!(bytes(Some("lan0")), lan);
    assert_eq!(bytes(Some("wan0")), wan);
    assert_eq!(bytes(None).len(), 5);

    let (none, error) = packets(read(&file, Some("eth7")));
    assert!(none.is_empty());
    assert_eq!(
        error.unwrap().to_string(),
        "x.cap has no interface eth7; it has: lan0, wan0, wan0"
    );
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_name_and_the_packet() {
    let good = pcap(1, &[(1, 0, 2, b"ab"), (2, 0, 4, b"cdef")]);
    let broken_time = pcap(1, &[(1, 0, 2, b"ab"), (1, 1_000_000, 2, b"ab")]);
    let ng = [section(), interface(1, "lan0", None), enhanced(0, 1, 3, b"abc")].concat();
    let unknown_interface = [&ng[..], &enhanced(4, 1, 3, b"abc")].concat();
    let too_short = [&ng[..], &block(6, &words(&[0, 0]))].concat();
    let too_long = [&ng[..], &block(6, &words(&[0, 0, 1, 99, 99]))].concat();
    let mut bad_trailer = ng.clone();
    *bad_trailer.last_mut().unwrap() ^= 1;
    let wifi = [section(), interface(105, "wlan", None), enhanced(0, 1, 3, b"abc")].concat();
    let cases: [(&[u8], Option<&str>, &str); 13] = [
        (b"", None, "x.cap is empty; expected a pcap or pcapng capture"),
        (
            b"\x1f\x8b\x08\x00",
            None,
            "x.cap is no capture: it starts with [1f, 8b, 08, 00]; expected pcap or pcapng, not compressed",
        ),
        (
            b"no",
            None,
            "x.cap is no capture: it starts with [6e, 6f]; expected pcap or pcapng, not compressed",
        ),
        (
            &good[..20],
            None,
            "x.cap ends within packet 1, or a length there is wrong",
        ),
        (
            &good[..good.len() - 1],
            None,
            "x.cap ends within packet 2, or a length there is wrong",
        ),
        (
            &good,
            Some("lan0"),
            "x.cap is a pcap file, which names no interfaces, so lan0 can't be chosen in it",
        ),
        (
            &pcap(113, &[(1, 0, 2, b"ab")]),
            None,
            "x.cap: packet 1 has link type 113; only Ethernet (1) can be read",
        ),
        (
            &broken_time,
            None,
            "x.cap: packet 2: its time has 1000000 parts of a second, of 1000000",
        ),
        (
            &unknown_interface,
            None,
            "x.cap: packet 2: its interface is number 4, but 1 are described before it",
        ),
        (&too_short, None, "x.cap: packet 2: its block is too short"),
        (
            &too_long,
            None,
            "x.cap: packet 2: 99 bytes in a block that has room for 0",
        ),
        (
            &bad_trailer,
            None,
            "x.cap: packet 1: Block: initial_length != trailer_length",
        ),
        (
            &wifi,
            None,
            "x.cap: packet 1 has link type 105; only Ethernet (1) can be read",
        ),
    ];
    for (file, interface, expected) in cases {
        let (_, error) = packets(read(file, interface));
        assert_eq!(error.expect(expected).to_string(), expected);
    }
    let missing = CaptureReader::open("/nonexistent/x.cap", None).err().unwrap();
    assert_eq!(missing.to_string(), "/nonexistent/x.cap could not be opened");
}

#[test]
fn packets_are_received_when_their_time_has_come_from_all_captures() {
    let one = pcap(1, &[(100, 0, 1, b"a"), (103, 0, 1, b"d"), (102, 0, 1, b"e")]);
    let other = pcap(1, &[(101, 0, 1, b"b"), (102, 0, 9, b"c")]);
    let inputs = [read(&one, None).unwrap(), read(&other, None).unwrap()];
    let epoch = Epoch::of_captures(&inputs);
    let pool = FramePool::in_memory(2, 64);
    let [one, other] = inputs;
    let mut port = CapturePort::new(&pool, epoch).with_input(one).with_input(other);

    let mut burst = Vec::new();
    assert_eq!(port.next_time(), Some(Time::from_secs(1)));
    assert_eq!(port.receive(Time::ZERO, &mut burst, 10), 0);
    // Two have come, and the third waits for a frame as for its time.
    assert_eq!(port.receive(Time::from_secs(3), &mut burst, 10), 2);
    assert_eq!(port.receive(Time::from_secs(3), &mut burst, 10), 0);
    let mut seen = Vec::new();
    let mut now = Time::ZERO;
    while let Some(next) = port.next_time() {
        now = now.max(next);
        seen.extend(burst.drain(..).map(|frame| frame.bytes().to_vec()));
        port.receive(now, &mut burst, 10);
        port.flush().unwrap();
    }
    seen.extend(burst.drain(..).map(|frame| frame.bytes().to_vec()));
    assert_eq!(seen.concat(), b"abcde");
    assert_eq!(port.counters().received_packets, 5);
    assert_eq!(
        port.capture_counters(),
        CaptureCounters {
            oversized: 0,
            truncated: 1
        }
    );
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn packets_longer_than_a_frame_are_counted_and_left_out() {
    let file = pcap(1, &[(1, 0, 9, b"too long!"), (2, 0, 8, b"it fits.")]);
    let input = read(&file, None).unwrap();
    let pool = FramePool::in_memory(4, 8);
    let mut port = CapturePort::new(&pool, Epoch::default()).with_input(input);
    let mut burst = Vec::new();
    assert_eq!(port.receive(Time::MAX, &mut burst, 10), 1);
    assert_eq!(burst[0].bytes(), b"it fits.");
    assert_eq!(port.capture_counters().oversized, 1);
}

#[test]
fn a_malformed_capture_ends_the_port_with_an_error_after_its_good_packets() {
    let mut file = pcap(1, &[(1, 0, 2, b"ab"), (2, 0, 2, b"cd")]);
    file.pop();
    let input = read(&file, None).unwrap();
    let pool = FramePool::in_memory(4, 64);
    let mut port = CapturePort::new(&pool, Epoch::default()).with_input(input);
    let mut burst = Vec::new();
    assert_eq!(port.receive(Time::MAX, &mut burst, 10), 1);
    assert_eq!(port.next_time(), None);
    for _ in 0..2 {
        let error = port.flush().unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.cap ends within packet 2, or a length there is wrong"
        );
    }
}

#[test]
fn several_ports_write_to_one_file_under_their_names() {
    let memory = Memory::default();
    let writer = CaptureWriter::to_sink("out.pcapng", memory.clone(), Epoch::at(DAY)).unwrap();
    let pool = FramePool::in_memory(4, 64);
    let mut ports = ["lan0", "wan0"]
        .map(|name| CapturePort::new(&pool, Epoch::at(DAY)).with_output(writer.interface(name).unwrap()));
    for (number, at) in [(0, 5), (1, 6), (0, 7)] {
        let mut frames = vec![pool.take_filled(&[at]).unwrap()];
        assert!(ports[number].transmit_room() > 0);
        assert_eq!(
            ports[number].transmit(Time::from_nanos(at.into()), &mut frames),
            1
        );
        ports[number].flush().unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(pool.in_use(), 0);
    let file = memory.0.borrow().clone();
    let sent = |name| {
        let (packets, error) = packets(read(&file, Some(name)));
        assert!(error.is_none());
        packets
            .into_iter()
            .map(|packet| ((packet.time - DAY).as_nanos(), packet.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(sent("lan0"), [(5, vec![5]), (7, vec![7])]);
    assert_eq!(sent("wan0"), [(6, vec![6])]);
}

#[test]
fn a_full_disk_is_an_error_of_every_port_on_the_file() {
    /// Takes some bytes and no more.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Some(rest) = self.0.checked_sub(bytes.len()) else {
                return Err(io::ErrorKind::StorageFull.into());
            };
            self.0 = rest;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writer = CaptureWriter::to_sink("out.pcapng", Full(150), Epoch::default()).unwrap();
    let pool = FramePool::in_memory(1, 64);
    let mut ports = ["a", "b"]
        .map(|name| CapturePort::new(&pool, Epoch::default()).with_output(writer.interface(name).unwrap()));
    let mut frames = vec![pool.take_filled(&[0; 64]).unwrap()];
    ports[0].transmit(Time::ZERO, &mut frames);
    for port in &mut ports {
        assert_eq!(
            port.flush().unwrap_err().to_string(),
            "out.pcapng could not be written"
        );
    }
    assert!(writer.finish().is_err());
    assert_eq!(pool.in_use(), 0);
}

/// A file that is nearly right: good blocks and packets with some bytes changed, and perhaps the end missing.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let ng = [
        section(),
        interface(1, "lan0", Some(0x8a)),
        enhanced(0, u64::MAX, 3, b"abc"),
        block(3, &[&words(&[2])[..], b"hi"].concat()),
        block(4, &words(&[1 << 16 | 8, 0x0a00_0001, 0x686f_7374, 0])),
        block(5, &words(&[0, 1, 2, 3 << 16 | 8, 1, 2, 0])),
        interface(1, "wan0", None),
        enhanced(1, 77, 300, b"defg"),
    ]
    .concat();
    let old = pcap(1, &[(10, 5, 2, b"ab"), (11, 0, 1500, b"cdefg"), (12, 0, 0, b"")]);
    let file = prop_oneof![Just(ng), Just(old)];
    (
        file,
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut file, changes, end)| {
            for (at, value) in changes {
                let at = at.index(file.len());
                file[at] = value;
            }
            file.truncate(end.index(file.len() * 2) + 1);
            file
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_file_makes_the_reader_panic(file in prop_oneof![vec(any::<u8>(), 0..200), damaged()]) {
        for interface in [None, Some("wan0")] {
            let (packets, _) = packets(read(&file, interface));
            prop_assert!(packets.len() <= file.len());
            for packet in packets {
                prop_assert!(packet.bytes.len() <= file.len());
                Epoch::default().to_time(packet.time);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        sent in vec((any::<u64>(), vec(any::<u8>(), 0..100)), 0..20),
        start in 0u64..1 << 62,
    ) {
        let memory = Memory::default();
        let epoch = Epoch::at(Duration::from_nanos(start));
        let writer = CaptureWriter::to_sink("x.pcapng", memory.clone(), epoch).unwrap();
        let pool = FramePool::in_memory(1, 100);
        let mut port = CapturePort::new(&pool, epoch).with_output(writer.interface("lan0").unwrap());
        for (time, bytes) in &sent {
            let mut frames = vec![pool.take_filled(bytes).unwrap()];
            port.transmit(Time::from_nanos(time >> 2), &mut frames);
        }
        writer.finish().unwrap();
        let (read, error) = packets(read(&memory.0.borrow(), Some("lan0")));
        prop_assert!(error.is_none());
        let read: Vec<_> = read
            .into_iter()
            .map(|packet| (epoch.to_time(packet.time), packet.original_length as usize, packet.bytes))
            .collect();
        let sent: Vec<_> = sent
            .into_iter()
            .map(|(time, bytes)| (Time::from_nanos(time >> 2), bytes.len(), bytes))
            .collect();
        prop_assert_eq!(read, sent);
    }
}
