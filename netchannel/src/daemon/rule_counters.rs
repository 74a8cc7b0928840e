//! The rules with what was counted for them. All pages of a listing are from one count: the first page takes it, and it is kept for the
//! others.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

use super::inspect::Inspector;
use super::rules::Running;
use crate::control::report::{CountedRule, CountedRules, RuleCounts};
use crate::control::{ControlError, RuleOrder, RulePage};
use crate::dispatch::{CensusNumber, RuleCounters, RuleNumber};
use crate::rules::text::rule_text;
use crate::time::Time;

/// Places of the flow table that are counted at a time, some 10 nanoseconds each: packets wait meanwhile.
const PLACES: usize = 16_384;

/// Counters that are read at a time, some 10 nanoseconds each.
const COUNTERS: usize = 16_384;

/// Listings that are kept for their next pages.
const LISTINGS: usize = 4;

/// What was counted, once.
struct Count {
    /// For each rule of the list, in its order.
    rules: Vec<RuleCounters>,
    others: RuleCounters,
    /// When.
    time: Time,
}

/// A listing whose first page was asked for.
struct Listing {
    number: u64,
    running: Arc<Running>,
    count: Count,
    /// Places in the list, in the order in which they are listed.
    order: Vec<u32>,
}

/// The listings whose pages are being taken.
#[derive(Default)]
pub(super) struct Listings {
    listings: Mutex<(u64, Vec<Arc<Listing>>)>,
    /// One census at a time.
    census: Mutex<()>,
}

impl Listings {
    fn keep(&self, make: impl FnOnce(u64) -> Listing) -> Arc<Listing> {
        let (last, kept) = &mut *self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let listing = Arc::new(make(*last));
        if kept.len() == LISTINGS {
            kept.remove(0);
        }
        kept.push(Arc::clone(&listing));
        listing
    }

    fn find(&self, number: u64) -> Option<Arc<Listing>> {
        let (_, kept) = &*self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .find(|listing| listing.number == number)
            .map(Arc::clone)
    }

    fn forget(&self, number: u64) {
        let (_, kept) = &mut *self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|listing| listing.number != number);
    }
}

impl Inspector {
    pub(super) fn rule_counters(&self, page: &RulePage) -> Result<CountedRules, ControlError> {
        let (listing, start) = match &page.after {
            None => (self.begin_listing(page)?, 0),
            Some(after) => self.go_on(after)?,
        };
        let end = listing.order.len().min(start + page.limit as usize);
        let rules = listing.order[start..end]
            .iter()
            .map(|&place| listing.report(place as usize));
        let others = (start == 0).then(|| counts(&listing.count.others, listing.count.time));
        let next = (end < listing.order.len()).then(|| format!("{}:{end}", listing.number));
        if next.is_none() {
            self.listings.forget(listing.number);
        }
        Ok(CountedRules {
            rules: rules.collect(),
            others,
            next,
        })
    }

    fn begin_listing(&self, page: &RulePage) -> Result<Arc<Listing>, ControlError> {
        let running = self.rules.running();
        let count = self.count_rules(&running.numbers)?;
        let mut order: Vec<u32> = (0..running.rules.len() as u32).collect();
        let counted = |&place: &u32| &count.rules[place as usize];
        if page.only_unused {
            order.retain(|place| counted(place).packets == 0);
        }
        match page.by {
            RuleOrder::Priority => order.sort_by_key(|&place| running.rules[place as usize].priority),
            RuleOrder::Packets => order.sort_by_key(|place| Reverse(counted(place).packets)),
            RuleOrder::Bytes => order.sort_by_key(|place| Reverse(counted(place).bytes)),
            RuleOrder::Recent => order.sort_by_key(|place| Reverse(counted(place).last_hit)),
        }
        Ok(self.listings.keep(|number| Listing {
            number,
            running,
            count,
            order,
        }))
    }

    fn go_on(&self, after: &str) -> Result<(Arc<Listing>, usize), ControlError> {
        let no_cursor = || ControlError::new("`after` is no cursor; expected the `next` of a page");
        let (number, place) = after.split_once(':').ok_or_else(no_cursor)?;
        let number = number.parse().map_err(|_| no_cursor())?;
        let place: usize = place.parse().map_err(|_| no_cursor())?;
        let listing = self
            .listings
            .find(number)
            .filter(|listing| place < listing.order.len());
        let listing = listing.ok_or_else(|| {
            ControlError::new(
                "the listing is over, or others were asked for since; ask for the first page again",
            )
        })?;
        Ok((listing, place))
    }

    fn count_rules(&self, numbers: &[RuleNumber]) -> Result<Count, ControlError> {
        let _alone = self
            .listings
            .census
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut sum = self.count_rules_of(0, numbers)?;
        for worker in 1..self.team.len() {
            let more = self.count_rules_of(worker, numbers)?;
            let rules = sum.rules.iter_mut().zip(&more.rules);
            rules.for_each(|(sum, more)| sum.add(more));
            sum.others.add(&more.others);
            sum.time = sum.time.max(more.time);
        }
        Ok(sum)
    }

    /// What one worker counted.
    fn count_rules_of(&self, worker: usize, numbers: &[RuleNumber]) -> Result<Count, ControlError> {
        let (census, time) = self.ask_one(worker, |dispatcher, now| {
            (dispatcher.flows_mut().begin_census(), now)
        })?;
        let count = self.take_census(worker, census, numbers, time);
        self.ask_one(worker, move |dispatcher, _| {
            dispatcher.flows_mut().end_census(census)
        })?;
        count
    }

    fn take_census(
        &self,
        worker: usize,
        census: CensusNumber,
        numbers: &[RuleNumber],
        time: Time,
    ) -> Result<Count, ControlError> {
        let superseded = |error: crate::dispatch::CensusSuperseded| ControlError::new(error.to_string());
        loop {
            let taken = self.ask_one(worker, move |dispatcher, _| {
                dispatcher.flows_mut().take_census(census, PLACES)
            })?;
            if taken.map_err(superseded)? {
                break;
            }
        }
        let read = |numbers: Vec<RuleNumber>| {
            let counters = self.ask_one(worker, move |dispatcher, _| {
                dispatcher.flows_mut().rule_counters(census, numbers)
            })?;
            counters.map_err(superseded)
        };
        let mut rules = Vec::with_capacity(numbers.len());
        for part in numbers.chunks(COUNTERS) {
            rules.extend(read(part.to_vec())?);
        }
        let others = read(vec![RuleNumber::NONE])?.pop().unwrap_or_default();
        Ok(Count { rules, others, time })
    }
}

impl Listing {
    fn report(&self, place: usize) -> CountedRule {
        let rule = &self.running.rules[place];
        CountedRule {
            number: self.running.numbers[place].0,
            priority: rule.priority,
            rule: rule_text(rule),
            counts: counts(&self.count.rules[place], self.count.time),
        }
    }
}

fn counts(counters: &RuleCounters, now: Time) -> RuleCounts {
    RuleCounts {
        packets: counters.packets,
        bytes: counters.bytes,
        flows: counters.flows,
        last_hit_seconds: (counters.packets > 0).then(|| now.since(counters.last_hit).as_secs()),
    }
}
