//! Whether a rule takes a packet, value by value.

use super::flow::Flow;
use crate::dispatch::dimensions::{FIELDS, LATER, dimension};
use crate::rules::{Rule, Values};

impl Rule {
    /// Whether a packet matches, whatever other rules say.
    ///
    /// A rule that names interfaces takes no packet of which the interface is not told.
    pub fn takes(&self, flow: &Flow) -> bool {
        self.takes_tuple(flow) && self.takes_fields(flow)
    }

    /// Whether addresses, ports and protocol match.
    pub(super) fn takes_tuple(&self, flow: &Flow) -> bool {
        let families = self.families();
        let family = if flow.source.is_ipv4() {
            families.ipv4
        } else {
            families.ipv6
        };
        let ports = [
            (&self.source_ports, flow.source_port),
            (&self.destination_ports, flow.destination_port),
        ];
        family
            && any_or(&self.from, |range| range.contains(flow.source))
            && any_or(&self.to, |range| range.contains(flow.destination))
            && (self.protocols.is_empty() || self.protocols.contains(&flow.protocol))
            && ports
                .iter()
                .all(|(ports, port)| any_or(ports, |range| range.contains(*port)))
    }

    fn takes_fields(&self, flow: &Flow) -> bool {
        let names_transport = !self.tcp_flags.is_empty()
            || self
                .fields
                .iter()
                .any(|(field, _)| !FIELDS[field].protocols.is_empty());
        if names_transport && flow.fragment == LATER {
            return false;
        }
        let interface = self.interfaces.is_empty()
            || flow
                .interface
                .as_ref()
                .is_some_and(|name| self.interfaces.contains(name));
        let flags =
            self.tcp_flags.is_empty() || self.tcp_flags.iter().any(|wanted| wanted.takes(flow.tcp_flags));
        let mut fields = self.fields.iter();
        interface
            && flags
            && fields.all(|(field, ranges)| {
                let value = flow.field(field);
                ranges
                    .iter()
                    .any(|range| (range.first..=range.last).contains(&value))
            })
    }
}

impl Flow {
    /// The value of one of [`FIELDS`]; interfaces and TCP flags are told by name.
    fn field(&self, field: usize) -> u32 {
        match dimension::FIVE_TUPLE + field {
            dimension::ICMP_TYPE => self.icmp.0.into(),
            dimension::ICMP_CODE => self.icmp.1.into(),
            dimension::VLAN => self.vlan.into(),
            dimension::DSCP => self.dscp.into(),
            dimension::FRAGMENT => self.fragment,
            _ => 0,
        }
    }
}

fn any_or<T>(values: &Values<T>, takes: impl FnMut(&T) -> bool) -> bool {
    values.is_any() || values.iter().any(takes)
}

/// The rules that take a packet, by their places in the list, in the order in which they are tried: the first one wins.
pub fn matching(rules: &[Rule], flow: &Flow) -> Vec<usize> {
    let mut found: Vec<usize> = (0..rules.len()).filter(|&rule| rules[rule].takes(flow)).collect();
    found.sort_by_key(|&rule| rules[rule].priority);
    found
}
