//! The files of a configuration: one, those of a directory, and those that they include.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Source};
use super::load::{MAX_FILE_SIZE, reason};
use crate::rules::matching;
use crate::text::quoted;

/// The most files of one configuration.
pub const MAX_FILES: usize = 1024;

/// How deep files may include each other.
const MAX_DEPTH: usize = 16;

/// The key that names further files.
pub(super) const INCLUDE: &str = "include";

const EXPECTED: &str = "a file or a pattern such as \"conf.d/*.toml\", or a list";

/// The texts of all files, in the order in which they are read, and what is wrong with naming them.
#[derive(Default)]
pub(super) struct Files {
    pub(super) texts: Vec<(PathBuf, String)>,
    problems: Vec<IncludeProblem>,
    /// Where each was found, by its true path.
    known: HashMap<PathBuf, PathBuf>,
}

struct IncludeProblem {
    file: usize,
    span: Range<usize>,
    message: String,
}

impl Files {
    /// Reads a file, or the files of a directory whose names end in `.toml`, in the order of their names; behind each what it includes.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut files = Self::default();
        let metadata = std::fs::metadata(path);
        if !metadata.is_ok_and(|metadata| metadata.is_dir()) {
            files.add(path, bytes_of(path)?, 0)?;
            return Ok(files);
        }
        let found = matching(path, "*.toml").map_err(|error| ConfigError::unreadable(path, error))?;
        if found.is_empty() {
            let message = "is a directory without files *.toml; expected at least one";
            return Err(ConfigError::unreadable(path, message));
        }
        for file in found {
            files.add(&file, bytes_of(&file)?, 0)?;
        }
        Ok(files)
    }

    /// Takes the text of a file, and reads what it includes.
    pub(super) fn of(file: &Path, bytes: Vec<u8>) -> Result<Self, ConfigError> {
        let mut files = Self::default();
        files.add(file, bytes, 0)?;
        Ok(files)
    }

    fn add(&mut self, file: &Path, bytes: Vec<u8>, depth: usize) -> Result<(), ConfigError> {
        let text = text_of(file, bytes)?;
        let place = true_path(file);
        if self.known.contains_key(&place) {
            // Of a directory whose files include each other.
            return Ok(());
        }
        self.known.insert(place, file.to_owned());
        let includes = includes(&text);
        let number = self.texts.len();
        self.texts.push((file.to_owned(), text));
        for include in includes {
            let span = include.span();
            if let Err(message) = self.include(file, include.into_inner(), depth)? {
                self.problems.push(IncludeProblem {
                    file: number,
                    span,
                    message,
                });
            }
        }
        Ok(())
    }

    /// Reads what one entry of `include` names. What is wrong with the entry itself is the inner error.
    fn include(
        &mut self,
        from: &Path,
        include: Result<String, String>,
        depth: usize,
    ) -> Result<Result<(), String>, ConfigError> {
        let directory = from.parent().unwrap_or(Path::new(""));
        let found = match include.and_then(|pattern| matching(directory, &pattern)) {
            Ok(found) => found,
            Err(message) => return Ok(Err(message)),
        };
        for file in found {
            if depth + 1 > MAX_DEPTH {
                let message = format!("files include each other more than {MAX_DEPTH} deep; expected fewer");
                return Ok(Err(message));
            }
            if self.texts.len() >= MAX_FILES {
                return Ok(Err(format!("more than {MAX_FILES} files; expected fewer")));
            }
            if let Some(known) = self.known.get(&true_path(&file)) {
                let (file, known) = (file.display(), known.display());
                return Ok(Err(format!(
                    "{file} is read already, as {known}; expected it once"
                )));
            }
            let bytes = match bytes_of(&file) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let why = error.problems.first().map(|problem| problem.message.clone());
                    return Ok(Err(format!("{} {}", file.display(), why.unwrap_or_default())));
                }
            };
            self.add(&file, bytes, depth + 1)?;
        }
        Ok(Ok(()))
    }

    /// The files as one text to report about, with what is wrong so far.
    pub(super) fn source<'t>(&'t self, name: &'t Path) -> Source<'t> {
        let texts = self
            .texts
            .iter()
            .map(|(file, text)| (file.as_path(), text.as_str()));
        let mut source = Source::of(name, texts);
        for problem in &self.problems {
            let base = source.base(problem.file);
            let span = problem.span.start + base..problem.span.end + base;
            source.error(&span, INCLUDE, problem.message.as_str());
        }
        source
    }
}

