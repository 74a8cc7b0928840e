//! The writer's side: places for objects, and objects on their way to be places again.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::ptr::NonNull;

use super::link::Link;
use super::storage::{Slab, Storage};
use super::sync::Arc;
use super::{Domain, Sequence};

/// How many retired objects share one sequence, unless the caller says otherwise.
pub const DEFAULT_BATCH: usize = 64;

/// The largest slab in bytes, unless one object is larger.
const LARGEST_SLAB: usize = 1 << 21;

/// One writer's objects of one type, side by side in slabs, at addresses that don't change.
///
/// Objects are reached through [`Link`]s, or through pointers that the caller keeps. Readers read them in
/// sections of the domain. An object that a reader may still hold is *retired*: dropped, and its place
/// used again, when no section can hold it any more. The places retired last are used first, while they
/// are in the cache.
///
/// Retired objects are gathered in batches; the write sequence is advanced once per batch, and readers
/// are looked at when a place is wanted.
///
/// # Memory held back
///
/// When memory for more objects is asked for, at most these retired objects are not reused: those
/// retired since the oldest open section of the domain was entered, and up to one batch less one.
/// Without an open section that is less than one batch. A reader that stalls in a section thus costs
/// what the writer retires meanwhile; [`limit`](Self::limit) puts a bound on that, and makes the writer
/// wait instead.
///
/// Insertion and retirement are amortized O(1), and O(readers) once per batch.
pub struct Slabs<T> {
    storage: Arc<Storage<T>>,
    /// Places without an object, the warmest last.
    vacant: Vec<NonNull<T>>,
    /// The next place of the newest slab, and how many there are from it on, that never held an object.
    fresh: NonNull<T>,
    fresh_count: usize,
    /// All retired objects, in order: those of the complete batches, then those of the open one.
    retired: VecDeque<NonNull<T>>,
    batches: VecDeque<Batch>,
    open: usize,
    batch: usize,
    limit: usize,
    live: usize,
    capacity: usize,
    /// Whether the readers were looked at since the last batch was complete.
    polled: bool,
}

// SAFETY: the pointers are the slabs' own. `Sync` is needed too, since readers in other threads may have
// references to objects that this one drops or has references to.
unsafe impl<T: Send + Sync> Send for Slabs<T> {}

// SAFETY: a shared reference gives counts, and new links that have no object.
unsafe impl<T: Send + Sync> Sync for Slabs<T> {}

struct Batch {
    sequence: Sequence,
    objects: usize,
}

impl<T> Slabs<T> {
    /// No objects; [`DEFAULT_BATCH`] retired ones make a batch.
    pub fn new(domain: &Domain) -> Self {
        Self::with_batch(domain, DEFAULT_BATCH)
    }

    /// No objects; `batch` retired ones, at least 1, make a batch. Take a low number for objects that are
    /// few and own much memory, such as whole tables.
    pub fn with_batch(domain: &Domain, batch: usize) -> Self {
        const { assert!(size_of::<T>() > 0, "objects without a size have no places") }
        Self {
            storage: Arc::new(Storage::new(domain.clone())),
            vacant: Vec::new(),
            fresh: NonNull::dangling(),
            fresh_count: 0,
            retired: VecDeque::new(),
            batches: VecDeque::new(),
            open: 0,
            batch: batch.max(1),
            limit: usize::MAX,
            live: 0,
            capacity: 0,
            polled: false,
        }
    }

    /// Bounds the memory held back: never are more objects than `limit` and one batch retired and not
    /// reusable. Where it would be exceeded, the writer [waits](Domain::wait) for readers to leave their
    /// sections.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Stores an object. The pointer is valid until the object is retired and reclaimed, or the slabs
    /// and all their links are dropped.
    #[inline]
    pub fn insert(&mut self, object: T) -> NonNull<T> {
        let place = match self.vacant.pop() {
            Some(place) => place,
            None => self.find_place(),
        };
        // SAFETY: the place is in a slab of ours, and no object is in it.
        unsafe { place.write(object) };
        self.live += 1;
        place
    }

    /// Gives up an object, to be dropped and its place used again once no section can hold it.
    ///
    /// # Safety
    ///
    /// The object was [inserted](Self::insert) here, and not retired since. It can't be reached any more:
    /// a section of the domain that is entered from now on doesn't find it, and whoever else found it
    /// before has let go of it.
    #[inline]
    pub unsafe fn retire(&mut self, object: NonNull<T>) {
        self.retired.push_back(object);
        self.live -= 1;
        self.open += 1;
        if self.open >= self.batch {
            self.close();
        }
    }

    /// A link without an object. Give it one by [`replace`](Self::replace).
    pub fn link(&self) -> Link<T> {
        Link::new(Arc::clone(&self.storage))
    }

