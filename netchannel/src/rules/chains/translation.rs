//! The channels that translate as foreign rules did.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{Dimension, Family, Region, addresses};
use crate::rules::{AddressRange, Name, PortRange, protocol_name};

/// What the source of packets is translated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) external: External,
    pub(crate) ports: Option<PortRange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum External {
    /// The address of an interface.
    Interface(Name),
    Addresses(AddressRange),
}

/// What the destination of packets is translated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) address: Ipv4Addr,
    pub(crate) ports: Option<PortRange>,
}

/// An outside port, or several, that are an inside host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    protocols: Vec<u8>,
    external: Option<Ipv4Addr>,
    ports: Option<PortRange>,
    to: Destination,
}

impl Forward {
    /// The forward that lets in these packets, or why there is none that lets in these alone.
    pub(crate) fn new(region: &Region, to: &Destination) -> Result<Self, String> {
        for (dimension, what) in [
            (Dimension::From, "where packets come from"),
            (Dimension::SourcePorts, "source ports"),
            (Dimension::TcpFlags, "TCP flags"),
            (Dimension::Dscp, "DSCP"),
            (Dimension::Vlan, "VLANs"),
            (Dimension::Fragment, "fragments"),
        ] {
            if region.values(dimension).is_some() {
                return Err(format!(
                    "a port forward can't ask for {what}; expected a rule without that"
                ));
            }
        }
        let protocols: Vec<u8> = match region.values(Dimension::Protocol) {
            Some(spans) => spans.numbers().map(|number| number as u8).collect(),
            None => {
                let message = "a port forward is for TCP or UDP; for all that is sent to an address, see \
                               [[channel.one_to_one]]";
                return Err(message.to_owned());
            }
        };
        if let Some(other) = protocols.iter().find(|protocol| ![6, 17].contains(*protocol)) {
            return Err(format!(
                "a port forward is for TCP or UDP; found protocol {}",
                protocol_name(*other)
            ));
        }
        let one = |dimension, what: &str| match region.values(dimension) {
            None => Ok(None),
            Some(spans) if spans.len() == 1 => Ok(spans.iter().next()),
            Some(_) => Err(format!("a port forward has one {what}; expected a rule for each")),
        };
        let external = one(Dimension::To, "external address")?;
        if external.is_some_and(|(first, last)| first != last) {
            return Err("a port forward has one external address; expected a rule for each".to_owned());
        }
        let ports = one(Dimension::DestinationPorts, "range of ports")?;
        let ports = ports.map(|(first, last)| PortRange {
            first: first as u16,
            last: last as u16,
        });
        match (ports, to.ports) {
            (_, None) => {}
            (Some(from), Some(to)) if from == to || from.count() == 1 && to.count() == 1 => {}
            _ => {
                let message =
                    "a port forward has a port for each port; expected as many ports behind it, or none";
                return Err(message.to_owned());
            }
        }
        Ok(Self {
            protocols,
            external: external.map(|(first, _)| Ipv4Addr::from_bits(first as u32)),
            ports,
            to: to.clone(),
        })
    }

    /// The packets as they are behind the translation.
    pub(crate) fn translated(&self, region: &Region) -> Region {
        let to = self.to.address.to_bits().into();
        let mut inside = Region::with_addresses(Dimension::To, Family::Ipv4, super::Spans::one(to));
        if let Some(protocols) = region.values(Dimension::Protocol) {
            inside = inside
                .and(&Region::with(Dimension::Protocol, protocols.clone()))
                .unwrap_or(inside);
        }
        if let Some(ports) = self.to.ports.or(self.ports) {
            let ports = super::Spans::range(ports.first.into(), ports.last.into());
            inside = inside
                .and(&Region::with(Dimension::DestinationPorts, ports))
                .unwrap_or(inside);
        }
        if let Some(interfaces) = region.interfaces() {
            inside = inside
                .and(&Region::with_interfaces(interfaces.iter().cloned()))
                .unwrap_or(inside);
        }
        inside
    }
}

