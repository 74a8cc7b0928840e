//! What is fuzzed: functions that take any bytes, and panic if something is wrong.
#![allow(unreachable_pub)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod icmp_errors;
mod packets;
mod parser;
mod translator;

pub use icmp_errors::icmp_errors;
pub use parser::parser;
pub use translator::translator;
