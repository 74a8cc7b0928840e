//! Lists through a table: each entry is a member of at most one list, added and removed in O(1) without allocation.

use crate::memory::vec_in_huge_pages;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// The links of all lists of one kind; whoever owns a list keeps its head, [`NONE`] when it is empty.
pub(super) struct Chains {
    links: Vec<Link>,
}

impl Chains {
    /// For entries numbered below `capacity`, without growing; more are possible.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            links: vec_in_huge_pages(capacity),
        }
    }

    /// Bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// Puts `index`, which is in no list, in front.
    pub(super) fn push(&mut self, head: &mut u32, index: u32) {
        let place = index as usize;
        if place >= self.links.len() {
            let unlinked = Link {
                previous: NONE,
                next: NONE,
            };
            self.links.resize(place + 1, unlinked);
        }
        self.links[place] = Link {
            previous: NONE,
            next: *head,
        };
        if *head != NONE {
            self.links[*head as usize].previous = index;
        }
        *head = index;
    }

    /// Takes `index` out of the list that it is in, whose head is `head`.
    pub(super) fn remove(&mut self, head: &mut u32, index: u32) {
        let Link { previous, next } = self.links[index as usize];
        if previous == NONE {
            *head = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
    }

    /// The members of a list.
    pub(super) fn iter(&self, head: u32) -> impl Iterator<Item = u32> + Clone + '_ {
        let some = |index| (index != NONE).then_some(index);
        std::iter::successors(some(head), move |&index| some(self.links[index as usize].next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_lists_hold_what_was_put_in_them(
            operations in proptest::collection::vec((0u32..20, any::<bool>()), 0..200),
        ) {
            let mut chains = Chains::with_capacity(4);
            let mut heads = [NONE; 2];
            let mut models = [Vec::new(), Vec::new()];
            for (index, first) in operations {
                let place = models.iter().position(|model| model.contains(&index));
                let list = place.unwrap_or(usize::from(first));
                match models[list].iter().position(|&other| other == index) {
                    Some(position) => {
                        models[list].remove(position);
                        chains.remove(&mut heads[list], index);
                    }
                    None => {
                        models[list].insert(0, index);
                        chains.push(&mut heads[list], index);
                    }
                }
                for (head, model) in heads.iter().zip(&models) {
                    prop_assert_eq!(&chains.iter(*head).collect::<Vec<_>>(), model);
                }
            }
        }
    }
}
