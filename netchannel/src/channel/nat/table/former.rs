//! Sessions that were there before the start.

use std::time::Duration;

use super::super::flow::Direction;
use super::super::mapping::FormerMapping;
use super::super::session::{Phase, Session};
use super::super::state::LeftOut;
use super::super::tcp;
use super::Table;
use crate::time::Time;

impl Table {
    /// Opens a session again that was there before the start, and its mapping if that is not there yet. Of TCP, `tcp` is where it stood;
    /// `idle` is how long nothing came.
    /// Returns whether it was the mapping's first.
    pub(in super::super) fn open_again(
        &mut self,
        former: &FormerMapping,
        tcp: Option<tcp::State>,
        opener: Direction,
        idle: Duration,
        now: Time,
    ) -> Result<bool, LeftOut> {
        let &FormerMapping {
            protocol,
            filtering,
            inside,
            external,
            remote,
            ..
        } = former;
        let opened = || Phase::opened(protocol, opener, remote, &self.lifetimes);
        let phase = tcp.map_or_else(opened, Phase::Tcp);
        if idle >= phase.timeout(&self.lifetimes) {
            return Err(LeftOut::Timeout);
        }
        let host = self.mappings.hosts.find(inside.address);
        if self.sessions.len() >= self.limit || !self.mappings.hosts.has_room_for_session(host) {
            return Err(LeftOut::Limit);
        }
        let known = self.mappings.of_external(protocol, external);
        let mapping = match known {
            None => self.mappings.open_again(former, now)?,
            Some(known) => {
                let owner = self.mappings.get(known);
                if owner.filtering.is_none() != filtering.is_none()
                    || !self.mappings.is_of(known, inside, remote)
                    || self.find(known, remote, now).is_some()
                {
                    return Err(LeftOut::Contradiction);
                }
                if self.mappings.get(known).sessions >= self.limit_per_mapping {
                    return Err(LeftOut::Limit);
                }
                known
            }
        };
        let is_hairpin = self.mappings.pool.contains(remote.address);
        let owner = self.mappings.get(mapping);
        let active = now.before(idle);
        let mut session = Session::new(
            mapping,
            owner,
            remote,
            opener,
            is_hairpin,
            &self.lifetimes,
            active,
        );
        session.phase = phase;
        self.add(session, now);
        Ok(known.is_none())
    }
}
