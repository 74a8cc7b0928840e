//! Who asks for new flows, and how many each may have so that all together fit.

use std::net::IpAddr;

use ahash::RandomState;

/// Counters for hosts. Two that fall on one share what it gets, for one window: the next one spreads them anew.
const COUNTERS: usize = 4096;
/// The largest share; who asks for more of a window is not told apart.
const LARGEST_SHARE: usize = 4096;

/// No bound.
pub(super) const UNBOUNDED: u32 = u32::MAX;

/// New flows in a window, by the host that sent the first packet. Takes 32 KiB, whatever comes.
pub(super) struct Shares {
    /// How many flows a host asked for, and how many were opened.
    hosts: Box<[[u16; 2]; COUNTERS]>,
    /// Hosts that asked for more than so many flows.
    askers: Box<[u32; LARGEST_SHARE]>,
    /// The number of the window, part of what is hashed.
    window: u64,
    /// Keyed, so that nobody outside can choose whom to share with.
    secret: RandomState,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self {
            hosts: Box::new([[0; 2]; COUNTERS]),
            askers: Box::new([0; LARGEST_SHARE]),
            window: 0,
            secret: RandomState::new(),
        }
    }

    /// The counter of a host in this window: an IPv4 address is one, and an IPv6 network of /64.
    pub(super) fn counter_of(&self, source: IpAddr) -> usize {
        let host = match source {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            // Larger than any IPv4 address: no hosts are in ::/32.
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        self.secret.hash_one((host, self.window)) as usize % COUNTERS
    }

    /// Counts that a host asks for a flow. Returns the flows that it got in this window, to be counted by whoever gives it one.
    pub(super) fn ask(&mut self, source: IpAddr) -> &mut u16 {
        let counter = self.counter_of(source);
        let [asked, opened] = &mut self.hosts[counter];
        if let Some(askers) = self.askers.get_mut(usize::from(*asked)) {
            *askers += 1;
            *asked += 1;
        }
        opened
    }

    /// Whether more than one host asked.
    pub(super) fn are_contested(&self) -> bool {
        self.askers[0] > 1
    }

    /// The largest share by which hosts that ask again as they did in this window get no more than `available` together: who asks for less
    /// gets all of it (max-min fairness). At least 1. O(share).
    pub(super) fn fair(&self, available: u32) -> u32 {
        let mut given = 0u64;
        for (share, &askers) in self.askers.iter().enumerate() {
            given += u64::from(askers);
            if askers == 0 {
                return UNBOUNDED;
            }
            if given > u64::from(available) {
                return (share as u32).max(1);
            }
        }
        UNBOUNDED
    }

    /// Begins a window.
    pub(super) fn clear(&mut self) {
        self.hosts.fill([0; 2]);
        // Whoever asked for more asked for less before: behind the first zero all are.
        let used = self.askers.iter().take_while(|&&askers| askers > 0).count();
        self.askers[..used].fill(0);
        self.window += 1;
    }
}
