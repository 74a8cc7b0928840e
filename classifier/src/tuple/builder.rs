//! Making a generation in a thread of its own, while the writer goes on.
//!
//! The builder collects the rules in many short sections, as a reader. Rules that were there all the time are
//! found for certain. What else it finds doesn't matter: the writer notes each change from the start on, and
//! the builder repeats the notes in the new generation. When there are none left, it publishes it, while the
//! writer can't make another change.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::account::{Account, Unpublished};
use super::build::Built;
use super::compare::Instructions;
use super::entry::Snapshot;
use super::listing::Listing;
use super::pending::Pending;
use super::reader::Shared;
use crate::range::Range;
use crate::rule::Match;
use crate::word::Word;

/// Buckets that are looked at in one section: some microseconds.
const STEP: usize = 256;

/// So few notes are repeated while the writer waits.
const LAST_NOTES: usize = 64;

/// A writer that is always faster than its notes are repeated has to wait after so many attempts.
const ATTEMPTS: usize = 16;

/// The most notes, if there are not more rules than that.
const MAX_NOTES: usize = 1 << 18;

/// The most generations that are published before the writer takes the first over.
const MAX_AHEAD: usize = 2;

/// How a generation is built, see [`build`](super::build::build).
pub(super) type Build<W, A, const D: usize> =
    fn(&Listing<W, A, D>, Instructions, &dyn Fn() -> bool) -> Option<Built<W, A, D>>;

/// What has become of a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Working,
    Done,
    /// Its thread panicked. The generation before is still there.
    Panicked,
}

/// What a change was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Insertion,
    Removal,
}

/// A change to be repeated in the next generation.
#[derive(Debug)]
pub(super) struct Note<W, A, const D: usize> {
    pub(super) change: Change,
    pub(super) ranges: [Range<W>; D],
    pub(super) found: Match<A>,
}

/// A generation that the builder published, for the writer to take over.
pub(super) struct Published<W, A, const D: usize> {
    pub(super) account: Account,
    /// How many rules it was built for, and how many of them are in its residual list.
    pub(super) rules: usize,
    pub(super) residual: usize,
    /// Generations before: readers may be using them still.
    pub(super) before: Vec<Pending<W, A, D>>,
}

/// What writer and builder tell each other.
pub(super) struct Progress<W, A, const D: usize> {
    pub(super) status: Status,
    pub(super) published: Option<Published<W, A, D>>,
    notes: Vec<Note<W, A, D>>,
    /// All insertions so far, and the rules there are.
    inserted: u64,
    len: usize,
}

impl<W, A, const D: usize> Progress<W, A, D> {
    /// Whether the writer has to wait before it makes another change.
    pub(super) fn is_full(&self) -> bool {
        self.notes.len() >= self.len.max(MAX_NOTES)
    }
}

/// What writer and builder share.
pub(super) struct Link<W, A, const D: usize> {
    progress: Mutex<Progress<W, A, D>>,
    progressed: Condvar,
    cancelled: AtomicBool,
    /// Memory of the notes, in bytes.
    memory: AtomicUsize,
}

impl<W, A, const D: usize> Link<W, A, D> {
    /// While it is locked, the builder publishes nothing.
    pub(super) fn lock(&self) -> MutexGuard<'_, Progress<W, A, D>> {
        // Whole between any two statements, whoever panicked.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change that the writer has made. `inserted` and `len` are those after it.
    pub(super) fn note(
        &self,
        progress: &mut Progress<W, A, D>,
        note: Note<W, A, D>,
        inserted: u64,
        len: usize,
    ) {
        progress.notes.push(note);
        (progress.inserted, progress.len) = (inserted, len);
        let memory = progress.notes.capacity() * size_of::<Note<W, A, D>>();
        self.memory.store(memory, Ordering::Relaxed);
    }

    /// Waits until there is a generation to take over, or the builder has ended.
    pub(super) fn wait(&self, progress: MutexGuard<'_, Progress<W, A, D>>) {
        let is_waiting = |progress: &mut Progress<W, A, D>| {
            progress.published.is_none() && progress.status == Status::Working
        };
        drop(self.progressed.wait_while(progress, is_waiting));
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// A thread that makes a generation, or two if the set grows a lot meanwhile.
pub(super) struct Builder<W, A, const D: usize> {
    link: Arc<Link<W, A, D>>,
    thread: JoinHandle<()>,
}

/// A set has grown much when its rules have become more than this.
pub(super) fn grown(rules: usize) -> usize {
    rules + (rules / 8).max(64)
}

impl<W: Word, A: Copy + Send + Sync + 'static, const D: usize> Builder<W, A, D> {
    /// Starts to build. The writer has made `inserted` insertions, and there are `len` rules. `None` if there
    /// can't be another thread.
    pub(super) fn start(
        shared: &Arc<Shared<W, A, D>>,
        inserted: u64,
        len: usize,
        instructions: Instructions,
        build: Build<W, A, D>,
    ) -> Option<Self> {
        let link = Arc::new(Link {
            progress: Mutex::new(Progress {
                status: Status::Working,
                published: None,
                notes: Vec::new(),
                inserted,
                len,
            }),
            progressed: Condvar::new(),
            cancelled: AtomicBool::new(false),
            memory: AtomicUsize::new(0),
        });
        let (shared, its_link) = (Arc::clone(shared), Arc::clone(&link));
        let work = move || {
            // A panic must not leave the writer waiting; the hook has reported it.
            let result = catch_unwind(AssertUnwindSafe(|| work(&its_link, &shared, instructions, build)));
            let mut progress = its_link.lock();
            progress.status = result.map_or(Status::Panicked, |()| Status::Done);
            progress.notes = Vec::new();
            drop(progress);
            its_link.progressed.notify_all();
        };
        let thread = thread::Builder::new()
            .name(String::from("classifier"))
            .spawn(work)
            .ok()?;
        Some(Self { link, thread })
    }

    pub(super) fn link(&self) -> Arc<Link<W, A, D>> {
        Arc::clone(&self.link)
    }
}

impl<W, A, const D: usize> Builder<W, A, D> {
    /// Memory of what the writer has noted, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.link.memory.load(Ordering::Relaxed)
    }

