//! What was counted for rules.

use zerocopy::FromZeros;

use super::flow_table::Flow;
use crate::memory::ZeroedArray;
use crate::time::Time;

/// Number of a rule, by which flows name the rule that decided them. Numbers are given by whoever makes the
/// [`RuleSet`](super::RuleSet), from 0 and without large gaps: counters are kept by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromZeros)]
pub struct RuleNumber(pub u32);

impl RuleNumber {
    /// Of what no rule of the configuration decided: answers to a translator, the way back of what is forwarded, and what no rule matched.
    pub const NONE: Self = Self(u32::MAX);

    /// Of flows that belong to another worker, where they are decided and counted.
    pub const ELSEWHERE: Self = Self(u32::MAX - 1);
}

/// What was counted for a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros)]
pub struct RuleCounters {
    /// Packets of flows that the rule decided.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Flows that the rule decided.
    pub flows: u64,
    /// When the last of the packets came; [`Time::ZERO`] if none did.
    pub last_hit: Time,
}

impl RuleCounters {
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            packets: flow.packets,
            bytes: flow.bytes,
            flows: 1,
            last_hit: flow.last_seen,
        }
    }

    /// Sums wrap: a count may have been [taken off](Self::take_off) before it is added.
    pub(crate) fn add(&mut self, more: &Self) {
        self.packets = self.packets.wrapping_add(more.packets);
        self.bytes = self.bytes.wrapping_add(more.bytes);
        self.flows = self.flows.wrapping_add(more.flows);
        self.last_hit = self.last_hit.max(more.last_hit);
    }

    pub(super) fn take_off(&mut self, less: &Self) {
        self.packets = self.packets.wrapping_sub(less.packets);
        self.bytes = self.bytes.wrapping_sub(less.bytes);
        self.flows = self.flows.wrapping_sub(less.flows);
    }
}

/// Counters of a page: enough for most sets of rules, few enough to be had in no time.
const PAGE: usize = 4096;

/// Counters by rule number.
#[derive(Debug, Default)]
pub(super) struct RuleCounts {
    /// In pages, so that what is there need not move when more numbers come.
    pages: Vec<ZeroedArray<RuleCounters>>,
    /// Of [`RuleNumber::NONE`].
    none: RuleCounters,
    /// Of [`RuleNumber::ELSEWHERE`].
    elsewhere: RuleCounters,
}

impl RuleCounts {
    /// Makes room for the numbers below `numbers`.
    pub(super) fn reserve(&mut self, numbers: usize) {
        while self.pages.len() * PAGE < numbers {
            self.pages.push(ZeroedArray::new(PAGE));
        }
    }

    /// Numbers that there is room for.
    pub(super) fn len(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub(super) fn get(&self, rule: RuleNumber) -> RuleCounters {
        match rule {
            RuleNumber::NONE => return self.none,
            RuleNumber::ELSEWHERE => return self.elsewhere,
            _ => {}
        }
        let number = rule.0 as usize;
        let page = self.pages.get(number / PAGE);
        page.map_or(RuleCounters::default(), |page| page[number % PAGE])
    }

    #[inline]
    pub(super) fn get_mut(&mut self, rule: RuleNumber) -> &mut RuleCounters {
        match rule {
            RuleNumber::NONE => return &mut self.none,
            RuleNumber::ELSEWHERE => return &mut self.elsewhere,
            _ => {}
        }
        let number = rule.0 as usize;
        if number / PAGE >= self.pages.len() {
            self.reserve(number + 1);
        }
        &mut self.pages[number / PAGE][number % PAGE]
    }
}
