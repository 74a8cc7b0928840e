//! The channel `forward`: a router (RFC 1812, RFC 8200) that changes nothing but the time to live and the Ethernet header.

use super::Netchannel;
use crate::dispatch::{Context, FlowKey, Offloadable, is_possible_source};
use crate::drop_reason::DropReason;
use crate::packet::Packet;
use crate::time::Time;

/// Forwards every packet by the kernel's routing table.
#[derive(Debug, Default)]
pub struct Forward;

impl Netchannel for Forward {
    fn kind(&self) -> &'static str {
        "forward"
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        for packet in burst.drain(..) {
            // Once the way out of a flow is found it is kept with the flow.
            let note = context.note(&packet);
            if let Some(departure) = context.kept_way(note) {
                if let Some(packet) = context.check(packet, &departure) {
                    context.send(packet, &departure);
                }
                continue;
            }
            if !is_possible_source(packet.headers.source) {
                context.drop(packet, DropReason::NotForwarded);
                continue;
            }
            let destination = packet.headers.destination;
            if let Some((packet, departure)) = context.depart(packet, destination) {
                let way = context.keep_way(&departure);
                context.set_note(&packet, way);
                context.send(packet, &departure);
            }
        }
    }

    fn offload(&mut self, flow: &FlowKey, _note: u64, _context: &mut Context<'_>) -> Option<Offloadable> {
        is_possible_source(flow.source).then_some(Offloadable {
            rewriting: None,
            needs_dont_fragment: false,
            until: Time::MAX,
            toward: flow.destination,
            leaves_to: None,
            note: 0,
        })
    }

    /// Nothing but the flow itself ends, when it is silent.
    fn carried_until(&mut self, _note: u64, seen: Option<Time>) -> Option<Time> {
        seen.map(|_| Time::MAX)
    }
}
