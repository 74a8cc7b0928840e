//! Settings of an interface and its driver that start-up asks for and changes: driver, queues, offloads, up.
//!
//! Everything acts in the network namespace of the thread that opened the [`Ethtool`], and asks the kernel by ioctl
//! (`SIOCETHTOOL`, see `linux/ethtool.h`), not through sysfs, which may show another namespace.

#![allow(unsafe_code)]

mod queues;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::error::NetworkError;
pub use queues::{CardRings, QueueLimits, spread_over};

// Commands of linux/ethtool.h (`ETHTOOL_GDRVINFO` and so on), which the libc crate does not have.
const GET_DRIVER: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_STRING_COUNT: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
const GET_CHANNELS: u32 = 0x3c;
/// The set of strings that names the features (`ETH_SS_FEATURES`).
const FEATURE_NAMES: u32 = 4;
/// Bytes of one string in a set (`ETH_GSTRING_LEN`).
const STRING: usize = 32;
/// 32-bit words of `struct ethtool_drvinfo`, and where in it the driver's name begins.
const DRIVER_WORDS: usize = 49;
const DRIVER_NAME_WORD: usize = 1;
/// 32-bit words of `struct ethtool_channels`.
const CHANNELS_WORDS: usize = 9;

/// Work that a network card, or the kernel in its place, does for the packets, and that packets which
/// bypass the kernel miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offload {
    /// Checksums are completed by the sending card. Frames of a veth peer then bear partial checksums.
    TransmitChecksum,
    /// The VLAN tag is taken out of received frames.
    ReceiveVlan,
    /// The VLAN tag is put into sent frames by the card. A veth peer then hands it over beside the frame.
    TransmitVlan,
    /// Received TCP segments are merged by the card (LRO, hardware GRO).
    ReceiveMerging,
}

impl Offload {
    /// The kernel's names of the features that make it up.
    fn features(self) -> &'static [&'static str] {
        match self {
            Self::TransmitChecksum => &[
                "tx-checksum-ipv4",
                "tx-checksum-ip-generic",
                "tx-checksum-ipv6",
                "tx-checksum-fcoe-crc",
                "tx-checksum-sctp",
            ],
            Self::ReceiveVlan => &["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"],
            Self::TransmitVlan => &["tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"],
            Self::ReceiveMerging => &["rx-lro", "rx-gro-hw"],
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TransmitChecksum => "transmit checksum offload",
            Self::ReceiveVlan => "receive VLAN offload",
            Self::TransmitVlan => "transmit VLAN offload",
            Self::ReceiveMerging => "receive merging (LRO)",
        }
    }
}

/// What turning an offload off came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadChange {
    /// It was on and is off now.
    Changed,
    /// It was off, or the interface has no such offload.
    AlreadyOff,
}

/// The queues of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Queues that receive.
    pub receive: u32,
    /// Queues that transmit.
    pub transmit: u32,
}

