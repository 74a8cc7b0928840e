//! Which packets a rule of a chain takes: a set of values for each field.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::spans::Spans;
use crate::dispatch::dimensions::{FIRST, LATER, WHOLE};
use crate::rules::{AddressRange, Name, NamedSet, PortRange};

/// A field whose values are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    From,
    To,
    SourcePorts,
    DestinationPorts,
    Protocol,
    /// The flags byte of a TCP header.
    TcpFlags,
    IcmpType,
    IcmpCode,
    Vlan,
    Dscp,
    Fragment,
}

const DIMENSIONS: usize = Dimension::Fragment as usize + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) fn other(self) -> Self {
        match self {
            Family::Ipv4 => Family::Ipv6,
            Family::Ipv6 => Family::Ipv4,
        }
    }

    pub(super) fn highest_address(self) -> u128 {
        match self {
            Family::Ipv4 => u32::MAX.into(),
            Family::Ipv6 => u128::MAX,
        }
    }
}

/// The values of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Constraint {
    pub(super) spans: Spans,
    /// The named set that these are, all of it.
    pub(super) set: Option<AnySet>,
}

/// A named set of the rules that are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnySet {
    Addresses(Arc<NamedSet<AddressRange>>),
    Ports(Arc<NamedSet<PortRange>>),
}

/// The packets whose fields have certain values each. A field that is not told may have any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) family: Option<Family>,
    pub(super) constraints: [Option<Arc<Constraint>>; DIMENSIONS],
    interfaces: Option<Arc<BTreeSet<Name>>>,
    /// Whether they are to one of the box's own addresses.
    pub(crate) to_box: bool,
}

impl Region {
    /// The packets of a family.
    pub(crate) fn of(family: Family) -> Self {
        Self {
            family: Some(family),
            ..Self::default()
        }
    }

    /// The packets with these values in a field.
    pub(crate) fn with(dimension: Dimension, spans: Spans) -> Self {
        let mut region = Self::default();
        region.constraints[dimension as usize] = Some(Arc::new(Constraint { spans, set: None }));
        region
    }

    /// The packets with addresses of a family.
    pub(crate) fn with_addresses(dimension: Dimension, family: Family, spans: Spans) -> Self {
        Self {
            family: Some(family),
            ..Self::with(dimension, spans)
        }
    }

    /// The packets that came in by one of these.
    pub(crate) fn with_interfaces(interfaces: impl IntoIterator<Item = Name>) -> Self {
        Self {
            interfaces: Some(Arc::new(interfaces.into_iter().collect())),
            ..Self::default()
        }
    }

    /// The packets with these values in a field of a transport header that says nothing of later fragments, which do not have it.
    pub(crate) fn with_header(dimension: Dimension, spans: Spans) -> Self {
        let mut region = not_later_fragments();
        region.constraints[dimension as usize] = Some(Arc::new(Constraint { spans, set: None }));
        region
    }

    /// The packets with these ports.
    pub(crate) fn with_ports(dimension: Dimension, spans: Spans) -> Self {
        // Where rules look, later fragments have the port 0.
        match spans.contains(0) {
            true => Self::with_header(dimension, spans),
            false => Self::with(dimension, spans),
        }
    }

    /// The same, with the values of a field named by a set that is exactly these.
    pub(crate) fn named(mut self, dimension: Dimension, set: Option<AnySet>) -> Self {
        if let Some(constraint) = &mut self.constraints[dimension as usize] {
            Arc::make_mut(constraint).set = set;
        }
        self
    }

    pub(crate) fn values(&self, dimension: Dimension) -> Option<&Spans> {
        self.constraints[dimension as usize]
            .as_ref()
            .map(|constraint| &constraint.spans)
    }

    pub(crate) fn interfaces(&self) -> Option<&BTreeSet<Name>> {
        self.interfaces.as_deref()
    }

