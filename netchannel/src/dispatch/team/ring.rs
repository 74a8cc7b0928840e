//! The ring from one worker to another: bytes, a head and a packet after the other.

use rtrb::chunks::ReadChunk;
use rtrb::{Consumer, Producer, RingBuffer};

use super::letter::Head;
use crate::port::Frame;

/// The sender's end. What is put in it is gathered, and sent at once.
pub(super) struct Outbox {
    ring: Producer<u8>,
    gathered: Vec<u8>,
    /// Bytes that there was room for when the gathering began.
    room: usize,
}

/// The receiver's end.
pub(in crate::dispatch) struct Inbox {
    ring: Consumer<u8>,
}

/// Both ends of a ring for this many bytes.
pub(super) fn ring(capacity: usize) -> (Outbox, Inbox) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let outbox = Outbox {
        ring: producer,
        gathered: Vec::new(),
        room: 0,
    };
    (outbox, Inbox { ring: consumer })
}

impl Outbox {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Adds a packet to what is gathered. `false` if the ring has no room for it.
    #[inline]
    pub(super) fn put(&mut self, head: Head, frame: &[u8]) -> bool {
        if self.gathered.is_empty() {
            self.room = self.ring.slots();
        }
        if self.room < self.gathered.len() + Head::LEN + frame.len() {
            return false;
        }
        self.gathered.extend_from_slice(&head.to_bytes());
        self.gathered.extend_from_slice(frame);
        true
    }

    /// Puts what was gathered into the ring.
    pub(super) fn send(&mut self) {
        // There is room: only the other end changes how much, and it makes more of it.
        let sent = self.ring.push_entire_slice(&self.gathered);
        debug_assert!(sent.is_ok());
        self.gathered.clear();
    }
}

impl Inbox {
    #[inline]
    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// All that is there now.
    pub(in crate::dispatch) fn open(&mut self) -> Option<Letters<'_>> {
        let chunk = self.ring.read_chunk(self.ring.slots()).ok()?;
        Some(Letters { chunk, at: 0 })
    }
}

/// What is in a ring, from the oldest on.
pub(in crate::dispatch) struct Letters<'a> {
    chunk: ReadChunk<'a, u8>,
    at: usize,
}

impl Letters<'_> {
    /// The head of the next one.
    pub(in crate::dispatch) fn next(&mut self) -> Option<Head> {
        if self.at >= self.chunk.len() {
            return None;
        }
        let mut head = [0; Head::LEN];
        self.copy(&mut head);
        Some(Head::of_bytes(head))
    }

    /// The packet that follows, in a frame, which is given back if it is too small for it.
    pub(in crate::dispatch) fn fill(&mut self, head: Head, mut frame: Frame) -> Result<Frame, Frame> {
        let len = usize::from(head.len);
        if frame.set_len(len).is_err() {
            self.at += len;
            return Err(frame);
        }
        self.copy(frame.bytes_mut());
        Ok(frame)
    }

    /// Leaves out the packet that follows.
    pub(in crate::dispatch) fn skip(&mut self, head: Head) {
        self.at += usize::from(head.len);
    }

    /// Copies what comes next. All is there: it was sent at once.
    #[inline]
    fn copy(&mut self, to: &mut [u8]) {
        let (first, second) = self.chunk.as_slices();
        let (at, end) = (self.at, self.at + to.len());
        self.at = end;
        if end <= first.len() {
            to.copy_from_slice(&first[at..end]);
        } else if at >= first.len() {
            to.copy_from_slice(&second[at - first.len()..end - first.len()]);
        } else {
            let (head, tail) = to.split_at_mut(first.len() - at);
            head.copy_from_slice(&first[at..]);
            tail.copy_from_slice(&second[..end - first.len()]);
        }
    }

    /// Makes room for what comes later.
    pub(in crate::dispatch) fn close(self) {
        self.chunk.commit(self.at);
    }
}