/// Asks and changes the settings of interfaces. Changes need CAP_NET_ADMIN.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    /// Opens the socket that it works through, in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// When the socket cannot be opened.
    pub fn open() -> Result<Self, NetworkError> {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map_err(|error| NetworkError::Socket {
            action: "open a socket for ioctl",
            source: error.into(),
        })?;
        Ok(Self { socket })
    }

    /// The name of the interface's driver, such as `veth` or `ice`.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or it has no driver that tells.
    pub fn driver(&self, interface: &str) -> Result<String, NetworkError> {
        let mut words = [0; DRIVER_WORDS];
        words[0] = GET_DRIVER;
        self.ethtool(interface, "read its driver's name", &mut words)?;
        Ok(text(&words[DRIVER_NAME_WORD..DRIVER_NAME_WORD + STRING / 4]))
    }

    /// The queues that the interface uses. One of each for an interface whose driver knows no queues.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses.
    pub fn queues(&self, interface: &str) -> Result<Queues, NetworkError> {
        let mut words = [0; CHANNELS_WORDS];
        words[0] = GET_CHANNELS;
        match self.ethtool(interface, "read its number of queues", &mut words) {
            Ok(()) => {
                let [_, _, _, _, _, receive, transmit, _, combined] = words;
                Ok(Queues {
                    receive: (receive + combined).max(1),
                    transmit: (transmit + combined).max(1),
                })
            }
            Err(NetworkError::Interface { source, .. })
                if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                Ok(Queues {
                    receive: 1,
                    transmit: 1,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an offload is on, as a whole or in part.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses.
    pub fn is_on(&self, interface: &str, offload: Offload) -> Result<bool, NetworkError> {
        let features = self.features(interface, offload)?;
        Ok(features
            .blocks
            .iter()
            .zip(&features.mask)
            .any(|(block, mask)| block.active & mask != 0))
    }

    /// Turns an offload off.
    ///
    /// # Errors
    ///
    /// When there is no such interface, the kernel refuses, or the driver keeps the offload on
    /// ([`NetworkError::OffloadFixed`]).
    pub fn turn_off(&self, interface: &str, offload: Offload) -> Result<OffloadChange, NetworkError> {
        let features = self.features(interface, offload)?;
        if features
            .blocks
            .iter()
            .zip(&features.mask)
            .all(|(block, mask)| block.active & mask == 0)
        {
            return Ok(OffloadChange::AlreadyOff);
        }
        self.set(interface, &features, 0)?;
        if self.is_on(interface, offload)? {
            return Err(NetworkError::OffloadFixed {
                name: interface.into(),
                offload: offload.name(),
            });
        }
        Ok(OffloadChange::Changed)
    }

    /// Turns an offload on as far as the interface has it, for setting back what [`turn_off`](Self::turn_off) changed.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses.
    pub fn turn_on(&self, interface: &str, offload: Offload) -> Result<(), NetworkError> {
        self.set(interface, &self.features(interface, offload)?, u32::MAX)
    }

    /// Sets the interface administratively up, as `ip link set up` does.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses.
    pub fn set_up(&self, interface: &str) -> Result<(), NetworkError> {
        let mut request = request(interface)?;
        let failed = |source| self.failed(interface, "set it up", source);
        // SAFETY: SIOCGIFFLAGS reads the name of the request and writes its flags, all within the structure.
        if unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) } < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        // SAFETY: the call above has set the flags, and every bit pattern is a valid number.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        // SAFETY: SIOCSIFFLAGS reads the name and the flags of the request.
        if unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request) } < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        Ok(())
    }

    /// The state of all features, and which of them an offload is made of.
    fn features(&self, interface: &str, offload: Offload) -> Result<Features, NetworkError> {
        let action = "read its offloads";
        // struct ethtool_sset_info: command, reserved, 64 bits of sets, a count for each set asked for.
        let mut count = [GET_STRING_COUNT, 0, 0, 0, 0];
        // The mask of sets is a number of 64 bits in the machine's byte order.
        let low = if cfg!(target_endian = "big") { 3 } else { 2 };
        count[low] = 1 << FEATURE_NAMES;
        self.ethtool(interface, action, &mut count)?;
        let features = count[4] as usize;

        // struct ethtool_gstrings: command, set, count, the strings.
        let mut names = vec![0; 3 + features * STRING / 4];
        names[..3].copy_from_slice(&[GET_STRINGS, FEATURE_NAMES, count[4]]);
        self.ethtool(interface, action, &mut names)?;

        // struct ethtool_gfeatures: command, number of blocks, for each the bits that are
        // available, requested, active and never changed.
        let blocks = features.div_ceil(32);
        let mut state = vec![0; 2 + 4 * blocks];
        state[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
        self.ethtool(interface, action, &mut state)?;

        let mut mask = vec![0; blocks];
        for (number, name) in names[3..].chunks_exact(STRING / 4).enumerate() {
            if offload.features().contains(&text(name).as_str()) {
                mask[number / 32] |= 1 << (number % 32);
            }
        }
        let blocks = state[2..]
            .chunks_exact(4)
            .map(|words| Block {
                available: words[0],
                active: words[2],
            })
            .collect();
        Ok(Features { blocks, mask })
    }

    /// Sets the features of the mask to the bits of `value`, as far as the interface lets them be changed.
    fn set(&self, interface: &str, features: &Features, value: u32) -> Result<(), NetworkError> {
        // struct ethtool_sfeatures: command, number of blocks, for each the bits that count and their values.
        let mut words = vec![SET_FEATURES, features.blocks.len() as u32];
        for (block, mask) in features.blocks.iter().zip(&features.mask) {
            let valid = mask & block.available;
            words.extend([valid, valid & value]);
        }
        self.ethtool(interface, "change its offloads", &mut words)
    }

    /// One request of ethtool. `words` begins with the command and is as long as the command's structure, including
    /// the parts behind it whose number the caller states in it.
    fn ethtool(&self, interface: &str, action: &'static str, words: &mut [u32]) -> Result<(), NetworkError> {
        let mut request = request(interface)?;
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: the kernel reads the request and reads and writes the structure of the command at ifru_data.
        // Every caller here sizes `words` for that structure: the number of strings is the one that the kernel told,
        // which is a constant of the kernel; blocks beyond the stated number are not written.
        if unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request) } < 0 {
            return Err(self.failed(interface, action, io::Error::last_os_error()));
        }
        Ok(())
    }

    fn failed(&self, interface: &str, action: &'static str, source: io::Error) -> NetworkError {
        let name = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::ENODEV) => NetworkError::NoSuchInterface { name },
            _ => NetworkError::Interface { name, action, source },
        }
    }
}

struct Block {
    available: u32,
    active: u32,
}

struct Features {
    blocks: Vec<Block>,
    /// The bits of the offload that was asked for, for each block.
    mask: Vec<u32>,
}

/// A request about an interface.
fn request(interface: &str) -> Result<libc::ifreq, NetworkError> {
    let bytes = interface.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(NetworkError::BadInterfaceName {
            name: interface.into(),
        });
    }
    // SAFETY: the structure holds numbers and a pointer, for all of which zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

/// The text in words, up to the first zero byte.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
