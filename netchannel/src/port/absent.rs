//! The port of an interface that is gone.

use std::io;

use super::{Frame, PacketIo, PortCounters};
use crate::time::Time;

/// Stands in the place of a port whose interface is gone: nothing comes from it, and there is no room in it.
#[derive(Debug, Default)]
pub struct AbsentPort {
    counters: PortCounters,
}

impl AbsentPort {
    /// In the place of a port that has counted so much.
    pub fn after(counters: PortCounters) -> Self {
        Self { counters }
    }
}

impl PacketIo for AbsentPort {
    fn receive(&mut self, _now: Time, _burst: &mut Vec<Frame>, _limit: usize) -> usize {
        0
    }

    fn transmit_room(&mut self) -> usize {
        0
    }

    fn transmit(&mut self, _now: Time, _frames: &mut Vec<Frame>) -> usize {
        0
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn held(&self) -> usize {
        0
    }

    fn is_link_up(&self) -> bool {
        false
    }
}
