//! How people write a packet.

use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;

use super::flow::{DEFAULT_SOURCE_PORT, Flow};
use crate::dispatch::dimensions::{FIELDS, FIRST, LATER, Notation, WHOLE, dimension};
use crate::rules::{FlagMatch, ICMP, ICMPV6, WITH_PORTS, parse_protocol, protocol_name};
use crate::text::quoted;

/// Text is no flow. Prints what was found and expected, then the text with the place marked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n  {shown}\n  {}{}", " ".repeat(*.column), "^".repeat((*.length).max(1)))]
pub struct FlowError {
    /// What was found and what was expected.
    pub message: String,
    /// Where the mark starts, in characters from 0.
    column: usize,
    length: usize,
    /// The text, on one line.
    shown: String,
}

impl FlowError {
    fn new(text: &str, at: Range<usize>, message: String) -> Self {
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        // What is long is cut behind the mark, or where the mark would be.
        let shown: String = text.chars().map(visible).take(200).collect();
        let column = text[..at.start].chars().count().min(shown.chars().count());
        let length = text[at].chars().count().min(shown.chars().count() - column);
        Self {
            message,
            column,
            length,
            shown,
        }
    }
}

/// `PROTOCOL [TYPE/CODE] SOURCE[:PORT] > DESTINATION[:PORT]`, then in any order `on INTERFACE`, `flags FLAGS`, `vlan NUMBER`,
/// `dscp VALUE` and `fragment first` or `fragment later`.
///
/// A protocol is a name or a number; an IPv6 address with a port is in brackets. What is left out: the source port is
/// [`DEFAULT_SOURCE_PORT`]; the ICMP message is an echo request; the TCP flags are `syn`; there is no VLAN tag, DSCP is 0, and it is a
/// whole datagram. A later fragment has no ports.
impl FromStr for Flow {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        Parser {
            text,
            words: words(text),
            at: 0,
        }
        .flow()
    }
}

/// Words with the places where they stand; `>` is one by itself.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (at, letter) in text.char_indices() {
        let end = at + letter.len_utf8();
        if letter.is_whitespace() || letter == '>' {
            open = false;
            if letter == '>' {
                words.push(at..end);
            }
        } else if open {
            if let Some(word) = words.last_mut() {
                word.end = end;
            }
        } else {
            words.push(at..end);
            open = true;
        }
    }
    words
}

struct Parser<'t> {
    text: &'t str,
    words: Vec<Range<usize>>,
    at: usize,
}

type Word<'t> = (&'t str, Range<usize>);

impl<'t> Parser<'t> {
    fn error<T>(&self, at: Range<usize>, message: impl Into<String>) -> Result<T, FlowError> {
        Err(FlowError::new(self.text, at, message.into()))
    }

