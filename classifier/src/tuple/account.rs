//! One rule more in a generation, or one less.
#![allow(unsafe_code)]

use super::bucket::{Bucket, MAX_RUN};
use super::build::Places;
use super::entry::Entry;
use super::home::{Home, Homes};
use super::pending::{Pending, Queue};
use super::plan::MAX_COPIES;
use super::residual::{Resident, Residual};
use super::space::Space;
use super::state::{State, Table};
use crate::prefetch::prefetch_address;
use crate::range::Range;
use crate::rule::Match;
use crate::word::Word;

/// So many entries of a bucket are no crowd.
pub(super) const CROWD: usize = 8;

/// What the one that changes a generation knows of it, and nobody else needs to.
#[derive(Debug)]
pub(super) struct Account {
    space: Space,
    /// The tables, in the order in which they are offered a rule.
    offers: Vec<u8>,
    homes: Homes,
    /// Entries in buckets, without the first [`CROWD`] of each: how badly the tables suit the rules.
    crowd: usize,
}

/// What becomes of parts of a generation that nothing leads to any more.
pub(super) trait Retire<W, A, const D: usize> {
    /// Whether entries may be moved where they are, if there is no other room.
    const IN_PLACE: bool;
    fn run(&mut self, space: &mut Space, index: u32, length: usize);
    fn residual(&mut self, before: Box<Residual<W, A, D>>);
}

/// Readers may be using them.
impl<W, A, const D: usize> Retire<W, A, D> for Queue<W, A, D> {
    const IN_PLACE: bool = false;

    #[inline]
    fn run(&mut self, _: &mut Space, index: u32, length: usize) {
        let length = length as u8;
        self.push(Pending::Run { index, length });
    }

    fn residual(&mut self, before: Box<Residual<W, A, D>>) {
        self.push(Pending::Residual(before));
    }
}

/// The generation is not published yet: its parts can be used again at once.
pub(super) struct Unpublished;

impl<W, A, const D: usize> Retire<W, A, D> for Unpublished {
    const IN_PLACE: bool = true;

    fn run(&mut self, space: &mut Space, index: u32, length: usize) {
        space.give(index, length);
    }

    fn residual(&mut self, _: Box<Residual<W, A, D>>) {}
}

/// The arena has no room.
#[derive(Debug)]
pub(super) struct NoRoom;

/// For each of a rule's buckets, a run of the arena, and its length.
type Runs = [(u32, usize); MAX_COPIES as usize];

impl Account {
    pub(super) fn new(space: Space, offers: Vec<u8>, homes: Homes, crowd: usize) -> Self {
        Self {
            space,
            offers,
            homes,
            crowd,
        }
    }

    /// Where the rule of a slot is.
    #[inline]
    pub(super) fn home(&self, slot: u32) -> Home {
        self.homes.get(slot)
    }

    /// Gives back a run that no reader can see any more.
    #[inline]
    pub(super) fn give(&mut self, index: u32, length: u8) {
        self.space.give(index, usize::from(length));
    }

    pub(super) fn crowd(&self) -> usize {
        self.crowd
    }

    pub(super) fn memory(&self) -> usize {
        self.space.memory() + self.offers.capacity() + self.homes.memory()
    }

