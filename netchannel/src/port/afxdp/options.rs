//! What is asked for when a UMEM and the ports on it are opened.

use std::time::Duration;

use super::AfXdpError;

/// Fewest entries of a ring: a burst, and what the kernel sends in one go.
pub(super) const SMALLEST_RING: u32 = 64;
/// Most entries of a ring.
pub(super) const LARGEST_RING: u32 = 65_536;

/// Bytes at the start of each chunk that are the kernel's.
pub const HEADROOM: u32 = 256;
/// Bytes of the longest Ethernet header: with two VLAN tags.
pub const LONGEST_ETHERNET_HEADER: u32 = 22;
/// Most chunks that a packet is spread over. The kernel copies what is sent into one buffer and up to 17 fragments (`MAX_SKB_FRAGS`).
pub const MOST_CHUNKS: u32 = 16;
/// Memory for packets that are longer than a chunk, in bytes.
const LONG_PACKET_MEMORY: u32 = 16 << 20;

/// Whether the driver reads and writes the frames itself, or the kernel copies.
///
/// The kernel makes this a property of a UMEM: the first socket decides, and later ones must be able to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Zero-copy if every interface can do it, copies if not; the port tells which it became.
    #[default]
    Auto,
    /// Zero-copy, or an error.
    On,
    /// Copies, whatever the driver can do.
    Off,
}

/// How a UMEM is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UmemOptions {
    /// Number of frames; rounded up to whole pages where huge pages are used.
    pub frames: u32,
    /// Bytes of a chunk, 2048 or 4096; a frame holds 256 less.
    pub chunk_size: u32,
    /// Bytes of the longest packet that is carried, with Ethernet header and VLAN tags, if that is more than a chunk holds: up to what 16
    /// chunks hold, on Linux 6.6 or later.
    pub longest_packet: u32,
    /// Free frames that the fill rings leave to whoever makes packets of its own.
    pub reserve: u32,
    /// Entries of each socket's fill ring: frames waiting to be received into. A power of two, 64 to 65,536.
    pub fill_ring: u32,
    /// Entries of each socket's completion ring: frames sent and not yet taken back. A power of two, 64 to 65,536.
    pub completion_ring: u32,
    /// Whether huge pages are tried first. Without enough of them ordinary pages are used; the UMEM tells which.
    pub huge_pages: bool,
    /// Zero-copy or copies.
    pub zero_copy: ZeroCopy,
}

impl Default for UmemOptions {
    /// Good for two interfaces of one queue each: 16,384 frames of 4096 bytes (64 MiB), rings of 2048.
    fn default() -> Self {
        Self {
            frames: 16_384,
            chunk_size: 4096,
            longest_packet: 1522,
            reserve: 512,
            fill_ring: 2048,
            completion_ring: 2048,
            huge_pages: false,
            zero_copy: ZeroCopy::Auto,
        }
    }
}

impl UmemOptions {
    /// The defaults with as many frames as keep `sockets` sockets (one for each queue of each interface) busy when all their
    /// rings are full.
    pub fn for_sockets(sockets: u32) -> Self {
        let defaults = Self::default();
        let frames = sockets.max(1).saturating_mul(4 * defaults.fill_ring);
        Self { frames, ..defaults }
    }

    /// Bytes that a chunk holds of a packet.
    pub fn frame_capacity(&self) -> u32 {
        self.chunk_size.saturating_sub(HEADROOM)
    }

    /// Whether there are packets that don't fit in a chunk.
    pub fn has_long_packets(&self) -> bool {
        self.longest_packet > self.frame_capacity()
    }

    /// Frames for packets that don't fit in a chunk: 16 MiB of them, but 256 at least.
    pub fn long_frames(&self) -> u32 {
        match self.has_long_packets() {
            true => (LONG_PACKET_MEMORY / self.longest_packet).max(256),
            false => 0,
        }
    }

    pub(super) fn check(&self) -> Result<(), AfXdpError> {
        if ![2048, 4096].contains(&self.chunk_size) {
            return Err(AfXdpError::ChunkSize {
                size: self.chunk_size,
            });
        }
        let longest = MOST_CHUNKS * self.frame_capacity();
        if self.longest_packet > longest {
            return Err(AfXdpError::PacketLength {
                length: self.longest_packet,
                longest,
            });
        }
        check_ring("fill", self.fill_ring)?;
        check_ring("completion", self.completion_ring)?;
        self.check_frames(1)
    }

