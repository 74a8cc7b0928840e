//! Identifications of IPv4 datagrams that may be fragmented (RFC 6864, RFC 3022 §5.2, RFC 7857 §10): behind one external address there
//! are hosts that know nothing of each other's, and two datagrams of one identification would be mixed up in reassembly.

use std::net::Ipv4Addr;

use ahash::RandomState;
use rand::Rng;
use rand::rngs::StdRng;

use super::share::Share;

/// Counters; a power of two. Destinations share them, which brings the same identification to none of them sooner than after 65,536 datagrams.
const COUNTERS: usize = 2048;

/// Datagrams that are remembered for errors that quote them; a power of two. Each takes 14 bytes.
const REMEMBERED: usize = 16_384;

/// A datagram as it left, and the identification that it came with.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Replaced {
    source: u32,
    destination: u32,
    protocol: u8,
    new: u16,
    original: u16,
}

/// Counts the datagrams from an external address to a destination, by protocol.
pub(super) struct Identifications {
    counters: Box<[u16]>,
    hash: RandomState,
    /// The bits that all have in common that this worker gives, and those in which they differ.
    own: u16,
    mask: u16,
    /// The latest datagrams, each at a place that its ends and new identification lead to.
    replaced: Vec<Replaced>,
}

impl Identifications {
    pub(super) fn new(share: Option<Share>, random: &mut StdRng) -> Self {
        let (worker, workers) = share.map_or((0, 1), |share| (share.worker(), share.workers()));
        let mask = u16::MAX >> workers.next_power_of_two().trailing_zeros();
        Self {
            own: (worker * (usize::from(mask) + 1)) as u16,
            mask,
            counters: (0..COUNTERS).map(|_| random.next_u32() as u16).collect(),
            hash: RandomState::with_seeds(
                random.next_u64(),
                random.next_u64(),
                random.next_u64(),
                random.next_u64(),
            ),
            replaced: vec![Replaced::default(); REMEMBERED],
        }
    }

    /// The next one, in place of the original one. Datagrams with the same ends and protocol get 65,536 different ones in a row, or of several
    /// workers as many as their next power of two leaves for each. O(1).
    pub(super) fn next(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        original: u16,
    ) -> u16 {
        let hash = self.hash(source, destination, protocol);
        let counter = &mut self.counters[hash as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        let new = self.own | *counter & self.mask;
        self.replaced[place(hash, new)] = Replaced {
            source: source.to_bits(),
            destination: destination.to_bits(),
            protocol,
            new,
            original,
        };
        new
    }

    /// What was replaced in a datagram that left with this identification; `None` if that was too many datagrams ago. O(1).
    pub(super) fn original(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        new: u16,
    ) -> Option<u16> {
        let replaced = self.replaced[place(self.hash(source, destination, protocol), new)];
        let wanted = Replaced {
            source: source.to_bits(),
            destination: destination.to_bits(),
            protocol,
            new,
            original: replaced.original,
        };
        (replaced == wanted).then_some(replaced.original)
    }

    fn hash(&self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> u64 {
        self.hash
            .hash_one((source.to_bits(), destination.to_bits(), protocol))
    }
}

/// Where a datagram is remembered: those with the same ends follow each other.
fn place(hash: u64, new: u16) -> usize {
    ((hash >> 32) as usize).wrapping_add(usize::from(new)) % REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::HashSet;

    #[test]
    fn rfc_6864_no_identification_comes_again_soon() {
        let mut identifications = Identifications::new(None, &mut StdRng::seed_from_u64(1));
        let (source, destination) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(8, 8, 8, 8));
        let mut seen = HashSet::new();
        for _ in 0..=u16::MAX {
            assert!(seen.insert(identifications.next(source, destination, 17, 7)));
        }
    }

    /// 5508-4: what an identification was is known for the latest datagrams, and never wrong.
    #[test]
    fn rfc_5508_4_the_latest_identifications_are_known() {
        let mut identifications = Identifications::new(None, &mut StdRng::seed_from_u64(1));
        let source = Ipv4Addr::new(192, 0, 2, 1);
        let sent: Vec<_> = (0..40_000u32)
            .map(|number| {
                let destination = Ipv4Addr::from_bits(0x0808_0800 + number % 3);
                let original = (number / 7) as u16;
                (
                    destination,
                    identifications.next(source, destination, 17, original),
                    original,
                )
            })
            .collect();
        let known = |(destination, new, _): &(Ipv4Addr, u16, u16)| {
            identifications.original(source, *destination, 17, *new)
        };
        let wrong = |it: &&(Ipv4Addr, u16, u16)| known(it).is_some_and(|original| original != it.2);
        assert_eq!(sent.iter().filter(wrong).count(), 0);
        assert!(sent[sent.len() - 1000..].iter().all(|it| known(it).is_some()));
        let (destination, new, _) = sent[sent.len() - 1];
        assert_eq!(identifications.original(source, destination, 6, new), None);
    }
}
