//! The maps, under the names that user space finds them by.

use aya_ebpf::{
    Global,
    bindings::{BPF_ANY, BPF_F_MMAPABLE},
    macros::map,
    maps::{Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, XskMap, lpm_trie::Key},
};
use xdp_prog::offload::{Ipv4Entry, Ipv6Entry, MAX_WAYS, SEEDS_LEN, WayRecord};
use xdp_prog::{
    Address, Flow, Fragment, Interface, InterfaceKey, Ipv4Prefix, Ipv6Prefix, MAX_FRAGMENTS, MAX_INTERFACES,
    MAX_LOCAL_ADDRESSES, MAX_LOGICAL_INTERFACES, MAX_PASSED_FLOWS, MAX_PORT_SETS, MAX_PREFIXES,
    QUEUES_PER_INTERFACE, Verdict, WORDS_PER_PORT_SET, port_bit, port_word,
};

#[map]
static INTERFACES: HashMap<InterfaceKey, Interface> = HashMap::with_max_entries(MAX_LOGICAL_INTERFACES, 0);
#[map]
pub(super) static SOCKETS: XskMap = XskMap::with_max_entries(MAX_INTERFACES * QUEUES_PER_INTERFACE, 0);
#[map]
static EXTERNAL: LpmTrie<Ipv4Prefix, u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
#[map]
static PORT_SETS: Array<u64> = Array::with_max_entries(MAX_PORT_SETS * WORDS_PER_PORT_SET, 0);
#[map]
static FRAGMENTS: LruHashMap<Fragment, u32> = LruHashMap::with_max_entries(MAX_FRAGMENTS, 0);
#[map]
static LOCAL: HashMap<Address, u32> = HashMap::with_max_entries(MAX_LOCAL_ADDRESSES, 0);
#[map]
static SOURCES_V4: LpmTrie<Ipv4Prefix, u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
#[map]
static SOURCES_V6: LpmTrie<Ipv6Prefix, u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
#[map]
static DESTINATIONS_V4: LpmTrie<Ipv4Prefix, u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
#[map]
static DESTINATIONS_V6: LpmTrie<Ipv6Prefix, u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);
#[map]
static PASSED: LruHashMap<Flow, u32> = LruHashMap::with_max_entries(MAX_PASSED_FLOWS, 0);
#[map]
static HOLD: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::ALL.len() as u32, 0);

// User space says how large these are to be.
#[map]
static OFFLOAD_TAGS_V4: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static OFFLOAD_V4: Array<Ipv4Entry<u32, u64>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static OFFLOAD_TAGS_V6: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static OFFLOAD_V6: Array<Ipv6Entry<u32, u64>> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static OFFLOAD_WAYS: Array<WayRecord<u32, u64>> = Array::with_max_entries(MAX_WAYS, BPF_F_MMAPABLE);
#[map]
static OFFLOAD_CLOCK: Array<u64> = Array::with_max_entries(1, 0);
#[map]
pub(super) static DEVICES: DevMap = DevMap::with_max_entries(MAX_INTERFACES, 0);

#[unsafe(no_mangle)]
pub(super) static OFFLOAD_SEEDS: [Global<u64>; SEEDS_LEN] = [const { Global::new(0) }; SEEDS_LEN];
#[unsafe(no_mangle)]
pub(super) static OFFLOAD_BUCKETS_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(super) static OFFLOAD_BUCKETS_V6: Global<u32> = Global::new(0);
/// Zero, which the verifier knows and the compiler does not.
#[unsafe(no_mangle)]
pub(super) static NOTHING: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub(super) static MAX_FRAME_LENGTH: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(super) static MARKER_COOKIE: Global<u64> = Global::new(0);

#[inline(always)]
pub(super) fn interface(ifindex: u32, outer_vlan: u16, inner_vlan: u16) -> Option<&'static Interface> {
    // SAFETY: user space replaces values as a whole; the kernel frees an old one only after this program ends.
    unsafe {
        INTERFACES.get(InterfaceKey {
            ifindex,
            outer_vlan,
            inner_vlan,
        })
    }
}

