//! Shares of a translator's work: each of several workers has the inside hosts that a hash of their addresses gives it, and a slice of
//! the external ports. So none of them needs what another one knows.

use std::net::Ipv4Addr;

use super::limits::Limits;
use super::ports::FreePorts;
use super::settings::NatSettings;

/// The most workers that a translator's work can be shared by.
pub const MOST_WORKERS: usize = 64;

/// One worker's share. [`NatSettings::share`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    worker: u8,
    workers: u8,
}

/// Why a translator's work can't be shared so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// There is no such worker, or there are too many.
    #[error("there is no worker {worker} of {workers}; have 1 to {MOST_WORKERS} workers, numbered from 0")]
    NoSuchWorker {
        /// Its number.
        worker: usize,
        /// How many there are.
        workers: usize,
    },
    /// A worker would have no external ports.
    #[error(
        "{ports} external ports, or blocks of them, are too few for {workers} workers; give more ports, smaller blocks or fewer workers"
    )]
    TooFewPorts {
        /// Pairs of ports, or blocks of them.
        ports: usize,
        /// How many workers there are.
        workers: usize,
    },
    /// A limit leaves nothing for some of the workers.
    #[error(
        "{name} is {value}, of which not every one of {workers} workers gets a part; raise it or have fewer workers"
    )]
    LimitTooLow {
        /// Which limit.
        name: &'static str,
        /// What it is.
        value: u32,
        /// How many workers there are.
        workers: usize,
    },
}

/// The worker, from 0 to below `workers`, that an inside host belongs to: always the same one of as many workers, so that saved state finds
/// its place after a restart. O(1).
pub fn worker_of(inside: Ipv4Addr, workers: usize) -> usize {
    // The finalizer of MurmurHash3: every bit of the address decides on every bit of the hash.
    let mut hash = inside.to_bits();
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    ((u64::from(hash) * workers as u64) >> 32) as usize
}

impl Share {
    /// The worker, from 0.
    pub fn worker(self) -> usize {
        self.worker.into()
    }

    /// How many workers there are.
    pub fn workers(self) -> usize {
        self.workers.into()
    }

    /// Whether this is the worker that has what is numbered so.
    pub(super) fn has(self, number: usize) -> bool {
        number % self.workers() == self.worker()
    }

    /// Its part of a limit on all workers together. What can't be divided goes to the first ones.
    fn of(self, limit: u32) -> u32 {
        let (worker, workers) = (u32::from(self.worker), u32::from(self.workers));
        match limit {
            u32::MAX => limit,
            limit => limit / workers + u32::from(worker < limit % workers),
        }
    }

    /// Its part of something of which each has some, if there is any.
    fn at_least_one_of(self, limit: u32) -> u32 {
        self.of(limit).max(limit.min(1))
    }
}

impl NatSettings {
    /// The settings of one of `workers` translators, from 0, that do together what one with these settings would do. They belong to one
    /// [`team`](crate::dispatch::team) of dispatchers.
    ///
    /// External ports are shared out in pairs of an even and an odd one, or in whole blocks, so that each slice has ports of every parity and
    /// class; ports of inside hosts' own, forwarded ports and addresses of single hosts are with their host. Limits on all hosts together
    /// are divided, those on one host or mapping are not.
    ///
    /// # Errors
    /// See [`ShareError`].
    pub fn share(&self, worker: usize, workers: usize) -> Result<Self, ShareError> {
        if worker >= workers || workers > MOST_WORKERS {
            return Err(ShareError::NoSuchWorker { worker, workers });
        }
        let mut settings = self.clone();
        if workers == 1 {
            return Ok(settings);
        }
        let share = Share {
            worker: worker as u8,
            workers: workers as u8,
        };
        settings.share = Some(share);
        settings.limits = shared_limits(&self.limits, share)?;
        settings.hold.count = share.at_least_one_of(self.hold.count);
        settings.max_held_fragments = share.at_least_one_of(self.max_held_fragments.into()) as u16;
        if let Some(blocks) = &mut settings.blocks {
            blocks.hold_count = share.at_least_one_of(blocks.hold_count);
        }
        if self.deterministic.is_none() || self.blocks.is_some() {
            let slices = Slices::new(&settings, share);
            if slices.count < workers {
                return Err(ShareError::TooFewPorts {
                    ports: slices.count,
                    workers,
                });
            }
        }
        Ok(settings)
    }
}

