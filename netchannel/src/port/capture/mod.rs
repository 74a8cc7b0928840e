//! Ports on captures: packets of pcap and pcapng files are received at the times they were captured, and transmitted ones are
//! written to a pcapng file, so that any capture can be replayed through exactly the code that runs on the wire.
//!
//! ```
//! use netchannel::port::{FramePool, PacketIo};
//! use netchannel::port::capture::{CapturePort, CaptureReader, CaptureWriter, Epoch};
//! use netchannel::time::Time;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let (input, output) = (directory.path().join("in.pcapng"), directory.path().join("out.pcapng"));
//! # let written = CaptureWriter::create(&input, Epoch::default())?;
//! # written.interface("lan0")?;
//! # written.finish()?;
//! let input = CaptureReader::open(input, Some("lan0"))?;
//! let epoch = Epoch::of_captures([&input]);
//! let output = CaptureWriter::create(output, epoch)?;
//! let pool = FramePool::in_memory(64, 2048);
//! let mut port = CapturePort::new(&pool, epoch)
//!     .with_input(input)
//!     .with_output(output.interface("lan0")?);
//! let mut now = Time::ZERO;
//! while let Some(next) = port.next_time() {
//!     now = now.max(next);
//!     let mut burst = Vec::new();
//!     port.receive(now, &mut burst, 32);
//!     port.transmit(now, &mut burst);
//!     port.flush()?;
//! }
//! output.finish()?;
//! # Ok(())
//! # }
//! ```

mod epoch;
mod error;
mod pcap;
mod pcapng;
mod port;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use epoch::Epoch;
pub use error::CaptureError;
pub use port::{CaptureCounters, CapturePort};
pub use reader::{CaptureReader, Packet};
pub use writer::{CaptureOutput, CaptureWriter, InterfaceStatistics, PacketRecord};
