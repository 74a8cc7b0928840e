//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::{IpAddr, Ipv4Addr};

/// One's complement sum of `bytes` as 16-bit big-endian words, an odd last byte padded with zero. A header whose checksum
/// is right sums to `0xffff`. O(length).
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    fold(words(bytes))
}

/// As [`sum`], of an IPv4 header without options.
#[inline]
pub fn sum_of_header(header: &[u8; 20]) -> u16 {
    let [a, b, c, d, e] = std::array::from_fn(|word| {
        let at = 4 * word;
        u64::from(u32::from_be_bytes([
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ]))
    });
    let total = a + b + c + d + e;
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    ((total >> 16) + (total & 0xffff)) as u16
}

/// The checksum of `bytes`, to be put in a header whose checksum field was zero.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// The one's complement sum of two such sums.
#[inline]
pub const fn add(one: u16, other: u16) -> u16 {
    let total = one as u32 + other as u32;
    ((total >> 16) + (total & 0xffff)) as u16
}

/// The sum of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1) for a segment of `length` bytes.
#[inline]
pub fn pseudo_sum(source: IpAddr, destination: IpAddr, protocol: u8, length: u64) -> u16 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 16) + u64::from(v4.to_bits() & 0xffff),
        IpAddr::V6(v6) => words(&v6.octets()),
    };
    fold(address(source) + address(destination) + u64::from(protocol) + length)
}

/// As [`pseudo_sum`], with the two addresses as they stand in an IPv4 header.
#[inline]
pub fn pseudo_sum_of_ipv4(addresses: &[u8; 8], protocol: u8, length: u64) -> u16 {
    let addresses = u64::from_be_bytes(*addresses);
    let total = (addresses >> 32) + (addresses & 0xffff_ffff) + u64::from(protocol) + length;
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    ((total >> 16) + (total & 0xffff)) as u16
}

#[inline]
fn words(bytes: &[u8]) -> u64 {
    // Eight bytes at a time: the sum of 16-bit words is the same whatever the width of the adder (RFC 1071 §2 (C)).
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut total: u64 = 0;
    for chunk in chunks {
        let wide = u64::from_be_bytes(*chunk);
        total += (wide >> 32) + (wide & 0xffff_ffff);
    }
    let mut last = [0u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    let wide = u64::from_be_bytes(last);
    let total = total + (wide >> 32) + (wide & 0xffff_ffff);
    // Down to at most 33 bits of 16-bit words, so that callers can add several.
    (total >> 48) + ((total >> 32) & 0xffff) + ((total >> 16) & 0xffff) + (total & 0xffff)
}

#[inline]
fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

/// What a change of header fields does to every checksum that covers them (RFC 1624, equation 3): made once per flow, applied
/// to each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// No change.
    pub const NONE: Delta = Delta(0);

    /// The change of one 16-bit word from `old` to `new`.
    #[inline]
    pub const fn word(self, old: u16, new: u16) -> Self {
        let mut total = self.0 as u32 + (!old) as u32 + new as u32;
        total = (total >> 16) + (total & 0xffff);
        total = (total >> 16) + (total & 0xffff);
        Delta(total as u16)
    }

    /// The change of an IPv4 address from `old` to `new`.
    #[inline]
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        let [a, b, c, d] = old.octets();
        let [e, f, g, h] = new.octets();
        self.word(u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f]))
            .word(u16::from_be_bytes([c, d]), u16::from_be_bytes([g, h]))
    }

    /// What is added to the complement of a checksum.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both changes.
    #[inline]
    pub const fn and(self, other: Delta) -> Self {
        Delta(add(self.0, other.0))
    }

    /// The checksum after the change, if it was `checksum` before: `HC' = ~(~HC + ~m + m')`.
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        let total = (!checksum) as u32 + self.0 as u32;
        let total = (total >> 16) + (total & 0xffff);
        !(((total >> 16) + (total & 0xffff)) as u16)
    }
}

/// Applies `delta` to the big-endian checksum in `field`.
#[inline]
pub fn update(field: &mut [u8; 2], delta: Delta) {
    *field = delta.apply(u16::from_be_bytes(*field)).to_be_bytes();
}

/// Applies `delta` to a UDP checksum: on IPv4 zero means that there is none, and a computed zero is sent as `0xffff` (RFC 768).
#[inline]
pub fn update_udp(field: &mut [u8; 2], delta: Delta) {
    let old = u16::from_be_bytes(*field);
    if old != 0 {
        let new = delta.apply(old);
        *field = (if new == 0 { 0xffff } else { new }).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Word by word, as RFC 1071 §4.1 shows it.
    fn plain_sum(bytes: &[u8]) -> u16 {
        let mut total: u32 = 0;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total >> 16) + (total & 0xffff);
        }
        total as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    proptest! {
        #[test]
        fn pseudo_headers_of_addresses_and_of_bytes(
            source in any::<[u8; 4]>(),
            destination in any::<[u8; 4]>(),
            protocol in any::<u8>(),
            length in 0u64..65536,
        ) {
            let mut addresses = [0; 8];
            addresses[..4].copy_from_slice(&source);
            addresses[4..].copy_from_slice(&destination);
            prop_assert_eq!(
                pseudo_sum_of_ipv4(&addresses, protocol, length),
                pseudo_sum(source.into(), destination.into(), protocol, length)
            );
        }

        #[test]
        fn sums_as_the_plain_algorithm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(sum(&bytes), plain_sum(&bytes));
            if let Some(header) = bytes.first_chunk() {
                prop_assert_eq!(sum_of_header(header), plain_sum(header));
            }
        }

        #[test]
        fn incremental_equals_full(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..100),
            at in 1usize..9,
            new in any::<u16>(),
        ) {
            // A header's first byte is never zero, and its checksum field (here the tenth word) is while summing.
            bytes[0] = 0x45;
            bytes[18..20].fill(0);
            let before = of(&bytes);
            let field = 2 * at..2 * at + 2;
            let old = u16::from_be_bytes([bytes[field.start], bytes[field.start + 1]]);
            bytes[field].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(Delta::NONE.word(old, new).apply(before), of(&bytes));
        }
    }

    #[test]
    fn a_udp_checksum_of_zero_stays_zero_and_a_computed_zero_is_sent_as_ones() {
        let mut none = [0, 0];
        update_udp(&mut none, Delta::NONE.word(1, 2));
        assert_eq!(none, [0, 0]);
        // ~(~1 + ~m + m') is zero for m = 0, m' = 1.
        let mut computed = 1u16.to_be_bytes();
        update_udp(&mut computed, Delta::NONE.word(0, 1));
        assert_eq!(computed, [0xff, 0xff]);
    }
}
