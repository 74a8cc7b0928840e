//! What is fuzzed: functions that take any bytes, and panic if something is wrong.
#![allow(unreachable_pub)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod control;
mod icmp_errors;
mod nat_state;
mod packets;
mod parser;
mod rule_imports;
mod rules_json;
mod rules_text;
mod translator;

pub use control::control;
pub use icmp_errors::icmp_errors;
pub use nat_state::nat_state;
pub use parser::parser;
pub use rule_imports::{rules_iptables, rules_nftables};
pub use rules_json::rules_json;
pub use rules_text::rules_text;
pub use translator::translator;
