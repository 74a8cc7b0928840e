//! Handing frames, and whole flows, to the kernel.

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use aya::maps::{HashMap, Map, MapData};
use xdp_prog::{Flow, MARKER_ETHER_TYPE, MARKER_LENGTH};

use super::maps::in_map;
use super::sys::{self, Shared};
use super::{MAX_INJECTED_LENGTH, XdpError};

/// A flow in one direction on a logical interface, that is left to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PassedFlow {
    /// Number of the logical interface, as in [`LogicalInterface::id`](super::LogicalInterface::id).
    pub logical: u32,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// IP protocol number; for IPv6 that behind the extension headers.
    pub protocol: u8,
    /// Source port of TCP and UDP; the identifier of ICMP and ICMPv6 queries and replies; else 0.
    pub source_port: u16,
    /// Destination port of TCP and UDP; else 0.
    pub destination_port: u16,
}

impl From<&PassedFlow> for Flow {
    fn from(flow: &PassedFlow) -> Self {
        Self {
            logical: flow.logical,
            source: flow.source.into(),
            destination: flow.destination.into(),
            source_port: flow.source_port.to_be(),
            destination_port: flow.destination_port.to_be(),
            protocol: u32::from(flow.protocol),
        }
    }
}

/// Devices that the program is attached to in generic mode.
pub(super) type GenericDevices = Arc<RwLock<HashSet<u32>>>;

/// A way to the kernel. Every worker can have one of its own; they do not disturb each other.
pub struct Handover {
    pass: OwnedFd,
    passed: HashMap<MapData, Shared<Flow>, u32>,
    passed_fd: OwnedFd,
    cookie: u64,
    generic: GenericDevices,
}

impl Handover {
    pub(super) fn new(
        pass: OwnedFd,
        passed_fd: OwnedFd,
        cookie: u64,
        generic: GenericDevices,
    ) -> Result<Self, XdpError> {
        let own = passed_fd.try_clone().map_err(duplicating)?;
        let passed = MapData::from_fd(own)
            .and_then(Map::from_map_data)
            .and_then(HashMap::try_from)
            .map_err(in_map(xdp_prog::PASSED))?;
        Ok(Self {
            pass,
            passed,
            passed_fd,
            cookie,
            generic,
        })
    }

    /// Another handle of the same.
    ///
    /// # Errors
    ///
    /// [`XdpError::System`] if there are no file descriptors left.
    pub fn try_clone(&self) -> Result<Self, XdpError> {
        let pass = self.pass.try_clone().map_err(duplicating)?;
        let passed = self.passed_fd.try_clone().map_err(duplicating)?;
        Self::new(pass, passed, self.cookie, Arc::clone(&self.generic))
    }

    /// Hands one frame to the kernel, as if it had just arrived on the device and gone past the XDP program. It
    /// takes some ten microseconds; for a flow with more to come there is [`pass_flow`](Self::pass_flow).
    ///
    /// The frame is an Ethernet frame with its header and VLAN tags and without its checksum sequence, of 14 to
    /// [`MAX_INJECTED_LENGTH`] bytes. The device is one of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`XdpError::FrameLength`] if the frame is too short or too long, [`XdpError::Run`] if there is no such
    /// device or queue.
    pub fn inject(&self, frame: &[u8], ifindex: u32, queue: u32) -> Result<(), XdpError> {
        let length = frame.len();
        if !(14..=MAX_INJECTED_LENGTH).contains(&length) {
            return Err(XdpError::FrameLength { length });
        }
        // In generic mode the program sees what is handed over once more, and must know it.
        let generic = self
            .generic
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&ifindex);
        let mut marked = [0; MARKER_LENGTH + MAX_INJECTED_LENGTH];
        let injected = if generic {
            marked[..12].copy_from_slice(&frame[..12]);
            marked[12..14].copy_from_slice(&MARKER_ETHER_TYPE.to_be_bytes());
            marked[14..MARKER_LENGTH].copy_from_slice(&self.cookie.to_ne_bytes());
            marked[MARKER_LENGTH..][..length].copy_from_slice(frame);
            &marked[..MARKER_LENGTH + length]
        } else {
            frame
        };
        sys::live_run(self.pass.as_fd(), injected, ifindex, queue).map_err(|source| XdpError::Run {
            length,
            ifindex,
            queue,
            source,
        })
    }

    /// Leaves a flow to the kernel: its next frames do not come to user space any more. It takes effect on
    /// logical interfaces whose [`passes_flows`](super::LogicalInterface::passes_flows) is set.
    ///
    /// [`MAX_PASSED_FLOWS`](xdp_prog::MAX_PASSED_FLOWS) flows are remembered; the one that was not seen for the
    /// longest time makes room for a new one, and comes back to user space with its next frame.
    ///
    /// # Errors
    ///
    /// [`XdpError::Map`] if the kernel has no memory left.
    pub fn pass_flow(&mut self, flow: &PassedFlow) -> Result<(), XdpError> {
        self.passed
            .insert(Shared(Flow::from(flow)), 1, 0)
            .map_err(in_map(xdp_prog::PASSED))
    }

    /// Takes all passed flows back: their next frames come to user space again. For when rules have changed.
    ///
    /// # Errors
    ///
    /// [`XdpError::Map`] if the kernel refuses to list or remove them.
    pub fn forget_flows(&mut self) -> Result<(), XdpError> {
        let flows = self
            .passed
            .keys()
            .collect::<Result<Vec<_>, _>>()
            .map_err(in_map(xdp_prog::PASSED))?;
        for flow in flows {
            match self.passed.remove(&flow) {
                Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
                Err(error) => return Err(in_map(xdp_prog::PASSED)(error)),
            }
        }
        Ok(())
    }
}

pub(super) fn duplicating(source: std::io::Error) -> XdpError {
    XdpError::System {
        call: "duplicating a file descriptor",
        source,
    }
}
