//! The dispatcher: from a port's burst by way of flow table and classifier to the channels, and out again.

mod context;
mod core;
pub mod dimensions;
mod dispatcher;
mod ethernet;
mod flow_key;
mod flow_record;
mod flow_table;
mod fragment;
mod icmp_error;
mod observation;
mod offload;
mod overload;
mod registry;
mod routing;
mod rule_counters;
mod rule_set;
mod tcp_flags;
pub mod team;
pub(crate) mod ways;

pub use context::Context;
pub use core::{KernelPath, Totals};
pub use dispatcher::{BURST, Dispatcher, Parts, PortFailed, Reopened, TooManyWatches};
pub use flow_key::FlowKey;
pub use flow_record::{CloseReason, FlowClosed, FlowRecord, FlowRecorder, FlowRecording, flow_recording};
pub use flow_table::{CensusNumber, CensusSuperseded, Flow, FlowId, FlowTable};
pub use icmp_error::{IcmpError, Undelivered};
pub use observation::{
    Decision, Fate, MAX_WATCHES, Novelty, Observation, PacketFilter, Sent, Translation, Unseen, Watch,
    WatchOptions, Watcher,
};
pub use offload::{Offload, OffloadPort, Offloadable, Rewriting};
pub use registry::{ChannelCounters, NameTaken, Registry};
pub(crate) use routing::flow_hash;
pub use routing::{Departure, Resolve, is_possible_source};
pub use rule_counters::{RuleCounters, RuleNumber};
pub use rule_set::{Action, BoxId, OwnedBox, RuleSet, RuleSetBuilder};
pub use tcp_flags::{TCP_FLAGS, tcp_flags_in_key, tcp_flags_ranges};
