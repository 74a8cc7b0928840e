//! What can be wrong with a capture file.

use std::io;

/// A capture could not be read or written. `file` is its name, `packet` the number of the packet at fault, from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file could not be opened.
    #[error("{file} could not be opened")]
    Open {
        /// Name of the file.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be created.
    #[error("{file} could not be created")]
    Create {
        /// Name of the file.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Reading failed.
    #[error("{file}: packet {packet} could not be read")]
    Read {
        /// Name of the file.
        file: String,
        /// Number of the packet, from 1.
        packet: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("{file} could not be written")]
    Write {
        /// Name of the file.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("{file} is empty; expected a pcap or pcapng capture")]
    Empty {
        /// Name of the file.
        file: String,
    },
    /// The file starts unlike any capture.
    #[error("{file} is no capture: it starts with {start:02x?}; expected pcap or pcapng, not compressed")]
    NotACapture {
        /// Name of the file.
        file: String,
        /// Its first bytes, up to 4.
        start: Vec<u8>,
    },
    /// The file ends too early.
    #[error("{file} ends within packet {packet}, or a length there is wrong")]
    Truncated {
        /// Name of the file.
        file: String,
        /// Number of the packet, from 1.
        packet: u64,
    },
    /// Something in the file contradicts its format.
    #[error("{file}: packet {packet}: {problem}")]
    Malformed {
        /// Name of the file.
        file: String,
        /// Number of the packet, from 1.
        packet: u64,
        /// What is wrong.
        problem: String,
    },
    /// The packets are not Ethernet frames.
    #[error("{file}: packet {packet} has link type {link_type}; only Ethernet (1) can be read")]
    LinkType {
        /// Name of the file.
        file: String,
        /// Number of the packet, from 1.
        packet: u64,
        /// The link type, see <https://www.tcpdump.org/linktypes.html>.
        link_type: u32,
    },
    /// An interface was chosen that the capture does not have.
    #[error("{file} has no interface {interface}; it has: {}", present.join(", "))]
    NoSuchInterface {
        /// Name of the file.
        file: String,
        /// The interface that was chosen.
        interface: String,
        /// Names of the interfaces that the capture has.
        present: Vec<String>,
    },
    /// An interface was chosen in a pcap file, which has no names of interfaces.
    #[error("{file} is a pcap file, which names no interfaces, so {interface} can't be chosen in it")]
    NoInterfaceNames {
        /// Name of the file.
        file: String,
        /// The interface that was chosen.
        interface: String,
    },
}
