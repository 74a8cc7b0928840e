//! Reading captures: pcap and pcapng.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::time::Duration;

use pcap_file::PcapError;

use super::error::CaptureError;
use super::pcap::PcapSource;
use super::pcapng::PcapngSource;

/// Link type of Ethernet.
const ETHERNET: u32 = 1;

/// A pcap or pcapng capture of Ethernet frames, read packet by packet.
pub struct CaptureReader {
    file: String,
    source: Source,
    /// Packets read so far, those of other interfaces too.
    read: u64,
    next: Packet,
    has_next: bool,
}

enum Source {
    Pcap(PcapSource),
    Pcapng(PcapngSource),
    Ended,
}

/// A captured packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured, since 1970. A packet for which the file tells no time has that of the one before it.
    pub time: Duration,
    /// Its length on the wire in bytes; more than there are bytes if the capture cut it off.
    pub original_length: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The bytes that a file starts with, and those after them.
pub(super) type Input = Box<dyn Read>;

/// What a source found.
pub(super) enum Step {
    /// A packet, which was written where the caller said, of this link type.
    Packet(u32),
    /// A packet that was not asked for.
    Other,
    /// The end of the file.
    End,
}

/// Why a source found nothing.
pub(super) enum Fault {
    File(PcapError),
    Malformed(String),
    NoSuchInterface { interface: String, present: Vec<String> },
}

impl From<PcapError> for Fault {
    fn from(error: PcapError) -> Self {
        Self::File(error)
    }
}

impl CaptureReader {
    /// Opens a capture and reads up to its first packet. With `interface`, only the packets of the interface of this name are
    /// read; pcapng files have such names.
    ///
    /// # Errors
    /// If the file can't be opened, is no capture of Ethernet frames, or is malformed up to its first packet.
    pub fn open(file: impl AsRef<Path>, interface: Option<&str>) -> Result<Self, CaptureError> {
        let name = file.as_ref().display().to_string();
        match File::open(file) {
            Ok(opened) => Self::from_source(&name, opened, interface),
            Err(source) => Err(CaptureError::Open { file: name, source }),
        }
    }

    /// The same from any source of bytes; `name` is for errors.
    ///
    /// # Errors
    /// Those of [`CaptureReader::open`].
    pub fn from_source(
        name: &str,
        mut source: impl Read + 'static,
        interface: Option<&str>,
    ) -> Result<Self, CaptureError> {
        let file = name.to_owned();
        let mut start = Vec::new();
        if let Err(source) = source.by_ref().take(4).read_to_end(&mut start) {
            return Err(CaptureError::Open { file, source });
        }
        let input: Input = Box::new(Cursor::new(start.clone()).chain(source));
        let source = match start.as_slice() {
            [] => return Err(CaptureError::Empty { file }),
            [0x0a, 0x0d, 0x0d, 0x0a] => PcapngSource::new(input, interface).map(Source::Pcapng),
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0x4d, 0x3c, 0xb2, 0xa1] => match interface {
                None => PcapSource::new(input).map(Source::Pcap),
                Some(interface) => {
                    let interface = interface.to_owned();
                    return Err(CaptureError::NoInterfaceNames { file, interface });
                }
            },
            _ => return Err(CaptureError::NotACapture { file, start }),
        };
        let mut reader = Self {
            file,
            source: Source::Ended,
            read: 0,
            next: Packet::default(),
            has_next: false,
        };
        reader.source = source.map_err(|fault| reader.error(fault))?;
        reader.advance()?;
        Ok(reader)
    }

    /// Name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The next packet, without taking it; `None` at the end.
    pub fn peek(&self) -> Option<&Packet> {
        self.has_next.then_some(&self.next)
    }

    /// Goes on to the packet after the next one, which [`CaptureReader::peek`] shows then.
    ///
    /// # Errors
    /// If it is malformed, not Ethernet, or can't be read, or the file ended without the interface that was chosen. No packet
    /// follows then.
    pub fn advance(&mut self) -> Result<(), CaptureError> {
        self.has_next = false;
        loop {
            let step = match &mut self.source {
                Source::Pcap(source) => source.next(&mut self.next),
                Source::Pcapng(source) => source.next(&mut self.next),
                Source::Ended => Ok(Step::End),
            };
            match step {
                Ok(Step::Packet(ETHERNET)) => {
                    self.read += 1;
                    self.has_next = true;
                    return Ok(());
                }
                Ok(Step::Packet(link_type)) => {
                    self.source = Source::Ended;
                    return Err(CaptureError::LinkType {
                        file: self.file.clone(),
                        packet: self.read + 1,
                        link_type,
                    });
                }
                Ok(Step::Other) => self.read += 1,
                Ok(Step::End) => {
                    self.source = Source::Ended;
                    return Ok(());
                }
                Err(fault) => {
                    self.source = Source::Ended;
                    return Err(self.error(fault));
                }
            }
        }
    }

    /// The error for a fault in what follows the packets read so far.
    fn error(&self, fault: Fault) -> CaptureError {
        let (file, packet) = (self.file.clone(), self.read + 1);
        let malformed = |problem| CaptureError::Malformed {
            file: file.clone(),
            packet,
            problem,
        };
        match fault {
            Fault::File(PcapError::IoError(source)) if source.kind() == io::ErrorKind::UnexpectedEof => {
                CaptureError::Truncated { file, packet }
            }
            Fault::File(PcapError::IncompleteBuffer) => CaptureError::Truncated { file, packet },
            Fault::File(PcapError::IoError(source)) => CaptureError::Read { file, packet, source },
            Fault::File(PcapError::InvalidField(problem)) => malformed(problem.to_owned()),
            Fault::File(error) => malformed(error.to_string()),
            Fault::Malformed(problem) => malformed(problem),
            Fault::NoSuchInterface { interface, present } => CaptureError::NoSuchInterface {
                file,
                interface,
                present,
            },
        }
    }
}
