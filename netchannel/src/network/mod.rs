//! The kernel's links, addresses, routes and neighbours, for packet workers that route as the kernel would.
//!
//! A [`Network`] is one immutable snapshot of all of them. A [`Monitor`] reads the kernel's tables over netlink
//! (rtnetlink(7)), follows their changes in a thread and publishes a snapshot in a [`SharedNetwork`] after each one.
//! Workers look at its version once a burst, an atomic load, and load the snapshot when it has moved: they take no
//! lock per packet. For a neighbour that is not resolved they ask the [`Resolver`], and get the answer as a
//! later snapshot. Without a kernel, for tests and the replay of captures, [`NetworkBuilder`] makes snapshots by hand.
//!
//! ```no_run
//! use netchannel::network::{Forwarding, Monitor, SharedNetwork};
//!
//! let shared = SharedNetwork::default();
//! let monitor = Monitor::start(shared.clone(), Vec::new())?;
//! let resolver = monitor.resolver();
//! let mut reader = shared.reader();
//! let destination = "198.51.100.9".parse().unwrap();
//! // Once a burst:
//! reader.refresh();
//! // For the first packet of a flow:
//! if let Forwarding::Via(path) = reader.network().forwarding(destination, 0x5a5a_1234) {
//!     match path.neighbour.and_then(|neighbour| neighbour.mac) {
//!         Some(mac) => println!("out through {} to {mac:x?}", path.link.name),
//!         None => resolver.resolve(path.link.index, path.neighbour_address),
//!     }
//! }
//! # Ok::<(), netchannel::network::NetworkError>(())
//! ```

mod builder;
mod error;
pub mod ethtool;
mod event;
mod forwarding;
mod link;
mod message;
mod monitor;
mod neighbour;
mod prefix_table;
mod resolver;
mod route;
mod route_edit;
mod shared;
mod socket;
mod tables;
pub mod xdp_features;

use std::sync::Arc;

pub use builder::NetworkBuilder;
pub use error::NetworkError;
pub use event::NetworkEvent;
pub(crate) use event::differences;
pub use forwarding::{Forwarding, Path};
pub use link::{InterfaceIndex, Link, Links, MacAddress, VethPeer, VlanLink, VlanTag};
pub use monitor::{Monitor, MonitorHandle, OnChange};
pub use neighbour::{Neighbour, NeighbourState, Neighbours};
pub use resolver::Resolver;
pub use route::{NextHop, Route, RouteKind, Routes};
pub use shared::{NetworkReader, SharedNetwork};

/// The network of one network namespace at one moment. Cloning shares the parts.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The interfaces with their addresses.
    pub links: Arc<Links>,
    /// The main routing table.
    pub routes: Arc<Routes>,
    /// The neighbours that the kernel knows.
    pub neighbours: Arc<Neighbours>,
}

impl Network {
    /// Reads the network of the calling thread's network namespace once.
    ///
    /// # Errors
    ///
    /// When the socket cannot be opened or the tables not be read.
    pub fn read() -> Result<Self, NetworkError> {
        Ok(socket::NetlinkSocket::open()?
            .read_everything()?
            .snapshot(&Self::default()))
    }
}
