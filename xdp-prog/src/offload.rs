//! Layout of the flows that the XDP program carries by itself, and of the ways that they leave by.
//!
//! User space maps these maps into its memory and writes them while the program reads them. Every structure is given by the types
//! of its words, `W` of 32 bits and `D` of 64: plain integers for the program, atomic ones for user space. What stands in packets is
//! held as it is in memory, everything else in the byte order of the machine.
#![allow(unsafe_code)] // for the marker trait MapData

use crate::MapData;

/// Entries that share a bucket: the bound on what a lookup can cost.
pub const BUCKET: usize = 8;
/// Records of ways; the first one is of no way.
pub const MAX_WAYS: u32 = 1024;
/// Most flows of one IP version.
pub const MAX_FLOWS: u32 = 1 << 22;
/// Random numbers of the hash.
pub const SEEDS_LEN: usize = 10;

/// Array of `u64`: the tags of each bucket's entries, IPv4. User space maps it, and the next ones, into its memory.
pub const TAGS_V4: &str = "OFFLOAD_TAGS_V4";
/// Array of [`Ipv4Entry`].
pub const ENTRIES_V4: &str = "OFFLOAD_V4";
/// Array of `u64`: the tags of each bucket's entries, IPv6.
pub const TAGS_V6: &str = "OFFLOAD_TAGS_V6";
/// Array of [`Ipv6Entry`].
pub const ENTRIES_V6: &str = "OFFLOAD_V6";
/// Array of [`WayRecord`].
pub const WAYS: &str = "OFFLOAD_WAYS";
/// Map of devices that packets leave by, by [`Interface::slot`](crate::Interface::slot).
pub const DEVICES: &str = "DEVICES";
/// Global of [`SEEDS_LEN`] `u64`: the random numbers of the hash.
pub const SEEDS: &str = "OFFLOAD_SEEDS";
/// Global of type `u32`: buckets for IPv4, a power of two; 0 if no flow of IPv4 is carried, and then nothing of this costs a frame anything.
pub const BUCKETS_V4: &str = "OFFLOAD_BUCKETS_V4";
/// Global of type `u32`: buckets for IPv6.
pub const BUCKETS_V6: &str = "OFFLOAD_BUCKETS_V6";

/// Nanoseconds of a tick, in which entries have their times, as a power of two: 16.8 ms.
pub const TICK_BITS: u32 = 24;

/// Bit of [`State::stamp_and_lease`]'s stamp: only packets with the don't-fragment bit are carried.
pub const NEEDS_DONT_FRAGMENT: u32 = 1;
/// Bit of the stamp: packets whose checksum field holds the sum of the pseudo header are not carried.
pub const PARTIAL_CHECKSUMS: u32 = 2;
/// What the stamp grows by with each flow, leaving room for its flags.
pub const STAMP_STEP: u32 = 4;

/// [`WayRecord::id`] of a way that has ended. Its record stays what it was.
pub const WAY_ENDED: u32 = 0;
/// [`WayRecord::id`] while the record becomes another way's.
pub const WAY_CHANGING: u32 = 1;

/// Bit of [`WayRecord::mtu`]: the device takes frames that lie in several buffers.
pub const SEVERAL_BUFFERS: u32 = 1 << 16;

/// What an entry is at the moment, in either IP version.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct State<W, D> {
    /// In the high half the stamp of the flow: different for each that takes the place, with the flags in its low bits, and 0 while
    /// the entry is written. In the low half the tick from which on it is not carried.
    pub stamp_and_lease: D,
    /// [`WayRecord::id`] of the way that it leaves by.
    pub way: W,
    /// Tick of the last packet.
    pub last_seen: W,
    /// Whether the flow is carried, and its packets and bytes, see [`Count`].
    pub count: D,
    /// Overflows of `count`, see [`Count`].
    pub overflows: D,
}

/// A flow of IPv4.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Ipv4Entry<W, D> {
    /// Source and destination address of packets that arrive.
    pub addresses: D,
    /// Source and destination port of packets that arrive.
    pub ports: W,
    /// See [`arrival`].
    pub arrival: W,
    /// Addresses of packets that leave.
    pub new_addresses: D,
    /// Ports of packets that leave.
    pub new_ports: W,
    /// What the changes do to checksums, to be added to 16-bit words as they are in memory: in the low half to the sum over the
    /// IPv4 header, time to live included, in the high half to that over the segment.
    pub deltas: W,
    /// What the entry is at the moment.
    pub state: State<W, D>,
}

/// A flow of IPv6, which is not translated.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Ipv6Entry<W, D> {
    /// Source and destination address.
    pub addresses: [D; 4],
    /// Source and destination port.
    pub ports: W,
    /// See [`arrival`].
    pub arrival: W,
    /// What the entry is at the moment.
    pub state: State<W, D>,
    /// Nothing.
    pub padding: [D; 7],
}

