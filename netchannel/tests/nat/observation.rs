//! Packets that are translated, seen one by one.

use std::sync::Arc;

use netchannel::channel::nat::Filtering;
use netchannel::channel::nat::PerProtocol;
use netchannel::dispatch::{Fate, Novelty, Observation, PacketFilter, Watch, WatchOptions, Watcher};
use netchannel::drop_reason::DropReason;

use crate::harness::*;
use crate::packets::*;

struct Observed {
    nat: NatBox,
    watcher: Watcher,
}

impl Observed {
    fn of(mut nat: NatBox) -> Self {
        let (watch, watcher) = Watch::new(
            WatchOptions {
                filter: PacketFilter::all(),
                with_answers: false,
                only_drops: false,
                snap_length: 128,
                per_second: u32::MAX,
                count: u64::MAX,
                backlog: 16,
            },
            3,
        );
        nat.test.dispatcher.watch(watch).unwrap();
        Self { nat, watcher }
    }

    fn last(&mut self) -> Arc<Observation> {
        let seen: Vec<_> = std::iter::from_fn(|| self.watcher.observations.pop().ok()).collect();
        assert_eq!(seen.len(), 1);
        Arc::clone(&seen[0])
    }

    /// What is seen of a packet from inside.
    fn send(&mut self, body: Body, to: &str) -> Arc<Observation> {
        self.nat.send(body, at(INSIDE), at(to));
        self.last()
    }

    fn reply(&mut self, body: Body, from: &str, to: &str) -> Arc<Observation> {
        self.nat.reply(body, at(from), at(to));
        self.last()
    }
}

fn novelty(seen: &Observation) -> Option<Novelty> {
    seen.translation.map(|translation| translation.novelty)
}

#[test]
fn what_is_new_of_a_translation_is_told() {
    let mut nat = Observed::of(NatBox::plain());
    for body in [Body::Tcp(SYN), Body::Udp] {
        let opened = nat.send(body, SERVER);
        assert_eq!(
            (novelty(&opened), opened.fate),
            (Some(Novelty::NewMapping), Fate::Transmitted)
        );
        let session = opened.translation.unwrap().session;
        assert_eq!((session.inside, session.remote), (at(INSIDE), at(SERVER)));
        assert_eq!(session.external, at("192.0.2.7:5000"));
        assert!(session.is_from_inside);
        assert_eq!(novelty(&nat.send(body, SERVER)), Some(Novelty::Known));
        assert_eq!(novelty(&nat.send(body, "9.9.9.9:53")), Some(Novelty::NewSession));
        // The answer's flow is another one, and its session is known.
        let body = if body == Body::Udp {
            body
        } else {
            Body::Tcp(SYN | ACK)
        };
        let answer = nat.reply(body, SERVER, "192.0.2.7:5000");
        assert_eq!(novelty(&answer), Some(Novelty::Known));
        let arrived = answer.sent[0].headers.unwrap();
        assert_eq!(
            (arrived.destination, arrived.ports().1),
            ("10.0.0.2".parse().unwrap(), 5000)
        );
    }
}

#[test]
fn what_is_refused_is_told_by_its_reason() {
    let mut nat = Observed::of(NatBox::new(|settings| {
        settings.limits.mappings = 1;
        settings.filtering = PerProtocol::all(Filtering::AddressAndPortDependent);
    }));
    let stranger = nat.reply(Body::Udp, SERVER, "192.0.2.7:5000");
    assert_eq!(stranger.fate, Fate::Dropped(DropReason::NatNoMapping));
    assert_eq!(novelty(&stranger), None);
    nat.send(Body::Udp, SERVER);
    let filtered = nat.reply(Body::Udp, "9.9.9.9:53", "192.0.2.7:5000");
    assert_eq!(filtered.fate, Fate::Dropped(DropReason::NatFiltered));
    let refused = nat.send(Body::Tcp(SYN), SERVER);
    assert_eq!(refused.fate, Fate::Dropped(DropReason::NatMappingLimit));
    // The host is told.
    assert_eq!((refused.sent.len(), novelty(&refused)), (1, None));
}
