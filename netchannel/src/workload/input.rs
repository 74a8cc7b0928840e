//! Reading texts line by line: compressed or not, with the place of everything that is wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::config::Position;

/// At most so many problems of one file are kept; more are only counted.
pub const MAX_PROBLEMS: usize = 20;

/// The longest line, in bytes without its end. A file with a longer one is taken for no text and refused.
pub const MAX_LINE: usize = 1024;

/// The first bytes of gzip (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place.
    pub position: Position,
    /// What was found and what was expected, in one line.
    pub message: String,
}

/// A file that is wrong, as a whole: nothing of it was taken.
///
/// Prints a line `FILE:LINE:COLUMN: found ..., expected ...` for each problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The problems in the order of the file, at least one, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many further lines were wrong.
    pub more: usize,
}

impl Refused {
    /// How many problems were found.
    pub fn count(&self) -> usize {
        self.problems.len() + self.more
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { position, message }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{position}: {message}", self.file.display())?;
        }
        if self.more > 0 {
            write!(f, "\n... and {} more", self.more)?;
        }
        Ok(())
    }
}

/// Why a file gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be opened, read or uncompressed.
    #[error("{}: can not be read: {source}", file.display())]
    Unreadable {
        /// The file, as it was named.
        file: PathBuf,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// Its text is wrong.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Opens a file for reading, uncompressed if it starts as gzip does.
pub(crate) fn open(file: &Path) -> Result<Box<dyn BufRead>, ReadError> {
    let unreadable = |source| ReadError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let mut raw = BufReader::with_capacity(1 << 16, File::open(file).map_err(unreadable)?);
    Ok(if raw.fill_buf().map_err(unreadable)?.starts_with(&GZIP) {
        Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw)))
    } else {
        Box::new(raw)
    })
}

/// Gives each line to `item`, with its number from 1; blank lines and those that start with `#` are left
/// out. Goes on after a wrong line, to find all of them.
pub(super) fn lines(
    file: &Path,
    mut input: impl BufRead,
    mut item: impl FnMut(u32, &mut Cursor<'_>) -> Result<(), Fault>,
) -> Result<(), ReadError> {
    let mut refused = Refused {
        file: file.to_owned(),
        problems: Vec::new(),
        more: 0,
    };
    let mut line = Vec::with_capacity(MAX_LINE);
    for number in 1.. {
        line.clear();
        // Two more for the end of the line.
        let read = Read::take(&mut input, MAX_LINE as u64 + 2).read_until(b'\n', &mut line);
        let read = read.map_err(|source| ReadError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let mut cursor = Cursor { line: text, at: 0 };
        cursor.skip_blanks();
        let too_long = text.len() > MAX_LINE;
        let outcome = if too_long {
            let message = format!("found a longer line, expected at most {MAX_LINE} bytes");
            Err(Fault {
                at: MAX_LINE,
                message,
            })
        } else if matches!(cursor.peek(), None | Some(b'#')) {
            Ok(())
        } else {
            item(number, &mut cursor)
        };
        if let Err(fault) = outcome {
            if refused.problems.len() < MAX_PROBLEMS {
                refused.problems.push(Problem {
                    position: Position {
                        line: number,
                        column: column(text, fault.at),
                    },
                    message: fault.message,
                });
            } else {
                refused.more += 1;
            }
        }
        if too_long || number == u32::MAX {
            break;
        }
    }
    if refused.problems.is_empty() {
        Ok(())
    } else {
        Err(refused.into())
    }
}

/// The column, in characters from 1, of a byte of a line.
fn column(line: &[u8], at: usize) -> u32 {
    let before = String::from_utf8_lossy(&line[..at.min(line.len())]);
    u32::try_from(before.chars().count()).map_or(u32::MAX, |before| before + 1)
}

/// What is wrong in a line, at which byte.
#[derive(Debug)]
pub(super) struct Fault {
    at: usize,
    message: String,
}

/// A place in a line.
#[derive(Debug)]
pub(super) struct Cursor<'line> {
    line: &'line [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What was expected, and what stands here instead.
    fn missing(&self, expected: &str) -> Fault {
        let rest = &self.line[self.at..];
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let end = rest.iter().position(blank).unwrap_or(rest.len());
        let found = match rest.first() {
            None => "the end of the line".to_owned(),
            Some(b' ' | b'\t') => "a blank".to_owned(),
            Some(_) => {
                let token = String::from_utf8_lossy(&rest[..end]);
                let shown: String = token.chars().take(24).flat_map(char::escape_debug).collect();
                let cut = if token.chars().count() > 24 { "..." } else { "" };
                format!("`{shown}{cut}`")
            }
        };
        self.wrong(self.at, &found, expected)
    }

    /// A fault at a byte of the line.
    pub(super) fn wrong(&self, at: usize, found: &str, expected: &str) -> Fault {
        Fault {
            at,
            message: format!("found {found}, expected {expected}"),
        }
    }

    /// This character.
    pub(super) fn character(&mut self, wanted: u8, expected: &str) -> Result<(), Fault> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.missing(expected))
        }
    }

    /// One or more spaces or tabs.
    pub(super) fn blanks(&mut self, expected: &str) -> Result<(), Fault> {
        let start = self.at;
        self.skip_blanks();
        if self.at > start {
            Ok(())
        } else {
            Err(self.missing(expected))
        }
    }

    /// This character, with or without blanks around it.
    pub(super) fn separator(&mut self, wanted: u8, expected: &str) -> Result<(), Fault> {
        self.skip_blanks();
        self.character(wanted, expected)?;
        self.skip_blanks();
        Ok(())
    }

    /// Whether another column follows, behind blanks; else the line ends here.
    pub(super) fn another_column(&mut self, expected: &str) -> Result<bool, Fault> {
        let start = self.at;
        self.skip_blanks();
        match self.peek() {
            None => Ok(false),
            Some(_) if self.at > start => Ok(true),
            Some(_) => Err(self.missing(expected)),
        }
    }

    /// The end of the line.
    pub(super) fn end(&mut self, expected: &str) -> Result<(), Fault> {
        self.skip_blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.missing(expected)),
        }
    }

    /// A decimal number up to `most`.
    pub(super) fn decimal(&mut self, most: u32, expected: &str) -> Result<u32, Fault> {
        let start = self.at;
        self.number(10, most).ok_or_else(|| {
            self.at = start;
            self.missing(expected)
        })
    }

    /// `0x` and a hexadecimal number up to `most`.
    pub(super) fn hexadecimal(&mut self, most: u32, expected: &str) -> Result<u32, Fault> {
        let rest = &self.line[self.at..];
        if !(rest.starts_with(b"0x") || rest.starts_with(b"0X")) {
            return Err(self.missing(expected));
        }
        let start = self.at;
        self.at += 2;
        self.number(16, most).ok_or_else(|| {
            self.at = start;
            self.missing(expected)
        })
    }

    /// The number that starts here, if there is one and it is not above `most`.
    fn number(&mut self, radix: u32, most: u32) -> Option<u32> {
        let start = self.at;
        let mut value: u32 = 0;
        while let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(radix)) {
            self.at += 1;
            value = value.checked_mul(radix)?.checked_add(digit)?;
        }
        (self.at > start && value <= most).then_some(value)
    }
}
