//! What becomes of a packet, and why.

mod flow;
mod matching;
mod notation;

pub use flow::{DEFAULT_SOURCE_PORT, Flow};
pub use matching::matching;
pub use notation::FlowError;
