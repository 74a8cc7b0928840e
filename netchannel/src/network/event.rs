//! Tells those who subscribed what changed about the links.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::link::{InterfaceIndex, Links};

/// Events that a subscriber can leave unread before it misses some.
const QUEUE: usize = 1024;

/// A change of the network. By the time it is told, the snapshot that shows it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkEvent {
    /// A new interface.
    LinkAdded {
        /// Its index.
        index: InterfaceIndex,
        /// Its name.
        name: String,
    },
    /// An interface is gone: deleted, unplugged or moved to another network namespace.
    LinkRemoved {
        /// The index that it had.
        index: InterfaceIndex,
        /// The name that it had.
        name: String,
    },
    /// An interface has another name.
    LinkRenamed {
        /// Its index, which stays.
        index: InterfaceIndex,
        /// The name before.
        from: String,
        /// The name now.
        to: String,
    },
    /// An interface became usable: up and operational.
    LinkUp {
        /// Its index.
        index: InterfaceIndex,
        /// Its name.
        name: String,
    },
    /// An interface is no more usable: set down, or without a carrier.
    LinkDown {
        /// Its index.
        index: InterfaceIndex,
        /// Its name.
        name: String,
    },
    /// The Ethernet address, the MTU or the VLAN of an interface changed.
    LinkChanged {
        /// Its index.
        index: InterfaceIndex,
        /// Its name.
        name: String,
    },
    /// The addresses of an interface changed.
    AddressesChanged {
        /// Its index.
        index: InterfaceIndex,
        /// Its name.
        name: String,
    },
    /// The subscriber was too slow and missed events: the snapshot tells what is.
    Missed,
    /// The network is no longer followed: the last snapshot stays as it is.
    MonitorFailed {
        /// Why.
        reason: String,
    },
}

/// What happened to the links between two snapshots, removals first.
pub(crate) fn differences(before: &Links, after: &Links) -> Vec<NetworkEvent> {
    let removed = before
        .iter()
        .filter(|link| after.get(link.index).is_none())
        .map(|link| NetworkEvent::LinkRemoved {
            index: link.index,
            name: link.name.clone(),
        });
    let mut events: Vec<NetworkEvent> = removed.collect();
    for link in after.iter() {
        let (index, name) = (link.index, || link.name.clone());
        let old = before.get(index);
        match old {
            None => events.push(NetworkEvent::LinkAdded { index, name: name() }),
            Some(old) => {
                if old.name != link.name {
                    events.push(NetworkEvent::LinkRenamed {
                        index,
                        from: old.name.clone(),
                        to: name(),
                    });
                }
                if (old.mac, old.mtu, old.vlan) != (link.mac, link.mtu, link.vlan) {
                    events.push(NetworkEvent::LinkChanged { index, name: name() });
                }
            }
        }
        match (old.is_some_and(|old| old.is_usable()), link.is_usable()) {
            (false, true) => events.push(NetworkEvent::LinkUp { index, name: name() }),
            (true, false) => events.push(NetworkEvent::LinkDown { index, name: name() }),
            _ => {}
        }
        if old.map_or(&[][..], |old| &old.addresses) != link.addresses {
            events.push(NetworkEvent::AddressesChanged { index, name: name() });
        }
    }
    events
}

#[derive(Debug)]
struct Subscriber {
    sender: SyncSender<NetworkEvent>,
    missed: bool,
}

/// Everyone who wants to hear of changes.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    list: Mutex<Vec<Subscriber>>,
}

impl Subscribers {
    pub(super) fn subscribe(&self) -> Receiver<NetworkEvent> {
        let (sender, receiver) = sync_channel(QUEUE);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(Subscriber {
            sender,
            missed: false,
        });
        receiver
    }

    /// Tells all; never waits. Those that hung up are forgotten.
    pub(super) fn tell(&self, events: &[NetworkEvent]) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain_mut(|subscriber| events.iter().all(|event| subscriber.tell(event)));
    }
}

impl Subscriber {
    /// Whether it still listens.
    fn tell(&mut self, event: &NetworkEvent) -> bool {
        let full = if self.missed {
            self.sender.try_send(NetworkEvent::Missed)
        } else {
            Ok(())
        };
        match full.and_then(|()| {
            self.missed = false;
            self.sender.try_send(event.clone())
        }) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed = true;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Link, NetworkBuilder};
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link::ethernet(InterfaceIndex(index), name, [2; 6])
    }

    #[test]
    fn differences_name_what_happened() {
        let before = NetworkBuilder::new()
            .link(link(1, "a"))
            .link(link(2, "b"))
            .link(link(3, "c"))
            .build();
        let mut down = link(2, "b");
        down.running = false;
        let mut renamed = link(3, "d");
        renamed.mtu = 9000;
        let after = NetworkBuilder::new()
            .link(down)
            .link(renamed)
            .link(link(4, "e"))
            .address(InterfaceIndex(4), "192.0.2.1/24".parse().unwrap())
            .build();
        let name = |name: &str| name.to_owned();
        let index = InterfaceIndex;
        assert_eq!(
            differences(&before.links, &after.links),
            [
                NetworkEvent::LinkRemoved {
                    index: index(1),
                    name: name("a")
                },
                NetworkEvent::LinkDown {
                    index: index(2),
                    name: name("b")
                },
                NetworkEvent::LinkRenamed {
                    index: index(3),
                    from: name("c"),
                    to: name("d")
                },
                NetworkEvent::LinkChanged {
                    index: index(3),
                    name: name("d")
                },
                NetworkEvent::LinkAdded {
                    index: index(4),
                    name: name("e")
                },
                NetworkEvent::LinkUp {
                    index: index(4),
                    name: name("e")
                },
                NetworkEvent::AddressesChanged {
                    index: index(4),
                    name: name("e")
                },
            ]
        );
        assert_eq!(differences(&after.links, &after.links), []);
    }

    #[test]
    fn a_slow_subscriber_is_told_that_it_missed_events() {
        let subscribers = Subscribers::default();
        let receiver = subscribers.subscribe();
        let event = |index| NetworkEvent::LinkAdded {
            index: InterfaceIndex(index),
            name: String::new(),
        };
        let events: Vec<_> = (0..QUEUE as u32 + 5).map(event).collect();
        subscribers.tell(&events);
        assert_eq!(receiver.try_iter().count(), QUEUE);
        subscribers.tell(&[event(7)]);
        assert_eq!(
            receiver.try_iter().collect::<Vec<_>>(),
            [NetworkEvent::Missed, event(7)]
        );
        drop(receiver);
        subscribers.tell(&[event(8)]);
        assert!(subscribers.list.lock().unwrap().is_empty());
    }
}
