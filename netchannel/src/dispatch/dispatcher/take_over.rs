//! Packets from other workers, on their way through the dispatcher.

use super::{BURST, Dispatcher};
use crate::channel::ChannelId;
use crate::dispatch::Context;
use crate::dispatch::core::Core;
use crate::dispatch::dimensions::Arrival;
use crate::dispatch::flow_table::{Flow, FlowId};
use crate::dispatch::rule_set::Action;
use crate::dispatch::team::{Head, Inbox, Member, Purpose};
use crate::drop_reason::DropReason;
use crate::interface::PortId;
use crate::packet::{Headers, Packet};
use crate::port::Frame;
use crate::time::Time;

impl Core {
    /// Hands a packet to another worker, and its frame back to its pool.
    #[inline]
    pub(in crate::dispatch) fn hand_on(&mut self, packet: Packet, worker: usize, purpose: Purpose) {
        let Packet { frame, interface, .. } = packet;
        let head = u16::try_from(frame.len()).map(|len| Head {
            len,
            interface,
            purpose,
        });
        let is_sent = match (&mut self.team, head) {
            (Some(team), Ok(head)) => team.put(worker, head, frame.bytes()),
            _ => false,
        };
        if is_sent {
            self.totals.handed_on += 1;
        } else {
            self.drop(frame, DropReason::HandoffFull);
        }
    }
}

impl Dispatcher {
    /// A burst from each of the other workers, through the channels, and out. Returns how many packets that were.
    pub(super) fn take_over(&mut self, now: Time) -> usize {
        let Some(team) = &mut self.core.team else { return 0 };
        if team.inboxes.iter().all(Inbox::is_empty) {
            return 0;
        }
        let mut inboxes = std::mem::take(&mut team.inboxes);
        team.takes_over = true;
        let mut count = 0;
        for inbox in &mut inboxes {
            count += self.take_over_from(inbox, now);
        }
        if let Some(team) = &mut self.core.team {
            team.inboxes = inboxes;
            team.takes_over = false;
        }
        count
    }

    fn take_over_from(&mut self, inbox: &mut Inbox, now: Time) -> usize {
        let limit = self.transmit_room().min(BURST);
        let Some(mut letters) = inbox.open() else { return 0 };
        let mut frames = std::mem::take(&mut self.frames);
        let mut arrived_by = PortId(0);
        let mut count = 0;
        while count < limit
            && let Some(head) = letters.next()
        {
            count += 1;
            self.core.totals.taken_over += 1;
            let Some(frame) = self.core.pool.take_for(usize::from(head.len)) else {
                letters.skip(head);
                self.core.totals.dropped.count(DropReason::NoFrame);
                continue;
            };
            let frame = match letters.fill(head, frame) {
                Ok(frame) => frame,
                Err(frame) => {
                    self.core.drop(frame, DropReason::TooBig);
                    continue;
                }
            };
            let port = self.core.interfaces.get(head.interface).port;
            match head.purpose {
                Purpose::Arrival => {
                    if port != arrived_by {
                        self.take_in(&mut frames, arrived_by, now);
                        arrived_by = port;
                    }
                    frames.push(frame);
                }
                Purpose::Channel { channel, word } => {
                    // What came before it goes before it.
                    self.take_in(&mut frames, arrived_by, now);
                    self.give(frame, head, (channel, word), now);
                }
            }
        }
        letters.close();
        self.take_in(&mut frames, arrived_by, now);
        self.frames = frames;
        count
    }

    /// Packets of flows that belong here, as if they had come in by the port.
    fn take_in(&mut self, frames: &mut Vec<Frame>, port: PortId, now: Time) {
        if frames.is_empty() {
            return;
        }
        if frames.len() > self.headers.len() {
            self.headers.resize(frames.len(), Headers::EMPTY);
        }
        if self.watches.is_some() {
            self.admit_observed(frames, port, now);
        }
        for frame in frames.drain(..) {
            self.admit(frame, port);
        }
        self.keep_here(now);
        self.forward(now);
    }

    /// Has the flows of the admitted packets stay here if they were taken over, should their entries lead to another worker: two that
    /// did not agree would hand them to and fro.
    pub(super) fn keep_here(&mut self, now: Time) {
        let Some(team) = self.core.team.as_ref().filter(|team| team.takes_over) else {
            return;
        };
        let flows = &mut self.core.flows;
        for sought in &self.sought {
            flows.prefetch(sought);
        }
        for (number, sought) in self.sought.iter().enumerate() {
            let found = flows.find(sought).and_then(|id| flows.flow_mut(id));
            if found.is_none_or(|flow| team.leads_to(flow.channel).is_none()) {
                continue;
            }
            let role = self.core.interfaces.get(sought.interface()).role;
            let arrival = Arrival {
                frame: self.admitted[number].bytes(),
                headers: &self.headers[number],
                interface: sought.interface(),
            };
            let action: Action = self.rules.decide(&arrival, role);
            flows.open(sought, action, now);
        }
    }

    /// Gives a packet to the channel that another worker handed it to.
    fn give(&mut self, frame: Frame, head: Head, (channel, word): (ChannelId, u64), now: Time) {
        let headers = match Headers::parse(frame.bytes()) {
            Ok(headers) => headers,
            Err(error) => return self.core.drop(frame, error.into()),
        };
        let packet = Packet {
            frame,
            headers,
            interface: head.interface,
            flow: FlowId::NONE,
        };
        self.observe_given(packet, now, |dispatcher, packet| {
            let entry = dispatcher.channels.entry(channel);
            let mut context = Context::new(now, &mut dispatcher.core);
            entry.channel.take_over(packet, word, &mut context);
        });
        self.transmit(now);
    }

    /// Says that this worker is about to sleep until a port has something or its [waker](crate::dispatch::team::Waker) is called. `false` if it must not: another
    /// worker has handed it something. [`wakes_up`](Self::wakes_up) is to follow.
    pub fn falls_asleep(&self) -> bool {
        self.core.team.as_ref().is_none_or(Member::falls_asleep)
    }

    /// Says that this worker is awake: nobody needs to wake it.
    pub fn wakes_up(&self) {
        if let Some(team) = &self.core.team {
            team.wakes_up();
        }
    }

    /// The worker that a flow's packets are handed to, if they don't belong here.
    pub fn owner_of(&self, flow: &Flow) -> Option<usize> {
        self.core.team.as_ref()?.leads_to(flow.channel)
    }
}
