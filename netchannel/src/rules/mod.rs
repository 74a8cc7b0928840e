//! Rules: which packets go to which channel.
//!
//! [`Rule`] and [`RuleList`] are the one form that every notation is read into and written from. What must hold of a rule whatever it
//! was written in is in [`check`]; [`RuleBox`]es are what classifiers take.

mod boxes;
mod chains;
mod check;
pub mod classbench;
mod difference;
pub mod explain;
mod files;
mod format;
pub mod iptables;
pub mod json;
pub mod lint;
mod list;
mod loaded;
pub mod nftables;
pub(crate) mod notation;
#[cfg(test)]
pub(crate) mod random;
mod reader;
mod rule;
pub mod text;
mod values;

pub use boxes::{MAX_RULE_BOXES, MAX_TOTAL_BOXES, RuleBox};
pub use chains::{ImportOptions, RouteError, WayOut};
pub(crate) use check::TOO_OPEN;
pub use check::{Families, Fault, MAX_COMMENT, Names, Part, check};
pub use difference::{Difference, difference};
pub use files::MAX_SIZE;
pub(crate) use files::matching;
pub(crate) use format::read_into;
pub use format::{Format, Options, WriteError, read, write};
pub use list::RuleList;
pub use loaded::Loaded;
pub(crate) use notation::address_ends;
pub use reader::{MAX_RULES, MAX_SET_NAME, MAX_SET_VALUES, MAX_SETS};
pub(crate) use reader::{Reader, Set, overlap};
pub use rule::{DEFAULT_PRIORITY, Fields, Name, NamedSet, Place, Rule, Values};
pub(crate) use values::{ADDRESSES_EXPECTED, PORTS_EXPECTED, PREFIX_EXPECTED, interface_address, prefix};
pub use values::{
    AddressRange, FieldRange, FlagMatch, ICMP, ICMPV6, PROTOCOLS, PortRange, WITH_PORTS, WrongValue,
    parse_protocol, protocol_name,
};
