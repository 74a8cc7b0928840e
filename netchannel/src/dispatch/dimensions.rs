//! What rules may ask of a packet: the five-tuple, and further fields of the packet that opens a flow.
//!
//! To add a field, give it a constant in [`dimension`] and a line in [`FIELDS`], in the same place of both: rules, keys and the
//! configuration follow, and a test asks for its description in `docs/netchannel.toml`.

use classifier::{Key, Rule, Schema, Word};

use super::tcp_flags::tcp_flags_in_key;
use crate::interface::InterfaceId;
use crate::packet::{Fragment, Headers, Transport, protocol};

/// The dimensions of [`Ipv4Dimensions`] and [`Ipv6Dimensions`], as indices into a rule's ranges and a key's values.
pub mod dimension {
    pub use classifier::dimension::{
        DESTINATION_ADDRESS, DESTINATION_PORT, PROTOCOL, SOURCE_ADDRESS, SOURCE_PORT,
    };

    /// Dimensions of the five-tuple, before those of [`FIELDS`](super::FIELDS).
    pub const FIVE_TUPLE: usize = 5;

    /// TCP flags, 8 bits, [in the order of a key](super::super::tcp_flags_in_key).
    pub const TCP_FLAGS: usize = FIVE_TUPLE;
    /// Type of an ICMP message, 8 bits.
    pub const ICMP_TYPE: usize = FIVE_TUPLE + 1;
    /// Code of an ICMP message, 8 bits.
    pub const ICMP_CODE: usize = FIVE_TUPLE + 2;
    /// [Number](crate::interface::InterfaceId) of the interface that the packet came in by, 16 bits.
    pub const INTERFACE: usize = FIVE_TUPLE + 3;
    /// Identifier of the outer VLAN tag, 12 bits; 0 without a tag or with a priority tag.
    pub const VLAN: usize = FIVE_TUPLE + 4;
    /// Differentiated services code point (RFC 2474), 6 bits.
    pub const DSCP: usize = FIVE_TUPLE + 5;
    /// 2 bits: 0 for a whole datagram, 1 for the first fragment, 2 for a later one.
    pub const FRAGMENT: usize = FIVE_TUPLE + 6;
}

/// A field that rules may ask for besides the five-tuple.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key of a rule in the configuration.
    pub key: &'static str,
    /// Bits of a value.
    pub width: u32,
    /// The protocols whose header has it, none for what every packet has. Packets without the header have 0, so a rule that names
    /// the field names one of these protocols, and takes no later fragments.
    pub protocols: &'static [u8],
    /// How the configuration writes a value.
    pub notation: Notation,
    /// Its value in a packet.
    value: fn(&Arrival<'_>) -> u32,
}

/// How the configuration writes the values of a field.
#[derive(Clone, Copy, Debug)]
pub enum Notation {
    /// Numbers and ranges of numbers from 0 to `highest`, and names for some of them.
    Numbers {
        /// The highest number.
        highest: u32,
        /// Names for numbers.
        names: &'static [(&'static str, u32)],
    },
    /// One of these names.
    Names(&'static [(&'static str, u32)]),
    /// Names of configured interfaces, numbered in their order.
    Interfaces,
    /// TCP flags that must be set, of those that are looked at: `"syn/syn,ack"`.
    TcpFlags,
}

