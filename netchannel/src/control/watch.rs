//! Requests that are answered by a stream: what is watched, and where the server takes it from.

use std::time::Duration;

use serde_json::Value;

use super::{Capture, ControlError, Trace};
use crate::events::{Heard, Kinds, Subscription};

/// What a client may watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Events of these kinds: [`Event`](crate::events::Event).
    Events(Kinds),
    /// Single packets: [`report::TracedPacket`](super::report::TracedPacket).
    Trace(Trace),
    /// Frames: [`report::Captured`](super::report::Captured).
    Capture(Capture),
}

impl Watch {
    /// Whether it shows single packets, and is not for everybody then.
    pub fn shows_packets(&self) -> bool {
        match self {
            Self::Events(_) => false,
            Self::Trace(_) | Self::Capture(_) => true,
        }
    }
}

/// What a watching client is told next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This happened.
    Event(Value),
    /// So many events are missing here.
    Lost(u64),
    /// Nothing happened in the time.
    Nothing,
    /// Nothing more will come.
    Ended,
}

/// Where a server takes from what a client watches. Dropped when the client is gone.
///
/// While the client does not read, nothing is taken: the source holds a bounded number of events and counts the rest as lost.
pub trait Watched: Send {
    /// What is next; waits up to `patience` if there is nothing yet.
    ///
    /// # Errors
    /// If an event can't be told; that ends the stream.
    fn next(&mut self, patience: Duration) -> Result<Next, ControlError>;
}

impl Watched for Subscription {
    fn next(&mut self, patience: Duration) -> Result<Next, ControlError> {
        Ok(match Subscription::next(self, patience) {
            Heard::Event(event) => Next::Event(serde_json::to_value(&*event)?),
            Heard::Lost(count) => Next::Lost(count),
            Heard::Nothing => Next::Nothing,
            Heard::Ended => Next::Ended,
        })
    }
}