    fn peek(&self) -> Option<Word<'t>> {
        let word = self.words.get(self.at)?.clone();
        Some((&self.text[word.clone()], word))
    }

    fn next(&mut self, expected: &str) -> Result<Word<'t>, FlowError> {
        let found = self.peek();
        self.at += 1;
        match found {
            Some(word) => Ok(word),
            None => {
                let end = self.text.trim_end().len();
                self.error(end..end, format!("the flow ends here; expected {expected}"))
            }
        }
    }

    fn flow(mut self) -> Result<Flow, FlowError> {
        let (word, at) = self.next("a protocol, as in: tcp 10.0.0.5:1234 > 1.2.3.4:443")?;
        let protocol = match parse_protocol(word) {
            Ok(protocol) => protocol,
            Err(error) => return self.error(at, error.to_string()),
        };
        let mut icmp = match protocol {
            ICMP => (8, 0),
            ICMPV6 => (128, 0),
            _ => (0, 0),
        };
        if [ICMP, ICMPV6].contains(&protocol)
            && let Some((word, at)) = self.peek()
            && word
                .split('/')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        {
            self.at += 1;
            let (kind, code) = word.split_once('/').unwrap_or((word, "0"));
            icmp = match (kind.parse(), code.parse()) {
                (Ok(kind), Ok(code)) => (kind, code),
                _ => {
                    return self.error(
                        at,
                        format!("found {}; expected TYPE/CODE, numbers 0 to 255", quoted(word)),
                    );
                }
            };
        }
        let (source, source_port, _) = self.endpoint()?;
        let (word, at) = self.next("\">\" and the destination")?;
        if word != ">" {
            return self.error(
                at,
                format!("found {}; expected \">\" and the destination", quoted(word)),
            );
        }
        let (destination, destination_port, to) = self.endpoint()?;
        if source.is_ipv4() != destination.is_ipv4() {
            return self.error(
                to,
                "source and destination are of different IP versions; expected those of one",
            );
        }
        if (protocol == ICMP && !source.is_ipv4()) || (protocol == ICMPV6 && source.is_ipv4()) {
            let name = protocol_name(protocol);
            return self.error(
                to,
                format!("{name} is not the ICMP of this IP version; expected icmp for IPv4, icmpv6 for IPv6"),
            );
        }
        let mut flow = Flow {
            source,
            destination,
            protocol,
            source_port: 0,
            destination_port: 0,
            tcp_flags: if protocol == 6 { 0x02 } else { 0 },
            icmp,
            interface: None,
            vlan: 0,
            dscp: 0,
            fragment: WHOLE,
        };
        while self.at < self.words.len() {
            self.option(&mut flow)?;
        }
        self.ports(flow, source_port, destination_port, to)
    }

    /// Ports go with protocols that have them, and not with later fragments.
    fn ports(
        self,
        mut flow: Flow,
        source: Option<u16>,
        destination: Option<u16>,
        to: Range<usize>,
    ) -> Result<Flow, FlowError> {
        let name = protocol_name(flow.protocol);
        if !WITH_PORTS.contains(&flow.protocol) {
            if source.or(destination).is_some() {
                return self.error(to, format!("{name} has no ports; expected addresses alone"));
            }
            if flow.fragment == LATER {
                flow.icmp = (0, 0);
            }
            return Ok(flow);
        }
        if flow.fragment == LATER {
            if source.or(destination).is_some() {
                return self.error(to, "later fragments have no ports; expected addresses alone");
            }
            flow.tcp_flags = 0;
            return Ok(flow);
        }
        let Some(destination) = destination else {
            return self.error(
                to.end..to.end,
                format!("{name} has ports; expected one here, as in 1.2.3.4:443"),
            );
        };
        flow.source_port = source.unwrap_or(DEFAULT_SOURCE_PORT);
        flow.destination_port = destination;
        Ok(flow)
    }

    /// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`
    fn endpoint(&mut self) -> Result<(IpAddr, Option<u16>, Range<usize>), FlowError> {
        let expected = "an address, as in 10.0.0.5, 10.0.0.5:80 or [2001:db8::1]:80";
        let (word, at) = self.next(expected)?;
        let (address, port) = match word.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, "")) => (address, None),
            Some((address, port)) => match port.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None => return self.error(at, format!("found {}; expected {expected}", quoted(word))),
            },
            None if word.parse::<IpAddr>().is_ok() => (word, None),
            None => match word.rsplit_once(':') {
                Some((address, port)) => (address, Some(port)),
                None => (word, None),
            },
        };
        let is_bracketed = word.starts_with('[');
        let address = match address.parse::<IpAddr>() {
            Ok(address)
                if address.is_ipv4() && is_bracketed
                    || address.is_ipv6() && !is_bracketed && port.is_some() =>
            {
                return self.error(at, format!("found {}; expected {expected}", quoted(word)));
            }
            Ok(address) => address,
            Err(_) => return self.error(at, format!("found {}; expected {expected}", quoted(word))),
        };
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) => Some(port),
            Some(Err(_)) => {
                let start = word.rfind(':').map_or(at.start, |colon| at.start + colon + 1);
                return self.error(
                    start..at.end,
                    format!(
                        "found {}; expected a port, 0 to 65535",
                        quoted(&self.text[start..at.end])
                    ),
                );
            }
        };
        Ok((address, port, at))
    }

    fn option(&mut self, flow: &mut Flow) -> Result<(), FlowError> {
        let expected = "\"on\", \"flags\", \"vlan\", \"dscp\" or \"fragment\"";
        let (word, at) = self.next(expected)?;
        match word {
            "on" => {
                let (name, at) = self.next("the name of an interface")?;
                if name.len() > 15 {
                    return self.error(at, "an interface's name has at most 15 bytes");
                }
                flow.interface = Some(name.into());
            }
            "flags" if flow.protocol == 6 => {
                let (word, at) = self.next("TCP flags, as in syn,ack")?;
                flow.tcp_flags = match word {
                    "none" => 0,
                    _ => match word.parse::<FlagMatch>() {
                        Ok(flags) if !word.contains('/') => flags.set,
                        _ => {
                            return self.error(
                                at,
                                format!(
                                    "found {}; expected flags that are set, as in syn,ack, or none",
                                    quoted(word)
                                ),
                            );
                        }
                    },
                };
            }
            "flags" => return self.error(at, "only TCP has flags; expected the protocol tcp"),
            "vlan" => flow.vlan = self.number(dimension::VLAN)? as u16,
            "dscp" => flow.dscp = self.number(dimension::DSCP)? as u8,
            "fragment" => {
                let (word, at) = self.next("\"first\", \"later\" or \"whole\"")?;
                flow.fragment = match word {
                    "whole" => WHOLE,
                    "first" => FIRST,
                    "later" => LATER,
                    _ => {
                        return self.error(
                            at,
                            format!(
                                "found {}; expected \"first\", \"later\" or \"whole\"",
                                quoted(word)
                            ),
                        );
                    }
                };
            }
            _ => {
                return self.error(
                    at,
                    format!("found {}; expected {expected}, or nothing more", quoted(word)),
                );
            }
        }
        Ok(())
    }

    /// A value of a field with names for some.
    fn number(&mut self, dimension: usize) -> Result<u32, FlowError> {
        let Notation::Numbers { highest, names } = FIELDS[dimension - dimension::FIVE_TUPLE].notation else {
            return Ok(0);
        };
        let expected = format!(
            "a number, 0 to {highest}, or one of {}",
            names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        );
        let (word, at) = self.next(&expected)?;
        let named = names
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, number)| *number);
        match named
            .or_else(|| word.parse().ok())
            .filter(|number| *number <= highest)
        {
            Some(number) => Ok(number),
            None => self.error(at, format!("found {}; expected {expected}", quoted(word))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flows_are_written_as_they_are_read() {
        for text in [
            "tcp 10.0.0.5:1234 > 1.2.3.4:443 on eth0",
            "udp [2001:db8::1]:53 > [2001:db8::2]:5353",
            "icmp 8/0 10.0.0.5 > 1.2.3.4",
            "icmpv6 128/0 fd00::1 > fd00::2 on lan0 vlan 7 dscp 46",
            "gre 10.0.0.1 > 10.0.0.2",
            "tcp 10.0.0.5:1 > 1.2.3.4:2 flags syn,ack vlan 12 dscp 1 fragment first",
            "tcp 10.0.0.5 > 1.2.3.4 fragment later",
            "200 10.0.0.1 > 10.0.0.2",
        ] {
            assert_eq!(
                text.parse::<Flow>().map(|flow| flow.to_string()),
                Ok(text.to_owned())
            );
        }
        let flow: Flow = "TCP 10.0.0.5>1.2.3.4:443 dscp ef".parse().unwrap();
        assert_eq!(flow.to_string(), "tcp 10.0.0.5:49152 > 1.2.3.4:443 dscp 46");
        let ping: Flow = "icmp 10.0.0.5 > 1.2.3.4".parse().unwrap();
        assert_eq!(ping.icmp, (8, 0));
    }

    #[test]
    fn what_is_no_flow_is_told_with_its_place() {
        for (text, column, length) in [
            ("", 0, 0),
            ("tpc 1.2.3.4:1 > 1.2.3.4:2", 0, 3),
            ("tcp 1.2.3.4:1 1.2.3.4:2", 14, 9),
            ("tcp 1.2.3.4:1 > 1.2.3.4", 23, 0),
            ("tcp 1.2.3.4:70000 > 1.2.3.4:1", 12, 5),
            ("tcp 1.2.3.4:1 > fd00::1", 16, 7),
            ("tcp fd00::1 > [fd00::2:80", 14, 11),
            ("icmp fd00::1 > fd00::2", 15, 7),
            ("gre 1.2.3.4:1 > 1.2.3.4", 16, 7),
            ("udp 1.2.3.4 > 1.2.3.4:1 flags syn", 24, 5),
            ("udp 1.2.3.4 > 1.2.3.4:1 vlan 4095", 29, 4),
            ("udp 1.2.3.4 > 1.2.3.4:1 via eth0", 24, 3),
            ("udp 1.2.3.4 > 1.2.3.4:1 on", 26, 0),
            ("udp 1.2.3.4 > 1.2.3.4:1 fragment later", 14, 9),
        ] {
            let error = text.parse::<Flow>().unwrap_err();
            assert_eq!((error.column, error.length), (column, length), "{error}");
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_flow_or_an_error(text in ".{0,60}") {
            match text.parse::<Flow>() {
                Ok(flow) => prop_assert_eq!(flow.to_string().parse(), Ok(flow)),
                Err(error) => prop_assert!(error.to_string().contains('^')),
            }
        }

        #[test]
        fn text_like_flows_is_a_flow_or_an_error(words in proptest::collection::vec(prop_oneof![
            Just("tcp"), Just("icmp"), Just("1/2"), Just("1.2.3.4:5"), Just("1.2.3.4"), Just(">"), Just("[::1]:7"), Just("é"),
            Just("on"), Just("flags"), Just("syn"), Just("vlan"), Just("7"), Just("fragment"), Just("later"), Just("[::"), Just("]"),
        ], 0..9)) {
            let text = words.join(" ");
            if let Ok(flow) = text.parse::<Flow>() {
                prop_assert_eq!(flow.to_string().parse(), Ok(flow));
            }
        }

        #[test]
        fn small_flows_are_flows(flow in Flow::small()) {
            prop_assert_eq!(flow.to_string().parse(), Ok(flow));
        }
    }
}
