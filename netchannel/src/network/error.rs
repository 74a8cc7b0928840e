//! What can go wrong between this module and the kernel.

use std::io;

/// Why the kernel's network could not be read, followed or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A socket to the kernel could not be opened or set up.
    #[error("cannot {action} for talking to the kernel about its network: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel did not tell its tables.
    #[error("cannot read the kernel's {table}: {source}")]
    Read {
        /// Which table.
        table: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Reading the kernel's tables failed again and again.
    #[error(
        "gave up following the kernel's network after {attempts} attempts to read it anew, the last: {source}"
    )]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// Why the last one failed.
        source: Box<NetworkError>,
    },
    /// Changes could not be received any more.
    #[error("cannot receive changes of the kernel's network: {source}")]
    Receive {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The thread that follows the changes could not be started.
    #[error("cannot start the thread that follows the kernel's network: {source}")]
    Thread {
        /// The system's answer.
        source: io::Error,
    },
    /// The thread that follows the changes came to an unforeseen end.
    #[error("the thread that follows the kernel's network panicked; this is a bug, restart the program")]
    Panicked,
    /// There is no interface of that name.
    #[error("there is no interface {name:?} in this network namespace; `ip link` lists those that there are")]
    NoSuchInterface {
        /// The name.
        name: String,
    },
    /// The name cannot be an interface's.
    #[error("{name:?} cannot be an interface: a name has 1 to 15 bytes, none of them zero")]
    BadInterfaceName {
        /// The name.
        name: String,
    },
    /// The kernel or the interface's driver refused a question or a setting.
    #[error("interface {name}: cannot {action}: {source}")]
    Interface {
        /// The interface's name.
        name: String,
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An offload stayed on although it was turned off.
    #[error(
        "interface {name}: the driver does not let {offload} be turned off (`ethtool -k {name}` shows it as fixed)"
    )]
    OffloadFixed {
        /// The interface's name.
        name: String,
        /// Which offload.
        offload: &'static str,
    },
}
