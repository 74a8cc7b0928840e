//! The channel `drop`: packets end here.

use super::Netchannel;
use crate::dispatch::Context;
use crate::drop_reason::DropReason;
use crate::packet::Packet;

/// Drops every packet, and counts it under `rule`.
#[derive(Debug, Default)]
pub struct Drop;

impl Netchannel for Drop {
    fn kind(&self) -> &'static str {
        "drop"
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        for packet in burst.drain(..) {
            context.drop(packet, DropReason::Rule);
        }
    }
}
