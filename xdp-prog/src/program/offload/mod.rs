//! Flows that the program carries by itself, as user space has entered them: translate, lower the time to live, redirect.
//!
//! Only plain packets are looked up: untagged, whole, without options or extension headers, with a transport header that says nothing
//! but data. All others, and those that a check refuses, take the way that all packets took before.
//!
//! **While user space changes an entry** the program must neither mix two flows nor carry what is not counted. It reads the stamp, then
//! the fields, then adds the packet to the counter in one atomic operation that has the order of a full barrier, and only goes on if that
//! tells that the flow is carried at this moment, and the stamp is still the same. The fields are read by an address that depends on the stamp, which keeps
//! the two apart on machines that reorder loads.

mod clock;
mod ipv4;
mod ipv6;
mod table;

use aya_ebpf::helpers;
use aya_ebpf::programs::XdpContext;
use xdp_prog::offload::{NEEDS_DONT_FRAGMENT, PARTIAL_CHECKSUMS, SEVERAL_BUFFERS};

use super::{ethernet, maps};

/// Ethernet header in front of an untagged packet.
const ETHERNET_HEADER: usize = 14;
/// What is longest of what both IP versions and protocols have at least: Ethernet, IPv4, UDP.
const SHORTEST: usize = ETHERNET_HEADER + 20 + 8;

/// FIN, SYN and RST of TCP: what changes a connection is user space's.
const NOT_DATA: u8 = 0x07;

/// The frame, from its first byte to behind its last one in the first buffer.
#[derive(Clone, Copy)]
struct Frame {
    start: usize,
    end: usize,
    /// Bytes in other buffers.
    elsewhere: u64,
}

impl Frame {
    #[inline(always)]
    fn has(self, length: usize) -> bool {
        self.start + length <= self.end
    }

    #[inline(always)]
    fn len(self) -> u64 {
        (self.end - self.start) as u64 + self.elsewhere
    }

    /// The frame with what lies in other buffers, if that makes it as long as its headers say.
    #[inline(always)]
    fn of_length(self, length: u64, ctx: &XdpContext) -> Option<Self> {
        if length <= self.len() {
            return Some(self);
        }
        // SAFETY: the helper only reads the context that the kernel gave to this program.
        let all = unsafe { helpers::generated::bpf_xdp_get_buff_len(ctx.ctx) };
        (length <= all).then_some(Self {
            elsewhere: all - self.len(),
            ..self
        })
    }

    /// The value at an offset that the frame [has](Self::has), whatever its alignment, see
    /// [`Packet::header`](super::packet::Packet::header).
    #[inline(always)]
    fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the caller has looked whether the frame is long enough, and the verifier checks it again; packet memory lives as long
        // as the program runs.
        unsafe { *((self.start + offset) as *const T) }
    }

    #[inline(always)]
    fn write<T>(self, offset: usize, value: T) {
        // SAFETY: as above, and nobody else has the packet.
        unsafe { *((self.start + offset) as *mut T) = value }
    }
}

/// Whether the frame was carried: it is what leaves then, and has been given to the device that it leaves by.
#[inline(always)]
pub(super) fn carry(ctx: &XdpContext) -> bool {
    let (buckets_ipv4, buckets_ipv6) = (maps::OFFLOAD_BUCKETS_V4.load(), maps::OFFLOAD_BUCKETS_V6.load());
    // The verifier knows these numbers: if both are 0, it leaves nothing of what follows.
    if buckets_ipv4 | buckets_ipv6 == 0 {
        return false;
    }
    let frame = Frame {
        start: ctx.data(),
        end: ctx.data_end(),
        elsewhere: 0,
    };
    if !frame.has(SHORTEST) {
        return false;
    }
    let ifindex = ctx.ingress_ifindex() as u32;
    match frame.read::<u16>(12) {
        ethernet::IPV4 if buckets_ipv4 != 0 => ipv4::carry(ctx, frame, ifindex, buckets_ipv4),
        ethernet::IPV6 if buckets_ipv6 != 0 => ipv6::carry(ctx, frame, ifindex, buckets_ipv6),
        _ => false,
    }
}

/// One's complement sum of two 32-bit words and what else there is, in 16 bits.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// A checksum after a change of what it covers (RFC 1624, equation 3).
#[inline(always)]
fn update(checksum: u16, delta: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(delta);
    !((sum >> 16) + (sum & 0xffff)) as u16
}
