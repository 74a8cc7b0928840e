//! Packets: a frame and what the parser learned of it.

pub mod checksum;
mod headers;
mod partial_checksum;

pub use headers::{
    ETHERNET_HEADER, Fragment, Headers, ParseError, Transport, VLAN_TAG, VlanTags, ethertype, protocol,
};

pub use partial_checksum::complete as complete_checksum;

use crate::dispatch::FlowId;
use crate::interface::InterfaceId;
use crate::port::Frame;

/// A packet on its way: its frame, its headers as they arrived, where it came in, and its flow.
#[derive(Debug)]
pub struct Packet {
    /// The bytes.
    pub frame: Frame,
    /// The headers as they were when the packet arrived.
    pub headers: Headers,
    /// The interface that it came in on.
    pub interface: InterfaceId,
    /// Its entry in the flow table.
    pub flow: FlowId,
}
