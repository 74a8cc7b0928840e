//! What becomes of a packet, and why.

mod decide;
mod explanation;
mod flow;
mod matching;
mod narrowing;
mod notation;
#[cfg(test)]
mod tests;
mod translation;

pub use decide::{Decider, Decision, World};
pub use explanation::{Explanation, ShownRule, explain};
pub use flow::{DEFAULT_SOURCE_PORT, Flow};
pub use matching::matching;
pub use narrowing::{Narrowing, narrow};
pub use notation::FlowError;
pub use translation::translation;
