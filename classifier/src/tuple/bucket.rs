//! What a table holds for the keys of one hash value, in a word.

/// Where a bucket's entries are, how many, whose keys they are, and how good the best is: enough to tell
/// without a look at them that they can't be the answer.
///
/// From the lowest bit: 26 bits index of the first entry, 6 bits count, 16 bits tags, 16 bits rank class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket(pub(super) u64);

/// The most entries of one bucket.
pub(super) const MAX_RUN: usize = 63;

/// The most entries of one arena.
pub(super) const MAX_ENTRIES: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 26;
const COUNT_SHIFT: u32 = INDEX_BITS;
const TAGS_SHIFT: u32 = 32;
const CLASS_SHIFT: u32 = 48;

/// How many bits of a hash choose a tag.
pub(super) const TAG_BITS: u32 = 4;

impl Bucket {
    pub(super) const EMPTY: Self = Self(0);

    /// The bits that say where the entries are and how many.
    pub(super) const ENTRIES: u64 = (1 << TAGS_SHIFT) - 1;

    /// A bucket with `count` entries, the best of them of that priority. The tags are those of its keys.
    pub(super) fn new(index: u32, count: usize, tags: u16, best: u32) -> Self {
        debug_assert!((index as usize) < MAX_ENTRIES && (1..=MAX_RUN).contains(&count));
        Self(
            u64::from(index)
                | (count as u64) << COUNT_SHIFT
                | u64::from(tags) << TAGS_SHIFT
                | u64::from(class(best)) << CLASS_SHIFT,
        )
    }

    /// One entry of the count.
    pub(super) const ONE_ENTRY: u64 = 1 << COUNT_SHIFT;

    #[inline(always)]
    pub(super) const fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    #[inline(always)]
    pub(super) const fn count(self) -> usize {
        (self.0 >> COUNT_SHIFT) as usize & MAX_RUN
    }

    pub(super) const fn tags(self) -> u16 {
        (self.0 >> TAGS_SHIFT) as u16
    }

    /// 1 if a key of that tag (its lowest four bits) may have an entry here whose priority's class is
    /// `worst` or better, else 0.
    #[inline(always)]
    pub(super) const fn may_hold(self, tag: u64, worst: u32) -> u64 {
        (self.0 >> (TAGS_SHIFT as u64 + (tag & 0xf))) & 1 & ((self.0 >> CLASS_SHIFT) as u32 <= worst) as u64
    }
}

/// The bit of a bucket's tags for a key of that tag.
pub(super) const fn tag_bit(tag: u64) -> u16 {
    1 << (tag & 0xf)
}

/// Priorities in 16 bits, in their order; some share a class: up to 4095 none, above that those that agree
/// in their highest 12 bits.
#[inline(always)]
pub(super) fn class(priority: u32) -> u16 {
    // Not a saturating subtraction: that would be made a branch, and be mispredicted.
    let exponent = 20 - (priority | 1).leading_zeros().min(20);
    ((exponent << 11) + (priority >> exponent)) as u16
}

#[cfg(test)]
mod tests {
    use super::{Bucket, class, tag_bit};

    #[test]
    fn classes_keep_the_order() {
        let mut priorities: Vec<u32> = (0..70_000)
            .chain((0..32).flat_map(|bit| {
                let power = 1u32 << bit;
                [
                    power - 1,
                    power,
                    power | 1,
                    power | power >> 1,
                    power | power >> 12,
                ]
            }))
            .collect();
        priorities.push(u32::MAX);
        priorities.sort_unstable();
        for pair in priorities.windows(2) {
            assert!(class(pair[0]) <= class(pair[1]), "{pair:?}");
        }
        assert_eq!(class(0), 0);
        assert_eq!(class(4_095), 4_095);
        assert!(class(4_096) > class(4_095));
        assert!(class(u32::MAX) > class(u32::MAX - (1 << 20)));
    }

    #[test]
    fn parts_do_not_mix() {
        let bucket = Bucket::new(0x3ff_ffff, 63, tag_bit(3) | tag_bit(15), u32::MAX);
        assert_eq!((bucket.index(), bucket.count()), (0x3ff_ffff, 63));
        let worst = u32::from(class(u32::MAX));
        assert_eq!(bucket.may_hold(3, worst), 1);
        assert_eq!(bucket.may_hold(0x1f, worst), 1);
        assert_eq!(bucket.may_hold(4, worst), 0);
        assert_eq!(bucket.may_hold(3, worst - 1), 0);
        assert_eq!(Bucket::EMPTY.may_hold(0, worst), 0);
    }
}