/// Code points with the names that RFC 2474, 2597, 3246, 5865 and 8622 give them.
const CODE_POINTS: &[(&str, u32)] = &[
    ("be", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// A field without a highest number but its width's, in ICMP messages.
const ICMP_NUMBERS: Notation = Notation::Numbers {
    highest: 255,
    names: &[],
};

/// All fields, in the order of their dimensions behind the five-tuple.
pub const FIELDS: [Field; 7] = [
    Field {
        key: "tcp_flags",
        width: 8,
        protocols: &[protocol::TCP],
        notation: Notation::TcpFlags,
        value: |packet| match packet.headers.transport {
            Transport::Tcp { flags, .. } => tcp_flags_in_key(flags).into(),
            _ => 0,
        },
    },
    Field {
        key: "icmp_type",
        width: 8,
        protocols: &[protocol::ICMP, protocol::ICMPV6],
        notation: ICMP_NUMBERS,
        value: |packet| packet.headers.icmp_type_and_code(packet.frame).0.into(),
    },
    Field {
        key: "icmp_code",
        width: 8,
        protocols: &[protocol::ICMP, protocol::ICMPV6],
        notation: ICMP_NUMBERS,
        value: |packet| packet.headers.icmp_type_and_code(packet.frame).1.into(),
    },
    Field {
        key: "interface",
        width: 16,
        protocols: &[],
        notation: Notation::Interfaces,
        value: |packet| packet.interface.0.into(),
    },
    Field {
        key: "vlan",
        width: 12,
        protocols: &[],
        notation: Notation::Numbers {
            highest: 4094,
            names: &[("none", 0)],
        },
        value: |packet| packet.headers.vlan.outer.into(),
    },
    Field {
        key: "dscp",
        width: 6,
        protocols: &[],
        notation: Notation::Numbers {
            highest: 63,
            names: CODE_POINTS,
        },
        value: |packet| packet.headers.dscp(packet.frame).into(),
    },
    Field {
        key: "fragment",
        width: 2,
        protocols: &[],
        notation: Notation::Names(&[("whole", WHOLE), ("first", FIRST), ("later", LATER)]),
        value: |packet| match packet.headers.fragment {
            Fragment::Whole => WHOLE,
            Fragment::First => FIRST,
            Fragment::Later => LATER,
        },
    },
];

/// A whole datagram, in the dimension [`dimension::FRAGMENT`].
pub const WHOLE: u32 = 0;
/// The first fragment of a datagram: up to here packets have their transport header.
pub const FIRST: u32 = 1;
/// A later fragment.
pub const LATER: u32 = 2;

/// How many dimensions there are.
pub const DIMENSIONS: usize = dimension::FIVE_TUPLE + FIELDS.len();

/// The dimensions of IPv4 packets; see [`dimension`] for their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Dimensions;

impl Schema<DIMENSIONS> for Ipv4Dimensions {
    type Word = u32;
    const WIDTHS: [u32; DIMENSIONS] = widths(u32::BITS);
}

/// The dimensions of IPv6 packets; see [`dimension`] for their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Dimensions;

impl Schema<DIMENSIONS> for Ipv6Dimensions {
    type Word = u128;
    const WIDTHS: [u32; DIMENSIONS] = widths(u128::BITS);
}

/// A rule for IPv4 packets.
pub type Ipv4Rule<A> = Rule<u32, DIMENSIONS, A>;

/// A rule for IPv6 packets.
pub type Ipv6Rule<A> = Rule<u128, DIMENSIONS, A>;

const fn widths(address: u32) -> [u32; DIMENSIONS] {
    let mut widths = [0; DIMENSIONS];
    widths[dimension::SOURCE_ADDRESS] = address;
    widths[dimension::DESTINATION_ADDRESS] = address;
    widths[dimension::SOURCE_PORT] = 16;
    widths[dimension::DESTINATION_PORT] = 16;
    widths[dimension::PROTOCOL] = 8;
    let mut field = 0;
    while field < FIELDS.len() {
        widths[dimension::FIVE_TUPLE + field] = FIELDS[field].width;
        field += 1;
    }
    widths
}

/// A packet as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The frame.
    pub frame: &'a [u8],
    /// What the parser learned of it.
    pub headers: &'a Headers,
    /// The interface that it came in by.
    pub interface: InterfaceId,
}

impl Arrival<'_> {
    /// The packet's key, with these addresses.
    pub(super) fn key<W: Word + From<u32>>(&self, source: W, destination: W) -> Key<W, DIMENSIONS> {
        let (source_port, destination_port) = self.headers.ports();
        let mut values = [W::ZERO; DIMENSIONS];
        values[dimension::SOURCE_ADDRESS] = source;
        values[dimension::DESTINATION_ADDRESS] = destination;
        values[dimension::SOURCE_PORT] = W::from(u32::from(source_port));
        values[dimension::DESTINATION_PORT] = W::from(u32::from(destination_port));
        values[dimension::PROTOCOL] = W::from(u32::from(self.headers.protocol));
        for (value, field) in values[dimension::FIVE_TUPLE..].iter_mut().zip(&FIELDS) {
            *value = W::from((field.value)(self));
        }
        Key::new(values)
    }
}
