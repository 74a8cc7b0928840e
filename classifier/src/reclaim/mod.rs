//! Memory that readers use without locks, and when it may be used again.
//!
//! A writer takes an object out of a structure while readers in other threads may be looking at it. Its
//! memory can be used again when no reader can hold it. Readers say when they look: each
//! [enters a section](Reader::enter) before, and leaves it afterwards, once per burst of packets.
//!
//! The scheme is Jeff Roberson's *Global Unbounded Sequence* (FreeBSD, 2020). A [`Domain`] has a write
//! sequence, and a slot per reader. A reader enters by storing the write sequence in its slot, and
//! leaves by clearing it. The writer gathers objects that it took out in batches. It advances the write
//! sequence once per batch and tags the batch with it. When it wants memory, it looks at the slots: a
//! batch whose tag is at or below the sequence of every open section can be reused. Compared with
//! epochs, readers write nothing that others write, one open section holds back just what was retired
//! since, and objects are used again while they are still in the cache.
//!
//! - [`Slabs`] hold objects of one type. Their unsafe functions cost least, and are for structures whose objects
//!   lead to each other.
//! - [`Link`]s are the safe way to objects in slabs, for one object or a few: a table, a set of rules.
//! - [`Domain::advance`] and [`Domain::wait`] are for memory that is kept elsewhere.
//!
//! ```
//! use classifier::reclaim::{Domain, Slabs};
//!
//! let domain = Domain::new();
//! let mut tables = Slabs::with_batch(&domain, 1);
//! let current = tables.link();
//! tables.replace(&current, Some(vec![1, 2, 3]));
//!
//! let mut reader = domain.reader();
//! let section = reader.enter();
//! let table = current.load(&section);
//! tables.replace(&current, Some(vec![4, 5]));
//! assert_eq!(table, Some(&vec![1, 2, 3]));
//! assert_eq!(current.load(&section), Some(&vec![4, 5]));
//!
//! // The first table can't be dropped before the section is left.
//! assert_eq!(tables.reclaim(), 0);
//! drop(section);
//! assert_eq!(tables.reclaim(), 1);
//! ```

mod domain;
mod link;
#[cfg(all(test, loom))]
mod model;
mod slabs;
mod storage;
pub(crate) mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

pub use domain::{Domain, Reader, Section, Sequence};
pub use link::Link;
pub use slabs::{DEFAULT_BATCH, Slabs};
