//! Measuring the classifier's structures on rule sets and traces.

mod changes;
mod classify;
mod structure;
#[cfg(test)]
mod tests;
mod timing;

pub use classify::{BURST, Figures, MeasureError, SAMPLE, Workload, best_rules, classify};
pub use structure::{Structure, UnknownStructure};
