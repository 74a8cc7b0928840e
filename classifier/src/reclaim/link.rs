//! The safe way from readers to objects.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use super::Section;
use super::storage::Storage;
use super::sync::{Arc, AtomicPtr, Ordering};

/// The only way to an object in [`Slabs`](super::Slabs), or to none. Readers load it, the writer
/// [replaces](super::Slabs::replace) what is behind it.
///
/// It owns its object: that is dropped with it, or when the last of the slabs and links is if the writer
/// is gone.
pub struct Link<T> {
    object: AtomicPtr<T>,
    storage: Arc<Storage<T>>,
    owns: PhantomData<T>,
}

// SAFETY: an object is reached, replaced and dropped from any thread that has the link.
unsafe impl<T: Send + Sync> Send for Link<T> {}

// SAFETY: as above; what is shared is an atomic pointer, and a storage behind a lock.
unsafe impl<T: Send + Sync> Sync for Link<T> {}

impl<T> Link<T> {
    pub(super) fn new(storage: Arc<Storage<T>>) -> Self {
        Self {
            object: AtomicPtr::new(null_mut()),
            storage,
            owns: PhantomData,
        }
    }

    /// The object, for as long as the section is open.
    ///
    /// # Panics
    ///
    /// If the section is one of another domain than the object's, and so would not protect it.
    #[inline]
    pub fn load<'section>(&'section self, section: &'section Section<'_>) -> Option<&'section T> {
        assert!(
            *section.domain() == self.storage.domain,
            "the section is one of another domain"
        );
        // Acquire: the object was written before.
        let object = self.object.load(Ordering::Acquire);
        // SAFETY: the link leads to an object or nowhere. The object stays while the section is open,
        // since whoever takes it away retires it in the section's domain, or has the link for himself
        // alone.
        unsafe { object.as_ref() }
    }

    pub(super) fn storage(&self) -> &Arc<Storage<T>> {
        &self.storage
    }

    /// Puts another object behind the link; returns the one that was there. For the one writer.
    pub(super) fn put(&self, new: Option<NonNull<T>>) -> Option<NonNull<T>> {
        let new = new.map_or(null_mut(), NonNull::as_ptr);
        // No other thread stores. Release: the object was written before.
        let old = self.object.load(Ordering::Relaxed);
        self.object.store(new, Ordering::Release);
        NonNull::new(old)
    }
}

impl<T> Drop for Link<T> {
    fn drop(&mut self) {
        if let Some(object) = self.put(None) {
            // What was loaded borrows from the link, so no reader has the object any more.
            let mut memory = self.storage.lock();
            memory.vacant.push(object);
            drop(memory);
            // SAFETY: the link was the only way to the object.
            unsafe { object.drop_in_place() };
        }
    }
}

impl<T> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("object", &self.object.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
