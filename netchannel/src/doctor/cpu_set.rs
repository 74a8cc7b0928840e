//! Sets of processors, as the kernel writes them.

use std::collections::BTreeSet;
use std::fmt;

/// More processors than any machine has: bounds what a damaged text may claim.
const MOST: u32 = 65_536;

/// A set of processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// Reads a list such as `0-3,8`; an empty text is an empty set. `None` for anything else.
    pub fn parse(list: &str) -> Option<Self> {
        let mut set = BTreeSet::new();
        for part in list.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            if first > last || last >= MOST {
                return None;
            }
            set.extend(first..=last);
        }
        Some(Self(set))
    }

    /// Reads a mask such as `00000003` or `1,00000000`: groups of 32 bits, the lowest one last.
    pub fn parse_mask(mask: &str) -> Option<Self> {
        let mut set = BTreeSet::new();
        for (group, text) in (0..MOST / 32).zip(mask.trim().rsplit(',')) {
            let bits = u32::from_str_radix(text.trim(), 16).ok()?;
            set.extend(
                (0..32)
                    .filter(|bit| bits >> bit & 1 == 1)
                    .map(|bit| group * 32 + bit),
            );
        }
        Some(Self(set))
    }

    /// Whether it has this one.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Its processors, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<T: IntoIterator<Item = u32>>(cpus: T) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|&next| next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_masks_are_read() {
        let list = |text: &str| CpuSet::parse(text).map(|set| set.iter().collect::<Vec<_>>());
        assert_eq!(list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(list(""), Some(vec![]));
        for wrong in ["a", "3-1", "1-", "-1", "0-4294967295", "1;2"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
        let mask = |text: &str| CpuSet::parse_mask(text).map(|set| set.to_string());
        assert_eq!(mask("00000003"), Some("0-1".to_owned()));
        assert_eq!(mask("1,00000000\n"), Some("32".to_owned()));
        assert_eq!(mask("0"), Some(String::new()));
        assert_eq!(mask("x"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(cpus in proptest::collection::btree_set(0..300_u32, 0..40)) {
            let set: CpuSet = cpus.into_iter().collect();
            prop_assert_eq!(CpuSet::parse(&set.to_string()), Some(set));
        }
    }
}
