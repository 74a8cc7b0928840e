//! Where the boxes of each rule are in the worker's rule set.

use crate::dispatch::{BoxId, OwnedBox, RuleNumber};

/// By rule number, which are dense.
#[derive(Debug, Default)]
pub(super) struct Placed(Vec<Vec<BoxId>>);

impl From<Vec<OwnedBox>> for Placed {
    fn from(boxes: Vec<OwnedBox>) -> Self {
        let mut placed = Self::default();
        placed.add(boxes);
        placed
    }
}

impl Placed {
    /// Further boxes are there. Those of no rule are left out: they stay as long as the set.
    pub(super) fn add(&mut self, boxes: Vec<OwnedBox>) {
        for OwnedBox { owner, id } in boxes.into_iter().filter(|owned| owned.owner != RuleNumber::NONE) {
            let number = owner.0 as usize;
            if self.0.len() <= number {
                self.0.resize_with(number + 1, Vec::new);
            }
            self.0[number].push(id);
        }
    }

    /// The boxes of a rule.
    pub(super) fn of(&self, rule: RuleNumber) -> &[BoxId] {
        self.0.get(rule.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The boxes of a rule are gone.
    pub(super) fn forget(&mut self, rule: RuleNumber) {
        if let Some(boxes) = self.0.get_mut(rule.0 as usize) {
            *boxes = Vec::new();
        }
    }
}
