//! Counters per rule that cost a packet nothing: flows count, and what a flow has counted is added to its rule's counters when it is
//! closed. Whoever asks adds what open flows hold.

use super::{Flow, FlowTable};
use crate::dispatch::rule_counters::{RuleCounters, RuleCounts, RuleNumber};
use crate::time::Time;

/// What closed flows have counted, and a census of the open ones if one is being taken.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    closed: RuleCounts,
    census: Option<Census>,
    /// Censuses begun so far.
    begun: u64,
}

/// A count of what open flows hold, taken in slices. Each place of the table is counted at the time when it is visited: a flow that is
/// closed later is in both the census and the closed ones, so what it had is taken off the census then.
#[derive(Debug)]
struct Census {
    number: u64,
    /// Places visited so far: those of IPv4 flows, then those of IPv6 flows.
    visited: usize,
    counts: RuleCounts,
}

/// A census that [`FlowTable::begin_census`] has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CensusNumber(u64);

/// Another census was begun before this one was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("somebody else asked for the rules' counters at the same time; ask again")]
pub struct CensusSuperseded;

impl Ledger {
    pub(super) fn reserve(&mut self, rules: usize) {
        self.closed.reserve(rules);
    }

    /// A flow at this place is over.
    #[inline]
    pub(super) fn close(&mut self, place: usize, flow: &Flow) {
        let counted = RuleCounters::of(flow);
        self.closed.get_mut(flow.rule).add(&counted);
        if let Some(census) = &mut self.census
            && place < census.visited
        {
            census.counts.get_mut(flow.rule).take_off(&counted);
        }
    }

    /// Packets of a flow that is over.
    pub(super) fn count(&mut self, rule: RuleNumber, packets: u64, bytes: u64, last_hit: Time) {
        self.closed.get_mut(rule).add(&RuleCounters {
            packets,
            bytes,
            flows: 0,
            last_hit,
        });
    }

    fn reset(&mut self, rule: RuleNumber) {
        // Memory that was never written to stays so: the kernel would have to clear it first.
        if self.closed.get(rule) != RuleCounters::default() {
            *self.closed.get_mut(rule) = RuleCounters::default();
        }
        if let Some(census) = &mut self.census {
            *census.counts.get_mut(rule) = RuleCounters::default();
        }
    }

    fn census(&mut self, CensusNumber(number): CensusNumber) -> Result<&mut Census, CensusSuperseded> {
        let census = self.census.as_mut().filter(|census| census.number == number);
        census.ok_or(CensusSuperseded)
    }
}

impl FlowTable {
    /// Makes room for the counters of rules whose numbers are below `rules`.
    pub(crate) fn reserve_rules(&mut self, rules: usize) {
        self.ledger.reserve(rules);
    }

    /// Has a rule's counters start at 0 again: its number is given to another rule. No flow may have the number.
    pub fn reset_rule(&mut self, rule: RuleNumber) {
        self.ledger.reset(rule);
    }

    /// Begins to count what open flows hold for their rules, in place of a census that was begun before.
    pub fn begin_census(&mut self) -> CensusNumber {
        let mut counts = RuleCounts::default();
        counts.reserve(self.ledger.closed.len());
        self.ledger.begun += 1;
        self.ledger.census = Some(Census {
            number: self.ledger.begun,
            visited: 0,
            counts,
        });
        CensusNumber(self.ledger.begun)
    }

    /// Goes on with a census for some places of the table, and says whether it is complete. Some 10 nanoseconds a flow.
    ///
    /// # Errors
    /// If another one was begun since.
    pub fn take_census(&mut self, number: CensusNumber, places: usize) -> Result<bool, CensusSuperseded> {
        let all = self.places();
        let census = self.ledger.census(number)?;
        let end = all.min(census.visited.saturating_add(places));
        for place in census.visited..end {
            let flow = match place.checked_sub(self.ipv4.places()) {
                None => self.ipv4.used(place),
                Some(place) => self.ipv6.used(place),
            };
            if let Some(flow) = flow {
                census.counts.get_mut(flow.rule).add(&RuleCounters::of(flow));
            }
        }
        census.visited = end;
        Ok(end == all)
    }

    /// What was counted for each of `rules`, closed flows and open ones, as of when a census that is complete visited the flows. O(rules).
    ///
    /// # Errors
    /// If another one was begun since.
    pub fn rule_counters(
        &mut self,
        number: CensusNumber,
        rules: impl IntoIterator<Item = RuleNumber>,
    ) -> Result<Vec<RuleCounters>, CensusSuperseded> {
        self.ledger.census(number)?;
        let Some(census) = &self.ledger.census else {
            return Err(CensusSuperseded);
        };
        let counters = rules.into_iter().map(|rule| {
            let mut counters = self.ledger.closed.get(rule);
            counters.add(&census.counts.get(rule));
            counters
        });
        Ok(counters.collect())
    }

    /// Ends a census, if it is still the last one: its memory is free again.
    pub fn end_census(&mut self, number: CensusNumber) {
        if self.ledger.census(number).is_ok() {
            self.ledger.census = None;
        }
    }
}
