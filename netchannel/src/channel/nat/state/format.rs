//! The file: magic, version, header, records, how many those are, and a checksum over all before it. Numbers of fixed size are little-endian;
//! header and records are in postcard's format.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Basis, Record, milliseconds};

/// The version of the format.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"\x7fncnat\r\n";
/// Magic and version.
const FRONT: usize = MAGIC.len() + 4;
/// Number of records and checksum.
const BACK: usize = 8 + 4;
/// More bytes than any record has: some 50.
const LONGEST_RECORD: usize = 128;

/// Why a state file is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It begins as no state file does.
    #[error("it is no state file of a translator")]
    Foreign,
    /// Less than the least that there must be.
    #[error("it is cut short: {0} bytes")]
    Truncated(usize),
    /// Of another version.
    #[error("it has version {found} of the format, and this program reads version {VERSION}")]
    Version {
        /// The version that it has.
        found: u32,
    },
    /// Not what was written.
    #[error(
        "it is damaged or cut short: its checksum is {stored:08x}, and that of its content {computed:08x}"
    )]
    Checksum {
        /// The checksum that it has.
        stored: u32,
        /// The one that it ought to have.
        computed: u32,
    },
    /// Of another channel.
    #[error("it is the state of channel `{found}`")]
    Channel {
        /// The channel that it is of.
        found: String,
    },
    /// The header can't be read.
    #[error("its header is malformed")]
    Header,
    /// A record can't be read.
    #[error("record {number} of {count} is malformed")]
    Record {
        /// Which, from 1.
        number: u64,
        /// How many there should be.
        count: u64,
    },
    /// There is more than the records.
    #[error("there are {0} bytes behind the last record")]
    Excess(usize),
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    channel: &'a str,
    /// Milliseconds since the start of 1970.
    saved: u64,
    basis: Basis,
}

/// Writes a state file.
pub struct Writer<W: Write> {
    out: W,
    checksum: crc32fast::Hasher,
    records: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file with the state of a channel as it is at `now`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, channel: &str, basis: Basis, now: SystemTime) -> io::Result<Self> {
        let mut writer = Self {
            out,
            checksum: crc32fast::Hasher::new(),
            records: 0,
        };
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = Header {
            channel,
            saved: milliseconds(since_epoch),
            basis,
        };
        writer.write(&MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        let header = postcard::to_stdvec(&header).map_err(io::Error::other)?;
        writer.write(&header)?;
        Ok(writer)
    }

    /// Adds records.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn add(&mut self, records: &[Record]) -> io::Result<()> {
        let mut buffer = [0; LONGEST_RECORD];
        for record in records {
            let bytes = postcard::to_slice(record, &mut buffer).map_err(io::Error::other)?;
            self.write(bytes)?;
        }
        self.records += records.len() as u64;
        Ok(())
    }

    /// Ends the file, and returns how many records it has.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let records = self.records;
        self.write(&records.to_le_bytes())?;
        let checksum = self.checksum.finalize();
        self.out.write_all(&checksum.to_le_bytes())?;
        self.out.flush()?;
        Ok((self.out, records))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.out.write_all(bytes)
    }
}

/// A state file that was found whole.
#[derive(Debug)]
pub struct Saved<'a> {
    pub(super) basis: Basis,
    saved: u64,
    records: Cow<'a, [u8]>,
    count: u64,
}

impl<'a> Saved<'a> {
    /// Checks a file all through. Any bytes are refused or read, in time and memory that are bounded by their number.
    ///
    /// # Errors
    /// If it is not a whole file of this version with the state of this channel.
    pub fn read(file: &'a [u8], channel: &str) -> Result<Self, StateError> {
        if !file.starts_with(&MAGIC[..MAGIC.len().min(file.len())]) || file.is_empty() {
            return Err(StateError::Foreign);
        }
        let truncated = StateError::Truncated(file.len());
        let (front, rest) = file.split_first_chunk::<FRONT>().ok_or(truncated)?;
        let mut version = [0; 4];
        version.copy_from_slice(&front[MAGIC.len()..]);
        let version = u32::from_le_bytes(version);
        if version != VERSION {
            return Err(StateError::Version { found: version });
        }
        let (body, back) = rest
            .split_last_chunk::<BACK>()
            .ok_or(StateError::Truncated(file.len()))?;
        let [count @ .., c0, c1, c2, c3] = *back;
        let stored = u32::from_le_bytes([c0, c1, c2, c3]);
        let computed = crc32fast::hash(&file[..file.len() - 4]);
        if stored != computed {
            return Err(StateError::Checksum { stored, computed });
        }
        let (header, records): (Header<'_>, _) =
            postcard::take_from_bytes(body).map_err(|_| StateError::Header)?;
        if header.channel != channel {
            let found = header.channel.to_owned();
            return Err(StateError::Channel { found });
        }
        let count = u64::from_le_bytes(count);
        let mut left = records;
        for number in 1..=count {
            (_, left) = postcard::take_from_bytes::<Record>(left)
                .map_err(|_| StateError::Record { number, count })?;
        }
        if !left.is_empty() {
            return Err(StateError::Excess(left.len()));
        }
        Ok(Self {
            basis: header.basis,
            saved: header.saved,
            records: records.into(),
            count,
        })
    }

    /// The same without the file's bytes, which are copied.
    pub fn into_owned(self) -> Saved<'static> {
        Saved {
            basis: self.basis,
            saved: self.saved,
            records: self.records.into_owned().into(),
            count: self.count,
        }
    }

    /// How many records there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How much time has passed at `now` since the state was taken; zero if the clock was set back.
    pub fn age(&self, now: SystemTime) -> Duration {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(Duration::from_millis(self.saved))
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let mut left = &*self.records;
        std::iter::from_fn(move || {
            let (record, rest) = postcard::take_from_bytes(left).ok()?;
            left = rest;
            Some(record)
        })
    }
}
