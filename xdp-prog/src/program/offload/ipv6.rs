//! IPv6: forwarded, never translated.

use aya_ebpf::programs::XdpContext;
use xdp_prog::offload::{Ipv6Entry, SEEDS_LEN, arrival, hash_ipv6};

use super::table::{self, word};
use super::{ETHERNET_HEADER, Frame, NOT_DATA, PARTIAL_CHECKSUMS, fold, maps};
use crate::program::flow::{TCP, UDP};

const HEADER: u32 = 40;
const TRANSPORT: usize = ETHERNET_HEADER + HEADER as usize;

const PAYLOAD_LENGTH: usize = ETHERNET_HEADER + 4;
const NEXT_HEADER: usize = ETHERNET_HEADER + 6;
const HOP_LIMIT: usize = ETHERNET_HEADER + 7;
const ADDRESSES: usize = ETHERNET_HEADER + 8;

#[inline(always)]
pub(super) fn carry(ctx: &XdpContext, frame: Frame, ifindex: u32, buckets: u32) -> bool {
    if !frame.has(TRANSPORT + 8) {
        return false;
    }
    let hop_limit = frame.read::<u8>(HOP_LIMIT);
    if frame.read::<u8>(ETHERNET_HEADER) >> 4 != 6 || hop_limit <= 1 {
        return false;
    }
    let payload = u32::from(u16::from_be(frame.read(PAYLOAD_LENGTH)));
    let Some(frame) = frame.of_length(TRANSPORT as u64 + u64::from(payload), ctx) else {
        return false;
    };
    let is_tcp = match frame.read::<u8>(NEXT_HEADER) {
        TCP => true,
        UDP => false,
        _ => return false,
    };
    if !is_data(frame, is_tcp, payload) {
        return false;
    }
    let addresses = frame.read::<[u64; 4]>(ADDRESSES);
    let ports = frame.read::<u32>(TRANSPORT);
    let arrival = arrival(ifindex, is_tcp);
    let seeds: [u64; SEEDS_LEN] = core::array::from_fn(|number| maps::OFFLOAD_SEEDS[number].load());
    let Some(hit) = table::find(
        hash_ipv6(seeds, addresses, ports, arrival),
        buckets,
        maps::tags_ipv6,
        maps::entry_ipv6,
        // SAFETY: the pointer is to an entry.
        |entry: *mut Ipv6Entry<u32, u64>| unsafe { &raw mut (*entry).state },
        |entry| {
            word!(entry, addresses[0]) == addresses[0]
                && word!(entry, addresses[1]) == addresses[1]
                && word!(entry, addresses[2]) == addresses[2]
                && word!(entry, addresses[3]) == addresses[3]
                && word!(entry, ports) == ports
                && word!(entry, arrival) == arrival
        },
    ) else {
        return false;
    };
    // SAFETY: as above.
    let state = unsafe { &raw mut (*hit.entry).state };
    if hit.has(PARTIAL_CHECKSUMS) && is_partial(frame, &addresses, is_tcp, payload) {
        return false;
    }
    let Some(way) = hit.way(state, frame, HEADER + payload) else {
        return false;
    };
    if !way.redirect() || !hit.count(state, &way, frame) {
        return false;
    }
    way.encapsulate(frame);
    frame.write(HOP_LIMIT, hop_limit - 1);
    true
}

/// Whether the transport header fits in the packet and says nothing but data.
#[inline(always)]
fn is_data(frame: Frame, is_tcp: bool, payload: u32) -> bool {
    if is_tcp {
        if !frame.has(TRANSPORT + 20) {
            return false;
        }
        let header = u32::from(frame.read::<u8>(TRANSPORT + 12) >> 4) * 4;
        header >= 20 && header <= payload && frame.read::<u8>(TRANSPORT + 13) & NOT_DATA == 0
    } else {
        let datagram = u32::from(u16::from_be(frame.read(TRANSPORT + 4)));
        datagram >= 8 && datagram <= payload
    }
}

/// Whether the checksum is the sum of the pseudo header and nothing else.
#[inline(always)]
fn is_partial(frame: Frame, addresses: &[u64; 4], is_tcp: bool, payload: u32) -> bool {
    if is_tcp && !frame.has(TRANSPORT + 20) {
        return false;
    }
    let checksum = frame.read::<u16>(TRANSPORT + if is_tcp { 16 } else { 6 });
    let protocol = u16::from(if is_tcp { TCP } else { UDP }).to_be();
    let mut sum = u64::from(protocol) + u64::from((payload as u16).to_be());
    for word in addresses {
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    checksum == fold(sum)
}