    /// Ends the thread, soon. What it published last is there.
    pub(super) fn end(self) -> (Option<Published<W, A, D>>, Status) {
        self.link.cancelled.store(true, Ordering::Relaxed);
        let joined = self.thread.join();
        let mut progress = self.link.lock();
        let status = joined.map_or(Status::Panicked, |()| progress.status);
        (progress.published.take(), status)
    }
}

/// Makes and publishes generations.
fn work<W: Word, A: Copy, const D: usize>(
    link: &Link<W, A, D>,
    shared: &Shared<W, A, D>,
    instructions: Instructions,
    build: Build<W, A, D>,
) {
    loop {
        let mut progress = link.lock();
        progress.notes = Vec::new();
        let inserted = progress.inserted;
        drop(progress);

        let Some(rules) = collect(link, shared, inserted) else {
            return;
        };
        let Some(mut built) = build(&rules, instructions, &|| link.is_cancelled()) else {
            return;
        };
        let (count, residual) = (rules.len(), built.state.residual().len());
        drop(rules);

        for attempt in 0.. {
            let mut progress = link.lock();
            if progress.notes.len() <= LAST_NOTES || attempt == ATTEMPTS {
                repeat(&mut built, &std::mem::take(&mut progress.notes));
                publish(&mut progress, shared, built, (count, residual));
                break;
            }
            let notes = std::mem::take(&mut progress.notes);
            drop(progress);
            repeat(&mut built, &notes);
        }
        link.progressed.notify_all();

        let progress = link.lock();
        let ahead = progress
            .published
            .as_ref()
            .map_or(0, |published| published.before.len());
        if progress.len <= grown(count) || ahead >= MAX_AHEAD || link.is_cancelled() {
            return;
        }
    }
}

/// The rules that were inserted before the insertion of that number, and still are there. Some more may be
/// missing, and some be there, that are removed meanwhile. `None` if it was cancelled.
fn collect<W: Word, A: Copy, const D: usize>(
    link: &Link<W, A, D>,
    shared: &Shared<W, A, D>,
    inserted: u64,
) -> Option<Listing<W, A, D>> {
    let at = Snapshot {
        inserted,
        removed: u32::MAX,
    };
    let mut reader = shared.domain.reader();
    let mut rules = Vec::with_capacity(link.lock().len);
    let (mut table, mut bucket) = (0, 0);
    loop {
        if link.is_cancelled() {
            return None;
        }
        let section = reader.enter();
        // SAFETY: the section is open for as long as the state is used.
        let state = unsafe { shared.state() };
        if table == state.tables.len() {
            rules.extend(
                state
                    .residual()
                    .visible(at)
                    .map(|(ranges, found)| (ranges, *found)),
            );
            break;
        }
        let size = state.tables[table].size();
        let end = (bucket + STEP).min(size);
        // SAFETY: as above.
        let visible = unsafe { state.visible_in(table, bucket..end, at) };
        rules.extend(visible.map(|(ranges, found)| (ranges, *found)));
        drop(section);
        bucket = end;
        if end == size {
            (table, bucket) = (table + 1, 0);
        }
    }
    Some(Listing::sorted(rules))
}

/// Makes changes in a generation that nobody else has.
fn repeat<W: Word, A: Copy, const D: usize>(built: &mut Built<W, A, D>, notes: &[Note<W, A, D>]) {
    let Built { state, account } = built;
    let retire = &mut Unpublished;
    for Note {
        change,
        ranges,
        found,
    } in notes
    {
        match change {
            Change::Insertion => {
                if !account.place(state, ranges, *found, retire).unwrap_or(false) {
                    account.place_in_residual(state, ranges, *found, retire);
                }
            }
            // It finds room: entries are moved in place.
            Change::Removal => {
                let places = account.locate(state, found.id.slot(), ranges);
                account
                    .take_out(state, &places, found, retire)
                    .unwrap_or_default();
            }
        }
    }
}

fn publish<W: Word, A: Copy, const D: usize>(
    progress: &mut Progress<W, A, D>,
    shared: &Shared<W, A, D>,
    built: Built<W, A, D>,
    (rules, residual): (usize, usize),
) {
    let Built { mut state, account } = built;
    state.begin(progress.inserted, progress.len);
    let earlier = progress.published.take();
    let mut before = earlier.map_or_else(Vec::new, |published| published.before);
    // SAFETY: nobody replaces the state but this thread, as long as it works.
    let writer_memory = unsafe { shared.state() }.writer_memory.load(Ordering::Relaxed);
    state.writer_memory.store(writer_memory, Ordering::Relaxed);
    before.push(Pending::State(shared.replace(state)));
    progress.published = Some(Published {
        account,
        rules,
        residual,
        before,
    });
}

#[cfg(test)]
mod tests;
