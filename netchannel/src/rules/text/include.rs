//! Rule files, and those that they include.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parser::{Content, Include, Parser};
use super::{MAX_FILES, MAX_INCLUDE_DEPTH};
use crate::rules::files::{self, MAX_SIZE};
use crate::rules::reader::Reader;

/// Reads files, and knows which ones it is in the middle of.
pub(super) struct Files {
    /// From the first file to the innermost, without symbolic links.
    open: Vec<PathBuf>,
    /// How many files were read.
    count: usize,
    /// How many bytes may still be read.
    left: u64,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            count: 0,
            left: MAX_SIZE,
        }
    }

    /// Reads a file, and what it includes.
    ///
    /// # Errors
    /// Why it can't be read; what is wrong in it is noted in `reader`.
    pub(super) fn read(&mut self, path: &Path, reader: &mut Reader) -> Result<(), String> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.open.contains(&real) {
            return Err("includes itself; expected files that do not include each other".to_owned());
        }
        if self.open.len() > MAX_INCLUDE_DEPTH {
            return Err(format!(
                "is the innermost of more than {MAX_INCLUDE_DEPTH} files that include each other; expected fewer"
            ));
        }
        if self.count == MAX_FILES {
            return Err(format!("is one of more than {MAX_FILES} files; expected fewer"));
        }
        let text = files::read_text(path, self.left)?;
        self.take(path, real, &text, reader);
        Ok(())
    }

    /// Reads the text of the first file, and what it includes.
    pub(super) fn first(&mut self, path: &Path, text: &str, reader: &mut Reader) {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.take(path, real, text, reader);
    }

    fn take(&mut self, path: &Path, real: PathBuf, text: &str, reader: &mut Reader) {
        self.left = self.left.saturating_sub(text.len() as u64);
        self.count += 1;
        self.open.push(real);
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut included = Included {
            directory,
            files: self,
        };
        Parser::new(text, path, Some(Arc::from(path)), reader).all(Content::All, &mut included);
        self.open.pop();
    }
}

/// What the file in this directory includes.
struct Included<'f> {
    directory: PathBuf,
    files: &'f mut Files,
}

impl Include for Included<'_> {
    fn include(&mut self, pattern: &str, reader: &mut Reader) -> Result<(), String> {
        for path in files::matching(&self.directory, pattern)? {
            let outcome = self.files.read(&path, reader);
            outcome.map_err(|message| format!("{} {message}", path.display()))?;
        }
        Ok(())
    }
}
