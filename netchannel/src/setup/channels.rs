//! The configured channels.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use super::SetupError;
use super::moves::{first_address, stand_in_of};
use crate::channel::nat::{self, Filtering, NatSettings, PortScheme, PreparedNat, SharedFragments, Timeouts};
use crate::channel::{ChannelId, Drop, Forward, Netchannel, Pass};
use crate::config::{self, ChannelKind, Config, External, Role};
use crate::dispatch::{NameTaken, Registry};
use crate::event_log::Recorders;
use crate::network::Links;
use crate::rules::PortRange;

/// Makes a channel. It is called on the thread that owns the channel then.
pub type Factory = Box<dyn FnOnce() -> Box<dyn Netchannel> + Send>;

/// Makes the channel of each worker.
type FactoryOfEach = Arc<dyn Fn(usize) -> Box<dyn Netchannel> + Send + Sync>;

/// How a program brings a channel.
enum Brought {
    Once(Factory),
    ForEach(FactoryOfEach),
}

/// Channels that a program brings itself, by the names that the configuration has for them.
#[derive(Default)]
pub struct CustomChannels(HashMap<String, Brought>);

impl CustomChannels {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `factory` make the channel that the configuration calls `name`, of type "custom". It is made once, so that there can be no more
    /// than one worker.
    pub fn add<C: Netchannel + 'static>(
        &mut self,
        name: &str,
        factory: impl FnOnce() -> C + Send + 'static,
    ) -> &mut Self {
        let factory: Factory = Box::new(move || Box::new(factory()));
        self.0.insert(name.to_owned(), Brought::Once(factory));
        self
    }

    /// As [`add`](Self::add), for any number of workers: each has a channel of its own, which `factory` makes on its thread, told the worker's
    /// number, from 0. Packets of one direction of a flow come to one of them, those of the other direction perhaps to another.
    pub fn add_for_each<C: Netchannel + 'static>(
        &mut self,
        name: &str,
        factory: impl Fn(usize) -> C + Send + Sync + 'static,
    ) -> &mut Self {
        let factory: FactoryOfEach = Arc::new(move |worker| Box::new(factory(worker)));
        self.0.insert(name.to_owned(), Brought::ForEach(factory));
        self
    }

    /// The channel of one of so many workers.
    fn take(&mut self, name: &str, worker: usize, workers: usize) -> Result<Factory, SetupError> {
        let channel = || name.to_owned();
        match self.0.remove(name) {
            None => Err(SetupError::NoCustomChannel { channel: channel() }),
            Some(Brought::Once(_)) if workers > 1 => Err(SetupError::OneCustomChannel {
                channel: channel(),
                workers,
            }),
            Some(Brought::Once(factory)) => Ok(factory),
            Some(Brought::ForEach(factory)) => {
                let of_worker = Arc::clone(&factory);
                self.0.insert(channel(), Brought::ForEach(factory));
                Ok(Box::new(move || of_worker(worker)))
            }
        }
    }
}

/// External addresses and ports that are a translator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The number that the translator will have.
    pub channel: ChannelId,
    /// Its name.
    pub name: String,
    /// The addresses.
    pub addresses: RangeInclusive<Ipv4Addr>,
    /// Its ports at each of them.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Whether all that is sent to the addresses is its own, of any protocol. Then it has no `ports`.
    pub is_whole: bool,
    /// The interface whose address it is, if it was not given by number. If that has none at the moment, a
    /// [stand-in](nat::stand_in) is claimed.
    pub interface: Option<String>,
}

/// The channels of a configuration, to be made where they are needed.
pub struct ChannelPlan {
    channels: Vec<(String, Planned)>,
    /// What the translators claim, in the order of the file.
    pub claims: Vec<Claim>,
}

/// How a channel is made.
enum Planned {
    Translator(Box<PreparedNat>),
    Other(Factory),
}

impl ChannelPlan {
    /// The names of the channels, with the numbers that they will have.
    pub fn ids(&self) -> impl Iterator<Item = (&str, ChannelId)> {
        let names = self.channels.iter().map(|(name, _)| name.as_str());
        names.zip((0..).map(ChannelId))
    }

