//! Identifications of IPv4 datagrams that may be fragmented (RFC 6864, RFC 3022 §5.2, RFC 7857 §10): behind one external address there
//! are hosts that know nothing of each other's, and two datagrams of one identification would be mixed up in reassembly.

use std::net::Ipv4Addr;

use ahash::RandomState;
use rand::Rng;
use rand::rngs::StdRng;

/// Counters; a power of two. Destinations share them, which brings the same identification to none of them sooner than after 65,536 datagrams.
const COUNTERS: usize = 2048;

/// Counts the datagrams from an external address to a destination, by protocol.
pub(super) struct Identifications {
    counters: Box<[u16]>,
    hash: RandomState,
}

impl Identifications {
    pub(super) fn new(random: &mut StdRng) -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| random.next_u32() as u16).collect(),
            hash: RandomState::new(),
        }
    }

    /// The next one. Datagrams with the same ends and protocol get 65,536 different ones in a row. O(1).
    #[inline]
    pub(super) fn next(&mut self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> u16 {
        let hash = self
            .hash
            .hash_one((source.to_bits(), destination.to_bits(), protocol));
        let counter = &mut self.counters[hash as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        *counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::HashSet;

    #[test]
    fn rfc_6864_no_identification_comes_again_soon() {
        let mut identifications = Identifications::new(&mut StdRng::seed_from_u64(1));
        let (source, destination) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(8, 8, 8, 8));
        let mut seen = HashSet::new();
        for _ in 0..=u16::MAX {
            assert!(seen.insert(identifications.next(source, destination, 17)));
        }
    }
}
