//! Where facts are read: the machine's file systems, or a tree that looks like them.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

/// The directory that `/proc` and `/sys` are in.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// This machine's own.
    pub fn host() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A tree elsewhere.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// A file's text without white space at its ends; `None` if it can't be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.0.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file's text as a value.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The last part of what a symbolic link leads to.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.0.join(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// The names in a directory, in their order; none if there is no such directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }
}