    /// Makes the channels.
    ///
    /// # Errors
    /// If two have one name.
    pub fn register(self) -> Result<Registry, NameTaken> {
        let mut registry = Registry::new();
        // All translators have it in common.
        let mut fragments: Option<SharedFragments> = None;
        for (name, planned) in self.channels {
            let channel: Box<dyn Netchannel> = match planned {
                Planned::Other(factory) => factory(),
                Planned::Translator(nat) => {
                    let nat = match &fragments {
                        Some(fragments) => nat.into_channel_beside(fragments),
                        None => nat.into_channel(),
                    };
                    fragments.get_or_insert_with(|| nat.fragments());
                    Box::new(nat)
                }
            };
            registry.register(&name, channel)?;
        }
        Ok(registry)
    }
}

/// Plans the channels of the configuration, `drop` and `pass` before them. Translators record into `recorders`.
///
/// # Errors
/// If a translator refuses its settings, or a custom channel is not brought.
pub fn channels(
    config: &Config,
    links: &Links,
    mut custom: CustomChannels,
    recorders: Recorders,
) -> Result<ChannelPlan, SetupError> {
    let drafts = drafts(config, links);
    plan(config, &drafts, &mut custom, recorders, (0, 1))
}

/// As [`channels`], for several workers: a plan for each, which records into its own `recorders`.
///
/// # Errors
/// As [`channels`]; and if a custom channel is brought once only.
pub fn channels_of_workers(
    config: &Config,
    links: &Links,
    mut custom: CustomChannels,
    recorders: Vec<Recorders>,
) -> Result<Vec<ChannelPlan>, SetupError> {
    let drafts = drafts(config, links);
    let workers = recorders.len();
    let recorders = recorders.into_iter().enumerate();
    let plans =
        recorders.map(|(worker, recorders)| plan(config, &drafts, &mut custom, recorders, (worker, workers)));
    plans.collect()
}

/// A channel of the configuration, of which each worker will have one.
enum Draft {
    Forward,
    Custom,
    Translator(Box<NatSettings>, Vec<Claim>),
}

fn drafts(config: &Config, links: &Links) -> Vec<Draft> {
    // `drop` and `pass` have the first two numbers.
    let channels = config.channels.iter().zip((2..).map(ChannelId));
    let draft = |(channel, id): (&config::Channel, ChannelId)| match &channel.kind {
        ChannelKind::Forward => Draft::Forward,
        ChannelKind::Custom => Draft::Custom,
        ChannelKind::Nat(settings) => {
            let claims = claims(id, &channel.name, settings, config, links);
            warn_of_inside(config, links, &claims);
            let external: Vec<_> = claims.iter().map(|claim| claim.addresses.clone()).collect();
            let forwards = forwards(settings, &external);
            let claims = with_static(claims, settings, &forwards);
            let mut settings = nat_settings(settings, external, forwards);
            settings.rule_filtering = rule_filtering(config, &channel.name);
            Draft::Translator(Box::new(settings), claims)
        }
    };
    channels.map(draft).collect()
}

/// The plan of one of several workers.
fn plan(
    config: &Config,
    drafts: &[Draft],
    custom: &mut CustomChannels,
    mut recorders: Recorders,
    (worker, workers): (usize, usize),
) -> Result<ChannelPlan, SetupError> {
    let mut plan = ChannelPlan {
        channels: Vec::new(),
        claims: Vec::new(),
    };
    plan.channels
        .push(("drop".to_owned(), Planned::Other(Box::new(|| Box::new(Drop)))));
    plan.channels
        .push(("pass".to_owned(), Planned::Other(Box::new(|| Box::new(Pass)))));
    for (channel, draft) in config.channels.iter().zip(drafts) {
        let planned = match draft {
            Draft::Forward => Planned::Other(Box::new(|| Box::new(Forward))),
            Draft::Custom => Planned::Other(custom.take(&channel.name, worker, workers)?),
            Draft::Translator(settings, claims) => {
                let refused = |source| SetupError::Nat {
                    channel: channel.name.clone(),
                    source,
                };
                let share = settings.share(worker, workers);
                let settings = share.map_err(|source| SetupError::Share {
                    channel: channel.name.clone(),
                    source,
                })?;
                let mut nat = PreparedNat::new(settings).map_err(refused)?;
                if let Some(recorder) = recorders.take(&channel.name) {
                    nat.record(recorder);
                }
                plan.claims.extend(claims.iter().cloned());
                Planned::Translator(Box::new(nat))
            }
        };
        plan.channels.push((channel.name.clone(), planned));
    }
    Ok(plan)
}

