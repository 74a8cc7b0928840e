//! What is probably not meant in a list of rules: rules that never win, duplicates, overlaps that only order decides.
//!
//! A rule is a set of boxes in the space of all packets. Whether earlier rules together take all of a box is found by looking for a
//! packet that they leave: each time, a rule that takes a corner of what is left is subtracted, until nothing is left, or a corner is
//! nobody's. That is exact, but may take long where rules overlap much; so the work for each rule is bounded, and a rule that would take
//! more is [told](Finding::Undecided) as that.

mod bounds;
mod find;
#[cfg(test)]
mod tests;
mod tree;

pub use find::{Finding, lint};
