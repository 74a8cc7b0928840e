//! What can go wrong when AF_XDP sockets are opened, with the values that explain it.

use std::io;
use std::time::Duration;

use super::options::{LARGEST_RING, SMALLEST_RING};

/// AF_XDP sockets could not be opened, or one of them stopped working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AfXdpError {
    /// The network namespace has no interface of this name.
    #[error("there is no interface {interface}; `ip link` lists those that exist")]
    NoSuchInterface {
        /// The name asked for.
        interface: String,
    },
    /// The process may not open AF_XDP sockets.
    #[error("{doing} is not permitted: run as root, or give the program CAP_NET_RAW")]
    NotPermitted {
        /// What was refused.
        doing: String,
    },
    /// A ring size that the kernel would not take.
    #[error(
        "{ring} ring of {size} entries: the size must be a power of two from {SMALLEST_RING} to {LARGEST_RING}"
    )]
    RingSize {
        /// Which ring: receive, transmit, fill or completion.
        ring: &'static str,
        /// The size asked for.
        size: u32,
    },
    /// A chunk size that the kernel would not take.
    #[error("chunks of {size} bytes: the size must be 2048 or 4096")]
    ChunkSize {
        /// The size asked for.
        size: u32,
    },
    /// Packets longer than what the kernel spreads over several chunks.
    #[error(
        "packets of {length} bytes, with Ethernet header and VLAN tags, are too long: at most {longest} are possible"
    )]
    PacketLength {
        /// The length asked for, in bytes.
        length: u32,
        /// The longest possible, in bytes.
        longest: u32,
    },
    /// The kernel does not spread packets over several chunks.
    #[error(
        "the kernel refuses packets of {length} bytes on queue {queue} of {interface}, which don't fit in one frame ({source}): \
         that needs Linux 6.6 or later; without it, set the MTU of all interfaces to at most {mtu}"
    )]
    LongPacketsRefused {
        /// The interface.
        interface: String,
        /// The queue, from 0.
        queue: u32,
        /// The longest packet, in bytes.
        length: u32,
        /// The largest MTU that would do.
        mtu: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The UMEM has not enough frames for the fill rings of its sockets.
    #[error(
        "{frames} frames are too few: {sockets} sockets need {needed} to fill their rings and keep the reserve; \
         raise the number of frames or shrink the rings"
    )]
    TooFewFrames {
        /// Frames of the UMEM.
        frames: u32,
        /// Sockets, one for each queue of each interface.
        sockets: u32,
        /// The smallest number of frames that would do.
        needed: u32,
    },
    /// No queues were asked for.
    #[error("no queues of {interface} were asked for; a port needs at least one")]
    NoQueues {
        /// The interface.
        interface: String,
    },
    /// The interface has fewer queues than were asked for.
    #[error("{interface} has {available} queues, so it has no queue {queue}")]
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The queue that was asked for, from 0.
        queue: u32,
        /// Queues that the interface has.
        available: u32,
    },
    /// Another socket is bound to the queue.
    #[error(
        "another AF_XDP socket holds queue {queue} of {interface} and did not let go within {waited:?}: \
         is another instance running on it?"
    )]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue, from 0.
        queue: u32,
        /// How long it was tried.
        waited: Duration,
    },
    /// The limit of locked memory is too low for the UMEM.
    #[error(
        "locking {bytes} bytes for the UMEM exceeds the memlock limit: raise it (`ulimit -l`, LimitMEMLOCK=) \
         or give the program CAP_IPC_LOCK"
    )]
    LockedMemory {
        /// Size of the UMEM in bytes.
        bytes: u64,
    },
    /// There is no memory for the UMEM.
    #[error("the UMEM of {bytes} bytes could not be made")]
    Memory {
        /// Size of the UMEM in bytes.
        bytes: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Zero-copy was demanded, and the driver of the interface can't do it.
    #[error(
        "zero-copy is demanded, but {interface} can't do it on queue {queue}: \
         set zero-copy to auto or off, or use an interface whose driver can"
    )]
    ZeroCopyImpossible {
        /// The interface.
        interface: String,
        /// The queue, from 0.
        queue: u32,
    },
    /// The first socket of the UMEM runs in zero-copy mode, which the kernel then demands of all of them.
    #[error(
        "{interface} can't do zero-copy on queue {queue}, while the sockets before it on the same UMEM do: \
         set zero-copy to off"
    )]
    MixedZeroCopy {
        /// The interface.
        interface: String,
        /// The queue, from 0.
        queue: u32,
    },
    /// The kernel does not let the socket drive its queue.
    #[error(
        "the kernel refuses {option} = {value} on queue {queue} of {interface} ({source}): busy polling needs Linux 5.11 or later, built \
         with CONFIG_NET_RX_BUSY_POLL, and CAP_NET_ADMIN; wait = \"adaptive\" does without"
    )]
    BusyPollRefused {
        /// The interface.
        interface: String,
        /// The queue, from 0.
        queue: u32,
        /// The socket option.
        option: &'static str,
        /// Its value.
        value: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket could not be made or bound for another reason.
    #[error("the AF_XDP socket on queue {queue} of {interface} could not be opened")]
    Socket {
        /// The interface.
        interface: String,
        /// The queue, from 0.
        queue: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The interface was removed while the port ran.
    #[error("interface {interface} is gone")]
    InterfaceGone {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
