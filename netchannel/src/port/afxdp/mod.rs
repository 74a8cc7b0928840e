//! Ports on AF_XDP sockets: frames that an XDP program redirects from the queues of an interface, and that leave by it.
//!
//! A worker opens one [`Umem`] and on it one [`AfXdpPort`] for each interface, all in one thread ([`open`]). Each port has one socket
//! for each of its queues that are not other workers'. Packets leave by the first of them, so that packets of a flow keep their order whichever queue they came in
//! by. No XDP program is loaded here: whoever loads one puts the sockets ([`AfXdpPort::sockets`]) into its XSKMAP.
//!
//! **Who gets free frames.** Fill rings take frames from the pool up to their size, but never the last [`UmemOptions::reserve`] ones,
//! which stay for packets that the worker makes itself. When frames are scarce (channels hold many), each ring first gets a
//! quarter of its size; only what no other ring is short of goes further. So one port can't starve another, and reception resumes by itself when frames come back.
//!
//! **Long packets.** With [`UmemOptions::longest_packet`] above what a chunk holds, sockets take packets that the kernel spreads over several chunks (jumbo
//! frames; Linux 6.6 or later). They become one [`Frame`](crate::port::Frame) in ordinary memory, so that whoever works on packets sees no
//! difference, and are spread over chunks again when they leave: two copies. If all such frames are in use, the packet is dropped and counted.
//!
//! **Links.** An interface that is down is no error: the port has no transmit room meanwhile, what was queued before leaves when the
//! link is back, and [`is_link_up`](crate::port::PacketIo::is_link_up) tells. A driver that sends nothing for another reason leaves the frames in the
//! transmit ring; once that is full, there is no room either. An interface that was removed is an error: every
//! [`flush`](crate::port::PacketIo::flush) fails from then on, what was received before can still be read, and the worker's ports are
//! to be opened anew.

mod device;
mod error;
mod gathering;
mod kernel;
mod options;
mod port;
mod queue;
mod umem;

pub use device::{queues_of, transmit_queues_of};
pub use error::AfXdpError;
pub use options::{
    BusyPoll, HEADROOM, LONGEST_ETHERNET_HEADER, MOST_CHUNKS, PortOptions, UmemOptions, ZeroCopy,
};
pub use port::{AfXdpPort, QueueStatistics};
pub use umem::Umem;

/// Opens a UMEM and a port for each of `ports` on it, in their order.
///
/// With [`ZeroCopy::Auto`], all sockets run in zero-copy mode or all in copy mode; the latter is tried when a driver can't do the
/// former. Takes up to two seconds for each queue that a socket held just before.
///
/// # Errors
/// If an option is out of its range, the frames don't suffice for all sockets, an interface or queue does not exist or is held by
/// another socket, or the process may not open such sockets.
pub fn open(umem: &UmemOptions, ports: &[PortOptions]) -> Result<(Umem, Vec<AfXdpPort>), AfXdpError> {
    let sockets = ports.iter().map(|port| port.queues.len() as u32).sum();
    umem.check_frames(sockets)?;
    match open_all(umem, ports) {
        Err(AfXdpError::MixedZeroCopy { interface, queue }) => {
            log::warn!(
                "queue {queue} of {interface} can't do zero-copy, so no socket of the worker does: copies are made"
            );
            let copying = UmemOptions {
                zero_copy: ZeroCopy::Off,
                ..umem.clone()
            };
            open_all(&copying, ports)
        }
        other => other,
    }
}

fn open_all(umem: &UmemOptions, ports: &[PortOptions]) -> Result<(Umem, Vec<AfXdpPort>), AfXdpError> {
    let umem = Umem::new(umem)?;
    let ports = ports
        .iter()
        .map(|port| AfXdpPort::open(&umem, port))
        .collect::<Result<_, _>>()?;
    Ok((umem, ports))
}