/// All channels that translate.
#[derive(Debug)]
pub(crate) struct Translations {
    name: Name,
    channels: Vec<(Name, Source, Vec<Forward>)>,
}

impl Translations {
    pub(crate) fn new(name: &Name) -> Self {
        Self {
            name: name.clone(),
            channels: Vec::new(),
        }
    }

    /// The channel that translates sources so.
    pub(crate) fn channel(&mut self, source: &Source) -> Name {
        if let Some((name, ..)) = self.channels.iter().find(|(_, known, _)| known == source) {
            return name.clone();
        }
        let name = match self.channels.len() {
            0 => self.name.clone(),
            before => format!("{}-{}", self.name, before + 1).into(),
        };
        self.channels.push((name.clone(), source.clone(), Vec::new()));
        name
    }

    /// Adds a forward to the channel that has its external address, else to the first one.
    pub(crate) fn forward(&mut self, forward: Forward) -> Result<(), String> {
        let has = |source: &Source| match (&source.external, forward.external) {
            (External::Addresses(range), Some(address)) => range.contains(address.into()),
            _ => false,
        };
        if self.channels.is_empty() {
            let Some(external) = forward.external else {
                let message = "no rule says which external address the box has; expected an address (-d) here, or a \
                               rule that translates sources";
                return Err(message.to_owned());
            };
            let external = u128::from(external.to_bits());
            self.channel(&Source {
                external: External::Addresses(addresses(Family::Ipv4, external, external)),
                ports: None,
            });
        }
        let place = self
            .channels
            .iter()
            .position(|(_, source, _)| has(source))
            .unwrap_or(0);
        let (_, _, forwards) = &mut self.channels[place];
        let clashes = |other: &Forward| {
            let ports = |forward: &Forward| forward.ports.unwrap_or(PortRange::ANY);
            other.external == forward.external
                && other
                    .protocols
                    .iter()
                    .any(|protocol| forward.protocols.contains(protocol))
                && ports(other).overlaps(&ports(&forward))
        };
        if forwards.contains(&forward) {
            return Ok(());
        }
        if forwards.iter().any(clashes) {
            return Err(
                "another rule forwards some of these ports already; expected one rule for a port".to_owned(),
            );
        }
        forwards.push(forward);
        Ok(())
    }

    /// The channels as a configuration says them.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, source, forwards) in &self.channels {
            let external = match &source.external {
                External::Interface(name) => name.to_string(),
                External::Addresses(range) => range.to_string(),
            };
            // Writing into text does not fail.
            let _ = write!(
                text,
                "[[channel]]\nname = \"{name}\"\ntype = \"nat\"\nexternal = {}\n",
                toml::Value::from(external)
            );
            if let Some(ports) = source.ports {
                let _ = writeln!(text, "ports = \"{ports}\"");
            }
            for forward in forwards {
                let protocols: Vec<String> = forward
                    .protocols
                    .iter()
                    .map(|protocol| format!("\"{}\"", protocol_name(*protocol)))
                    .collect();
                let _ = write!(text, "\n[[channel.forward]]\nprotocol = ");
                let _ = match &protocols[..] {
                    [one] => writeln!(text, "{one}"),
                    several => writeln!(text, "[{}]", several.join(", ")),
                };
                if let Some(external) = forward.external {
                    let _ = writeln!(text, "external = \"{external}\"");
                }
                if let Some(ports) = forward.ports {
                    let _ = match ports.count() {
                        1 => writeln!(text, "ports = {}", ports.first),
                        _ => writeln!(text, "ports = \"{ports}\""),
                    };
                }
                let _ = writeln!(text, "to = \"{}\"", forward.to.address);
                if let Some(ports) = forward.to.ports {
                    let _ = writeln!(text, "to_port = {}", ports.first);
                }
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}