/// A way that flows leave by.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub struct WayRecord<W, D> {
    /// The place of this record in its low bits (the number of the way), and how often it was taken above them.
    pub id: W,
    /// Place of the device in [`DEVICES`].
    pub slot: W,
    /// The Ethernet address that packets must have been sent to, and 16 bits of nothing.
    pub arrival_mac: D,
    /// The Ethernet addresses that they get, destination first: the first 8 bytes.
    pub macs: D,
    /// The last 4 bytes of the Ethernet addresses.
    pub macs_end: W,
    /// The longest IP packet that fits, in bytes; and [`SEVERAL_BUFFERS`].
    pub mtu: W,
}

// SAFETY: the fields are integers, and the sizes below show that they leave no gap.
unsafe impl MapData for Ipv4Entry<u32, u64> {}
// SAFETY: as above.
unsafe impl MapData for Ipv6Entry<u32, u64> {}
// SAFETY: as above.
unsafe impl MapData for WayRecord<u32, u64> {}

const _: () = {
    assert!(size_of::<State<u32, u64>>() == 8 + 4 + 4 + 8 + 8);
    assert!(size_of::<Ipv4Entry<u32, u64>>() == 8 + 4 + 4 + 8 + 4 + 4 + 32);
    assert!(size_of::<Ipv6Entry<u32, u64>>() == 32 + 4 + 4 + 32 + 56);
    assert!(size_of::<WayRecord<u32, u64>>() == 4 + 4 + 8 + 8 + 4 + 4);
};

/// The number of a way in its [`id`](WayRecord::id).
#[inline(always)]
pub const fn way_number(id: u32) -> u32 {
    id & (MAX_WAYS - 1)
}

/// Arrival device and protocol of a flow in one word. Indices of devices are less than 2³¹.
#[inline(always)]
pub const fn arrival(ifindex: u32, is_tcp: bool) -> u32 {
    ifindex << 1 | is_tcp as u32
}

/// Hash of an IPv4 flow: multiply-shift by pairs of 32-bit words, strongly universal over random seeds (Thorup, High Speed Hashing for
/// Integers and Strings, 2015), so that nobody who does not know them can aim at a bucket.
#[inline(always)]
pub const fn hash_ipv4(seeds: [u64; 4], addresses: u64, ports: u32, arrival: u32) -> u32 {
    let sum = pair([seeds[0], seeds[1]], addresses as u32, (addresses >> 32) as u32).wrapping_add(pair(
        [seeds[2], seeds[3]],
        ports,
        arrival,
    ));
    mix(sum)
}

/// Hash of an IPv6 flow, as [`hash_ipv4`].
#[inline(always)]
pub const fn hash_ipv6(seeds: [u64; SEEDS_LEN], addresses: [u64; 4], ports: u32, arrival: u32) -> u32 {
    let [a, b, c, d] = addresses;
    let sum = pair([seeds[0], seeds[1]], a as u32, (a >> 32) as u32)
        .wrapping_add(pair([seeds[2], seeds[3]], b as u32, (b >> 32) as u32))
        .wrapping_add(pair([seeds[4], seeds[5]], c as u32, (c >> 32) as u32))
        .wrapping_add(pair([seeds[6], seeds[7]], d as u32, (d >> 32) as u32))
        .wrapping_add(pair([seeds[8], seeds[9]], ports, arrival));
    mix(sum)
}

#[inline(always)]
const fn pair(seeds: [u64; 2], one: u32, other: u32) -> u64 {
    seeds[0]
        .wrapping_add(one as u64)
        .wrapping_mul(seeds[1].wrapping_add(other as u64))
}

/// Flows whose words are in arithmetic progression, as those of a scan or a benchmark are, have sums that are too, and would fill a few buckets: this
/// scatters them as if they were random.
#[inline(always)]
const fn mix(sum: u64) -> u32 {
    /// 2⁶⁴ divided by the golden ratio.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    ((sum ^ sum >> 32).wrapping_mul(MULTIPLIER) >> 32) as u32
}

/// The byte of a flow's hash that stands in the tags of its bucket; 0 is that of a free entry.
#[inline(always)]
pub const fn tag(hash: u32) -> u8 {
    (hash >> 24) as u8 | 1
}

/// The word that counts a flow's packets and bytes in one atomic addition, which also tells whether the flow is carried at that
/// moment: bit 0. So whoever takes the bit away knows exactly what was carried.
///
/// Above it are 23 bits of packets and 40 bits of bytes. Each time that the highest bit of packets or bytes changes, it is counted in
/// another word: 32 bits each, packets in the low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count;

impl Count {
    /// The flow is carried.
    pub const CARRIED: u64 = 1;
    /// A packet.
    pub const PACKET: u64 = 1 << 1;
    const BYTES_SHIFT: u32 = 24;
    const PACKETS_TOP: u32 = Self::BYTES_SHIFT - 1;
    const BYTES_TOP: u32 = 63;

    /// What a packet in a frame of `length` bytes adds.
    #[inline(always)]
    pub const fn of_packet(length: u64) -> u64 {
        Self::PACKET + (length << Self::BYTES_SHIFT)
    }

    /// Whether a highest bit differs between two values.
    #[inline(always)]
    pub const fn overflows(before: u64, after: u64) -> bool {
        (before ^ after) & (1 << Self::PACKETS_TOP | 1 << Self::BYTES_TOP) != 0
    }