    /// How many ranges and names it takes to say it.
    pub(crate) fn len(&self) -> usize {
        let values = self
            .constraints
            .iter()
            .flatten()
            .map(|constraint| constraint.spans.len());
        values.sum::<usize>() + self.interfaces.as_ref().map_or(0, |names| names.len())
    }

    /// The packets that are in one of `some` and in one of `others`.
    pub(crate) fn all_and(some: &[Self], others: &[Self]) -> Vec<Self> {
        let both = |one: &Self| {
            others
                .iter()
                .filter_map(|other| one.and(other))
                .collect::<Vec<_>>()
        };
        some.iter().flat_map(both).collect()
    }

    /// The packets that are in both; `None` if there are none.
    pub(crate) fn and(&self, other: &Self) -> Option<Self> {
        let family = match (self.family, other.family) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        let mut both = Self {
            family,
            to_box: self.to_box || other.to_box,
            ..Self::default()
        };
        for ((both, one), two) in both
            .constraints
            .iter_mut()
            .zip(&self.constraints)
            .zip(&other.constraints)
        {
            *both = match (one, two) {
                (Some(one), Some(two)) => Some(common(one, two)?),
                (one, two) => one.clone().or_else(|| two.clone()),
            };
            if both
                .as_ref()
                .is_some_and(|constraint| constraint.spans.is_empty())
            {
                return None;
            }
        }
        both.interfaces = match (&self.interfaces, &other.interfaces) {
            (Some(one), Some(two)) => Some(Arc::new(one.intersection(two).cloned().collect())),
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let has_interface = both.interfaces.as_ref().is_none_or(|names| !names.is_empty());
        has_interface.then_some(both)
    }

    /// The packets of this that are not in a part of it, if that can be said: where the part has other values in one field only, one for
    /// which a list of what is left reads well.
    pub(crate) fn without(&self, part: &Self) -> Option<Option<Self>> {
        let mut differing = (0..DIMENSIONS).filter(|&at| self.constraints[at] != part.constraints[at]);
        if self.to_box != part.to_box {
            return None;
        }
        match (differing.next(), differing.next()) {
            (None, _) if self.family != part.family => None,
            (None, _) if self.interfaces == part.interfaces => Some(None),
            (None, _) => {
                let (mine, parts) = self.interfaces.as_ref().zip(part.interfaces.as_ref())?;
                let left: BTreeSet<Name> = mine.difference(parts).cloned().collect();
                let mut region = self.clone();
                region.interfaces = Some(Arc::new(left));
                Some(Some(region))
            }
            (Some(at), None) if self.interfaces == part.interfaces && self.family == part.family => {
                let spans = &part.constraints[at].as_ref()?.spans;
                let before = match &self.constraints[at] {
                    Some(constraint) => constraint.spans.clone(),
                    None if at == Dimension::Protocol as usize => return None,
                    None => Spans::up_to(highest(at, self.family)),
                };
                let spans = before.without(spans);
                if spans.is_empty() {
                    return Some(None);
                }
                let mut region = self.clone();
                region.constraints[at] = Some(Arc::new(Constraint { spans, set: None }));
                Some(Some(region))
            }
            _ => None,
        }
    }
}

/// Whole datagrams and first fragments.
pub(crate) fn not_later_fragments() -> Region {
    Region::with(Dimension::Fragment, Spans::range(WHOLE.into(), FIRST.into()))
}

/// Later fragments.
pub(crate) fn later_fragments() -> Region {
    Region::with(Dimension::Fragment, Spans::one(LATER.into()))
}

/// What two have in common; a set stays named if that is all of it.
fn common(one: &Arc<Constraint>, two: &Arc<Constraint>) -> Option<Arc<Constraint>> {
    let spans = one.spans.intersection(&two.spans);
    if spans.is_empty() {
        return None;
    }
    let same = [one, two]
        .into_iter()
        .find(|constraint| constraint.spans == spans);
    Some(same.map_or_else(|| Arc::new(Constraint { spans, set: None }), Arc::clone))
}

fn highest(dimension: usize, family: Option<Family>) -> u128 {
    const TO: usize = Dimension::To as usize;
    const SOURCE_PORTS: usize = Dimension::SourcePorts as usize;
    const PORTS: usize = Dimension::DestinationPorts as usize;
    const VLAN: usize = Dimension::Vlan as usize;
    const DSCP: usize = Dimension::Dscp as usize;
    const FRAGMENT: usize = Dimension::Fragment as usize;
    match dimension {
        0..=TO => family.unwrap_or(Family::Ipv6).highest_address(),
        SOURCE_PORTS | PORTS => u16::MAX.into(),
        VLAN => 4094,
        DSCP => 63,
        FRAGMENT => LATER.into(),
        _ => u8::MAX.into(),
    }
}

/// Where the complement of values of a dimension ends.
pub(crate) fn highest_value(dimension: Dimension, family: Family) -> u128 {
    highest(dimension as usize, Some(family))
}

pub(crate) fn addresses(family: Family, first: u128, last: u128) -> AddressRange {
    match family {
        Family::Ipv4 => AddressRange::V4(
            Ipv4Addr::from_bits(first as u32),
            Ipv4Addr::from_bits(last as u32),
        ),
        Family::Ipv6 => AddressRange::V6(Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last)),
    }
}