#[inline(always)]
pub(super) fn external(logical: u32, address: u32) -> Option<u32> {
    EXTERNAL
        .get(Key::new(Ipv4Prefix::BITS, Ipv4Prefix { logical, address }))
        .copied()
}

#[inline(always)]
pub(super) fn source_v4(logical: u32, address: u32) -> bool {
    SOURCES_V4
        .get(Key::new(Ipv4Prefix::BITS, Ipv4Prefix { logical, address }))
        .is_some()
}

#[inline(always)]
pub(super) fn destination_v4(logical: u32, address: u32) -> bool {
    DESTINATIONS_V4
        .get(Key::new(Ipv4Prefix::BITS, Ipv4Prefix { logical, address }))
        .is_some()
}

#[inline(always)]
pub(super) fn source_v6(logical: u32, address: [u32; 4]) -> bool {
    SOURCES_V6
        .get(Key::new(Ipv6Prefix::BITS, Ipv6Prefix { logical, address }))
        .is_some()
}

#[inline(always)]
pub(super) fn destination_v6(logical: u32, address: [u32; 4]) -> bool {
    DESTINATIONS_V6
        .get(Key::new(Ipv6Prefix::BITS, Ipv6Prefix { logical, address }))
        .is_some()
}

/// `port` in the byte order of the machine.
#[inline(always)]
pub(super) fn in_port_set(set: u32, port: u16) -> bool {
    PORT_SETS
        .get(port_word(set, port))
        .is_some_and(|word| word & port_bit(port) != 0)
}

#[inline(always)]
pub(super) fn local(address: &Address) -> bool {
    LOCAL.get_ptr(address).is_some()
}

#[inline(always)]
pub(super) fn passed(flow: &Flow) -> bool {
    PASSED.get_ptr(flow).is_some()
}

/// The verdict on the datagram's first fragment.
#[inline(always)]
pub(super) fn fragment_verdict(fragment: &Fragment) -> Option<u32> {
    // SAFETY: a slot that is used again while it is read holds another datagram's verdict at worst.
    unsafe { FRAGMENTS.get(fragment) }.copied()
}

#[inline(always)]
pub(super) fn remember_fragment(fragment: &Fragment, verdict: Verdict) {
    // A full map makes room by itself; if it can't, later fragments go to the kernel as those of an unknown
    // datagram do.
    let _ = FRAGMENTS.insert(fragment, verdict as u32, u64::from(BPF_ANY));
}

/// Until when frames that no socket takes are dropped.
#[inline(always)]
pub(super) fn hold() -> u64 {
    HOLD.get(0).copied().unwrap_or(0)
}

/// The tags of a bucket.
#[inline(always)]
pub(super) fn tags_ipv4(bucket: u32) -> Option<*const u64> {
    OFFLOAD_TAGS_V4.get_ptr(bucket)
}

#[inline(always)]
pub(super) fn tags_ipv6(bucket: u32) -> Option<*const u64> {
    OFFLOAD_TAGS_V6.get_ptr(bucket)
}

#[inline(always)]
pub(super) fn entry_ipv4(place: u32) -> Option<*mut Ipv4Entry<u32, u64>> {
    OFFLOAD_V4.get_ptr_mut(place)
}

#[inline(always)]
pub(super) fn entry_ipv6(place: u32) -> Option<*mut Ipv6Entry<u32, u64>> {
    OFFLOAD_V6.get_ptr_mut(place)
}

/// What the clock said last.
#[inline(always)]
pub(super) fn clock() -> Option<*mut u64> {
    OFFLOAD_CLOCK.get_ptr_mut(0)
}

#[inline(always)]
pub(super) fn way(number: u32) -> Option<*const WayRecord<u32, u64>> {
    OFFLOAD_WAYS.get_ptr(number)
}

#[inline(always)]
pub(super) fn count(verdict: Verdict) {
    if let Some(counter) = COUNTERS.get_ptr_mut(verdict as u32) {
        // SAFETY: the slot is this CPU's own, and the program is not interrupted by itself on one CPU.
        unsafe { *counter += 1 }
    }
}