fn shared_limits(limits: &Limits, share: Share) -> Result<Limits, ShareError> {
    let part = |name, value: u32| {
        let workers = share.workers();
        match value {
            0 => Ok(0),
            value if (value as usize) < workers => Err(ShareError::LimitTooLow { name, value, workers }),
            value => Ok(share.of(value)),
        }
    };
    let mut mappings_of = limits.mappings_of;
    mappings_of.tcp = part("limits.tcp_mappings", mappings_of.tcp)?;
    mappings_of.udp = part("limits.udp_mappings", mappings_of.udp)?;
    mappings_of.icmp = part("limits.icmp_mappings", mappings_of.icmp)?;
    Ok(Limits {
        mappings: part("limits.mappings", limits.mappings)?,
        mappings_of,
        sessions: part("limits.sessions", limits.sessions)?,
        new_mappings_per_second: part("limits.new_mappings_per_second", limits.new_mappings_per_second)?,
    })
}

/// Which worker has which external port, the same at all addresses.
pub(super) struct Slices {
    /// By port: the worker's number plus 1, 0 for a port that is nobody's.
    workers: Box<[u8]>,
    /// Pairs or blocks that there are.
    count: usize,
}

impl Slices {
    /// The slices of these settings. Ports of inside hosts' own are in none.
    pub(super) fn new(settings: &NatSettings, share: Share) -> Self {
        let mut slices = Self {
            workers: vec![0; 1 << 16].into(),
            count: 0,
        };
        let worker = |number: usize| (number % share.workers()) as u8 + 1;
        if let Some(blocks) = settings.blocks {
            for (first, last) in blocks.spans(settings) {
                slices.workers[usize::from(first)..=usize::from(last)].fill(worker(slices.count));
                slices.count += 1;
            }
        } else if settings.deterministic.is_none() {
            let all = settings.ports_of_all_workers();
            let mut pair = None;
            for port in all.ranges().into_iter().flatten() {
                if pair != Some(port / 2) {
                    pair = Some(port / 2);
                    slices.count += 1;
                }
                slices.workers[usize::from(port)] = worker(slices.count - 1);
            }
        }
        slices
    }

    /// The worker that has a port.
    pub(super) fn worker_of(&self, port: u16) -> Option<usize> {
        usize::from(self.workers[usize::from(port)]).checked_sub(1)
    }

    /// Takes the ports of other workers out.
    pub(super) fn keep_own(&self, ports: &mut FreePorts, share: Share) {
        for port in 1..=u16::MAX {
            if self
                .worker_of(port)
                .is_some_and(|worker| worker != share.worker())
            {
                ports.remove(port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::nat::PortBlocks;
    use proptest::prelude::*;

    fn own_ports(settings: &NatSettings, worker: usize, workers: usize) -> Vec<u16> {
        let share = settings.share(worker, workers).unwrap();
        share.usable_ports().ranges().into_iter().flatten().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Each port is one worker's, and each worker has about as many of each parity and class.
        #[test]
        fn ports_are_shared_out_evenly(
            workers in 2..20usize,
            first in 1..2000u16,
            count in 900..4000u16,
            reserved in 0..3000u16,
            size in proptest::option::of(16..40u16),
        ) {
            let mut settings = NatSettings::new(vec![Ipv4Addr::new(192, 0, 2, 1)]);
            settings.ports = vec![first..=first + count];
            settings.reserved_ports = vec![reserved..=reserved + 50];
            settings.blocks = size.map(|size| PortBlocks { size, ..PortBlocks::default() });
            let shares: Vec<Vec<u16>> = (0..workers).map(|worker| own_ports(&settings, worker, workers)).collect();
            let mut all: Vec<u16> = shares.concat();
            all.sort_unstable();
            let expected: Vec<u16> = settings.usable_ports().ranges().into_iter().flatten().collect();
            prop_assert_eq!(all, expected);
            let kinds: [fn(&u16) -> bool; 4] = [
                |port| *port <= 1023 && port % 2 == 0,
                |port| *port <= 1023 && port % 2 == 1,
                |port| *port > 1023 && port % 2 == 0,
                |port| *port > 1023 && port % 2 == 1,
            ];
            for kind in kinds.into_iter().filter(|_| size.is_none()) {
                let counts = shares.iter().map(|ports| ports.iter().filter(|port| kind(port)).count());
                let (least, most) = counts.fold((usize::MAX, 0), |(least, most), it| (least.min(it), most.max(it)));
                // The ends of ranges may have one of a pair.
                prop_assert!(most - least <= 3, "{} to {}", least, most);
            }
        }
    }

    #[test]
    fn hosts_are_shared_out_evenly() {
        for workers in [2, 3, 4, 7, 64] {
            let mut hosts = vec![0; workers];
            for last in 0..64_000u32 {
                hosts[worker_of(Ipv4Addr::from_bits(0x0a00_0000 + last), workers)] += 1;
            }
            let expected = 64_000 / workers;
            assert!(
                hosts
                    .iter()
                    .all(|&count| count * 10 > expected * 8 && count * 10 < expected * 12),
                "{hosts:?}"
            );
        }
    }
}
