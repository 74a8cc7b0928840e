//! What is looked up: one value per dimension.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::word::Word;

/// One value per dimension, right-aligned in its word.
///
/// A value that needs more bits than its dimension has matches no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Key<W, const D: usize> {
    values: [W; D],
}

/// The key of [`Ipv4FiveTuple`](crate::Ipv4FiveTuple).
pub type Ipv4Key = Key<u32, 5>;

/// The key of [`Ipv6FiveTuple`](crate::Ipv6FiveTuple).
pub type Ipv6Key = Key<u128, 5>;

impl<W: Word, const D: usize> Key<W, D> {
    /// The key of these values, in the order of the schema's dimensions.
    pub const fn new(values: [W; D]) -> Self {
        Self { values }
    }

    /// The values, in the order of the schema's dimensions.
    pub const fn values(&self) -> &[W; D] {
        &self.values
    }
}

impl Key<u32, 5> {
    /// The key of an IPv4 packet. Where a packet has no ports, both are 0.
    pub fn five_tuple(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        source_port: u16,
        destination_port: u16,
        protocol: u8,
    ) -> Self {
        Self::new([
            source.to_bits(),
            destination.to_bits(),
            source_port.into(),
            destination_port.into(),
            protocol.into(),
        ])
    }
}

impl Key<u128, 5> {
    /// The key of an IPv6 packet. Where a packet has no ports, both are 0.
    pub fn five_tuple(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        source_port: u16,
        destination_port: u16,
        protocol: u8,
    ) -> Self {
        Self::new([
            source.to_bits(),
            destination.to_bits(),
            source_port.into(),
            destination_port.into(),
            protocol.into(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::{Ipv4Key, Ipv6Key};
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn addresses_are_in_network_order() {
        let key = Ipv4Key::five_tuple(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 7), 1, 2, 17);
        assert_eq!(key.values(), &[0x0a00_0001, 0xc000_0207, 1, 2, 17]);
        let key = Ipv6Key::five_tuple(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, 65_535, 0, 6);
        assert_eq!(key.values(), &[1, 0, 65_535, 0, 6]);
    }
}