fn true_path(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable =
        |error: std::io::Error| ConfigError::unreadable(path, format!("can not be read: {}", reason(&error)));
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(ConfigError::unreadable(path, "is a directory; expected a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        let message = format!(
            "is longer than {} MiB; expected a configuration file",
            MAX_FILE_SIZE >> 20
        );
        return Err(ConfigError::unreadable(path, message));
    }
    Ok(bytes)
}

fn text_of(file: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        // Shown with the bytes that are text replaced by what can be printed.
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let shown = String::from_utf8_lossy(bytes);
        let mut source = Source::new(file, &shown);
        let message = format!(
            "the byte 0x{:02x} is not UTF-8 text; expected a TOML file",
            bytes[valid]
        );
        source.error(&(valid..valid + 1), "", message);
        source.into_error()
    })
}

/// The entries of a file's `include`, each with its place; those that are none with what to say.
fn includes(text: &str) -> Vec<Spanned<Result<String, String>>> {
    // Most files don't, and are parsed once only.
    if !text.contains(INCLUDE) {
        return Vec::new();
    }
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(value) = document.get_ref().get(INCLUDE) else {
        return Vec::new();
    };
    let entry = |value: &Spanned<DeValue<'_>>| {
        let entry = match value.get_ref() {
            DeValue::String(pattern) if pattern.is_empty() || pattern.contains('\0') => {
                Err(format!("{} names no file; expected {EXPECTED}", quoted(pattern)))
            }
            DeValue::String(pattern) => Ok(pattern.to_string()),
            _ => Err(format!("it is no text; expected {EXPECTED}")),
        };
        Spanned::new(value.span(), entry)
    };
    match value.get_ref() {
        DeValue::Array(entries) => entries.iter().map(entry).collect(),
        _ => vec![entry(value)],
    }
}

/// Puts the tables of a file, which stands in the source from `base` on, to those of the files before: tables with the same name become one,
/// arrays of tables are appended. What is given twice is reported with both places.
pub(super) fn merge<'i>(into: &mut DeTable<'i>, table: DeTable<'i>, base: usize, source: &mut Source<'_>) {
    for (key, value) in table {
        let key = Spanned::new(shifted(key.span(), base), key.into_inner());
        put(into, key, moved(value, base), source);
    }
}

fn put<'i>(
    into: &mut DeTable<'i>,
    key: Spanned<std::borrow::Cow<'i, str>>,
    value: Spanned<DeValue<'i>>,
    source: &mut Source<'_>,
) {
    let former = into
        .get_key_value(key.get_ref().as_ref())
        .map(|(key, _)| key.span());
    let Some(known) = into.get_mut(key.get_ref().as_ref()) else {
        into.insert(key, value);
        return;
    };
    match (known.get_mut(), value.into_inner()) {
        (DeValue::Table(known), DeValue::Table(table)) => {
            for (key, value) in table {
                put(known, key, value, source);
            }
        }
        (DeValue::Array(known), DeValue::Array(items)) if are_tables(known) && are_tables(&items) => {
            items.into_iter().for_each(|item| known.push(item));
        }
        _ => {
            let name = key.get_ref().as_ref();
            let former = former.map_or(0, |span| span.start);
            let message = format!(
                "it is given already, at {}:{}; expected it once",
                source.file_at(former).display(),
                source.position(former)
            );
            source.error(&key.span(), name, message);
        }
    }
}

fn are_tables(items: &[Spanned<DeValue<'_>>]) -> bool {
    items.iter().all(|item| item.get_ref().is_table())
}

fn shifted(span: Range<usize>, base: usize) -> Range<usize> {
    span.start + base..span.end + base
}

/// A value with its place, and those of all that is in it, moved by `base`.
fn moved(value: Spanned<DeValue<'_>>, base: usize) -> Spanned<DeValue<'_>> {
    let span = shifted(value.span(), base);
    let value = match value.into_inner() {
        DeValue::Table(table) => {
            let mut all = DeTable::new();
            for (key, value) in table {
                let key = Spanned::new(shifted(key.span(), base), key.into_inner());
                all.insert(key, moved(value, base));
            }
            DeValue::Table(all)
        }
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| moved(item, base)).collect()),
        other => other,
    };
    Spanned::new(span, value)
}