    /// What the change of highest bits adds to the word of overflows.
    #[inline(always)]
    pub const fn overflow(before: u64, after: u64) -> u64 {
        let changed = before ^ after;
        (changed >> Self::PACKETS_TOP & 1) + ((changed >> Self::BYTES_TOP & 1) << 32)
    }

    /// Packets and bytes. `overflows` must have been read before `count`: one change of each highest bit may not be in it yet.
    pub const fn read(count: u64, overflows: u64) -> (u64, u64) {
        let packets = Self::whole(
            overflows as u32,
            count >> 1 & ((1 << (Self::PACKETS_TOP)) - 1),
            Self::PACKETS_TOP - 1,
        );
        let sum = Self::whole(
            (overflows >> 32) as u32,
            count >> Self::BYTES_SHIFT,
            Self::BYTES_TOP - Self::BYTES_SHIFT,
        );
        // The carry of the packets went into the bytes.
        (packets, sum.wrapping_sub(packets >> Self::PACKETS_TOP))
    }

    /// A number from the changes of its highest bit, which were counted, and what stands in its field.
    const fn whole(changes: u32, field: u64, top: u32) -> u64 {
        let missed = (changes & 1) as u64 ^ field >> top;
        let changes = changes.wrapping_add(missed as u32) as u64;
        (changes << top) + (field & ((1 << top) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program's side of counting.
    fn add(word: &mut u64, overflows: &mut u64, length: u64) {
        let after = word.wrapping_add(Count::of_packet(length));
        if Count::overflows(*word, after) {
            *overflows = overflows.wrapping_add(Count::overflow(*word, after));
        }
        *word = after;
    }

    #[test]
    fn counts_are_whole_beyond_the_width_of_their_fields() {
        let (mut word, mut overflows) = (Count::CARRIED, 0);
        let (mut packets, mut bytes) = (0u64, 0u64);
        for round in 0u64..20_000_000 {
            let length = 60 + round % 65_476;
            add(&mut word, &mut overflows, length);
            packets += 1;
            bytes += length;
            if round % 4093 == 0 || (packets << 1).trailing_zeros() > 22 {
                assert_eq!(Count::read(word, overflows), (packets, bytes));
            }
        }
        assert_eq!(Count::read(word, overflows), (packets, bytes));
        assert_eq!(word & Count::CARRIED, Count::CARRIED);
    }

    #[test]
    fn one_overflow_that_is_not_counted_yet_is_known() {
        let (mut word, mut overflows) = (0, 0);
        for _ in 0..(1u64 << 22) + 5 {
            add(&mut word, &mut overflows, 1000);
        }
        assert_eq!(overflows, 1);
        assert_eq!(Count::read(word, 0), Count::read(word, 1));
    }

    /// Buckets that hold 4 flows on average overflow as seldom as those of random numbers would.
    #[test]
    fn regular_flows_scatter() {
        const BUCKETS: usize = 1 << 13;
        // xorshift (Marsaglia 2003).
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..30 {
            let seeds = [random(), random(), random(), random()];
            let mut used = [0u8; BUCKETS];
            for number in 0..4 * BUCKETS as u32 {
                let address = |address: u32| u64::from(address.to_be());
                let (source, port) = match round % 3 {
                    0 => (0x0a00_0000 + number, 1000 + number % 50_000),
                    1 => (0x0a00_0002, 1024 + number),
                    _ => (0x0a00_0002 + number % 250, 40_000 + number / 250),
                };
                let addresses = address(source) | address(0xc633_6401) << 32;
                let ports = u32::from((port as u16).to_be()) | 53 << 24;
                used[hash_ipv4(seeds, addresses, ports, 11) as usize % BUCKETS] += 1;
            }
            let lost: u32 = used.iter().map(|&flows| u32::from(flows.saturating_sub(8))).sum();
            // At random some 275 of the 32,768.
            assert!(lost < 600, "{lost}");
        }
    }

    #[test]
    fn each_word_of_the_key_changes_the_hash() {
        let seeds =
            [3, 5, 7, 11, 13, 17, 19, 23, 29, 31].map(|prime: u64| prime.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let four = [seeds[0], seeds[1], seeds[2], seeds[3]];
        let hash = hash_ipv4(four, 1 << 32 | 2, 3, 4);
        for other in [
            hash_ipv4(four, 2 << 32 | 2, 3, 4),
            hash_ipv4(four, 1 << 32 | 3, 3, 4),
            hash_ipv4(four, 1 << 32 | 2, 4, 4),
            hash_ipv4(four, 1 << 32 | 2, 3, 5),
        ] {
            assert_ne!(hash, other);
        }
        let hash = hash_ipv6(seeds, [1, 2, 3, 4], 5, 6);
        for place in 0..4 {
            for change in [1, 1 << 32] {
                let mut addresses = [1, 2, 3, 4];
                addresses[place] ^= change;
                assert_ne!(hash, hash_ipv6(seeds, addresses, 5, 6));
            }
        }
    }
}
