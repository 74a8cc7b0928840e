//! Memory: who has how much of it.

use serde::{Deserialize, Serialize};

/// Answer to [`Request::Memory`](super::super::Request::Memory).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the kernel counts for the process.
    pub process: ProcessMemory,
    /// The packet memory (UMEM).
    pub frames: Frames,
    /// Tables and buffers. Much of what they reserve takes no memory before it is used.
    pub tables: Vec<Table>,
}

/// What the kernel counts for the process, in bytes; `None` where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// In memory now.
    pub resident_bytes: Option<u64>,
    /// The most that was in memory at any time.
    pub peak_resident_bytes: Option<u64>,
    /// Locked in memory, the packet memory above all.
    pub locked_bytes: Option<u64>,
    /// Address space.
    pub virtual_bytes: Option<u64>,
}

/// The frames of the packet memory: `free + held + those of ports = frames`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// All frames.
    pub frames: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Frames that nobody has.
    pub free: u64,
    /// Frames of packets that wait for a next hop, or that channels keep.
    pub held: u64,
    /// Frames that the kernel has, by device.
    pub ports: Vec<PortFrames>,
}

/// The frames that the kernel has for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortFrames {
    /// The device.
    pub device: String,
    /// To receive into, or received and not yet looked at.
    pub receiving: u64,
    /// To be sent, or sent and not yet given back.
    pub sending: u64,
}

/// A table or a buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Whose it is: `flow table`, `rules`, `network`, `events`, or a channel by its name after `channel `.
    pub owner: String,
    /// What it is for.
    pub name: String,
    /// Entries in use, where they are counted.
    pub entries: Option<u64>,
    /// Entries that there is room for, where there is a bound.
    pub capacity: Option<u64>,
    /// Bytes that it reserves, or, without a bound, has; `None` where that is not counted.
    pub bytes: Option<u64>,
}
