//! Answers to what is asked over the control socket.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::packet_thread::OpenPort;
use super::rule_counters::Listings;
use super::rules::RuleStore;
use super::team::{Team, add_details};
use crate::control::report::{
    Channel, Channels, CopyMode, DropReason, Drops, KernelStatistics, LinkState, Port, Ports, Rings, Traffic,
    Verdict, XdpMode,
};
use crate::control::{ControlError, Inspect, Request, Watch, Watched};
use crate::dispatch::{Dispatcher, Totals};
use crate::events::Events;
use crate::interface::{Interfaces, PortId};
use crate::network::SharedNetwork;
use crate::port::PortCounters;
use crate::port::afxdp::{AfXdpPort, QueueStatistics};
use crate::setup::Layout;
use crate::time::Time;
use crate::worker::Unanswered;
use crate::xdp::{AttachedMode, XdpProgram};

/// Knows whom to ask.
pub(super) struct Inspector {
    pub(super) team: Team,
    pub(super) xdp: Arc<Mutex<XdpProgram>>,
    pub(super) layout: Layout,
    pub(super) ports: Vec<OpenPort>,
    pub(super) network: SharedNetwork,
    pub(super) events: Events,
    pub(super) rules: RuleStore,
    /// The event log's.
    pub(super) buffers: Vec<(String, u64, u64)>,
    /// Of rules, of which pages are still to be taken.
    pub(super) listings: Listings,
}

impl Inspector {
    pub(super) fn interfaces(&self) -> &Interfaces {
        &self.layout.interfaces
    }

    /// The names of the interfaces, in the order of their numbers.
    pub(super) fn interface_names(&self) -> Vec<String> {
        let interfaces = self.layout.interfaces.iter();
        interfaces.map(|(_, interface)| interface.name.clone()).collect()
    }

    /// Asks the first worker for what all have the same.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Dispatcher, Time) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        self.ask_one(0, question)
    }

    /// Asks one worker.
    pub(super) fn ask_one<T: Send + 'static>(
        &self,
        worker: usize,
        question: impl FnOnce(&mut Dispatcher, Time) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        self.team.ask_one(worker, question).map_err(unanswered)
    }

    /// Asks all workers.
    pub(super) fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Dispatcher, Time) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, ControlError> {
        self.team.ask_all(question).map_err(unanswered)
    }

    pub(super) fn ports(&self) -> Result<Ports, ControlError> {
        let mut of_workers = self.ask_all(|dispatcher, _| count_ports(dispatcher))?.into_iter();
        let mut counted = of_workers.next().unwrap_or_default();
        for more in of_workers {
            counted
                .iter_mut()
                .zip(&more)
                .for_each(|(sum, more)| sum.add(more));
        }
        let network = self.network.load();
        let ports = self.layout.interfaces.iter().map(|(_, interface)| {
            let number = usize::from(interface.port.0);
            let (open, counted) = (&self.ports[number], &counted[number]);
            let counters = &counted.counters;
            Port {
                interface: interface.name.clone(),
                device: open.device.clone(),
                vlan: Some(interface.vlan.outer).filter(|vlan| *vlan != 0),
                link: match network.links.get(interface.index) {
                    Some(link) if link.is_usable() => LinkState::Up,
                    Some(_) => LinkState::Down,
                    None => LinkState::Removed,
                },
                driver: open.driver.clone(),
                xdp_mode: match open.mode {
                    Some(AttachedMode::Generic { .. }) => XdpMode::Generic,
                    Some(AttachedMode::Native) | None => XdpMode::Native,
                },
                copy_mode: if open.zero_copy {
                    CopyMode::ZeroCopy
                } else {
                    CopyMode::Copy
                },
                queues: open.queues,
                rings: Rings {
                    receive: open.options.receive_ring,
                    transmit: open.options.transmit_ring,
                    fill: open.umem.fill_ring,
                    completion: open.umem.completion_ring,
                },
                received: Traffic {
                    packets: counters.received_packets,
                    bytes: counters.received_bytes,
                },
                transmitted: Traffic {
                    packets: counters.transmitted_packets,
                    bytes: counters.transmitted_bytes,
                },
                dropped: counted.dropped,
                kernel: counted.kernel,
            }
        });
        let ports = ports.collect();
        let verdicts = self.xdp.lock().unwrap_or_else(PoisonError::into_inner).counters();
        let verdicts = verdicts.map_err(|error| ControlError::new(error.to_string()))?;
        let verdicts = verdicts.into_iter().map(|(name, packets)| Verdict {
            name: name.to_owned(),
            packets,
        });
        Ok(Ports {
            ports,
            verdicts: verdicts.collect(),
        })
    }

    pub(super) fn channels(&self) -> Result<Channels, ControlError> {
        let of_workers = self.ask_all(|dispatcher, _| {
            let channels = dispatcher.channels().iter();
            let describe = channels.map(|(name, channel, counters)| Channel {
                name: name.to_owned(),
                kind: channel.kind().to_owned(),
                packets: counters.packets,
                bytes: counters.bytes,
                flows: counters.flows,
                details: channel.details(),
            });
            describe.collect::<Vec<_>>()
        })?;
        let mut of_workers = of_workers.into_iter();
        let mut channels = of_workers.next().unwrap_or_default();
        for more in of_workers {
            for (sum, more) in channels.iter_mut().zip(more) {
                sum.packets += more.packets;
                sum.bytes += more.bytes;
                sum.flows += more.flows;
                add_details(&mut sum.details, more.details);
            }
        }
        Ok(Channels { channels })
    }

    pub(super) fn drops(&self) -> Result<Drops, ControlError> {
        let mut sum = Totals::default();
        for totals in self.ask_all(|dispatcher, _| dispatcher.totals())? {
            sum.add(&totals);
        }
        Ok(drops(&sum))
    }
}