    /// Whether the frames are enough for the fill rings of this many sockets.
    pub(super) fn check_frames(&self, sockets: u32) -> Result<(), AfXdpError> {
        let needed = sockets
            .saturating_mul(self.fill_ring)
            .saturating_add(self.reserve);
        if self.frames < needed {
            return Err(AfXdpError::TooFewFrames {
                frames: self.frames,
                sockets,
                needed,
            });
        }
        Ok(())
    }
}

/// How a socket drives its queue itself, in place of the card's interrupts.
///
/// Calls that send and receive then run the driver's receive function in the worker's thread (Linux 5.11 or later, CAP_NET_ADMIN).
/// Interrupts keep coming as well unless the device is told to hold them back as long as it is polled: `napi_defer_hard_irqs` and
/// `gro_flush_timeout` in its directory under `/sys/class/net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// Packets that the driver takes from a queue at a time, `SO_BUSY_POLL_BUDGET`; 1 to 65,535.
    pub budget: u32,
    /// `SO_BUSY_POLL`, rounded down to microseconds. Calls on AF_XDP sockets look once and return, so that it only must not be 0.
    pub time: Duration,
}

/// How a port is opened: an interface, and which of its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOptions {
    /// Name of the interface in the thread's network namespace.
    pub interface: String,
    /// Queues to receive from, numbered from 0, each once; all of the interface's unless other workers have the rest. Packets leave
    /// by the first of the list.
    pub queues: Vec<u32>,
    /// Entries of each receive ring. A power of two, 64 to 65,536.
    pub receive_ring: u32,
    /// Entries of each transmit ring. A power of two, 64 to 65,536.
    pub transmit_ring: u32,
    /// Whether and how the sockets drive their queues.
    pub busy_poll: Option<BusyPoll>,
}

impl PortOptions {
    /// Rings of 2048 entries on these queues.
    pub fn new(interface: impl Into<String>, queues: impl IntoIterator<Item = u32>) -> Self {
        Self {
            interface: interface.into(),
            queues: queues.into_iter().collect(),
            receive_ring: 2048,
            transmit_ring: 2048,
            busy_poll: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), AfXdpError> {
        check_ring("receive", self.receive_ring)?;
        check_ring("transmit", self.transmit_ring)?;
        if self.queues.is_empty() {
            return Err(AfXdpError::NoQueues {
                interface: self.interface.clone(),
            });
        }
        Ok(())
    }
}

fn check_ring(ring: &'static str, size: u32) -> Result<(), AfXdpError> {
    if size.is_power_of_two() && (SMALLEST_RING..=LARGEST_RING).contains(&size) {
        Ok(())
    } else {
        Err(AfXdpError::RingSize { ring, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_the_kernel_would_refuse_are_refused_with_their_name() {
        let error = |options: UmemOptions| options.check().unwrap_err().to_string();
        let defaults = UmemOptions::default();
        assert!(
            error(UmemOptions {
                chunk_size: 1024,
                ..defaults.clone()
            })
            .contains("1024")
        );
        assert!(
            error(UmemOptions {
                longest_packet: 16 * 3840 + 1,
                ..defaults.clone()
            })
            .contains("at most 61440")
        );
        assert!(
            error(UmemOptions {
                fill_ring: 1000,
                ..defaults.clone()
            })
            .starts_with("fill ring of 1000")
        );
        assert!(
            error(UmemOptions {
                frames: 2559,
                ..defaults.clone()
            })
            .contains("2560")
        );
        defaults.check().unwrap();

        let mut port = PortOptions::new("x", 0..1);
        port.check().unwrap();
        port.transmit_ring = 32;
        assert!(matches!(
            port.check(),
            Err(AfXdpError::RingSize {
                ring: "transmit",
                size: 32
            })
        ));
        assert!(matches!(
            PortOptions::new("x", 1..1).check(),
            Err(AfXdpError::NoQueues { .. })
        ));
    }

    #[test]
    fn frames_for_many_sockets_are_enough_for_them() {
        for sockets in [0, 1, 2, 16, 64] {
            UmemOptions::for_sockets(sockets).check_frames(sockets).unwrap();
        }
    }
}