/// What a translator with these settings claims.
fn claims(
    channel: ChannelId,
    name: &str,
    settings: &config::Nat,
    config: &Config,
    links: &Links,
) -> Vec<Claim> {
    let claim = |external: &External| {
        let (addresses, interface) = match external {
            External::Addresses(first, last) => (*first..=*last, None),
            External::Interface(interface) => {
                let address = links.by_name(interface).and_then(first_address);
                if address.is_none() {
                    log::warn!(
                        "channel {name} translates to the address of {interface}, which has no IPv4 address: what it would \
                         translate is dropped until there is one"
                    );
                }
                let address = address.unwrap_or_else(|| stand_in_of(config, interface));
                (address..=address, Some(interface.clone()))
            }
        };
        Claim {
            channel,
            name: name.to_owned(),
            addresses,
            ports: ranges(&settings.ports),
            is_whole: false,
            interface,
        }
    };
    settings.external.iter().map(claim).collect()
}

/// What the translators of a configuration claim that can be told without a running machine: all but addresses of interfaces.
pub(crate) fn numbered_claims(config: &Config) -> Vec<Claim> {
    let mut all = Vec::new();
    // `drop` and `pass` have the first two numbers.
    for (channel, id) in config.channels.iter().zip((2..).map(ChannelId)) {
        let ChannelKind::Nat(settings) = &channel.kind else {
            continue;
        };
        let numbered = settings.external.iter().filter_map(|external| match external {
            External::Addresses(first, last) => Some(*first..=*last),
            External::Interface(_) => None,
        });
        let external: Vec<_> = numbered.collect();
        let claims = external.iter().map(|addresses| Claim {
            channel: id,
            name: channel.name.clone(),
            addresses: addresses.clone(),
            ports: ranges(&settings.ports),
            is_whole: false,
            interface: None,
        });
        let forwards = forwards(settings, &external);
        all.extend(with_static(claims.collect(), settings, &forwards));
    }
    all
}

/// Who has which external ports, of each translator whose inside hosts have ports of their own, with its name.
///
/// # Errors
/// If there are too few ports for the hosts.
pub fn port_schemes(config: &Config) -> Result<Vec<(&str, PortScheme)>, SetupError> {
    let mut schemes = Vec::new();
    for channel in &config.channels {
        let ChannelKind::Nat(settings) = &channel.kind else {
            continue;
        };
        // With ports of their own for all, no address is an interface's.
        let addresses = settings.external.iter().filter_map(|external| match external {
            External::Addresses(first, last) => Some(*first..=*last),
            External::Interface(_) => None,
        });
        let scheme = nat_settings(settings, addresses.collect(), Vec::new()).port_scheme();
        let scheme = scheme.transpose().map_err(|source| SetupError::Nat {
            channel: channel.name.clone(),
            source: source.into(),
        })?;
        schemes.extend(scheme.map(|scheme| (channel.name.as_str(), scheme)));
    }
    Ok(schemes)
}

/// The forwarded ports, by protocol. Those without an external address are at the first one that there is.
fn forwards(settings: &config::Nat, external: &[RangeInclusive<Ipv4Addr>]) -> Vec<nat::Forward> {
    let mut forwards = Vec::new();
    for forward in &settings.forwards {
        let first = external.first().map(|range| *range.start());
        let Some(external) = forward.external.or(first) else {
            continue;
        };
        forwards.extend(forward.protocols.iter().map(|&protocol| nat::Forward {
            protocol,
            external,
            ports: forward.ports.first..=forward.ports.last,
            inside: forward.to,
            inside_port: forward.to_port,
        }));
    }
    forwards
}

