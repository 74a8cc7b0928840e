//! What a user reads from a channel, and writes to it.

use super::PATIENCE;
use crate::worker::Handle;

/// The user's side of a channel of one worker: what it reads is what the channel's [`read`](crate::channel::Netchannel::read) gives.
#[derive(Clone)]
pub struct ChannelUser {
    channel: String,
    worker: Handle,
}

impl ChannelUser {
    pub(super) fn new(channel: &str, worker: &Handle) -> Self {
        Self {
            channel: channel.to_owned(),
            worker: worker.clone(),
        }
    }

    /// Reads up to `longest` bytes; none if the channel has nothing now.
    ///
    /// # Errors
    /// What the channel says, `NotFound` if there is none of that name, `TimedOut` if the worker does not answer.
    pub fn read(&self, longest: usize) -> std::io::Result<Vec<u8>> {
        let channel = self.channel.clone();
        let answer = self.worker.ask(PATIENCE, move |dispatcher, _| {
            let mut buffer = vec![0; longest];
            let length = dispatcher.read(&channel, &mut buffer)?;
            buffer.truncate(length);
            Ok(buffer)
        });
        answer.unwrap_or_else(|unanswered| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, unanswered)))
    }

    /// Writes `data`, and returns how much of it the channel took.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(&self, data: &[u8]) -> std::io::Result<usize> {
        let (channel, data) = (self.channel.clone(), data.to_vec());
        let answer = self.worker.ask(PATIENCE, move |dispatcher, now| {
            dispatcher.write(&channel, &data, now)
        });
        answer.unwrap_or_else(|unanswered| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, unanswered)))
    }
}
