//! Where a generation keeps each rule.

use super::bucket::MAX_ENTRIES;

/// Where the rule of a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Not in this generation.
    Nowhere,
    /// In the residual list.
    Residual,
    /// In the table of that number; its entry is the arena's of that index, and there may be a second one.
    Table { number: u8, index: u32, twice: bool },
}

/// The homes of all slots, in four bytes each, so that they are in a cache where the rules are not: a removal
/// goes from here to the entry, without a look at the bucket.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// The index, above it the number and whether there is a second entry; or [`NOWHERE`] or [`RESIDUAL`].
    words: Vec<u32>,
}

/// The most tables: their numbers have five bits, and one number is in use for the homes outside of tables.
pub(super) const MAX_TABLES: usize = 31;

const NUMBER_SHIFT: u32 = MAX_ENTRIES.trailing_zeros();
const INDEX: u32 = (1 << NUMBER_SHIFT) - 1;
const TWICE: u32 = 1 << 31;
const NOWHERE: u32 = u32::MAX;
const RESIDUAL: u32 = u32::MAX - 1;

const _: () = assert!(NUMBER_SHIFT + MAX_TABLES.next_power_of_two().trailing_zeros() <= 31);

impl Homes {
    /// Room for that many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            words: vec![NOWHERE; slots],
        }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Home {
        match self.words.get(slot as usize) {
            None | Some(&NOWHERE) => Home::Nowhere,
            Some(&RESIDUAL) => Home::Residual,
            Some(&word) => Home::Table {
                number: (word >> NUMBER_SHIFT) as u8 & MAX_TABLES as u8,
                index: word & INDEX,
                twice: word & TWICE != 0,
            },
        }
    }

    #[inline]
    pub(super) fn set(&mut self, slot: u32, home: Home) {
        let slot = slot as usize;
        if slot >= self.words.len() {
            // By a quarter, as the rules themselves.
            let more = (slot / 4).max(16);
            self.words.reserve_exact(slot + more - self.words.len());
            self.words.resize(slot + more, NOWHERE);
        }
        self.words[slot] = match home {
            Home::Nowhere => NOWHERE,
            Home::Residual => RESIDUAL,
            Home::Table { number, index, twice } => {
                index | u32::from(number) << NUMBER_SHIFT | if twice { TWICE } else { 0 }
            }
        };
    }

    /// An entry of the rule of that slot was copied from one place of the arena to another.
    #[inline]
    pub(super) fn moved(&mut self, slot: u32, from: u32, to: u32) {
        if let Some(word) = self.words.get_mut(slot as usize)
            && *word < RESIDUAL
            && *word & INDEX == from
        {
            *word = *word & !INDEX | to;
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::{Home, Homes, MAX_TABLES};

    #[test]
    fn homes_follow_the_entries() {
        let mut homes = Homes::new(2);
        assert_eq!([homes.get(0), homes.get(9)], [Home::Nowhere; 2]);
        let at = |index, twice| Home::Table {
            number: MAX_TABLES as u8 - 1,
            index,
            twice,
        };
        homes.set(7, at(0x3ff_ffff, true));
        homes.set(1, at(5, false));
        homes.set(0, Home::Residual);
        assert_eq!(homes.get(7), at(0x3ff_ffff, true));
        assert_eq!([homes.get(0), homes.get(2)], [Home::Residual, Home::Nowhere]);
        homes.moved(7, 0x3ff_ffff, 3);
        homes.moved(1, 6, 4);
        homes.moved(0, 0x3ff_fffe, 4);
        assert_eq!([homes.get(7), homes.get(1)], [at(3, true), at(5, false)]);
        assert_eq!(homes.get(0), Home::Residual);
    }
}
