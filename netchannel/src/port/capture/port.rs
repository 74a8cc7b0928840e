//! The port: packets of captures are received, and what is transmitted is written to one.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::epoch::Epoch;
use super::error::CaptureError;
use super::reader::CaptureReader;
use super::writer::CaptureOutput;
use crate::port::{Frame, FramePool, PacketIo, PortCounters};
use crate::time::Time;

/// A port that replays captures. Packets are received when their time has come: whoever drives it sets the clock to
/// [`CapturePort::next_time`] when nothing is left to do.
pub struct CapturePort {
    pool: FramePool,
    epoch: Epoch,
    inputs: Vec<CaptureReader>,
    output: Option<CaptureOutput>,
    counters: PortCounters,
    capture_counters: CaptureCounters,
    failed: Option<Arc<CaptureError>>,
}

/// What was peculiar about the captured packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounters {
    /// Packets left out because they are longer than a frame can hold.
    pub oversized: u64,
    /// Packets that the capture had cut off; received as they are.
    pub truncated: u64,
}

impl CapturePort {
    /// A port that receives nothing and forgets what it transmits. Its frames come from `pool`.
    pub fn new(pool: &FramePool, epoch: Epoch) -> Self {
        Self {
            pool: pool.clone(),
            epoch,
            inputs: Vec::new(),
            output: None,
            counters: PortCounters::default(),
            capture_counters: CaptureCounters::default(),
            failed: None,
        }
    }

    /// Receives the packets of a capture too; several captures are merged by time.
    #[must_use]
    pub fn with_input(mut self, input: CaptureReader) -> Self {
        self.inputs.push(input);
        self
    }

    /// Writes what is transmitted to this interface of a capture.
    #[must_use]
    pub fn with_output(mut self, output: CaptureOutput) -> Self {
        self.output = Some(output);
        self
    }

    /// When the next packet comes; `None` when there are no more.
    pub fn next_time(&self) -> Option<Time> {
        let (_, time) = self.next_input()?;
        Some(time)
    }

    /// What was peculiar about the packets so far.
    pub fn capture_counters(&self) -> CaptureCounters {
        self.capture_counters
    }

    /// What went wrong with a capture, which ended it. [`PacketIo::flush`] fails with it too.
    pub fn error(&self) -> Option<Arc<CaptureError>> {
        let written = self.output.as_ref().map_or(Ok(()), CaptureOutput::state);
        self.failed.clone().or(written.err())
    }

    /// The input with the earliest next packet, and when that comes. Linear in the number of inputs.
    fn next_input(&self) -> Option<(usize, Time)> {
        let times = self.inputs.iter().enumerate();
        times
            .filter_map(|(index, input)| Some((index, self.epoch.to_time(input.peek()?.time))))
            .min_by_key(|(_, time)| *time)
    }

    /// The next packet in a frame, and its input a packet further. `None` if there is no free frame.
    fn take_next(&mut self, index: usize) -> Option<Option<Frame>> {
        let input = &mut self.inputs[index];
        let packet = input.peek()?;
        let frame = if packet.bytes.len() > self.pool.frame_capacity() {
            self.capture_counters.oversized += 1;
            None
        } else {
            let frame = self.pool.take_filled(&packet.bytes)?;
            self.capture_counters.truncated +=
                u64::from(packet.original_length as usize > packet.bytes.len());
            Some(frame)
        };
        if let Err(error) = input.advance() {
            self.failed.get_or_insert(Arc::new(error));
        }
        Some(frame)
    }
}

impl PacketIo for CapturePort {
    /// Packets wait when the pool has no free frame; none is lost by that.
    fn receive(&mut self, now: Time, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let mut count = 0;
        while count < limit {
            let Some((index, _)) = self.next_input().filter(|(_, time)| *time <= now) else {
                break;
            };
            let Some(taken) = self.take_next(index) else {
                break;
            };
            if let Some(frame) = taken {
                self.counters.received_packets += 1;
                self.counters.received_bytes += frame.len() as u64;
                burst.push(frame);
                count += 1;
            }
        }
        count
    }

    fn transmit_room(&mut self) -> usize {
        self.pool.count()
    }

    fn transmit(&mut self, now: Time, frames: &mut Vec<Frame>) -> usize {
        let count = frames.len();
        for frame in frames.drain(..) {
            self.counters.transmitted_packets += 1;
            self.counters.transmitted_bytes += frame.len() as u64;
            if let Some(output) = &self.output {
                output.write(now, frame.bytes());
            }
        }
        count
    }

    /// Fails once a capture was found malformed, or the output could not be written.
    fn flush(&mut self) -> io::Result<()> {
        match self.error() {
            None => Ok(()),
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn held(&self) -> usize {
        0
    }
}

impl fmt::Debug for CapturePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturePort")
            .field("next_time", &self.next_time())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
