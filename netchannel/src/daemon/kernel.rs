//! The kernel as a dispatcher sees it: packets are handed to it, and it is asked for neighbours.

use std::io;
use std::net::IpAddr;

use crate::dispatch::{FlowKey, KernelPath, Resolve};
use crate::interface::Interface;
use crate::network::{InterfaceIndex, Resolver};
use crate::packet::{Fragment, protocol};
use crate::setup::Device;
use crate::xdp::{Handover, PassedFlow};

impl Resolve for Resolver {
    fn resolve(&self, index: InterfaceIndex, address: IpAddr) {
        Resolver::resolve(self, index, address);
    }
}

/// Hands packets to the kernel by way of the XDP program's second half.
pub(super) struct KernelHandover {
    pub(super) handover: Handover,
    pub(super) devices: Vec<Device>,
}

impl KernelPath for KernelHandover {
    fn pass(&mut self, frame: &[u8], interface: &Interface, flow: &FlowKey) -> io::Result<()> {
        // The XDP program has the identifier of an ICMP query at the source, whichever way the packet goes.
        let is_icmp = matches!(flow.protocol, protocol::ICMP | protocol::ICMPV6);
        let (source_port, destination_port) = match is_icmp {
            true => (flow.source_port | flow.destination_port, 0),
            false => (flow.source_port, flow.destination_port),
        };
        let passed = PassedFlow {
            logical: u32::from(flow.interface.0),
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            source_port,
            destination_port,
        };
        // Only the short way is lost if the table is full: the packet itself goes on. The XDP program does not tell ICMP messages
        // apart that are no queries: what is decided for one is not decided for all. Later fragments follow the first one there.
        if flow.message == 0
            && flow.fragment != Fragment::Later
            && let Err(error) = self.handover.pass_flow(&passed)
        {
            log::debug!("a flow could not be left to the kernel: {error}");
        }
        let device = &self.devices[usize::from(interface.port.0)];
        self.handover
            .inject(frame, device.index.0, 0)
            .map_err(io::Error::other)
    }
}
