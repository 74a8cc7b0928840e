//! Sets of rules that change while other threads look up in them.
//!
//! There is one [`Writer`] and any number of [`Reader`]s, each in the hands of one thread. A reader
//! enters a section, once per burst of keys, and looks up in it. A section sees the set as it was at one
//! instant, from its start to its end: no change, and no half of one, appears while it is open. Readers
//! never wait for the writer.
//!
//! [`Mirrored`] makes a writer and readers of any structure.

mod mirrored;
mod pair;

pub use mirrored::{Mirrored, MirroredReader, MirroredSection};

use crate::classify::{Classifier, InsertError, Lookup};
use crate::rule::{Rule, RuleId};
use crate::word::Word;

/// The one writer's side of a set of rules that readers use while it changes.
///
/// What the writer itself looks up includes all of its own changes. A change is seen by every section
/// that is entered after it returned.
pub trait Writer<W: Word, const D: usize>: Classifier<W, D> {
    /// The readers' side.
    type Reader: Reader<W, D, Action = Self::Action> + Send;

    /// One more reader, for one thread. It stays valid when the writer is gone, and sees the last state
    /// then.
    fn reader(&self) -> Self::Reader;

    /// Puts these rules in the place of all that are there. The new set appears at one instant. The ids
    /// are those of the rules, in their order; no id that was given before is among them.
    ///
    /// # Errors
    ///
    /// See [`InsertError`]. Nothing has changed then.
    fn replace(&mut self, rules: Vec<Rule<W, D, Self::Action>>) -> Result<Vec<RuleId>, InsertError>;
}

/// One reader's side of a set of rules that changes.
pub trait Reader<W: Word, const D: usize> {
    /// What the rules hold for their caller.
    type Action;

    /// The set at one instant; leaves when it is dropped. Keep it for one burst: while it is open, memory
    /// that the writer gives up can't be used again, and the writer may have to wait.
    type Section<'a>: Lookup<W, D, Action = Self::Action>
    where
        Self: 'a;

    /// Enters a section. Every change that was made before is seen in it. Never waits.
    fn enter(&mut self) -> Self::Section<'_>;
}
