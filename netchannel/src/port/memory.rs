//! A port in plain memory: what a test puts in is received, and what is transmitted can be looked at.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::{Frame, FramePool, PacketIo, PortCounters};
use crate::time::Time;

/// The port itself, for the dispatcher. Its other end is the [`MemoryWire`].
pub struct MemoryPort {
    wire: Rc<RefCell<Wire>>,
    counters: PortCounters,
}

/// The other end of a [`MemoryPort`]: puts packets in, takes transmitted ones out.
#[derive(Clone)]
pub struct MemoryWire {
    wire: Rc<RefCell<Wire>>,
    pool: FramePool,
}

struct Wire {
    to_port: Vec<Frame>,
    from_port: VecDeque<Frame>,
    receive_capacity: usize,
    receive_losses: u64,
    transmit_capacity: usize,
    failed: Option<io::ErrorKind>,
}

impl MemoryPort {
    /// A port whose frames come from `pool` and whose transmit queue holds `transmit_capacity` frames until
    /// [`MemoryWire::sent`] takes them.
    pub fn new(pool: &FramePool, transmit_capacity: usize) -> (Self, MemoryWire) {
        let wire = Rc::new(RefCell::new(Wire {
            to_port: Vec::new(),
            from_port: VecDeque::new(),
            receive_capacity: usize::MAX,
            receive_losses: 0,
            transmit_capacity,
            failed: None,
        }));
        let port = Self {
            wire: Rc::clone(&wire),
            counters: PortCounters::default(),
        };
        (
            port,
            MemoryWire {
                wire,
                pool: pool.clone(),
            },
        )
    }
}

impl MemoryWire {
    /// Puts a packet on the wire towards the port; false if it is lost because the receive ring is full, the pool has no free frame or the packet does
    /// not fit in one.
    pub fn send(&self, bytes: &[u8]) -> bool {
        let mut wire = self.wire.borrow_mut();
        if wire.to_port.len() >= wire.receive_capacity {
            wire.receive_losses += 1;
            return false;
        }
        let frame = self.pool.take_filled(bytes);
        let sent = frame.is_some();
        wire.to_port.extend(frame);
        sent
    }

    /// From now on no more than `capacity` packets wait to be received: what comes while they do is lost.
    pub fn bound_receive_ring(&self, capacity: usize) {
        self.wire.borrow_mut().receive_capacity = capacity;
    }

    /// Takes a copy of the next packet that the port transmitted.
    pub fn sent(&self) -> Option<Vec<u8>> {
        self.wire
            .borrow_mut()
            .from_port
            .pop_front()
            .map(|frame| frame.bytes().to_vec())
    }

    /// Takes the frames of all packets that the port transmitted, without copying them.
    pub fn take_sent(&self) -> Vec<Frame> {
        self.wire.borrow_mut().from_port.drain(..).collect()
    }

    /// Takes copies of all packets that the port transmitted.
    pub fn sent_all(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.sent()).collect()
    }

    /// From now on the port answers a flush with this error, as one does whose interface was removed.
    pub fn fail(&self, kind: io::ErrorKind) {
        self.wire.borrow_mut().failed = Some(kind);
    }
}

impl PacketIo for MemoryPort {
    fn receive(&mut self, _now: Time, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let mut wire = self.wire.borrow_mut();
        let count = limit.min(wire.to_port.len());
        self.counters.received_packets += count as u64;
        self.counters.received_bytes += bytes(wire.to_port[..count].iter());
        burst.extend(wire.to_port.drain(..count));
        count
    }

    fn transmit_room(&mut self) -> usize {
        let wire = self.wire.borrow();
        wire.transmit_capacity.saturating_sub(wire.from_port.len())
    }

    fn transmit(&mut self, _now: Time, frames: &mut Vec<Frame>) -> usize {
        let count = self.transmit_room().min(frames.len());
        let mut wire = self.wire.borrow_mut();
        self.counters.transmitted_packets += count as u64;
        self.counters.transmitted_bytes += bytes(frames[..count].iter());
        wire.from_port.extend(frames.drain(..count));
        count
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.borrow().failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn receive_losses(&self) -> u64 {
        self.wire.borrow().receive_losses
    }

    fn held(&self) -> usize {
        let wire = self.wire.borrow();
        wire.to_port.len() + wire.from_port.len()
    }
}

fn bytes<'a>(frames: impl Iterator<Item = &'a Frame>) -> u64 {
    frames.map(|frame| frame.len() as u64).sum()
}
