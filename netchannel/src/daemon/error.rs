//! Why a daemon could not start, or ended.

use crate::control::ServerError;
use crate::event_log::LogError;
use crate::network::NetworkError;
use crate::port::afxdp::AfXdpError;
use crate::setup::SetupError;
use crate::xdp::XdpError;

use super::StateDirectoryError;

/// Why the daemon could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration does not fit this machine.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The kernel's tables can't be read or followed.
    #[error("the kernel's links and routes can't be followed: {0}")]
    Network(#[from] NetworkError),
    /// The network is no longer followed.
    #[error("the kernel's links and routes are no longer followed: {0}")]
    NetworkLost(String),
    /// The XDP program can't be loaded, attached or told what to do.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// Packets of full size are longer than those that sockets take, which was settled at the start: they would be the kernel's, and be lost there.
    #[error(
        "interface `{interface}` has an MTU of {mtu} bytes, more than the {longest} that are served; set it lower, here and on the \
         other hosts of the link: `ip link set dev {interface} mtu {longest}`"
    )]
    Mtu {
        /// The device.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The largest that works.
        longest: u32,
    },
    /// A socket can't be opened.
    #[error(transparent)]
    AfXdp(#[from] AfXdpError),
    /// The translators' state can't be kept.
    #[error(transparent)]
    State(#[from] StateDirectoryError),
    /// The control socket can't be served.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// The metrics can't be served.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::ServerError),
    /// A log can't be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A device can't give each worker a queue.
    #[error(
        "`{interface}` has {queues} queue{} for {workers} workers, each of which needs one to send by; give it more: \
         `ethtool -L {interface} combined {workers}` (a veth pair: `rx {workers} tx {workers}`), or have fewer workers: `count` in [workers]",
        if *.queues == 1 { "" } else { "s" }
    )]
    TooFewQueues {
        /// The device.
        interface: String,
        /// Queues that it both receives and sends by, of those that are served.
        queues: u32,
        /// How many workers there are to be.
        workers: u32,
    },
    /// A worker can't be pinned to its processor.
    #[error(
        "worker {worker} can't run on processor {cpu}: {source}; `cpus` in [workers] may name those that \
         `grep Cpus_allowed_list /proc/self/status` shows"
    )]
    Pin {
        /// The worker, from 0.
        worker: usize,
        /// The processor.
        cpu: u32,
        /// What the system says.
        source: std::io::Error,
    },
    /// A packet thread ended without a reason.
    #[error("a packet thread ended unexpectedly; the log says more")]
    WorkerLost,
    /// The system has no more threads or descriptors.
    #[error("the system refused a thread or a descriptor: {0}")]
    System(#[from] std::io::Error),
}
