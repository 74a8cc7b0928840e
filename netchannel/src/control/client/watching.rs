//! A stream, as it comes.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::super::line::LineError;
use super::{Answer, Client, ClientError, MAX_ANSWER, PATIENCE};

/// What a watching client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// This happened. Of [`Watch::Events`](super::Watch::Events), an [`Event`](crate::events::Event); there may be ones that this version does not know.
    Event(Value),
    /// So many events are missing here: this client did not read fast enough, or the other end could not keep up.
    Lost(u64),
}

/// What happens at the other end, as it is told. Waits for it as long as it takes; ends when nothing more will come, and after the
/// first error.
#[derive(Debug)]
pub struct Watching {
    client: Client,
    ended: bool,
}

/// Ends a [`Watching`] from anywhere: it fails with [`ClientError::Ended`] once it has told what had come.
#[derive(Debug)]
pub struct WatchEnd(UnixStream);

impl WatchEnd {
    /// Ends it.
    pub fn end(&self) {
        // One that has ended already needs nothing.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Watching {
    pub(super) fn of(client: Client) -> Self {
        Self { client, ended: false }
    }

    /// What ends it.
    ///
    /// # Errors
    /// If the system has no descriptor to give.
    pub fn end(&self) -> io::Result<WatchEnd> {
        self.client.lines.stream().try_clone().map(WatchEnd)
    }

    /// Whether the next of what is told has come already.
    pub fn has_next(&self) -> bool {
        self.client.lines.has_line()
    }

    fn told(&mut self) -> Result<Option<Told>, ClientError> {
        /// Something may happen tomorrow only.
        const A_DAY: Duration = Duration::from_secs(86_400);
        let line = loop {
            match self.client.lines.read(MAX_ANSWER, A_DAY, PATIENCE) {
                Ok(Some(line)) => break line,
                Ok(None) => {
                    return Err(ClientError::Ended {
                        path: self.client.path.clone(),
                    });
                }
                Err(LineError::TimedOut { after }) if after == A_DAY => {}
                Err(error) => return Err(self.client.failed(error)),
            }
        };
        let answer = self.client.understand(&line)?;
        match answer {
            Answer {
                event: Some(event), ..
            } => Ok(Some(Told::Event(event))),
            Answer {
                lost: Some(count), ..
            } => Ok(Some(Told::Lost(count))),
            Answer { end: Some(_), .. } => Ok(None),
            Answer {
                error: Some(error), ..
            } => Err(ClientError::Refused {
                message: error.message,
            }),
            _ => Err(self.client.protocol("it is nothing of a stream")),
        }
    }
}

impl Iterator for Watching {
    type Item = Result<Told, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let told = self.told();
        self.ended = !matches!(told, Ok(Some(_)));
        told.transpose()
    }
}
