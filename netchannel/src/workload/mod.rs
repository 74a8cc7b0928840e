//! Rule sets and header traces for measuring classifiers: reading, writing and making them.
//!
//! Rule sets are texts in the format of ClassBench (Taylor and Turner 2007), one rule a line, the first
//! line with the highest priority: [`classbench`]. Traces hold one header a line: [`trace`]. Files may be
//! compressed with gzip. [`generate`] makes both from a seed.

pub mod classbench;
pub mod generate;
mod input;
mod output;
pub mod trace;

pub(crate) use input::open;
pub use input::{MAX_LINE, MAX_PROBLEMS, Problem, ReadError, Refused};
pub use output::{Unprintable, WriteError, write_file};