    /// Puts an object, or none, behind a link; the one that was there is retired. Sections that loaded it
    /// may still read it, others don't see it any more.
    ///
    /// # Panics
    ///
    /// If the link is not one of [these slabs](Self::link).
    pub fn replace(&mut self, link: &Link<T>, object: Option<T>)
    where
        T: Send + Sync,
    {
        assert!(
            Arc::ptr_eq(link.storage(), &self.storage),
            "the link is one of other slabs"
        );
        let new = object.map(|object| self.insert(object));
        if let Some(old) = link.put(new) {
            // SAFETY: only `put` gives objects to a link, which are inserted here then, and a link is
            // the only way to its object.
            unsafe { self.retire(old) };
        }
    }

    /// Drops all retired objects that no section can hold any more; returns how many. Those of a batch
    /// that is not complete are included. Once no object is left, live or retired, all memory is freed.
    ///
    /// Nothing but time forces a call: places are reclaimed when they are wanted. Call it where what the
    /// objects own should be free early, or after much was retired.
    pub fn reclaim(&mut self) -> usize {
        self.close_batch();
        let count = self.collect();
        self.take_returned();
        if self.live == 0 && self.retired.is_empty() {
            self.storage.lock().slabs = Vec::new();
            self.vacant = Vec::new();
            self.retired = VecDeque::new();
            self.batches = VecDeque::new();
            self.fresh_count = 0;
            self.capacity = 0;
        }
        count
    }

    /// How many objects there are, the retired ones not counted.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no object but retired ones.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many retired objects are not dropped yet.
    pub fn held_back(&self) -> usize {
        self.retired.len()
    }

    /// Memory in use, in bytes: all places, and the lists of them.
    pub fn memory(&self) -> usize {
        self.capacity * size_of::<T>()
            + (self.vacant.capacity() + self.retired.capacity()) * size_of::<NonNull<T>>()
            + self.batches.capacity() * size_of::<Batch>()
    }

    /// The domain whose sections protect the objects.
    pub fn domain(&self) -> &Domain {
        &self.storage.domain
    }

    /// A place without an object: a reclaimed one, since those are warm, then a fresh one.
    #[cold]
    fn find_place(&mut self) -> NonNull<T> {
        if !self.polled {
            self.collect();
        }
        if self.vacant.is_empty() && self.fresh_count == 0 {
            self.take_returned();
            self.collect();
        }
        if let Some(place) = self.vacant.pop() {
            return place;
        }
        if self.fresh_count == 0 {
            self.grow();
        }
        let place = self.fresh;
        self.fresh_count -= 1;
        // SAFETY: there was a place here, so the next one is at most one past the end of its slab.
        self.fresh = unsafe { place.add(1) };
        place
    }

    /// One more slab: a quarter of what there is, so that few places are empty, in bounds.
    fn grow(&mut self) {
        let largest = (LARGEST_SLAB / size_of::<T>()).max(1);
        let mut slab = Slab::new((self.capacity / 4).max(self.batch).min(largest));
        slab.used = slab.capacity;
        self.fresh = slab.start;
        self.fresh_count = slab.capacity;
        self.capacity += slab.capacity;
        self.storage.lock().slabs.push(slab);
    }

    /// Ends the batch, and waits if too much is held back.
    #[cold]
    fn close(&mut self) {
        self.close_batch();
        if self.retired.len() > self.limit {
            self.collect();
        }
        while self.retired.len() > self.limit
            && let Some(oldest) = self.batches.front()
        {
            self.domain().wait(oldest.sequence);
            self.collect();
        }
    }

    fn close_batch(&mut self) {
        if self.open == 0 {
            return;
        }
        let batch = Batch {
            sequence: self.domain().advance(),
            objects: self.open,
        };
        self.domain().add_held_back(self.open);
        self.batches.push_back(batch);
        self.open = 0;
        self.polled = false;
    }

    /// Drops the objects of all batches whose sequence has passed; returns how many.
    fn collect(&mut self) -> usize {
        self.polled = true;
        let Some(newest) = self.batches.back() else {
            return 0;
        };
        let passed = self.domain().passed(newest.sequence);
        let mut count = 0;
        while let Some(&Batch { sequence, objects }) = self.batches.front()
            && sequence <= passed
        {
            self.batches.pop_front();
            self.domain().subtract_held_back(objects);
            count += objects;
            for object in self.retired.drain(..objects) {
                // Vacant first: should dropping panic, the object is not dropped once more.
                self.vacant.push(object);
                // SAFETY: every section that could hold the object has ended, and nobody else can reach
                // it.
                unsafe { object.drop_in_place() };
            }
        }
        count
    }

    /// Takes over the places of links that were dropped.
    fn take_returned(&mut self) {
        let mut memory = self.storage.lock();
        self.live -= memory.vacant.len();
        self.vacant.append(&mut memory.vacant);
    }
}

impl<T> Drop for Slabs<T> {
    fn drop(&mut self) {
        let complete = self.retired.len() - self.open;
        self.domain().subtract_held_back(complete);
        // Links may go on using the storage, and sections holding retired objects; it drops what is left.
        let mut memory = self.storage.lock();
        if let Some(newest) = memory.slabs.last_mut() {
            newest.used -= self.fresh_count;
        }
        memory.vacant.append(&mut self.vacant);
    }
}

impl<T> fmt::Debug for Slabs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slabs")
            .field("live", &self.live)
            .field("held_back", &self.held_back())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}
