//! Packets: a frame and what the parser learned of it.

pub mod checksum;
mod headers;

pub use headers::{
    ETHERNET_HEADER, Fragment, Headers, ParseError, Transport, VLAN_TAG, VlanTags, ethertype, protocol,
};
