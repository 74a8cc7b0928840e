//! Filters of packets and flows, as clients write them.

use super::inspect::Inspector;
use crate::control::ControlError;
use crate::dispatch::dimensions::{Arrival, FIELDS, dimension};
use crate::dispatch::{FlowKey, PacketFilter};
use crate::packet::{Fragment, Headers, Transport, protocol};
use crate::rules::Rule;
use crate::rules::text::parse_match;
use crate::setup;

/// Boxes that the lists of a filter may multiply to.
const MAX_BOXES: u64 = 4096;

/// A filter of flows.
pub(super) struct FlowFilter(PacketFilter);

impl FlowFilter {
    /// Whether it takes the packets of a flow.
    pub(super) fn takes(&self, key: &FlowKey) -> bool {
        self.0.takes(&Arrival {
            frame: &[],
            headers: &example(key),
            interface: key.interface,
        })
    }
}

/// Headers that packets of a flow could have.
fn example(key: &FlowKey) -> Headers {
    let (source, destination) = (key.source_port, key.destination_port);
    let [kind, code] = key.message.to_be_bytes();
    let transport = match key.protocol {
        _ if key.message != 0 => Transport::Icmp { kind, code },
        protocol::TCP => Transport::Tcp {
            source,
            destination,
            flags: 0,
        },
        protocol::ICMP | protocol::ICMPV6 => Transport::None,
        _ if (source, destination) != (0, 0) => Transport::Udp { source, destination },
        _ => Transport::None,
    };
    Headers {
        source: key.source,
        destination: key.destination,
        protocol: key.protocol,
        fragment: key.fragment,
        transport: if key.fragment == Fragment::Later {
            Transport::None
        } else {
            transport
        },
        ..Headers::EMPTY
    }
}

impl Inspector {
    pub(super) fn packet_filter(&self, text: &str) -> Result<PacketFilter, ControlError> {
        let rule = parse_match(text, &self.rules.running().sets)
            .map_err(|error| ControlError::new(error.to_string()))?;
        self.compile(&rule)
    }

    pub(super) fn flow_filter(&self, text: &str) -> Result<FlowFilter, ControlError> {
        let rule = parse_match(text, &self.rules.running().sets)
            .map_err(|error| ControlError::new(error.to_string()))?;
        let fragment = dimension::FRAGMENT - dimension::FIVE_TUPLE;
        let of_packets = rule
            .fields
            .iter()
            .map(|(field, _)| field)
            .find(|&field| field != fragment);
        let of_packets = match of_packets {
            Some(field) => Some(FIELDS[field].key),
            None if !rule.tcp_flags.is_empty() => Some("tcp_flags"),
            None => None,
        };
        if let Some(field) = of_packets {
            return Err(ControlError::new(format!(
                "the packets of a flow may differ in {field}; expected a filter by addresses, protocol, ports, interface or fragment"
            )));
        }
        self.compile(&rule).map(FlowFilter)
    }

    fn compile(&self, rule: &Rule) -> Result<PacketFilter, ControlError> {
        let names = self.interface_names();
        let unknown = rule
            .interfaces
            .iter()
            .find(|name| !names.contains(&name.to_string()));
        if let Some(unknown) = unknown {
            return Err(ControlError::new(format!(
                "there is no interface \"{unknown}\"; expected {}",
                crate::text::one_of(names.iter().map(String::as_str))
            )));
        }
        if rule.boxes() > MAX_BOXES {
            return Err(ControlError::new(format!(
                "the lists of the filter multiply to {} combinations; expected at most {MAX_BOXES}",
                rule.boxes()
            )));
        }
        setup::packet_filter(rule, &names).map_err(|error| ControlError::new(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::InterfaceId;
    use crate::rules::RuleList;

    #[test]
    fn flows_are_taken_as_their_packets_are() {
        let key = FlowKey {
            source: "10.0.0.2".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            source_port: 4000,
            destination_port: 53,
            protocol: 17,
            interface: InterfaceId(1),
            message: 0,
            fragment: Fragment::Whole,
        };
        let later = FlowKey {
            source_port: 0,
            destination_port: 0,
            fragment: Fragment::Later,
            ..key
        };
        let message = FlowKey {
            protocol: 1,
            source_port: 0,
            destination_port: 0,
            message: 0x0301,
            ..key
        };
        for (text, taken) in [
            ("", [true, true, true]),
            ("udp", [true, true, false]),
            ("udp to any port 53", [true, false, false]),
            ("udp to any port 54", [false, false, false]),
            ("from 10.0.0.0/24", [true, true, true]),
            ("from 10.0.1.0/24", [false, false, false]),
            ("to 192.0.2.1 on wan", [true, true, true]),
            ("on lan", [false, false, false]),
            ("icmp", [false, false, true]),
            ("fragment later", [false, true, false]),
            ("from fd00::/8", [false, false, false]),
        ] {
            let rule = parse_match(text, &RuleList::default()).unwrap();
            let filter = FlowFilter(setup::packet_filter(&rule, &["lan", "wan"]).unwrap());
            let takes = [key, later, message].map(|key| filter.takes(&key));
            assert_eq!(takes, taken, "{text}");
        }
    }
}
