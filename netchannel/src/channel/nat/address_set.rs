//! Sets of external addresses.

/// Number of an external address, from 0.
pub(super) type AddressId = u32;

/// A set of address numbers: a bit for each, and one for each 64 of them that has one, so that the next member is found in at most some
/// thousand words of the 65,536 addresses that there may be, most often in two.
#[derive(Clone)]
pub(super) struct AddressSet {
    words: Vec<u64>,
    /// A bit for each word that is not 0.
    summary: Vec<u64>,
}

impl AddressSet {
    /// The numbers below `count`.
    pub(super) fn all(count: usize) -> Self {
        let mut set = Self {
            words: vec![0; count.div_ceil(64)],
            summary: vec![0; count.div_ceil(64 * 64)],
        };
        for id in 0..count {
            set.insert(id as AddressId);
        }
        set
    }

    pub(super) fn insert(&mut self, id: AddressId) {
        let word = id as usize / 64;
        self.words[word] |= 1 << (id % 64);
        self.summary[word / 64] |= 1 << (word % 64);
    }

    pub(super) fn remove(&mut self, id: AddressId) {
        let word = id as usize / 64;
        self.words[word] &= !(1 << (id % 64));
        if self.words[word] == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
    }

    /// The first member from `id` on, from 0 on if there is none.
    pub(super) fn next_from(&self, id: AddressId) -> Option<AddressId> {
        let after = |id: usize| -> Option<usize> {
            let word = id / 64;
            let here = self.words.get(word)? & (u64::MAX << (id % 64));
            if here != 0 {
                return Some(word * 64 + here.trailing_zeros() as usize);
            }
            let word = next_bit(&self.summary, word + 1)?;
            Some(word * 64 + self.words[word].trailing_zeros() as usize)
        };
        after(id as usize).or_else(|| after(0)).map(|id| id as AddressId)
    }
}

/// The first bit that is set from `bit` on.
fn next_bit(words: &[u64], bit: usize) -> Option<usize> {
    let first = words.get(bit / 64)? & (u64::MAX << (bit % 64));
    if first != 0 {
        return Some(bit / 64 * 64 + first.trailing_zeros() as usize);
    }
    let later = words.iter().enumerate().skip(bit / 64 + 1);
    let (index, word) = later.into_iter().find(|(_, word)| **word != 0)?;
    Some(index * 64 + word.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn address_set_agrees_with_a_set(
            count in 1usize..9000,
            operations in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..300),
        ) {
            let mut set = AddressSet::all(count);
            let mut model: BTreeSet<u32> = (0..count as u32).collect();
            // So that there are large holes.
            for id in 0..count as u32 {
                if id % 4099 != 7 {
                    set.remove(id);
                    model.remove(&id);
                }
            }
            for (index, insert) in operations {
                let id = index.index(count) as u32;
                if insert {
                    set.insert(id);
                    model.insert(id);
                } else {
                    set.remove(id);
                    model.remove(&id);
                }
                let expected = model.range(id / 2..).next().or(model.first()).copied();
                prop_assert_eq!(set.next_from(id / 2), expected);
            }
        }
    }
}
