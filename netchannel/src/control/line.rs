//! Lines over a stream that must come and go within a time, whatever the other end does.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("the line is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("nothing came for {} seconds", .after.as_secs())]
    TimedOut { after: Duration },
    #[error("the connection ended in the middle of a line")]
    Cut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A stream, and what was read from it beyond the last line.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// So many bytes of the buffer hold no line feed.
    searched: usize,
}

impl Lines {
    pub(super) fn new(stream: UnixStream) -> Self {
        Lines {
            stream,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// What the lines come from.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether a whole line was read beyond the last one.
    pub(super) fn has_line(&self) -> bool {
        self.buffer.contains(&b'\n')
    }

    /// The next line without its line feed; `None` at the end of the stream.
    ///
    /// Waits up to `idle` for its first byte, and from there up to `rest` for its last, however slowly they come.
    pub(super) fn read(
        &mut self,
        limit: usize,
        idle: Duration,
        rest: Duration,
    ) -> Result<Option<Vec<u8>>, LineError> {
        let mut deadline = Deadline::after(if self.buffer.is_empty() { idle } else { rest });
        let mut chunk = [0; 4096];
        loop {
            if let Some(end) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = self.searched + end;
                if end >= limit {
                    return Err(LineError::TooLong { limit });
                }
                let after = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, after);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() >= limit {
                return Err(LineError::TooLong { limit });
            }
            self.stream.set_read_timeout(Some(deadline.left()?))?;
            match self.stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(LineError::Cut),
                Ok(count) => {
                    if self.buffer.is_empty() {
                        deadline = Deadline::after(rest);
                    }
                    self.buffer.extend_from_slice(&chunk[..count]);
                }
                Err(error) => deadline.judge(error)?,
            }
        }
    }

    /// Whether the other end has closed the connection in both directions, or it was ended here.
    pub(super) fn is_hung_up(&self) -> Result<bool, LineError> {
        let mut stream = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        match poll(&mut stream, PollTimeout::ZERO) {
            Ok(_) | Err(Errno::EINTR) => Ok(stream[0].any().unwrap_or(true)),
            Err(errno) => Err(LineError::Io(errno.into())),
        }
    }

    /// Writes all bytes within `time`, however slowly the other end reads.
    pub(super) fn write(&mut self, mut bytes: &[u8], time: Duration) -> Result<(), LineError> {
        let deadline = Deadline::after(time);
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(deadline.left()?))?;
            // In pieces: one long write would not come back to look at the time.
            let piece = &bytes[..bytes.len().min(64 << 10)];
            match self.stream.write(piece) {
                Ok(0) => return Err(LineError::Cut),
                Ok(count) => bytes = &bytes[count..],
                Err(error) => deadline.judge(error)?,
            }
        }
        Ok(())
    }
}

struct Deadline {
    start: Instant,
    time: Duration,
}

impl Deadline {
    fn after(time: Duration) -> Self {
        Deadline {
            start: Instant::now(),
            time,
        }
    }

    /// What is left, never zero: a socket takes that as no limit.
    fn left(&self) -> Result<Duration, LineError> {
        let left = self.time.saturating_sub(self.start.elapsed());
        if left.is_zero() {
            Err(LineError::TimedOut { after: self.time })
        } else {
            Ok(left)
        }
    }

    /// Whether to go on after an error: interrupted, or the time is to be looked at.
    fn judge(&self, error: io::Error) -> Result<(), LineError> {
        match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(()),
            _ => Err(error.into()),
        }
    }
}
