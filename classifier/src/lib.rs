//! Rules, keys and lookup structures: which rule wins for a packet, in any number of dimensions.
//!
//! A [`Rule`] names one [`Range`] per dimension (any value, an exact value, a prefix, or an arbitrary
//! range), a priority and an action, which is a type of the caller's. A [`Key`] holds one value per
//! dimension. A lookup answers with the best rule whose ranges hold all values of the key.
//!
//! **Rules are totally ordered**: the lower priority number first, and among equal priorities the one
//! that was inserted first. There are no ties.
//!
//! A [`Schema`] says how many dimensions there are and how wide each is; every structure is generic over
//! it. [`Ipv4FiveTuple`] and [`Ipv6FiveTuple`] come with the crate.
//!
//! # Structures
//!
//! All implement [`Lookup`] and [`Classifier`], and all give the same answers.
//!
//! *N* rules, *d* dimensions, *w* the width of the widest dimension in bits, *p* the prefixes that the
//! rule's ranges split into (1 when all are prefixes; at most 2*w*−2 a dimension, multiplied over the
//! dimensions), *k* the rules that match.
//!
//! | structure | lookup | all matches | insert | remove | memory |
//! | --- | --- | --- | --- | --- | --- |
//! | [`linear::Linear`] | O(*N d*) | O(*N d*) | O(*N*) | O(*N*) | O(*N d*) |
//! | [`interval::Interval`] | O(*d* log *N*) | O(*d* log *N* + *k*) | worst case O(*d Nᵈ*): all that the rule covers | as an insertion | worst case O(*d Nᵈ*), limited |
//! | [`trie::Trie`] | worst case O(min(*wᵈ*, *N p w*)), pruned | as a lookup, + O(*k* log *k*) | O(*p d w* + log *N*) | O(*p d w* + log *N*) | O(*d N p*) |
//!
//! | [`tuple::Tuple`] (the default) | O(*t* + *r*), early end | as a lookup, + O(*k* log *k*) | O(*t*) amortized | O(*t*) amortized | O(*d N*) |
//!
//! *t*: hash tables, as many as the rules ask for, usually 3 to 15 and at most 32; *r*: rules that no table tells
//! apart, usually some dozens, searched sixteen at a time. What each costs on rule sets of 1,000 to 1,000,000 rules
//! is in `docs/performance.md` of the repository.
//!
//! # Change while others look up
//!
//! [`tuple::Tuple`] is changed under any number of readers. [`live`] has the traits of sets of rules that one writer changes while other threads look up in them, and
//! [`live::Mirrored`], which makes such a set of any structure. [`reclaim`] says when memory that readers use
//! without locks can be used again.
//!
//! # Example
//!
//! ```
//! use classifier::{Classifier, Ipv4FiveTuple, Ipv4Key, Lookup, Range, Rule, dimension};
//! use classifier::tuple::Ipv4Tuple;
//! use std::net::Ipv4Addr;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rules = Ipv4Tuple::new();
//!
//! let mut web = Rule::any::<Ipv4FiveTuple>(10, "web");
//! web.ranges[dimension::SOURCE_ADDRESS] = "10.0.0.0/8".parse::<ipnet::Ipv4Net>()?.into();
//! web.ranges[dimension::DESTINATION_PORT] = Range::exact(443);
//! web.ranges[dimension::PROTOCOL] = Range::exact(6);
//! let web = rules.insert(web)?;
//! rules.insert(Rule::any::<Ipv4FiveTuple>(1000, "everything else"))?;
//!
//! let source = Ipv4Addr::new(10, 1, 2, 3);
//! let server = Ipv4Addr::new(192, 0, 2, 1);
//! let key = Ipv4Key::five_tuple(source, server, 50_000, 443, 6);
//! assert_eq!(rules.lookup(&key).map(|found| found.action), Some("web"));
//!
//! rules.remove(web);
//! assert_eq!(rules.lookup(&key).map(|found| found.action), Some("everything else"));
//! # Ok(())
//! # }
//! ```
//!
//! # Other dimensions
//!
//! A schema is a marker type with one constant. This one adds the TCP flags to the five-tuple:
//!
//! ```
//! use classifier::{Key, Lookup, Schema, trie::Trie};
//!
//! #[derive(Debug, Clone, Copy)]
//! struct WithTcpFlags;
//!
//! impl Schema<6> for WithTcpFlags {
//!     type Word = u32;
//!     const WIDTHS: [u32; 6] = [32, 32, 16, 16, 8, 8];
//! }
//!
//! let rules: Trie<WithTcpFlags, u16, 6> = Trie::new();
//! assert!(rules.lookup(&Key::new([0x0a00_0001, 0xc000_0201, 50_000, 443, 6, 0x02])).is_none());
//! ```

mod classify;
mod key;
mod paged;
pub mod prefetch;
mod range;
mod rule;
mod schema;
mod slab;
mod word;

pub mod interval;
pub mod linear;
pub mod live;
pub mod reclaim;
pub mod trie;
pub mod tuple;

pub use classify::{Classifier, InsertError, Lookup, MAX_BATCH};
pub use key::{Ipv4Key, Ipv6Key, Key};
pub use range::{Range, RangeError};
pub use rule::{Ipv4Rule, Ipv6Rule, Match, Rule, RuleId};
pub use schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, dimension};
pub use word::Word;
