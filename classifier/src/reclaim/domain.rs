//! Sequences: which sections are still open that began before something was taken away.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::DerefMut;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;

use super::sync::{Arc, AtomicU64, Mutex, Ordering, fence, spin_loop, yield_now};

/// In a reader's slot: no section is open.
const IDLE: u64 = 0;

/// How often a waiting writer looks again before it gives its core away.
const SPINS: usize = 64;

/// A point in a domain's time: the number of times that its write sequence was advanced.
///
/// 64 bits don't wrap: a writer that advances a billion times a second gets there after 584 years. So
/// sequences compare as plain numbers, without the forced polls that a 32-bit sequence needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

/// Readers and writers that share what is reclaimed: the clock of one set of objects.
///
/// A clone is the same domain. Readers and writers may come and go at any time, in any thread.
#[derive(Clone)]
pub struct Domain {
    shared: Arc<Shared>,
}

struct Shared {
    write: Line<AtomicU64>,
    /// Every section that began before this sequence has ended. Never goes back.
    observed: Line<AtomicU64>,
    /// A count to look at: nothing is decided by it.
    held_back: AtomicUsize,
    /// Taken to add, remove and look at readers, never in a section.
    readers: Mutex<Vec<Arc<Slot>>>,
}

impl Shared {
    fn readers(&self) -> impl DerefMut<Target = Vec<Arc<Slot>>> {
        // Whole between any two statements, so a thread that panicked did no harm.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a cache line of its own: two of 64 bytes, since processors fetch them in pairs.
#[repr(align(128))]
struct Line<T>(T);

/// The write sequence as it was when the reader's open section began, or [`IDLE`].
type Slot = Line<AtomicU64>;

impl Domain {
    /// A domain without readers.
    pub fn new() -> Self {
        let shared = Shared {
            write: Line(AtomicU64::new(IDLE + 1)),
            observed: Line(AtomicU64::new(IDLE + 1)),
            held_back: AtomicUsize::new(0),
            readers: Mutex::new(Vec::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// One more reader, for one thread. Their number is bounded by memory alone: 128 bytes each, which
    /// are free again when the reader is dropped.
    pub fn reader(&self) -> Reader {
        let slot = Arc::new(Line(AtomicU64::new(IDLE)));
        self.shared.readers().push(Arc::clone(&slot));
        Reader {
            domain: self.clone(),
            slot,
            one_thread: PhantomData,
        }
    }

    /// Ends a period. Everything that the calling thread made unreachable before is out of every reader's
    /// hands once the returned sequence [has passed](Self::has_passed).
    pub fn advance(&self) -> Sequence {
        // Release: a section that reads this sequence sees what was made unreachable before.
        Sequence(self.shared.write.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Whether every section that was open when this sequence [began](Self::advance) has ended. Looks at
    /// the readers only if the answer is not known yet. Never waits.
    pub fn has_passed(&self, sequence: Sequence) -> bool {
        self.passed(sequence) >= sequence
    }

    /// Waits until every section that was open when this sequence [began](Self::advance) has ended. In a
    /// thread that has one of them open itself, that is for ever.
    pub fn wait(&self, sequence: Sequence) {
        let mut spins = 0;
        while !self.has_passed(sequence) {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                yield_now();
            }
        }
    }

    /// How many retired objects of the domain wait for readers, or to be wanted again, in complete
    /// batches; those in the batch that each [`Slabs`](super::Slabs) is filling come on top.
    pub fn held_back(&self) -> usize {
        self.shared.held_back.load(Ordering::Relaxed)
    }

    /// A sequence that has passed; it is at least `wanted` if that has.
    pub(super) fn passed(&self, wanted: Sequence) -> Sequence {
        // Acquire: whoever observed it had synchronized with the readers that left.
        let observed = self.shared.observed.0.load(Ordering::Acquire);
        if observed >= wanted.0 {
            return Sequence(observed);
        }
        self.poll(observed)
    }

    /// Looks at every reader; returns the highest sequence that has passed. `observed` is one that has.
    fn poll(&self, observed: u64) -> Sequence {
        // The write sequence comes before the slots. The other way round, a reader could enter behind
        // our back after its slot was read as idle, and an object be taken away from it and tagged after
        // that, with a sequence that we would then find passed.
        let write = self.shared.write.0.load(Ordering::Acquire);
        // Pairs with the fence in `enter`. Either we see the section in its slot, or the section sees
        // everything that was made unreachable before `write`.
        fence(Ordering::SeqCst);
        let mut lowest = write;
        for slot in self.shared.readers().iter() {
            // Acquire: what the reader did in sections that it left happens before what follows here.
            let entered = slot.0.load(Ordering::Acquire);
            if entered != IDLE {
                // A reader that was interrupted between loading the write sequence and publishing it may
                // publish one that has long passed. It entered after that was observed, or it would have
                // been seen then; so it can't hold what was taken away before, and doesn't turn time
                // back.
                lowest = lowest.min(entered.max(observed));
            }
        }
        // Another thread may have polled meanwhile, and have seen more.
        let before = self.shared.observed.0.fetch_max(lowest, Ordering::AcqRel);
        Sequence(before.max(lowest))
    }

    pub(super) fn add_held_back(&self, objects: usize) {
        self.shared.held_back.fetch_add(objects, Ordering::Relaxed);
    }

    pub(super) fn subtract_held_back(&self, objects: usize) {
        self.shared.held_back.fetch_sub(objects, Ordering::Relaxed);
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Domain {}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("write", &self.shared.write.0.load(Ordering::Relaxed))
            .field("observed", &self.shared.observed.0.load(Ordering::Relaxed))
            .field("held_back", &self.held_back())
            .finish_non_exhaustive()
    }
}

/// A reader of a domain: enters and leaves sections, one at a time. It can go to another thread, but not
/// be shared.
pub struct Reader {
    domain: Domain,
    slot: Arc<Slot>,
    one_thread: PhantomData<Cell<()>>,
}

impl Reader {
    /// Enters a section. Never waits; costs about one full memory fence, so enter once per burst.
    #[inline]
    pub fn enter(&mut self) -> Section<'_> {
        // Acquire: what was made unreachable before this sequence began is not seen in the section.
        let write = self.domain.shared.write.0.load(Ordering::Acquire);
        // Release: a poll that finds this section has to synchronize with the end of the last one too,
        // whose idle mark it doesn't get to see.
        self.slot.0.store(write, Ordering::Release);
        // The slot has to be visible before anything is read in the section; loads may otherwise overtake
        // the store. Pairs with the fence in `poll`.
        fence(Ordering::SeqCst);
        Section { reader: self }
    }

    /// The domain that the reader belongs to.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.domain.shared.readers();
        readers.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        if readers.is_empty() {
            *readers = Vec::new();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// While it exists, what its reader reaches is not reclaimed. Dropping it leaves the section.
#[derive(Debug)]
pub struct Section<'reader> {
    reader: &'reader Reader,
}

impl Section<'_> {
    /// The domain whose objects the section protects.
    #[inline]
    pub fn domain(&self) -> &Domain {
        &self.reader.domain
    }
}

impl Drop for Section<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: everything read in the section was read before.
        self.reader.slot.0.store(IDLE, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Domain;

    #[test]
    fn a_sequence_passes_when_the_sections_before_it_have_ended() {
        let domain = Domain::new();
        let [mut early, mut late] = [domain.reader(), domain.reader()];
        let section = early.enter();
        let sequence = domain.advance();
        assert!(!domain.has_passed(sequence));
        let other = late.enter();
        assert!(!domain.has_passed(sequence));
        drop(section);
        assert!(
            domain.has_passed(sequence),
            "the section of the other reader began later"
        );
        let later = domain.advance();
        assert!(!domain.has_passed(later));
        drop(other);
        assert!(domain.has_passed(later));
        domain.wait(later);
    }

    #[test]
    fn readers_come_and_go() {
        let domain = Domain::new();
        let mut readers: Vec<_> = (0..100).map(|_| domain.reader()).collect();
        for reader in &mut readers {
            // A section that is never left ends with its reader.
            std::mem::forget(reader.enter());
        }
        let sequence = domain.advance();
        while readers.pop().is_some() {
            assert_eq!(domain.has_passed(sequence), readers.is_empty());
        }
    }
}
