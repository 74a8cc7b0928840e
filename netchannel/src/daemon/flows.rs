//! The flow table, told in slices: packets pass in between.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::filter::FlowFilter;
use super::inspect::Inspector;
use crate::channel::SessionEntry;
use crate::control::report::{Flow as Reported, FlowTranslation, Flows, Runs};
use crate::control::{ControlError, FlowOrder, FlowPage, TopFlows};
use crate::dispatch::{Dispatcher, Flow, FlowKey, RuleNumber};
use crate::packet::Fragment;
use crate::rules::protocol_name;
use crate::time::Time;

/// Places that are looked at for one slice: packets wait meanwhile, some 20 to 200 nanoseconds for each.
const PLACES: usize = 2048;

/// Slices that one page may take: where little of what there is is asked for, most slices are empty.
const SLICES: usize = 64;

/// A flow as it is found.
struct Found {
    key: FlowKey,
    flow: Flow,
    translation: Option<SessionEntry>,
    is_offloaded: bool,
    now: Time,
}

/// Part of the table.
struct Slice {
    found: Vec<Found>,
    /// Where to go on, if there is more.
    next: Option<usize>,
}

/// Looks at the places from `start` on, and stops behind `limit` flows that `takes` takes.
fn slice(
    dispatcher: &Dispatcher,
    now: Time,
    start: usize,
    limit: usize,
    takes: impl Fn(&FlowKey, &Flow) -> bool,
) -> Slice {
    let flows = dispatcher.flows();
    let end = flows.places().min(start.saturating_add(PLACES));
    let mut found = Vec::new();
    for place in start..end {
        let Some((key, flow)) = flows.flow_at(place) else {
            continue;
        };
        // What is handed to another worker is one of its flows.
        if dispatcher.owner_of(flow).is_some() || !takes(&key, flow) {
            continue;
        }
        found.push(Found {
            key,
            flow: *flow,
            translation: dispatcher.translation_of(flow, now),
            is_offloaded: dispatcher.is_offloaded(place),
            now,
        });
        if found.len() == limit {
            let next = Some(place + 1).filter(|&next| next < flows.places());
            return Slice { found, next };
        }
    }
    let next = Some(end).filter(|&end| end < flows.places());
    Slice { found, next }
}

impl Inspector {
    pub(super) fn flows(&self, page: &FlowPage) -> Result<Flows, ControlError> {
        let filter = Arc::new(self.flow_filter(&page.filter)?);
        let start = match &page.after {
            None => Some((0, 0)),
            Some(after) => after
                .split_once(':')
                .and_then(|(worker, place)| Some((worker.parse().ok()?, place.parse().ok()?))),
        };
        let is_there = |(worker, _): &(usize, usize)| *worker < self.team.len();
        let start = start
            .filter(is_there)
            .ok_or_else(|| ControlError::new("`after` is no cursor; expected the `next` of a page"))?;
        let mut next = Some(start);
        let mut flows = Vec::new();
        for _ in 0..SLICES {
            let (Some((worker, at)), room @ 1..) = (next, page.limit as usize - flows.len()) else {
                break;
            };
            let filter = Arc::clone(&filter);
            let slice = self.ask_one(worker, move |dispatcher, now| {
                slice(dispatcher, now, at, room, |key, _| filter.takes(key))
            })?;
            flows.extend(slice.found);
            next = match slice.next {
                Some(next) => Some((worker, next)),
                None => Some((worker + 1, 0)).filter(is_there),
            };
        }
        Ok(Flows {
            flows: self.report(flows)?,
            next: next.map(|(worker, place)| format!("{worker}:{place}")),
        })
    }

    pub(super) fn top_flows(&self, top: &TopFlows) -> Result<Flows, ControlError> {
        let filter = Arc::new(self.flow_filter(&top.filter)?);
        let mut best = BinaryHeap::new();
        let mut next = Some((0, 0));
        while let Some((worker, at)) = next {
            let (filter, top) = (Arc::clone(&filter), top.clone());
            let least = best.peek().filter(|_| best.len() == top.limit as usize);
            let least = least.map(|Reverse(Ranked { rank, .. })| *rank);
            let slice = self.ask_one(worker, move |dispatcher, now| {
                slice(dispatcher, now, at, usize::MAX, |key, flow| {
                    let idle = now.since(flow.last_seen).as_secs();
                    least.is_none_or(|least| rank(flow, top.by) > least)
                        && top.max_idle_seconds.is_none_or(|most| idle <= most)
                        && FlowFilter::takes(&filter, key)
                })
            })?;
            for found in slice.found {
                let rank = rank(&found.flow, top.by);
                best.push(Reverse(Ranked { rank, found }));
                if best.len() > top.limit as usize {
                    best.pop();
                }
            }
            next = match slice.next {
                Some(next) => Some((worker, next)),
                None => Some((worker + 1, 0)).filter(|(worker, _)| *worker < self.team.len()),
            };
        }
        let best = best.into_sorted_vec().into_iter();
        Ok(Flows {
            flows: self.report(best.map(|Reverse(Ranked { found, .. })| found))?,
            next: None,
        })
    }

    fn report(&self, found: impl IntoIterator<Item = Found>) -> Result<Vec<Reported>, ControlError> {
        let channels = self.channel_names()?;
        let names = self.interface_names();
        let name_of =
            |names: &[String], number: u16| names.get(usize::from(number)).cloned().unwrap_or_default();
        let report = |found: Found| {
            let Found { key, flow, now, .. } = found;
            let [kind, code] = key.message.to_be_bytes();
            Reported {
                interface: name_of(&names, key.interface.0),
                protocol: protocol_name(key.protocol),
                source: key.source,
                destination: key.destination,
                source_port: key.source_port,
                destination_port: key.destination_port,
                icmp: (key.message != 0).then_some((kind, code)),
                fragment: match key.fragment {
                    Fragment::Whole => None,
                    Fragment::First => Some("first".to_owned()),
                    Fragment::Later => Some("later".to_owned()),
                },
                channel: name_of(&channels, flow.channel.0),
                rule: Some(flow.rule.0).filter(|_| flow.rule != RuleNumber::NONE),
                packets: flow.packets,
                bytes: flow.bytes,
                idle_seconds: now.since(flow.last_seen).as_secs(),
                runs: match found.is_offloaded {
                    true => Runs::Xdp,
                    false => Runs::UserSpace,
                },
                translation: found.translation.map(|session| FlowTranslation {
                    inside: session.inside,
                    external: session.external,
                    remote: session.remote,
                }),
            }
        };
        Ok(found.into_iter().map(report).collect())
    }

    /// The names of the channels in the order of their numbers.
    pub(super) fn channel_names(&self) -> Result<Vec<String>, ControlError> {
        self.ask(|dispatcher, _| {
            let names = dispatcher.channels().iter().map(|(name, _, _)| name.to_owned());
            names.collect()
        })
    }
}

/// The higher, the nearer to the top.
fn rank(flow: &Flow, by: FlowOrder) -> u64 {
    match by {
        FlowOrder::Bytes => flow.bytes,
        FlowOrder::Packets => flow.packets,
        FlowOrder::Idle => flow.last_seen.as_nanos(),
    }
}

struct Ranked {
    rank: u64,
    found: Found,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}
