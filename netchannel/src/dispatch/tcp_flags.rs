//! TCP flags as a dimension: a value and a mask are no range, but with the right order of bits the usual ones are.

use std::ops::RangeInclusive;

/// The flags by their names, each with its bit in the TCP header's flags byte (RFC 9293 §3.1, RFC 3168 §6.1), in the order of their
/// bits in a key, the highest first. A mask that takes the first so many of them makes a prefix; so those come first that rules ask
/// for most: an opening packet is SYN without ACK, or, as `iptables --syn` has it, without ACK, RST and FIN.
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("syn", 0x02),
    ("ack", 0x10),
    ("rst", 0x04),
    ("fin", 0x01),
    ("psh", 0x08),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];

/// The flags byte of a TCP header as it stands in a key.
pub fn tcp_flags_in_key(flags: u8) -> u8 {
    TCP_FLAGS
        .iter()
        .fold(0, |key, (_, bit)| key << 1 | u8::from(flags & bit != 0))
}

/// The ranges of a key's flags that hold all flags bytes for which `wanted` says so, and no others: as few as possible, from low to
/// high. At most 128, which only the last flag alone, `cwr`, needs; `syn/syn,ack` and the like need one.
pub fn tcp_flags_ranges(wanted: impl Fn(u8) -> bool) -> Vec<RangeInclusive<u8>> {
    let mut in_key = [false; 256];
    for flags in 0..=u8::MAX {
        in_key[usize::from(tcp_flags_in_key(flags))] = wanted(flags);
    }
    let mut ranges: Vec<RangeInclusive<u8>> = Vec::new();
    for key in (0..=u8::MAX).filter(|&key| in_key[usize::from(key)]) {
        match ranges.last_mut() {
            Some(last) if last.end() + 1 == key => *last = *last.start()..=key,
            _ => ranges.push(key..=key),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_mask_is_split_exactly() {
        let mut most = 0;
        for mask in 0..=u8::MAX {
            for value in 0..=u8::MAX {
                let ranges = tcp_flags_ranges(|flags| flags & mask == value & mask);
                most = most.max(ranges.len());
                let mut covered = [false; 256];
                for key in ranges.iter().cloned().flatten() {
                    covered[usize::from(key)] = true;
                }
                for flags in 0..=u8::MAX {
                    let is_covered = covered[usize::from(tcp_flags_in_key(flags))];
                    assert_eq!(
                        is_covered,
                        flags & mask == value & mask,
                        "{flags:#x} {value:#x}/{mask:#x}"
                    );
                }
                assert!(
                    ranges
                        .windows(2)
                        .all(|pair| *pair[0].end() + 1 < *pair[1].start()),
                    "{value:#x}/{mask:#x}: ranges that touch"
                );
            }
        }
        assert_eq!(most, 128);
    }

    #[test]
    fn flags_keep_apart_in_a_key() {
        let mut keys: Vec<u8> = (0..=u8::MAX).map(tcp_flags_in_key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 256);
    }

    #[test]
    fn what_rules_ask_for_most_is_one_range() {
        let ranges = |value, mask| tcp_flags_ranges(|flags| flags & mask == value).len();
        // SYN; SYN without ACK; `iptables --syn`; SYN and FIN, a scan.
        assert_eq!(
            [(0x02, 0x02), (0x02, 0x12), (0x02, 0x17)].map(|(value, mask)| ranges(value, mask)),
            [1; 3]
        );
        assert_eq!([ranges(0x10, 0x10), ranges(0x03, 0x03)], [2, 4]);
        assert_eq!((ranges(0, 0), ranges(0x80, 0x80)), (1, 128));
    }
}
