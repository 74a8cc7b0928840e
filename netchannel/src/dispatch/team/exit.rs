//! The channel of flows that belong to another worker.

use crate::channel::Netchannel;
use crate::dispatch::Context;
use crate::dispatch::dimensions::Arrival;
use crate::interface::Role;
use crate::packet::Packet;

/// Hands its packets to a worker.
pub(super) struct Exit {
    worker: usize,
}

impl Exit {
    pub(super) fn to(worker: usize) -> Self {
        Self { worker }
    }
}

impl Netchannel for Exit {
    fn kind(&self) -> &'static str {
        "worker"
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        for packet in burst.drain(..) {
            context.hand_on_arrived(packet, self.worker);
        }
    }

    /// An answer may be: its owner knows.
    fn expects(&self, _: &Arrival<'_>, role: Role) -> bool {
        role == Role::Outside
    }
}