impl Inspect for Inspector {
    fn answer(&self, request: Request) -> Result<Value, ControlError> {
        match request {
            Request::Ports => value(self.ports()?),
            Request::Channels => value(self.channels()?),
            Request::Drops => value(self.drops()?),
            Request::Mappings(page) => value(self.mappings(&page)?),
            Request::Sessions(page) => value(self.sessions(&page)?),
            Request::Pools(page) => value(self.pools(&page)?),
            Request::DeleteMappings(page) => value(self.delete_mappings(&page)?),
            Request::Rules(request) => self.rules.answer(request),
            Request::Workers => value(self.workers()?),
            Request::Memory => value(self.memory()?),
            Request::Routes(page) => value(self.routes(&page)?),
            Request::Neighbours(page) => value(self.neighbours(&page)?),
            Request::Flows(page) => value(self.flows(&page)?),
            Request::TopFlows(top) => value(self.top_flows(&top)?),
            Request::RuleCounters(page) => value(self.rule_counters(&page)?),
        }
    }

    fn watch(&self, watch: Watch) -> Result<Box<dyn Watched>, ControlError> {
        match watch {
            Watch::Events(kinds) => Ok(Box::new(self.events.subscribe(kinds))),
            Watch::Trace(trace) => Ok(Box::new(self.trace(&trace)?)),
            Watch::Capture(capture) => Ok(Box::new(self.capture(&capture)?)),
        }
    }
}

fn value(report: impl Serialize) -> Result<Value, ControlError> {
    Ok(serde_json::to_value(report)?)
}

fn unanswered(error: Unanswered) -> ControlError {
    ControlError::new(error.to_string())
}

/// What was counted for a port.
struct PortCount {
    counters: PortCounters,
    dropped: u64,
    kernel: KernelStatistics,
}

impl PortCount {
    /// Adds what another worker counted for its queues of the same device.
    fn add(&mut self, more: &Self) {
        let (sum, counters) = (&mut self.counters, &more.counters);
        sum.received_packets += counters.received_packets;
        sum.received_bytes += counters.received_bytes;
        sum.transmitted_packets += counters.transmitted_packets;
        sum.transmitted_bytes += counters.transmitted_bytes;
        self.dropped += more.dropped;
        add_kernel(&mut self.kernel, &more.kernel);
    }
}

fn count_ports(dispatcher: &Dispatcher) -> Vec<PortCount> {
    let ports = dispatcher.ports().iter().zip(dispatcher.transmit_drops());
    (0..)
        .map(PortId)
        .zip(ports)
        .map(|(number, (port, &dropped))| {
            let any: &dyn Any = port.as_ref();
            let sockets = any
                .downcast_ref::<AfXdpPort>()
                .and_then(|port| port.statistics().ok());
            PortCount {
                counters: dispatcher.port_counters(number),
                dropped,
                kernel: sum(&sockets.unwrap_or_default()),
            }
        })
        .collect()
}

fn sum(queues: &[QueueStatistics]) -> KernelStatistics {
    let mut sum = KernelStatistics::default();
    for queue in queues {
        let counted = KernelStatistics {
            receive_dropped: queue.receive_dropped,
            receive_ring_full: queue.receive_ring_full,
            fill_ring_empty: queue.fill_ring_empty,
            transmit_ring_empty: queue.transmit_ring_empty,
            refused_by_kernel: queue.refused_by_kernel,
            invalid: queue.invalid,
        };
        add_kernel(&mut sum, &counted);
    }
    sum
}

fn add_kernel(sum: &mut KernelStatistics, more: &KernelStatistics) {
    sum.receive_dropped += more.receive_dropped;
    sum.receive_ring_full += more.receive_ring_full;
    sum.fill_ring_empty += more.fill_ring_empty;
    sum.transmit_ring_empty += more.transmit_ring_empty;
    sum.refused_by_kernel += more.refused_by_kernel;
    sum.invalid += more.invalid;
}

/// The totals as they are reported, also at the end of a replay.
pub(crate) fn drops(totals: &Totals) -> Drops {
    let reason = |(reason, packets): (crate::drop_reason::DropReason, u64)| DropReason {
        reason: reason.name().to_owned(),
        packets,
        explanation: reason.explanation().to_owned(),
    };
    Drops {
        received: totals.received,
        originated: totals.originated,
        transmitted: totals.transmitted,
        passed: totals.passed,
        consumed: totals.consumed(),
        // What is on its way from one worker to another one has neither.
        held: totals.held + totals.handed_on.saturating_sub(totals.taken_over),
        reasons: totals.dropped.iter().map(reason).collect(),
    }
}
