//! Files by name and by pattern.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::reason;
use crate::text::quoted;

/// The most that is read of rule files, all that one includes together, in bytes.
pub const MAX_SIZE: u64 = 512 << 20;

/// The most files that a pattern may stand for.
const MAX_MATCHES: usize = 1_024;

/// The text of a file of at most so many bytes.
///
/// # Errors
/// What is wrong with it, to be put behind its name.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("can not be read: {}", reason(&error));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err("is a directory; expected a file of rules".to_owned());
    }
    let text = Vec::with_capacity(metadata.len().min(most) as usize + 1);
    read_all(file, most, text)
}

/// What is left of an input as text, at most so many bytes, in an empty `text` that may have room already.
///
/// # Errors
/// As [`read_text`] has them.
pub(super) fn read_all(input: impl Read, most: u64, mut text: Vec<u8>) -> Result<String, String> {
    let read = input.take(most + 1).read_to_end(&mut text);
    read.map_err(|error| format!("can not be read: {}", reason(&error)))?;
    if text.len() as u64 > most {
        return Err(format!(
            "is too long; expected rules of at most {} MiB in all files",
            MAX_SIZE >> 20
        ));
    }
    String::from_utf8(text).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("has bytes in line {line} that are not UTF-8 text; expected a file of rules")
    })
}

/// The files that a pattern stands for, in the order of their names: a path from a directory, in whose last part `*` stands for any
/// characters and `?` for one. No file may match; hidden ones don't unless the pattern begins with a dot too. Without these signs it is
/// the one file of that name, whether it exists or not.
///
/// # Errors
/// What is wrong with the pattern.
pub(crate) fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = directory.join(pattern);
    let is_pattern = |text: &str| text.contains(['*', '?']);
    if !is_pattern(pattern) {
        return Ok(vec![path]);
    }
    let (parents, name) = match pattern.rsplit_once('/') {
        Some((parents, name)) => (Some(parents), name),
        None => (None, pattern),
    };
    if parents.is_some_and(is_pattern) {
        return Err(format!(
            "{} has * or ? in the name of a directory; expected them in the name of the file only",
            quoted(pattern)
        ));
    }
    let parent = path.parent().unwrap_or(directory);
    let here = if parent == Path::new("") {
        Path::new(".")
    } else {
        parent
    };
    let unreadable = |error: std::io::Error| {
        format!(
            "the directory {} can not be read: {}",
            here.display(),
            reason(&error)
        )
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(here).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?.file_name();
        let is_hidden = entry.to_string_lossy().starts_with('.') && !name.starts_with('.');
        if !is_hidden && matches(name.as_bytes(), entry.to_string_lossy().as_bytes()) {
            if found.len() == MAX_MATCHES {
                return Err(format!(
                    "{} stands for more than {MAX_MATCHES} files; expected fewer",
                    quoted(pattern)
                ));
            }
            found.push(parent.join(entry));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name is what a pattern of `*` and `?` says.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if what is behind the last star doesn't match: the star takes one more then.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.rules", "a.rules", true),
            ("*.rules", ".rules", true),
            ("*.rules", "a.rules~", false),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("?0-*", "10-nat", true),
            ("?", "", false),
            ("**a", "bba", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn files_are_found_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["20-b.rules", "10-a.rules", ".hidden.rules", "other"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| {
            let found = matching(directory.path(), pattern).unwrap().into_iter();
            let names = found.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names("*.rules"), ["10-a.rules", "20-b.rules"]);
        assert_eq!(names(".*.rules"), [".hidden.rules"]);
        assert_eq!(names("nothing*"), [""; 0]);
        assert_eq!(names("missing"), ["missing"]);
        assert!(
            matching(directory.path(), "*/x")
                .unwrap_err()
                .contains("directory")
        );
        assert!(
            matching(directory.path(), "none/*")
                .unwrap_err()
                .contains("no such")
        );
    }
}
