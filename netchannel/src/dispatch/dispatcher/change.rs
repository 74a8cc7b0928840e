//! What a dispatcher works with, changed while it runs: ports, interfaces, rules.

use classifier::InsertError;

use super::Dispatcher;
use crate::dispatch::core::KernelPath;
use crate::dispatch::flow_record::FlowRecorder;
use crate::dispatch::rule_set::{BoxId, OwnedBox, RuleSet, RuleSetBuilder};
use crate::interface::Interfaces;
use crate::port::{AbsentPort, FramePool, PacketIo};

/// What a dispatcher is given anew when an interface is back that was gone; see [`Parts`](super::Parts).
pub struct Reopened {
    /// All interfaces, in the same order.
    pub interfaces: Interfaces,
    /// All ports, in the same order.
    pub ports: Vec<Box<dyn PacketIo>>,
    /// For each port, whether frames may arrive with partial checksums.
    pub partial_checksums: Vec<bool>,
    /// The pool that all ports' frames come from.
    pub pool: FramePool,
    /// Where passed packets go.
    pub kernel: Box<dyn KernelPath>,
}

impl Dispatcher {
    /// Closes all ports, before they are opened anew. Nothing is received or sent meanwhile.
    pub fn close_ports(&mut self) {
        for port in &mut self.ports {
            *port = Box::new(AbsentPort::after(port.counters()));
        }
    }

    /// Goes on with ports that were opened anew, in place of those that there were. Channels and flows stay; interfaces are known by the
    /// same numbers.
    pub fn reopen(&mut self, parts: Reopened) {
        let Reopened {
            interfaces,
            ports,
            partial_checksums,
            pool,
            kernel,
        } = parts;
        debug_assert_eq!(ports.len(), self.ports.len());
        self.recall_offloaded();
        self.ports = ports;
        self.partial_checksums = partial_checksums;
        self.partial_checksums.resize(self.ports.len(), false);
        self.core.reopen(interfaces, pool, kernel);
    }

    /// Goes on with interfaces that have other indices in the kernel.
    pub fn set_interfaces(&mut self, interfaces: Interfaces) {
        self.recall_offloaded();
        self.core.set_interfaces(interfaces);
    }

    /// Replaces the rules: every flow is decided anew with its next packet. Flows that have none are cleared away little by little;
    /// [`FlowTable::is_swept`](crate::dispatch::FlowTable::is_swept) says when no flow counts for a former rule any more.
    /// Returns the former ones, which may take their time to be freed.
    pub fn set_rules(&mut self, rules: RuleSet) -> RuleSet {
        self.recall_offloaded();
        self.core.flows.reserve_rules(rules.rule_numbers());
        self.core.flows.invalidate();
        std::mem::replace(&mut self.rules, rules)
    }

    /// Has it tell of flows that open and close, while somebody watches.
    pub fn record_flows(&mut self, recorder: FlowRecorder) {
        self.core.flows.record(recorder.of_channels(self.channels.len()));
    }

    /// Changes the rules: adds boxes, each behind those of its priority, and takes others out. Every flow is decided anew with its next
    /// packet.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing has changed then.
    pub fn change_rules(
        &mut self,
        add: RuleSetBuilder,
        remove: &[BoxId],
    ) -> Result<Vec<OwnedBox>, InsertError> {
        let placed = self.rules.change(add, remove)?;
        self.recall_offloaded();
        self.core.flows.reserve_rules(self.rules.rule_numbers());
        self.core.flows.invalidate();
        Ok(placed)
    }
}
