//! Clearing away the flows that former rule sets decided, a few at a time.

use std::collections::VecDeque;

use super::{Flow, FlowTable};
use crate::dispatch::flow_key::{FlowKey, Ipv4Key, Ipv6Key};
use crate::dispatch::flow_record::CloseReason;
use crate::time::Time;

/// How far the table has been swept. It is swept in circles: what a rule set has left is gone when the sweep has come round once.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Buckets swept since the start.
    buckets: u64,
    /// Generations whose predecessors are not yet gone, and how many buckets have been swept when they are.
    pending: VecDeque<(u32, u64)>,
    /// The last generation whose predecessors are gone.
    done: u32,
}

impl Sweep {
    pub(super) fn new(generation: u32) -> Self {
        Self {
            buckets: 0,
            pending: VecDeque::new(),
            done: generation,
        }
    }

    /// A generation begins, in a table of so many buckets.
    pub(super) fn begin(&mut self, generation: u32, buckets: u64) {
        let until = self.buckets + buckets;
        match self.pending.back_mut() {
            // Not a bucket was swept since.
            Some(last) if last.1 == until => last.0 = generation,
            _ => self.pending.push_back((generation, until)),
        }
    }
}

impl FlowTable {
    /// The number of the present rule set: it moves on with each [`invalidate`](Self::invalidate).
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether no flow is left that was decided before this generation, so that the numbers of its rules can be given to others.
    pub fn is_swept(&self, generation: u32) -> bool {
        // Numbers come round some day.
        self.sweep.done.wrapping_sub(generation).cast_signed() >= 0
    }

    /// Whether there is something to sweep.
    #[inline]
    pub(crate) fn needs_sweep(&self) -> bool {
        !self.sweep.pending.is_empty()
    }

    /// Closes the flows of so many buckets that a former rule set decided.
    pub(crate) fn sweep(&mut self, buckets: usize, now: Time) {
        let mut recorder = self.recorder.as_mut().filter(|recorder| recorder.is_wanted());
        let mut closed = |key: FlowKey, flow: &Flow| {
            if let Some(recorder) = &mut recorder {
                recorder.closed(key, flow, CloseReason::Rules, now);
            }
        };
        let (generation, ledger) = (self.generation, &mut self.ledger);
        let all = (self.ipv4.buckets() + self.ipv6.buckets()) as u64;
        for _ in 0..buckets {
            if self.sweep.pending.is_empty() {
                return;
            }
            let bucket = (self.sweep.buckets % all) as usize;
            match bucket.checked_sub(self.ipv4.buckets()) {
                None => {
                    let closed = |key: &Ipv4Key, flow: &Flow| closed(key.unpack(), flow);
                    self.ipv4.sweep(bucket, generation, ledger, closed);
                }
                Some(bucket) => {
                    let closed = |key: &Ipv6Key, flow: &Flow| closed(key.unpack(), flow);
                    self.ipv6.sweep(bucket, generation, ledger, closed);
                }
            }
            self.sweep.buckets += 1;
            while let Some(&(generation, until)) = self.sweep.pending.front()
                && until <= self.sweep.buckets
            {
                self.sweep.done = generation;
                self.sweep.pending.pop_front();
            }
        }
    }
}
