//! Ports: where packets come from and go to. [`PacketIo`] is the seam; AF_XDP sockets, capture files and plain memory
//! implement it, so that everything behind it runs the same on a wire, on a capture and in a test.

mod absent;
pub mod afxdp;
pub mod capture;
mod frame;
pub mod memory;

pub use absent::AbsentPort;
pub use frame::{Frame, FramePool, FrameTooSmall};

use std::io;
use std::os::fd::BorrowedFd;

use crate::time::Time;

/// What a port has carried since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Packets received.
    pub received_packets: u64,
    /// Bytes received, Ethernet header included.
    pub received_bytes: u64,
    /// Packets given to the driver for transmission.
    pub transmitted_packets: u64,
    /// Bytes given to the driver for transmission.
    pub transmitted_bytes: u64,
}

/// A source and sink of frames. All frames of one worker's ports come from one pool, so that a frame which came in on one
/// port leaves on another without a copy.
pub trait PacketIo: std::any::Any {
    /// Appends up to `limit` received frames to `burst` and returns how many; zero when there is nothing to read now.
    fn receive(&mut self, now: Time, burst: &mut Vec<Frame>, limit: usize) -> usize;

    /// Frames that can be queued for transmission now.
    fn transmit_room(&mut self) -> usize;

    /// Queues frames from the front of `frames` for transmission, in order, as many as there is room for, and returns how many.
    /// The rest stays in `frames`.
    fn transmit(&mut self, now: Time, frames: &mut Vec<Frame>) -> usize;

    /// Ends a burst: queued frames start on their way, sent ones return to the pool, and the receive side gets free frames.
    ///
    /// # Errors
    /// If the port is gone (its interface was removed, say). Frames are not lost by that.
    fn flush(&mut self) -> io::Result<()>;

    /// Counters since the port was made.
    fn counters(&self) -> PortCounters;

    /// Packets that came since the port was made and were lost, because too many waited to be received. May be a system call: not for every
    /// burst.
    fn receive_losses(&self) -> u64 {
        0
    }

    /// Frames that the port holds: waiting to be filled, filled and not yet received, or queued and not yet sent.
    fn held(&self) -> usize;

    /// Whether frames can leave: the interface is there and up.
    fn is_link_up(&self) -> bool {
        true
    }

    /// Whether queued frames wait for another [`flush`](Self::flush), because the driver would not take them.
    fn has_backlog(&self) -> bool {
        false
    }

    /// What to wait on for more frames; empty if the port can't be waited on.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}
