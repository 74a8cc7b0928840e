//! Writing texts.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A rule that the format has no words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {} can not be written in this format: its {what}", rule + 1)]
pub struct Unprintable {
    /// Its place among the rules, from 0.
    pub rule: usize,
    /// What there are no words for.
    pub what: &'static str,
}

/// Why a text was not written, or not as a whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There are no words for it.
    #[error(transparent)]
    Unprintable(#[from] Unprintable),
    /// The output failed.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// The file can't be written.
    #[error("{}: can not be written: {source}", file.display())]
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a file, compressed with gzip if its name ends in `.gz`. An existing one is replaced.
///
/// # Errors
///
/// What `content` returned; [`WriteError::File`] if the file can't be written.
pub fn write_file(
    file: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let failed = |source| WriteError::File {
        file: file.to_owned(),
        source,
    };
    let named = |error| match error {
        WriteError::Output(source) => failed(source),
        other => other,
    };
    let mut out = BufWriter::with_capacity(1 << 16, File::create(file).map_err(failed)?);
    if file.extension().is_some_and(|extension| extension == "gz") {
        let mut packed = BufWriter::with_capacity(1 << 16, GzEncoder::new(&mut out, Compression::default()));
        content(&mut packed).map_err(named)?;
        let encoder = packed.into_inner().map_err(|error| failed(error.into_error()))?;
        encoder.finish().map_err(failed)?;
    } else {
        content(&mut out).map_err(named)?;
    }
    out.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::{WriteError, write_file};
    use crate::workload::{ReadError, trace};

    #[test]
    fn files_may_be_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let text = "1\t2\t3\t4\t5\t-1\n".repeat(10_000);
        let mut sizes = Vec::new();
        for name in ["plain.trace", "packed.trace.gz"] {
            let file = directory.path().join(name);
            write_file(&file, |out| Ok(out.write_all(text.as_bytes())?)).unwrap();
            assert_eq!(trace::read(&file).unwrap().len(), 10_000);
            sizes.push(std::fs::metadata(&file).unwrap().len());
        }
        assert!(sizes[1] * 100 < sizes[0], "{sizes:?}");
        // The compressed one again, but cut off.
        let cut = directory.path().join("cut");
        let bytes = std::fs::read(directory.path().join("packed.trace.gz")).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 9]).unwrap();
        let error = trace::read(&cut).unwrap_err();
        assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: can not be read: ", cut.display()))
        );
    }

    #[test]
    fn a_file_that_can_not_be_written_is_named() {
        let error = write_file("/nonexistent/rules".as_ref(), |_| Ok(())).unwrap_err();
        assert!(matches!(error, WriteError::File { .. }));
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/rules: can not be written: "),
            "{error}"
        );
    }
}
