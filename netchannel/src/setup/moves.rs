//! Claims on the address of an interface, which follow it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Claim, Layout};
use crate::channel::nat::{is_stand_in, stand_in};
use crate::config::Config;
use crate::network::{Link, Links};

/// An external address of a translator that is another one from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The translator.
    pub channel: String,
    /// The interface whose address it is.
    pub interface: String,
    /// What it was: an address, or a [stand-in](stand_in) if there was none.
    pub from: Ipv4Addr,
    /// What it is: the same.
    pub to: Ipv4Addr,
}

/// Which claims do not have their interface's address any more. As long as the interface has the one that is claimed, that one stays, else
/// its first IPv4 address is claimed. One that another claim of the same translator has is not taken.
pub fn moves(config: &Config, layout: &Layout, links: &Links, claims: &[Claim]) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    for claim in claims {
        let Some(interface) = &claim.interface else {
            continue;
        };
        let from = *claim.addresses.start();
        let is_known = |other: &Move| other.channel == claim.name && other.interface == *interface;
        if moves.iter().any(is_known) {
            continue;
        }
        let is_taken = |address: &Ipv4Addr| {
            let mut others = claims.iter().filter(|other| other.channel == claim.channel);
            others.any(|other| other.interface != claim.interface && other.addresses.contains(address))
        };
        let link = layout.link(interface, links);
        let to = match link {
            Some(link)
                if link
                    .addresses
                    .iter()
                    .any(|address| address.addr() == IpAddr::V4(from)) =>
            {
                from
            }
            link => link
                .and_then(first_address)
                .filter(|address| !is_taken(address))
                .unwrap_or_else(|| stand_in_of(config, interface)),
        };
        if to != from {
            moves.push(Move {
                channel: claim.name.clone(),
                interface: interface.clone(),
                from,
                to,
            });
        }
    }
    moves
}

impl Claim {
    /// Whether there is an address now.
    pub fn is_there(&self) -> bool {
        !is_stand_in(*self.addresses.start())
    }

    /// Claims what it is to claim after a move.
    pub fn follow(&mut self, moved: &Move) {
        let is_meant = self.name == moved.channel && self.interface.as_ref() == Some(&moved.interface);
        if is_meant && self.addresses == (moved.from..=moved.from) {
            self.addresses = moved.to..=moved.to;
        }
    }
}

/// What stands for the address of an interface that has none.
pub(crate) fn stand_in_of(config: &Config, interface: &str) -> Ipv4Addr {
    let names = || config.interfaces.iter().map(|interface| interface.name.as_str());
    let number = names().position(|name| name == interface).unwrap_or(0) + 1;
    stand_in(u8::try_from(number).unwrap_or(u8::MAX))
}

pub(super) fn first_address(link: &Link) -> Option<Ipv4Addr> {
    let mut addresses = link.addresses.iter().map(IpNet::addr);
    addresses.find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}
