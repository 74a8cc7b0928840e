//! Rules: which packets go to which channel.
//!
//! [`Rule`] and [`RuleList`] are the one form that every notation is read into and written from. What must hold of a rule whatever it
//! was written in is in [`check`]; [`RuleBox`]es are what classifiers take.

mod boxes;
mod check;
mod list;
mod rule;
mod values;

pub use boxes::{MAX_RULE_BOXES, MAX_TOTAL_BOXES, RuleBox};
pub(crate) use check::TOO_OPEN;
pub use check::{Families, Fault, MAX_COMMENT, Names, Part, check};
pub use list::RuleList;
pub use rule::{DEFAULT_PRIORITY, Fields, Name, NamedSet, Place, Rule, Values};
pub(crate) use values::{ADDRESSES_EXPECTED, PORTS_EXPECTED, PREFIX_EXPECTED, interface_address, prefix};
pub use values::{
    AddressRange, FieldRange, FlagMatch, ICMP, ICMPV6, PROTOCOLS, PortRange, WITH_PORTS, WrongValue,
    parse_protocol, protocol_name,
};
