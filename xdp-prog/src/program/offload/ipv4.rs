//! IPv4: translated, if the flow is.

use aya_ebpf::programs::XdpContext;
use xdp_prog::offload::{Ipv4Entry, arrival, hash_ipv4};

use super::table::{self, word};
use super::{ETHERNET_HEADER, Frame, NEEDS_DONT_FRAGMENT, NOT_DATA, PARTIAL_CHECKSUMS, fold, maps, update};
use crate::program::flow::{TCP, UDP};

const HEADER: u32 = 20;
const TRANSPORT: usize = ETHERNET_HEADER + HEADER as usize;
/// Version 4, 5 words of header: no options.
const PLAIN: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// Offset and more-fragments bit.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

const TOTAL_LENGTH: usize = ETHERNET_HEADER + 2;
const FLAGS_AND_OFFSET: usize = ETHERNET_HEADER + 6;
const TIME_TO_LIVE: usize = ETHERNET_HEADER + 8;
const PROTOCOL: usize = ETHERNET_HEADER + 9;
const CHECKSUM: usize = ETHERNET_HEADER + 10;
const ADDRESSES: usize = ETHERNET_HEADER + 12;

#[inline(always)]
pub(super) fn carry(ctx: &XdpContext, frame: Frame, ifindex: u32, buckets: u32) -> bool {
    let flags = frame.read::<u16>(FLAGS_AND_OFFSET);
    let time_to_live = frame.read::<u8>(TIME_TO_LIVE);
    if frame.read::<u8>(ETHERNET_HEADER) != PLAIN || flags & FRAGMENT != 0 || time_to_live <= 1 {
        return false;
    }
    let length = u32::from(u16::from_be(frame.read(TOTAL_LENGTH)));
    let Some(frame) = frame.of_length(ETHERNET_HEADER as u64 + u64::from(length), ctx) else {
        return false;
    };
    let is_tcp = match frame.read::<u8>(PROTOCOL) {
        TCP => true,
        UDP => false,
        _ => return false,
    };
    if !is_data(frame, is_tcp, length) {
        return false;
    }
    let addresses = frame.read::<u64>(ADDRESSES);
    if !is_whole(frame, addresses) {
        return false;
    }
    let ports = frame.read::<u32>(TRANSPORT);
    let arrival = arrival(ifindex, is_tcp);
    let seeds = &maps::OFFLOAD_SEEDS;
    let seeds = [seeds[0].load(), seeds[1].load(), seeds[2].load(), seeds[3].load()];
    let Some(hit) = table::find(
        hash_ipv4(seeds, addresses, ports, arrival),
        buckets,
        maps::tags_ipv4,
        maps::entry_ipv4,
        // SAFETY: the pointer is to an entry.
        |entry: *mut Ipv4Entry<u32, u64>| unsafe { &raw mut (*entry).state },
        |entry| {
            word!(entry, addresses) == addresses
                && word!(entry, ports) == ports
                && word!(entry, arrival) == arrival
        },
    ) else {
        return false;
    };
    let entry = hit.entry;
    // SAFETY: as above.
    let state = unsafe { &raw mut (*entry).state };
    if hit.has(NEEDS_DONT_FRAGMENT) && flags & DONT_FRAGMENT == 0 {
        return false;
    }
    let checksum_at = TRANSPORT + if is_tcp { 16 } else { 6 };
    if is_tcp && !frame.has(TRANSPORT + 20) {
        return false;
    }
    let checksum = frame.read::<u16>(checksum_at);
    if hit.has(PARTIAL_CHECKSUMS) && checksum == pseudo_sum(addresses, is_tcp, length) {
        return false;
    }
    let Some(way) = hit.way(state, frame, length) else {
        return false;
    };
    if !way.redirect() {
        return false;
    }
    let new_addresses = word!(entry, new_addresses);
    let new_ports = word!(entry, new_ports);
    let deltas = word!(entry, deltas);
    if !hit.count(state, &way, frame) {
        return false;
    }
    way.encapsulate(frame);
    frame.write(TIME_TO_LIVE, time_to_live - 1);
    frame.write(CHECKSUM, update(frame.read(CHECKSUM), deltas as u16));
    frame.write(ADDRESSES, new_addresses);
    frame.write(TRANSPORT, new_ports);
    let new_checksum = update(checksum, (deltas >> 16) as u16);
    if is_tcp {
        frame.write(checksum_at, new_checksum);
    } else if checksum != 0 {
        // RFC 768: zero is no checksum, and a computed zero is sent as ones.
        frame.write(checksum_at, if new_checksum == 0 { 0xffff } else { new_checksum });
    }
    true
}

/// Whether the transport header fits in the packet and says nothing but data.
#[inline(always)]
fn is_data(frame: Frame, is_tcp: bool, length: u32) -> bool {
    if is_tcp {
        if !frame.has(TRANSPORT + 20) {
            return false;
        }
        let header = u32::from(frame.read::<u8>(TRANSPORT + 12) >> 4) * 4;
        header >= 20 && HEADER + header <= length && frame.read::<u8>(TRANSPORT + 13) & NOT_DATA == 0
    } else {
        let datagram = u32::from(u16::from_be(frame.read(TRANSPORT + 4)));
        datagram >= 8 && HEADER + datagram <= length
    }
}

/// Whether the header's checksum is right.
#[inline(always)]
fn is_whole(frame: Frame, addresses: u64) -> bool {
    let sum = u64::from(frame.read::<u32>(ETHERNET_HEADER))
        + u64::from(frame.read::<u32>(ETHERNET_HEADER + 4))
        + u64::from(frame.read::<u32>(ETHERNET_HEADER + 8))
        + (addresses >> 32)
        + (addresses & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    // What is left to fold is one carry: these two become 0xffff.
    sum == 0xffff || sum == 0x1_fffe
}

/// Sum of the pseudo header, as it is in memory.
#[inline(always)]
fn pseudo_sum(addresses: u64, is_tcp: bool, length: u32) -> u16 {
    let protocol = u16::from(if is_tcp { TCP } else { UDP }).to_be();
    let segment = ((length - HEADER) as u16).to_be();
    fold((addresses >> 32) + (addresses & 0xffff_ffff) + u64::from(protocol) + u64::from(segment))
}
