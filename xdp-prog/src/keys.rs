//! Keys and values of the maps.
#![allow(unsafe_code)] // for the marker trait MapData

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A type that the kernel may see as bytes.
///
/// # Safety
///
/// The type must have no padding, and every value of its bytes must be a valid value.
pub unsafe trait MapData: Copy + 'static {}

/// An IPv6 address, or an IPv4 address mapped into IPv6 (RFC 4291, section 2.5.5.2), in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The address whose four bytes, as they are in memory, are `address`.
    #[inline(always)]
    pub const fn mapped(address: u32) -> Self {
        Self([0, 0, 0xffff_u32.to_be(), address])
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::mapped(ipv4_word(address)),
            IpAddr::V6(address) => Self(ipv6_words(address)),
        }
    }
}

/// Which logical interface a frame arrived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct InterfaceKey {
    /// Index of the network device.
    pub ifindex: u32,
    /// VLAN identifier of the outer tag, 1 to 4094; 0 is untagged.
    pub outer_vlan: u16,
    /// VLAN identifier of the inner tag, 1 to 4094; 0 if there is none.
    pub inner_vlan: u16,
}

/// A logical interface that user space was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Interface {
    /// Number of the device among those with sockets, 0 to [`MAX_INTERFACES`](crate::MAX_INTERFACES) − 1.
    pub slot: u32,
    /// Number that user space knows the logical interface by; part of the key in other maps.
    pub logical: u32,
    /// Which maps have something for this interface: the `HAS_` constants.
    pub flags: u32,
}

/// An IPv4 prefix on a logical interface, the data of a longest-prefix-match key: 32 bits of interface, then
/// the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Ipv4Prefix {
    /// [`Interface::logical`].
    pub logical: u32,
    /// Network byte order.
    pub address: u32,
}

impl Ipv4Prefix {
    /// Bits of a full address with the interface in front.
    pub const BITS: u32 = 64;

    /// The key for `address` on the interface.
    pub const fn new(logical: u32, address: Ipv4Addr) -> Self {
        Self {
            logical,
            address: ipv4_word(address),
        }
    }
}

/// An IPv6 prefix on a logical interface, the data of a longest-prefix-match key: 32 bits of interface, then
/// the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Ipv6Prefix {
    /// [`Interface::logical`].
    pub logical: u32,
    /// Network byte order.
    pub address: [u32; 4],
}

impl Ipv6Prefix {
    /// Bits of a full address with the interface in front.
    pub const BITS: u32 = 160;

    /// The key for `address` on the interface.
    pub const fn new(logical: u32, address: Ipv6Addr) -> Self {
        Self {
            logical,
            address: ipv6_words(address),
        }
    }
}

/// A flow in one direction on a logical interface.
///
/// For ICMP and ICMPv6 queries and their replies the source port is the identifier and the destination port is
/// 0; for everything else without ports both are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Flow {
    /// [`Interface::logical`].
    pub logical: u32,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// In network byte order.
    pub source_port: u16,
    /// In network byte order.
    pub destination_port: u16,
    /// IP protocol number; for IPv6 that of the upper layer.
    pub protocol: u32,
}

/// A fragmented datagram on a logical interface (RFC 791, section 3.2; RFC 8200, section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Fragment {
    /// [`Interface::logical`].
    pub logical: u32,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification, as it is in memory.
    pub identification: u32,
    /// IP protocol number; 0 for IPv6, whose identification is for all protocols.
    pub protocol: u32,
}

// SAFETY: all fields of these types are integers or arrays of them, and the fields leave no gap, as the sizes
// below show.
unsafe impl MapData for Address {}
// SAFETY: as above.
unsafe impl MapData for InterfaceKey {}
// SAFETY: as above.
unsafe impl MapData for Interface {}
// SAFETY: as above.
unsafe impl MapData for Ipv4Prefix {}
// SAFETY: as above.
unsafe impl MapData for Ipv6Prefix {}
// SAFETY: as above.
unsafe impl MapData for Flow {}
// SAFETY: as above.
unsafe impl MapData for Fragment {}

const _: () = {
    assert!(size_of::<Address>() == 16);
    assert!(size_of::<InterfaceKey>() == 4 + 2 + 2);
    assert!(size_of::<Interface>() == 3 * 4);
    assert!(size_of::<Ipv4Prefix>() == 2 * 4);
    assert!(size_of::<Ipv6Prefix>() == 4 + 16);
    assert!(size_of::<Flow>() == 4 + 16 + 16 + 2 + 2 + 4);
    assert!(size_of::<Fragment>() == 4 + 16 + 16 + 4 + 4);
};

/// Index in [`PORT_SETS`](crate::PORT_SETS) of the word that holds `port` of set number `set`.
#[inline(always)]
pub const fn port_word(set: u32, port: u16) -> u32 {
    set * crate::WORDS_PER_PORT_SET + port as u32 / 64
}

/// The bit of `port` in its word.
#[inline(always)]
pub const fn port_bit(port: u16) -> u64 {
    1 << (port % 64)
}

const fn ipv4_word(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

const fn ipv6_words(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [
        ((bits >> 96) as u32).to_be(),
        ((bits >> 64) as u32).to_be(),
        ((bits >> 32) as u32).to_be(),
        (bits as u32).to_be(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_network_byte_order() {
        let v4 = Address::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let mut bytes = [0; 16];
        for (word, bytes) in v4.0.iter().zip(bytes.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);

        let v6: Ipv6Addr = "2001:db8::7:8".parse().expect("an address");
        let words = Address::from(IpAddr::V6(v6)).0;
        assert_eq!(words[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(words[3].to_ne_bytes(), [0, 7, 0, 8]);
    }

    #[test]
    fn every_port_has_a_bit_of_its_own() {
        assert_eq!((port_word(0, 0), port_bit(0)), (0, 1));
        assert_eq!((port_word(0, 63), port_bit(63)), (0, 1 << 63));
        assert_eq!((port_word(0, 64), port_bit(64)), (1, 1));
        assert_eq!((port_word(3, 65_535), port_bit(65_535)), (4 * 1024 - 1, 1 << 63));
    }
}
