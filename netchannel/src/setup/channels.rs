//! The configured channels.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::SetupError;
use crate::channel::nat::{Filtering, Nat, NatSettings, Timeouts};
use crate::channel::{ChannelId, Drop, Forward, Netchannel, Pass};
use crate::config::{self, ChannelKind, Config, External};
use crate::dispatch::{NameTaken, Registry};
use crate::network::Links;

/// Makes a channel. It is called on the thread that owns the channel then.
pub type Factory = Box<dyn FnOnce() -> Box<dyn Netchannel> + Send>;

/// Channels that a program brings itself, by the names that the configuration has for them.
#[derive(Default)]
pub struct CustomChannels(HashMap<String, Factory>);

impl CustomChannels {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `factory` make the channel that the configuration calls `name`, of type "custom".
    pub fn add<C: Netchannel + 'static>(
        &mut self,
        name: &str,
        factory: impl FnOnce() -> C + Send + 'static,
    ) -> &mut Self {
        self.0
            .insert(name.to_owned(), Box::new(move || Box::new(factory())));
        self
    }
}

/// The channels of a configuration, to be made where they are needed.
pub struct ChannelPlan {
    channels: Vec<(String, Factory)>,
    /// The external addresses of each translator, by the number that it will have.
    pub claims: Vec<(ChannelId, Vec<Ipv4Addr>)>,
}

impl ChannelPlan {
    /// Makes the channels.
    ///
    /// # Errors
    /// If two have one name.
    pub fn register(self) -> Result<Registry, NameTaken> {
        let mut registry = Registry::new();
        for (name, factory) in self.channels {
            registry.register(&name, factory())?;
        }
        Ok(registry)
    }
}

/// Plans the channels of the configuration, `drop` and `pass` before them.
///
/// # Errors
/// If a translator has no external address or refuses its settings, or a custom channel is not brought.
pub fn channels(
    config: &Config,
    links: &Links,
    mut custom: CustomChannels,
) -> Result<ChannelPlan, SetupError> {
    let mut plan = ChannelPlan {
        channels: Vec::new(),
        claims: Vec::new(),
    };
    plan.channels
        .push(("drop".to_owned(), Box::new(|| Box::new(Drop))));
    plan.channels
        .push(("pass".to_owned(), Box::new(|| Box::new(Pass))));
    for channel in &config.channels {
        let factory: Factory = match &channel.kind {
            ChannelKind::Forward => Box::new(|| Box::new(Forward)),
            ChannelKind::Custom => {
                let missing = || SetupError::NoCustomChannel {
                    channel: channel.name.clone(),
                };
                custom.0.remove(&channel.name).ok_or_else(missing)?
            }
            ChannelKind::Nat(settings) => {
                let external = external_addresses(&channel.name, settings, links)?;
                let refused = |source| SetupError::Nat {
                    channel: channel.name.clone(),
                    source,
                };
                let nat = Nat::new(nat_settings(settings, external.clone())).map_err(refused)?;
                plan.claims
                    .push((ChannelId(plan.channels.len() as u16), external));
                Box::new(|| Box::new(nat))
            }
        };
        plan.channels.push((channel.name.clone(), factory));
    }
    Ok(plan)
}

fn external_addresses(
    channel: &str,
    settings: &config::Nat,
    links: &Links,
) -> Result<Vec<Ipv4Addr>, SetupError> {
    let interface = match &settings.external {
        External::Addresses(addresses) => return Ok(addresses.clone()),
        External::Interface(interface) => interface,
    };
    let addresses = links.by_name(interface).map_or(&[][..], |link| &link.addresses);
    let first = addresses
        .iter()
        .map(IpNet::addr)
        .find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
    first
        .map(|address| vec![address])
        .ok_or_else(|| SetupError::NoExternalAddress {
            channel: channel.to_owned(),
            interface: interface.clone(),
        })
}

fn nat_settings(settings: &config::Nat, external: Vec<Ipv4Addr>) -> NatSettings {
    NatSettings {
        ports: settings
            .ports
            .iter()
            .map(|ports| ports.first..=ports.last)
            .collect(),
        filtering: match settings.filtering {
            config::Filtering::EndpointIndependent => Filtering::EndpointIndependent,
            config::Filtering::AddressDependent => Filtering::AddressDependent,
            config::Filtering::AddressAndPortDependent => Filtering::AddressAndPortDependent,
        },
        timeouts: Timeouts {
            udp: settings.timeouts.udp,
            udp_to_port: settings.timeouts.udp_to_port.clone(),
            tcp_opening: settings.timeouts.tcp_opening,
            tcp_established: settings.timeouts.tcp_established,
            tcp_closing: settings.timeouts.tcp_closing,
            icmp: settings.timeouts.icmp,
        },
        refresh_inbound: settings.refresh_inbound,
        answer_unsolicited: settings.answer_unsolicited,
        max_mappings: settings.max_mappings,
        // As many as one mapping needs on the whole, and then some.
        max_sessions: settings.max_mappings.saturating_mul(4),
        ..NatSettings::new(external)
    }
}