/// Claims forwarded ports and addresses of single inside hosts too.
fn with_static(mut claims: Vec<Claim>, settings: &config::Nat, forwards: &[nat::Forward]) -> Vec<Claim> {
    let Some(Claim { channel, name, .. }) = claims.first().cloned() else {
        return claims;
    };
    let of_interfaces: Vec<_> = claims
        .iter()
        .filter_map(|claim| Some((*claim.addresses.start(), claim.interface.clone()?)))
        .collect();
    let claim = |addresses: RangeInclusive<Ipv4Addr>, ports, is_whole| Claim {
        channel,
        name: name.clone(),
        interface: of_interfaces
            .iter()
            .find(|(address, _)| addresses == (*address..=*address))
            .map(|(_, interface)| interface.clone()),
        addresses,
        ports,
        is_whole,
    };
    let forwarded = forwards.iter().map(|forward| {
        claim(
            forward.external..=forward.external,
            vec![forward.ports.clone()],
            false,
        )
    });
    let one_to_one = settings
        .one_to_one
        .iter()
        .map(|one| claim(one.external.clone(), Vec::new(), true));
    claims.extend(forwarded.chain(one_to_one));
    claims
}

/// Inside hosts may have an external address, if it lies among theirs. It is the translator's then (RFC 4787 REQ-7).
fn warn_of_inside(config: &Config, links: &Links, claims: &[Claim]) {
    let inside = config
        .interfaces
        .iter()
        .filter(|interface| interface.role == Role::Inside)
        .flat_map(|interface| super::interest::served(interface, links.by_name(&interface.name)));
    for prefix in inside {
        let IpNet::V4(prefix) = prefix else { continue };
        let overlapping = claims.iter().filter(|claim| {
            *claim.addresses.start() <= prefix.broadcast() && prefix.network() <= *claim.addresses.end()
        });
        for claim in overlapping {
            log::warn!(
                "channel {} translates to {}, which is among the inside hosts' {prefix}: a host there that has this address is cut off",
                claim.name,
                prefix.network().max(*claim.addresses.start())
            );
        }
    }
}

/// What rules ask for in place of their channel's filtering.
fn rule_filtering(config: &Config, channel: &str) -> Vec<Filtering> {
    let rules = config.rules.iter().filter(|rule| *rule.channel == *channel);
    let mut filterings: Vec<Filtering> = rules.filter_map(|rule| rule.filtering).collect();
    filterings.sort_unstable_by_key(|filtering| filtering.parameter());
    filterings.dedup();
    filterings
}

fn ranges(ports: &[PortRange]) -> Vec<RangeInclusive<u16>> {
    ports.iter().map(|ports| ports.first..=ports.last).collect()
}

fn nat_settings(
    settings: &config::Nat,
    external: Vec<RangeInclusive<Ipv4Addr>>,
    forwards: Vec<nat::Forward>,
) -> NatSettings {
    NatSettings {
        external,
        pooling: settings.pooling,
        ports: ranges(&settings.ports),
        reserved_ports: ranges(&settings.reserved_ports),
        preserve_ports: settings.preserve_ports,
        preserve_parity: settings.preserve_parity,
        preserve_class: settings.preserve_class,
        hold: settings.hold,
        deterministic: settings.deterministic.clone(),
        blocks: settings.blocks,
        forwards,
        one_to_one: settings.one_to_one.clone(),
        mapping: settings.mapping,
        filtering: settings.filtering,
        timeouts: Timeouts {
            udp: settings.timeouts.udp,
            udp_to_port: settings.timeouts.udp_to_port.clone(),
            tcp_opening: settings.timeouts.tcp_opening,
            tcp_established: settings.timeouts.tcp_established,
            tcp_closing: settings.timeouts.tcp_closing,
            icmp: settings.timeouts.icmp,
        },
        rule_filtering: Vec::new(),
        refresh_inbound: settings.refresh_inbound,
        answer_unsolicited: settings.answer_unsolicited,
        segment_size: settings.segment_size,
        max_held_fragments: settings.max_held_fragments,
        limits: settings.limits,
        host_limits: settings.host_limits,
        sessions_per_mapping: settings.sessions_per_mapping,
        refusal: settings.refusal,
        share: None,
    }
}

#[cfg(test)]
mod tests;
