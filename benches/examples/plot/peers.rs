//! What other classifiers cost, to stand beside this one's figures.
//!
//! Measured on a two-core AMD EPYC virtual machine with AVX-512, one pinned thread, on sets that the ClassBench
//! generator made from its published seeds acl1, fw1 and ipc1 (duplicates removed), with uniform traces (each rule
//! equally likely) of 1,000,000 headers. Every answer was checked against a linear search. `rte_acl` is DPDK 22.11's with
//! AVX-512 and bursts of 64; `linear, AVX-512` compares 16 rules at once; the others are their authors' research
//! code in C++, one header at a time.

/// What a peer is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Rules can be inserted and removed.
    Updatable,
    /// It is built once for all rules.
    Static,
    /// Updatable too, but only to show what a structure is worth.
    Baseline,
}

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) change: Change,
    /// Nanoseconds a lookup, for each of [`SETS`].
    lookup: [Option<f64>; SETS.len()],
    /// Bytes a rule at [`MEMORY_RULES`] rules, lowest and highest over acl1, fw1 and ipc1; not measured for all.
    pub(crate) memory: Option<Memory>,
}

/// Bytes a rule, from the lowest to the highest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    /// The family that it was measured for if not for all.
    only: Option<&'static str>,
}

impl Memory {
    /// Whether it was measured for this family.
    pub(crate) fn is_of(&self, family: &str) -> bool {
        self.only.is_none_or(|only| is_style(family, only))
    }
}

/// Rules of the sets for which memory was measured.
pub(crate) const MEMORY_RULES: f64 = 1e5;

/// A rule set: its family, its nominal size, its rules.
type Set = (&'static str, &'static str, f64);

const SETS: [Set; 12] = [
    ("acl1", "1k", 944.0),
    ("fw1", "1k", 803.0),
    ("ipc1", "1k", 975.0),
    ("acl1", "10k", 9_758.0),
    ("fw1", "10k", 9_373.0),
    ("ipc1", "10k", 9_558.0),
    ("acl1", "100k", 99_313.0),
    ("fw1", "100k", 87_906.0),
    ("ipc1", "100k", 99_250.0),
    ("acl1", "1m", 989_248.0),
    ("fw1", "1m", 677_776.0),
    ("ipc1", "1m", 990_437.0),
];

/// The peers, those that can be updated first.
pub(crate) static PEERS: [Peer; 10] = {
    use Change::{Baseline, Static, Updatable};
    #[rustfmt::skip]
    let peers = [
        peer("DBTable", Updatable, [43, 64, 45, 58, 36, 95, 24, 75, 37, 134, 373, 190], megabytes(18, 33)),
        peer("DynamicTuple", Updatable, [46, 70, 51, 53, 38, 124, 33, 62, 45, 139, 296, 231], megabytes(14, 14)),
        peer("PT-Tree", Updatable, [47, 56, 49, 130, 68, 96, 59, 252, 90, 0, 0, 0], megabytes(12, 20)),
        peer("TupleMerge", Updatable, [77, 102, 133, 120, 138, 431, 717, 400, 374, 721, 0, 0], None),
        peer("PartitionSort", Updatable, [79, 150, 96, 213, 220, 342, 468, 751, 398, 0, 0, 0], None),
        // On fw1, 754 MB for 87,906 rules.
        peer("rte_acl", Static, [16, 28, 15, 26, 70, 41, 0, 153, 0, 0, 0, 0],
            Some(Memory { lowest: 8_577.0, highest: 8_577.0, only: Some("fw1") })),
        peer("PextCuts", Static, [26, 33, 23, 29, 28, 73, 38, 30, 26, 0, 0, 0], megabytes(20, 60)),
        peer("ByteCuts", Static, [46, 58, 44, 59, 33, 93, 60, 82, 55, 0, 0, 0], None),
        peer("CutSplit", Static, [82, 77, 85, 132, 75, 260, 612, 298, 250, 0, 0, 0], None),
        peer("linear, AVX-512", Baseline, [40, 46, 41, 332, 275, 293, 3966, 3150, 3482, 0, 0, 0], None),
    ];
    peers
};

/// A peer; 0 is what was not measured.
const fn peer(
    name: &'static str,
    change: Change,
    nanoseconds: [u32; SETS.len()],
    memory: Option<Memory>,
) -> Peer {
    let mut lookup = [None; SETS.len()];
    let mut set = 0;
    while set < SETS.len() {
        if nanoseconds[set] > 0 {
            lookup[set] = Some(nanoseconds[set] as f64);
        }
        set += 1;
    }
    Peer {
        name,
        change,
        lookup,
        memory,
    }
}

/// What the sets of 100,000 rules of all families take.
const fn megabytes(lowest: u32, highest: u32) -> Option<Memory> {
    Some(Memory {
        lowest: lowest as f64 * 1e6 / MEMORY_RULES,
        highest: highest as f64 * 1e6 / MEMORY_RULES,
        only: None,
    })
}

impl Peer {
    /// Rules and nanoseconds a lookup on this family's sets, from few rules to many.
    pub(crate) fn points(&self, family: &str) -> Vec<(f64, f64)> {
        let sets = SETS.iter().zip(self.lookup);
        sets.filter(|((name, ..), _)| is_style(family, name))
            .filter_map(|(&(_, _, rules), nanoseconds)| Some((rules, nanoseconds?)))
            .collect()
    }
}

/// The peer of a kind with the shortest lookup on exactly this set.
pub(crate) fn best(set: &str, change: Change) -> Option<(&'static Peer, f64)> {
    let place = SETS
        .iter()
        .position(|(family, size, _)| set == format!("{family}_{size}"))?;
    PEERS
        .iter()
        .filter(|peer| peer.change == change)
        .filter_map(|peer| Some((peer, peer.lookup[place]?)))
        .min_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// Whether a family is ClassBench's, or of the generator's style of that name (`acl` for `acl1`).
fn is_style(family: &str, of_classbench: &str) -> bool {
    family == of_classbench || family == of_classbench.trim_end_matches('1')
}
