//! Writing captures: pcapng, several interfaces in one file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::{DataLink, PcapError};

use super::epoch::Epoch;
use super::error::CaptureError;
use crate::time::Time;

/// Value of `if_tsresol` for nanoseconds.
const NANOSECONDS: u8 = 9;
/// Value of `epb_flags` for a packet that came in.
const INBOUND: u32 = 1;
/// Value of `epb_flags` for a packet that was sent.
const OUTBOUND: u32 = 2;

/// A packet and what is to be said of it.
#[derive(Clone, Copy, Debug)]
pub struct PacketRecord<'a> {
    /// When, since 1970.
    pub time: Duration,
    /// Whether the interface sent it; else it came in.
    pub is_outbound: bool,
    /// Its bytes, or the first of them.
    pub bytes: &'a [u8],
    /// Its length in bytes.
    pub original_length: u32,
    /// Text for whoever reads the file; empty for none.
    pub comment: &'a str,
}

/// What was counted on an interface during a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStatistics {
    /// When it began, since 1970.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
    /// Packets that were captured.
    pub captured: u64,
    /// Packets that came in and should have been captured, but were lost.
    pub lost: u64,
}

/// A pcapng file that several ports write to, each under the name of its interface. The handle is cheap to clone.
#[derive(Clone)]
pub struct CaptureWriter {
    shared: Rc<RefCell<Shared>>,
}

/// One interface's way into a [`CaptureWriter`].
pub struct CaptureOutput {
    shared: Rc<RefCell<Shared>>,
    interface: u32,
}

struct Shared {
    file: String,
    writer: PcapNgWriter<Box<dyn Write>>,
    epoch: Epoch,
    interfaces: u32,
    failed: Option<Arc<CaptureError>>,
}

impl CaptureWriter {
    /// Creates the file, or empties it if it exists. Times are written as those of `epoch`, in nanoseconds.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn create(file: impl AsRef<Path>, epoch: Epoch) -> Result<Self, Arc<CaptureError>> {
        let name = file.as_ref().display().to_string();
        match File::create(file) {
            Ok(created) => Self::to_sink(&name, BufWriter::new(created), epoch),
            Err(source) => Err(Arc::new(CaptureError::Create { file: name, source })),
        }
    }

    /// The same to any sink of bytes; `name` is for errors.
    ///
    /// # Errors
    /// If it can't be written to.
    pub fn to_sink(name: &str, sink: impl Write + 'static, epoch: Epoch) -> Result<Self, Arc<CaptureError>> {
        let file = name.to_owned();
        let sink: Box<dyn Write> = Box::new(sink);
        match PcapNgWriter::new(sink) {
            Ok(writer) => Ok(Self {
                shared: Rc::new(RefCell::new(Shared {
                    file,
                    writer,
                    epoch,
                    interfaces: 0,
                    failed: None,
                })),
            }),
            Err(error) => Err(Arc::new(CaptureError::Write {
                file,
                source: system_error(error),
            })),
        }
    }

    /// Adds an Ethernet interface of this name.
    ///
    /// # Errors
    /// If the file can't be written, now or before.
    pub fn interface(&self, name: &str) -> Result<CaptureOutput, Arc<CaptureError>> {
        let mut shared = self.shared.borrow_mut();
        let mut description = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        description.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        shared.write(&Block::InterfaceDescription(description));
        shared.state()?;
        let interface = shared.interfaces;
        shared.interfaces += 1;
        Ok(CaptureOutput {
            shared: Rc::clone(&self.shared),
            interface,
        })
    }

    /// Writes out what is still in memory. What was written before is complete then.
    ///
    /// # Errors
    /// If the file can't be written, now or before.
    pub fn finish(&self) -> Result<(), Arc<CaptureError>> {
        let mut shared = self.shared.borrow_mut();
        shared.state()?;
        if let Err(error) = shared.writer.get_mut().flush() {
            shared.fail(error);
        }
        shared.state()
    }
}

impl CaptureOutput {
    /// Writes a packet that the interface sent. Failures show in [`CaptureOutput::state`].
    pub(super) fn write(&self, now: Time, bytes: &[u8]) {
        let mut shared = self.shared.borrow_mut();
        let block = EnhancedPacketBlock {
            interface_id: self.interface,
            timestamp: shared.epoch.to_wall_clock(now),
            original_len: bytes.len() as u32,
            data: Cow::Borrowed(bytes),
            options: vec![EnhancedPacketOption::Flags(OUTBOUND)],
        };
        shared.write(&Block::EnhancedPacket(block));
    }

    /// Writes a packet of this interface.
    ///
    /// # Errors
    /// If the file can't be written, now or before.
    pub fn write_record(&self, record: &PacketRecord<'_>) -> Result<(), Arc<CaptureError>> {
        let flags = if record.is_outbound { OUTBOUND } else { INBOUND };
        let mut options = Vec::with_capacity(2);
        if !record.comment.is_empty() {
            options.push(EnhancedPacketOption::Comment(Cow::Borrowed(record.comment)));
        }
        options.push(EnhancedPacketOption::Flags(flags));
        let block = EnhancedPacketBlock {
            interface_id: self.interface,
            timestamp: record.time,
            original_len: record.original_length,
            data: Cow::Borrowed(record.bytes),
            options,
        };
        let mut shared = self.shared.borrow_mut();
        shared.write(&Block::EnhancedPacket(block));
        shared.state()
    }

    /// Writes what was counted on this interface.
    ///
    /// # Errors
    /// If the file can't be written, now or before.
    pub fn write_statistics(&self, statistics: &InterfaceStatistics) -> Result<(), Arc<CaptureError>> {
        let block = InterfaceStatisticsBlock {
            interface_id: self.interface,
            timestamp: in_halves(statistics.end),
            options: vec![
                InterfaceStatisticsOption::IsbStartTime(in_halves(statistics.start)),
                InterfaceStatisticsOption::IsbEndTime(in_halves(statistics.end)),
                InterfaceStatisticsOption::IsbIfRecv(statistics.captured + statistics.lost),
                InterfaceStatisticsOption::IsbIfDrop(statistics.lost),
            ],
        };
        let mut shared = self.shared.borrow_mut();
        shared.write(&Block::InterfaceStatistics(block));
        shared.state()
    }

    /// Whether all could be written so far.
    pub(super) fn state(&self) -> Result<(), Arc<CaptureError>> {
        self.shared.borrow().state()
    }
}

impl Shared {
    fn write(&mut self, block: &Block<'_>) {
        if self.failed.is_none()
            && let Err(error) = self.writer.write_block(block)
        {
            self.fail(system_error(error));
        }
    }

    fn fail(&mut self, source: io::Error) {
        self.failed = Some(Arc::new(CaptureError::Write {
            file: self.file.clone(),
            source,
        }));
    }

    fn state(&self) -> Result<(), Arc<CaptureError>> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

/// Nanoseconds since 1970, to be written as one number in the file's byte order: the upper half stands first, whatever that order is.
fn in_halves(time: Duration) -> u64 {
    let nanoseconds = time.as_nanos() as u64;
    if cfg!(target_endian = "little") {
        nanoseconds.rotate_left(32)
    } else {
        nanoseconds
    }
}

fn system_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(source) => source,
        other => io::Error::other(other),
    }
}