/// A range of addresses as numbers.
pub(crate) fn numbers(range: &AddressRange) -> (Family, u128, u128) {
    match range {
        AddressRange::V4(first, last) => (Family::Ipv4, first.to_bits().into(), last.to_bits().into()),
        AddressRange::V6(first, last) => (Family::Ipv6, first.to_bits(), last.to_bits()),
    }
}

#[cfg(test)]
impl Region {
    /// Whether a packet is among these.
    pub(crate) fn takes(&self, flow: &crate::rules::explain::Flow) -> bool {
        let address = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.to_bits().into(),
            std::net::IpAddr::V6(address) => address.to_bits(),
        };
        let family = if flow.source.is_ipv4() {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        let of = [
            (Dimension::From, address(flow.source)),
            (Dimension::To, address(flow.destination)),
            (Dimension::SourcePorts, flow.source_port.into()),
            (Dimension::DestinationPorts, flow.destination_port.into()),
            (Dimension::Protocol, flow.protocol.into()),
            (Dimension::TcpFlags, flow.tcp_flags.into()),
            (Dimension::IcmpType, flow.icmp.0.into()),
            (Dimension::IcmpCode, flow.icmp.1.into()),
            (Dimension::Vlan, flow.vlan.into()),
            (Dimension::Dscp, flow.dscp.into()),
            (Dimension::Fragment, flow.fragment.into()),
        ];
        let of_header = [Dimension::TcpFlags, Dimension::IcmpType, Dimension::IcmpCode];
        let has_header = flow.fragment != LATER
            || of_header
                .iter()
                .all(|dimension| self.values(*dimension).is_none());
        let interface = self.interfaces.as_ref().is_none_or(|names| {
            flow.interface
                .as_ref()
                .is_some_and(|interface| names.contains(interface))
        });
        self.family.is_none_or(|of| of == family)
            && interface
            && has_header
            && of
                .iter()
                .all(|(dimension, value)| self.values(*dimension).is_none_or(|spans| spans.contains(*value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_taken_away_where_one_field_differs() {
        let tcp = Region::with(Dimension::Protocol, Spans::one(6));
        let web = tcp
            .and(&Region::with(Dimension::DestinationPorts, Spans::one(80)))
            .unwrap();
        let left = tcp.without(&web).unwrap().unwrap();
        assert_eq!(
            left.values(Dimension::DestinationPorts).unwrap(),
            &Spans::new([(0, 79), (81, 65535)])
        );
        assert_eq!(Region::default().without(&tcp), None);
        assert_eq!(Region::default().without(&web), None);
        assert_eq!(web.without(&web), Some(None));
    }
}
