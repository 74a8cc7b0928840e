//! What can go wrong between user space and the XDP program.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Mode;

/// An error of the XDP program's loader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// The kernel does not take the program.
    #[error(
        "the kernel refuses the XDP program: {0}; it needs Linux 5.18 or newer, and root (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)"
    )]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel's verifier does not take the program.
    #[error(
        "the kernel refuses the XDP program {name}: {source}; it needs Linux 5.18 or newer, and root (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)"
    )]
    LoadProgram {
        /// Name of the program.
        name: &'static str,
        /// What the kernel says.
        source: Box<aya::programs::ProgramError>,
    },
    /// The embedded object is not the one this library was written for.
    #[error("the embedded eBPF object has no {what} named {name}; rebuild it with `make ebpf`")]
    Object {
        /// Program or map.
        what: &'static str,
        /// Name that was looked for.
        name: &'static str,
    },
    /// Reading or writing a map failed.
    #[error("the XDP program's map {map}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What the kernel says.
        source: aya::maps::MapError,
    },
    /// There is no such network interface.
    #[error("there is no network interface named {interface:?} here; `ip link` lists them")]
    NoSuchInterface {
        /// Name of the interface.
        interface: String,
    },
    /// Another XDP program is attached to the interface.
    #[error(
        "{interface} has an XDP program already: {program}; if another netchannel runs on this interface, stop it; \
         if not, `bpftool net` shows who attached it, and `ip link set dev {interface} xdp off` takes it off"
    )]
    AlreadyAttached {
        /// Name of the interface.
        interface: String,
        /// The program that is there.
        program: ForeignProgram,
    },
    /// The interface takes no XDP program in this mode.
    #[error("attaching the XDP program to {interface} in {mode} mode: {source}")]
    Attach {
        /// Name of the interface.
        interface: String,
        /// The mode that was tried.
        mode: Mode,
        /// What the kernel says.
        source: io::Error,
    },
    /// The program can't be kept beyond the end of the process.
    #[error(
        "the XDP program can't be pinned in {}: {source}; it must be in a BPF file system, as `mount -t bpf bpf /sys/fs/bpf` makes one",
        .directory.display()
    )]
    Pin {
        /// Where it was to be pinned.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The interface has neither a program nor sockets from here.
    #[error("{interface} is not attached; attach the XDP program to it first")]
    NotAttached {
        /// Name of the interface.
        interface: String,
    },
    /// The queue number is out of range.
    #[error("queue {queue} of {interface}: only queues 0 to {last} can have a socket; set fewer with `ethtool -L`", last = xdp_prog::QUEUES_PER_INTERFACE - 1)]
    QueueOutOfRange {
        /// Name of the interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// More was asked for than the maps can hold.
    #[error("{given} {what} are too many for the XDP program; it holds {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many are possible.
        limit: usize,
    },
    /// A VLAN identifier is out of range, or an inner tag has no outer one.
    #[error(
        "{interface}: VLAN {outer}.{inner} can't be; identifiers are 1 to 4094, and an inner one needs an outer one"
    )]
    InvalidVlan {
        /// Name of the interface.
        interface: String,
        /// Identifier of the outer tag; 0 is none.
        outer: u16,
        /// Identifier of the inner tag; 0 is none.
        inner: u16,
    },
    /// Two logical interfaces are the same, or have the same number.
    #[error(
        "{interface}, VLAN {outer}.{inner}, number {id}: another logical interface has the same VLANs or the same number"
    )]
    DuplicateInterface {
        /// Name of the interface.
        interface: String,
        /// Identifier of the outer tag; 0 is none.
        outer: u16,
        /// Identifier of the inner tag; 0 is none.
        inner: u16,
        /// Number of the logical interface.
        id: u32,
    },
    /// A frame can't be handed to the kernel because of its length.
    #[error("a frame of {length} bytes can't be handed to the kernel; it must have 14 to {limit}", limit = super::MAX_INJECTED_LENGTH)]
    FrameLength {
        /// Length in bytes.
        length: usize,
    },
    /// The kernel does not run the program on a frame.
    #[error(
        "a frame of {length} bytes on queue {queue} of interface number {ifindex}: {source}; is the interface still there, and has it that queue?"
    )]
    Run {
        /// Length of the frame in bytes.
        length: usize,
        /// Index of the device.
        ifindex: u32,
        /// Receive queue.
        queue: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// A system call failed that hardly ever does.
    #[error("{call}: {source}")]
    System {
        /// What was tried.
        call: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// An XDP program that somebody attached to an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignProgram {
    /// The kernel's number for the program, if it can be told.
    pub id: Option<u32>,
    /// Its name, if it has one.
    pub name: Option<String>,
}

impl fmt::Display for ForeignProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, &self.name) {
            (Some(id), Some(name)) => write!(f, "number {id}, named {name:?}"),
            (Some(id), None) => write!(f, "number {id}"),
            (None, _) => write!(f, "its number can't be told"),
        }
    }
}
