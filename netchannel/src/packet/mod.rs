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

impl Packet {
    /// The transport header and what follows it, up to the end of the IP packet. Of a later fragment it is the payload only.
    ///
    /// # Panics
    /// If the frame has been made shorter than the packet that arrived in it.
    #[inline]
    pub fn transport(&self) -> &[u8] {
        &self.frame.bytes()[usize::from(self.headers.transport_start)..usize::from(self.headers.end)]
    }
}
