//! The channel `pass`: packets go to the kernel's own network stack.

use super::Netchannel;
use crate::dispatch::Context;
use crate::packet::Packet;

/// Passes every packet to the kernel.
#[derive(Debug, Default)]
pub struct Pass;

impl Netchannel for Pass {
    fn kind(&self) -> &'static str {
        "pass"
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        for packet in burst.drain(..) {
            context.pass(packet);
        }
    }
}
