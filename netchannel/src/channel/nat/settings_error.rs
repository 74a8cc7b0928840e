//! What is wrong with what a translator is told.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::blocks::{MOST_BLOCKS, SMALLEST_BLOCK};
use super::deterministic::TooFewPorts;
use super::settings::{HIGHEST_LIMIT, HIGHEST_WELL_KNOWN_PORT, MOST_ADDRESSES};

/// Why a translator can't work with its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The list of external addresses is empty.
    #[error("a translator needs an external address; give at least one")]
    NoExternalAddress,
    /// An external address is not that of a single host.
    #[error("{0} can't be an external address; give the address of a single host")]
    NotUnicast(Ipv4Addr),
    /// An external address is there twice.
    #[error("the external address {0} is there twice; give each address once")]
    AddressTwice(Ipv4Addr),
    /// There are too many external addresses.
    #[error("{count} external addresses are too many; give at most {}", MOST_ADDRESSES)]
    TooManyAddresses {
        /// How many.
        count: u64,
    },
    /// A range of addresses is empty.
    #[error("{first}-{last} is no range of addresses; give the lower one first")]
    AddressRange {
        /// Its first address.
        first: Ipv4Addr,
        /// Its last address.
        last: Ipv4Addr,
    },
    /// The list of ports is empty, or all are reserved.
    #[error("a translator needs external ports; give at least one that is not reserved")]
    NoPorts,
    /// A range of ports is empty or holds port 0, which is reserved.
    #[error("{first}-{last} is no range of ports; give one from 1 to 65535, the lower port first")]
    PortRange {
        /// Its first port.
        first: u16,
        /// Its last port.
        last: u16,
    },
    /// A timeout is zero.
    #[error("the timeout {0} is zero; give a second at least")]
    NoTime(&'static str),
    /// A UDP timeout is for a port that can't have one, or that has one already.
    #[error(
        "UDP to port {0} can't have a timeout of its own; give ports from 0 to {max}, each once",
        max = HIGHEST_WELL_KNOWN_PORT
    )]
    TimeoutPort(u16),
    /// Too few ports for inside hosts that are to have their own.
    #[error(transparent)]
    TooFewPorts(#[from] TooFewPorts),
    /// Blocks are too small, or larger than every range of ports.
    #[error(
        "blocks of {0} ports are impossible; give {min} or more, and no more than one of the ranges of external ports has",
        min = SMALLEST_BLOCK
    )]
    BlockSize(u16),
    /// Inside hosts may have no block, or too many.
    #[error("{0} blocks of an inside host are impossible; give 1 to {max}", max = MOST_BLOCKS)]
    BlocksOfHost(u16),
    /// Inside hosts have ports of their own and get blocks too, but no ports are spare; or some are, and nobody gets them.
    #[error("with a deterministic scheme, blocks are made of its spare ports; give both or none of them")]
    SparePorts,
    /// A forward is impossible or meets another one.
    #[error(
        "ports {}-{} of {external} can't be forwarded; give TCP or UDP ports from 1 to 65535 that are not forwarded already, and single \
         hosts' addresses", .ports.start(), .ports.end()
    )]
    Forward {
        /// The external address.
        external: Ipv4Addr,
        /// Its ports.
        ports: RangeInclusive<u16>,
    },
    /// A one-to-one range is impossible or meets another one, or external addresses of mappings or forwards.
    #[error(
        "the addresses from {0} on can't stand for inside hosts one to one; give addresses of single hosts, each for one purpose only"
    )]
    OneToOne(Ipv4Addr),
    /// An inside host has an external address.
    #[error("{0} is the address of an inside host and external too; give different ones")]
    InsideIsExternal(Ipv4Addr),
    /// Filtering lets in who is no part of what mappings depend on: answers would leave from another port.
    #[error("{0}: filtering must not be more open than the mapping; make it at least as dependent")]
    FilteringBelowMapping(&'static str),
    /// A limit is zero or too high.
    #[error("{name} is {value}; give 1 to {}", HIGHEST_LIMIT)]
    Limit {
        /// Which limit.
        name: &'static str,
        /// What it is.
        value: u32,
    },
    /// The kernel gave no random numbers, without which ports can be guessed.
    #[error("the kernel gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
}