    /// Puts a rule into the first table that takes it. It becomes visible when its insertion is counted.
    /// False if there is no such table.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing has changed then.
    pub(super) fn place<W: Word, A: Copy, const D: usize>(
        &mut self,
        state: &State<W, A, D>,
        ranges: &[Range<W>; D],
        found: Match<A>,
        retire: &mut impl Retire<W, A, D>,
    ) -> Result<bool, NoRoom> {
        for offer in 0..self.offers.len() {
            let number = self.offers[offer];
            let table = &state.tables[number as usize];
            let Some(places) = Places::of(table, ranges) else {
                continue;
            };
            let is_full = |(place, _)| table.bucket(place).count() >= MAX_RUN;
            if places.iter().any(is_full) {
                continue;
            }
            self.place_in_table(state, number, &places, ranges, found, retire)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn place_in_table<W: Word, A: Copy, const D: usize>(
        &mut self,
        state: &State<W, A, D>,
        number: u8,
        places: &Places,
        ranges: &[Range<W>; D],
        found: Match<A>,
        retire: &mut impl Retire<W, A, D>,
    ) -> Result<(), NoRoom> {
        let table = &state.tables[number as usize];
        let runs = self.take_runs(table, places)?;
        for group in &state.groups {
            group.lower_best(found.priority);
            if group.end > usize::from(number) {
                break;
            }
        }
        let (slot, rank) = (found.id.slot(), found.rank());
        for ((place, tags), (index, length)) in places.iter().zip(runs) {
            let before = table.bucket(place);
            let mut at = index;
            let mut best = found.priority;
            let mut own = None;
            // SAFETY: only the caller changes the state, and gives up the entries below. The run was just
            // taken, so nobody reads it.
            unsafe {
                for (from, old) in (before.index() as u32..).zip(state.entries(before)) {
                    if own.is_none() && old.rank() > rank {
                        own = Some(at);
                        at += 1;
                    }
                    best = best.min(old.found.priority);
                    self.homes.moved(old.found.id.slot(), from, at);
                    state.arena.write(at as usize, old.copy());
                    at += 1;
                }
                let own = own.unwrap_or(at);
                state.arena.write(own as usize, Entry::new(ranges, found));
                self.homes.set(slot, places.home(number, own));
            }
            table.set_bucket(place, Bucket::new(index, length, before.tags() | tags, best));
            self.crowd += usize::from(length > CROWD);
            if before.count() > 0 {
                retire.run(&mut self.space, before.index() as u32, before.count());
            }
        }
        Ok(())
    }

    /// For each of a rule's buckets, a run with room for one entry more.
    fn take_runs<W: Word, const D: usize>(
        &mut self,
        table: &Table<W, D>,
        places: &Places,
    ) -> Result<Runs, NoRoom> {
        let mut runs = [(0, 0); MAX_COPIES as usize];
        for (taken, (place, _)) in places.iter().enumerate() {
            let length = table.bucket(place).count() + 1;
            let Some(index) = self.space.take(length) else {
                for &(index, length) in &runs[..taken] {
                    self.space.give(index, length);
                }
                return Err(NoRoom);
            };
            runs[taken] = (index, length);
        }
        Ok(runs)
    }

    /// Puts a rule into the residual list. It becomes visible when its insertion is counted.
    pub(super) fn place_in_residual<W: Word, A: Copy, const D: usize>(
        &mut self,
        state: &State<W, A, D>,
        ranges: &[Range<W>; D],
        found: Match<A>,
        retire: &mut impl Retire<W, A, D>,
    ) {
        let residual = state.residual().with(Resident::new(ranges, &found));
        retire.residual(state.replace_residual(residual));
        self.homes.set(found.id.slot(), Home::Residual);
    }

    /// Marks a rule as removed by the removal of that number, which is to be counted then.
    #[inline]
    pub(super) fn mark_removed<W: Word, A: Copy, const D: usize>(
        &self,
        state: &State<W, A, D>,
        ranges: &[Range<W>; D],
        found: &Match<A>,
        number: u32,
    ) {
        match self.home(found.id.slot()) {
            Home::Nowhere => {}
            Home::Residual => state.residual().mark_removed(found, number),
            Home::Table {
                index, twice: false, ..
            } => {
                // SAFETY: the home of a rule that is there is an entry's.
                unsafe { state.arena.get(index as usize) }.mark_removed(number);
            }
            Home::Table { number: table, .. } => {
                let table = &state.tables[table as usize];
                for (place, _) in Places::of(table, ranges).iter().flat_map(Places::iter) {
                    // SAFETY: only the caller gives up entries, and does not here.
                    for entry in unsafe { state.entries(table.bucket(place)) } {
                        if entry.found.id == found.id {
                            entry.mark_removed(number);
                        }
                    }
                }
            }
        }
    }

    /// Where [`take_out`](Self::take_out) will find the rule of a slot, which starts to be loaded.
    #[inline]
    pub(super) fn locate<W: Word, A: Copy, const D: usize>(
        &self,
        state: &State<W, A, D>,
        slot: u32,
        ranges: &[Range<W>; D],
    ) -> Places {
        let Home::Table { number, .. } = self.home(slot) else {
            return Places::default();
        };
        let table = &state.tables[number as usize];
        let places = Places::of(table, ranges).unwrap_or_default();
        for (place, _) in places.iter() {
            prefetch_address(table.address(place));
        }
        places
    }

    /// Takes a rule that no reader sees any more out of its table, where it was [located](Self::locate), or out of
    /// the residual list.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: a part of it is left, and it has to be taken out again.
    pub(super) fn take_out<W: Word, A: Copy, const D: usize>(
        &mut self,
        state: &State<W, A, D>,
        places: &Places,
        found: &Match<A>,
        retire: &mut impl Retire<W, A, D>,
    ) -> Result<(), NoRoom> {
        let slot = found.id.slot();
        match self.home(slot) {
            Home::Nowhere => {}
            Home::Residual => {
                retire.residual(state.replace_residual(state.residual().without(found)));
            }
            Home::Table { number, .. } => {
                let table = &state.tables[number as usize];
                for (place, _) in places.iter() {
                    self.take_out_of_bucket(state, table, place, found, retire)?;
                }
            }
        }
        self.homes.set(slot, Home::Nowhere);
        Ok(())
    }

    fn take_out_of_bucket<W: Word, A: Copy, const D: usize, R: Retire<W, A, D>>(
        &mut self,
        state: &State<W, A, D>,
        table: &Table<W, D>,
        place: u64,
        found: &Match<A>,
        retire: &mut R,
    ) -> Result<(), NoRoom> {
        let before = table.bucket(place);
        let (first, length) = (before.index() as u32, before.count());
        let is_other = |old: &Entry<W, A, D>| old.found.id != found.id;
        // SAFETY: only the caller changes the state, and gives up the entries at the end.
        if unsafe { state.entries(before) }.all(is_other) {
            return Ok(());
        }
        if length <= 1 {
            table.set_bucket(place, Bucket::EMPTY);
            retire.run(&mut self.space, first, length);
            return Ok(());
        }
        let index = match self.space.take(length - 1) {
            Some(index) => index,
            None if R::IN_PLACE => first,
            None => return Err(NoRoom),
        };
        self.crowd -= usize::from(length > CROWD);
        let (mut at, mut tags, mut best) = (index, 0, u32::MAX);
        for from in first..first + length as u32 {
            // SAFETY: as above. Nobody reads where is written: the run was just taken, or nobody reads the
            // state at all, and what is there was copied before.
            unsafe {
                let old = state.arena.get(from as usize);
                if !is_other(old) {
                    continue;
                }
                let old = old.copy();
                tags |= Places::of(table, &old.ranges()).map_or(u16::MAX, |other| other.tags_at(place));
                best = best.min(old.found.priority);
                self.homes.moved(old.found.id.slot(), from, at);
                state.arena.write(at as usize, old);
                at += 1;
            }
        }
        table.set_bucket(place, Bucket::new(index, length - 1, tags, best));
        if index == first {
            retire.run(&mut self.space, at, 1);
        } else {
            retire.run(&mut self.space, first, length);
        }
        Ok(())
    }
}
