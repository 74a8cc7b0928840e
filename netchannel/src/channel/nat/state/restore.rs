//! Taking up what was saved.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::super::Nat;
use super::super::flow::{Direction, Protocol};
use super::super::mapping::FormerMapping;
use super::super::tcp;
use super::{Basis, HeldRecord, Kind, Record, Saved, SessionRecord};
use crate::dispatch::is_possible_source;
use crate::time::Time;

/// Why something that was saved is not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// It has reached its timeout.
    Timeout,
    /// Its external address is not the translator's any more.
    Address,
    /// Its external port is reserved, forwarded or not the inside host's any more.
    Port,
    /// Its port is not forwarded to the inside endpoint any more, or it is now.
    Forward,
    /// The inside host is not one that is translated by ports any more.
    Inside,
    /// Mappings depend on something else than they did.
    Mapping,
    /// An outside host opened it that would not be let in any more.
    Filtering,
    /// There would be more than there may be.
    Limit,
    /// It is an inside host's that belongs to another worker, which is to take it up.
    Worker,
    /// It contradicts itself, or what was taken up before it.
    Contradiction,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::Address => "external address gone",
            Self::Port => "external port taken away",
            Self::Forward => "port forwarding changed",
            Self::Inside => "inside host not translated",
            Self::Mapping => "mapping behavior changed",
            Self::Filtering => "filtering",
            Self::Limit => "limit",
            Self::Worker => "of another worker",
            Self::Contradiction => "contradiction",
        })
    }
}

/// What came of taking up what was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Mappings that are there again.
    pub mappings: u64,
    /// Sessions that are there again.
    pub sessions: u64,
    /// Ports that are held back again. Those whose time is over, or that are taken, are not counted.
    pub held_ports: u64,
    /// Sessions that are not, by the reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

impl Restored {
    /// Adds what another worker took up of the same.
    pub fn add(&mut self, more: &Self) {
        self.mappings += more.mappings;
        self.sessions += more.sessions;
        self.held_ports += more.held_ports;
        for (&reason, count) in &more.left_out {
            *self.left_out.entry(reason).or_default() += count;
        }
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} mappings with {} sessions taken up again, {} ports held back",
            self.mappings, self.sessions, self.held_ports
        )?;
        let left_out: u64 = self.left_out.values().sum();
        write!(f, "; {left_out} sessions left out")?;
        for (number, (reason, count)) in self.left_out.iter().enumerate() {
            write!(f, "{} {reason} {count}", if number == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Takes up all that still fits. O(1) for each record.
pub(in super::super) fn restore(nat: &mut Nat, saved: &Saved<'_>, stopped: Duration, now: Time) -> Restored {
    let mut restored = Restored::default();
    for Record(kind) in saved.records() {
        match kind {
            Kind::Session(record) => match session(nat, &record, saved.basis, stopped, now) {
                Ok(is_first) => {
                    restored.sessions += 1;
                    restored.mappings += u64::from(is_first);
                }
                Err(reason) => *restored.left_out.entry(reason).or_default() += 1,
            },
            Kind::Held(HeldRecord {
                protocol,
                external,
                left,
            }) => {
                let left = Duration::from_millis(left).saturating_sub(stopped);
                let mappings = &mut nat.table.mappings;
                let is_held =
                    mappings.holds(protocol) && mappings.pool.hold_again(protocol, external, left, now);
                restored.held_ports += u64::from(is_held);
            }
        }
    }
    restored
}

/// Takes up a session. Returns whether it is its mapping's first.
fn session(
    nat: &mut Nat,
    record: &SessionRecord,
    basis: Basis,
    stopped: Duration,
    now: Time,
) -> Result<bool, LeftOut> {
    let &SessionRecord {
        protocol,
        filtering,
        opener,
        tcp,
        inside,
        external,
        remote,
        host_address,
        idle,
        age,
    } = record;
    if tcp.is_some() != (protocol == Protocol::Tcp) {
        return Err(LeftOut::Contradiction);
    }
    if nat
        .owners
        .as_ref()
        .is_some_and(|owners| !owners.has_host(inside.address))
    {
        return Err(LeftOut::Worker);
    }
    if filtering.is_some() && nat.settings.mapping[protocol] != basis.mapping[protocol] {
        return Err(LeftOut::Mapping);
    }
    let is_translated = is_possible_source(IpAddr::V4(inside.address))
        && !nat.is_external(inside.address)
        && nat.one_to_one.external_of(inside.address).is_none();
    if !is_translated {
        return Err(LeftOut::Inside);
    }
    // What an outside host opened was let in by the filtering of that time.
    let is_answered = matches!(tcp, Some(state) if state != tcp::State::InboundSyn);
    let settings = &nat.settings;
    let present = filtering.map(|former| {
        let is_by_rule = former != basis.filtering[protocol] && settings.rule_filtering.contains(&former);
        if is_by_rule {
            former
        } else {
            settings.filtering[protocol]
        }
    });
    let is_stricter = filtering
        .zip(present)
        .is_some_and(|(former, present)| present as u8 > former as u8);
    if opener == Direction::Inbound && is_stricter && !is_answered {
        return Err(LeftOut::Filtering);
    }
    let stopped_at = |since: u64| Duration::from_millis(since).saturating_add(stopped);
    let former = FormerMapping {
        protocol,
        filtering: present,
        inside,
        external,
        remote,
        host_address,
        opened: now.before(stopped_at(age)),
    };
    nat.table.open_again(&former, tcp, opener, stopped_at(idle), now)
}
