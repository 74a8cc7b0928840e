//! Which mappings or sessions are asked for.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::channel::nat::Protocol;

/// What a mapping, session or address has to be like to be listed or deleted: all that is given. The default is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Of this channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Of this protocol.
    #[serde(skip_serializing_if = "Option::is_none", with = "protocol")]
    pub protocol: Option<Protocol>,
    /// Of these inside hosts or ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Endpoints>,
    /// At these external addresses or ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<Endpoints>,
    /// With these outside hosts or ports; for sessions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Endpoints>,
    /// Mappings made at least so many seconds ago; for sessions, their mappings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_age_seconds: Option<u64>,
    /// Mappings made at most so many seconds ago; for sessions, their mappings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
}

impl Filter {
    /// Whether it leaves nothing out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a channel of this name is asked for.
    pub fn has_channel(&self, name: &str) -> bool {
        self.channel.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// Whether something with this protocol and these endpoints is asked for.
    pub(crate) fn has_endpoints(
        &self,
        protocol: Protocol,
        inside: SocketAddrV4,
        external: SocketAddrV4,
    ) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.inside.is_none_or(|wanted| wanted.contain(inside))
            && self.external.is_none_or(|wanted| wanted.contain(external))
    }

    /// Whether a mapping of this age is asked for.
    pub(crate) fn has_age(&self, seconds: u64) -> bool {
        self.min_age_seconds.is_none_or(|least| least <= seconds)
            && self.max_age_seconds.is_none_or(|most| seconds <= most)
    }

    /// Whether an outside endpoint is asked for.
    pub(crate) fn has_remote(&self, remote: SocketAddrV4) -> bool {
        self.remote.is_none_or(|wanted| wanted.contain(remote))
    }
}

/// Addresses, and perhaps one port of them. Written `10.0.0.2`, `10.0.0.0/24`, `10.0.0.2:5000`, `10.0.0.0/24:5000`, or `:5000` for the
/// port of any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoints {
    /// The addresses.
    pub addresses: Ipv4Net,
    /// The port, or identifier of ICMP queries; `None` for any.
    pub port: Option<u16>,
}

impl Endpoints {
    /// Whether this endpoint is one of them.
    pub fn contain(&self, endpoint: SocketAddrV4) -> bool {
        self.addresses.contains(endpoint.ip()) && self.port.is_none_or(|port| port == endpoint.port())
    }
}

/// The text names no endpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" names no endpoints; expected an IPv4 address or prefix, a port after a colon, or both, as in \"10.0.0.2\", \
     \"10.0.0.0/24\", \"10.0.0.2:5000\" or \":5000\""
)]
pub struct WrongEndpoints(String);

/// The longest text that an error repeats.
const SHOWN: usize = 60;

impl FromStr for Endpoints {
    type Err = WrongEndpoints;

    fn from_str(text: &str) -> Result<Self, WrongEndpoints> {
        let wrong = || WrongEndpoints(text.chars().take(SHOWN).collect());
        let (addresses, port) = match text.split_once(':') {
            None => (text, None),
            Some((addresses, port)) => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = digits.then(|| port.parse().ok()).flatten();
                (addresses, Some(port.ok_or_else(wrong)?))
            }
        };
        let addresses = match addresses {
            "" if port.is_some() => Ipv4Net::default(),
            text => match text.parse::<Ipv4Addr>() {
                Ok(address) => Ipv4Net::from(address),
                Err(_) => text.parse::<Ipv4Net>().map_err(|_| wrong())?.trunc(),
            },
        };
        Ok(Self { addresses, port })
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.addresses.prefix_len(), self.port) {
            (0, Some(_)) => {}
            (32, _) => write!(f, "{}", self.addresses.addr())?,
            _ => write!(f, "{}", self.addresses)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Endpoints {
    type Error = WrongEndpoints;

    fn try_from(text: String) -> Result<Self, WrongEndpoints> {
        text.parse()
    }
}

impl From<Endpoints> for String {
    fn from(endpoints: Endpoints) -> Self {
        endpoints.to_string()
    }
}

/// Protocols by their names.
mod protocol {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Protocol;

    pub(super) fn serialize<S: Serializer>(
        protocol: &Option<Protocol>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match protocol {
            Some(protocol) => serializer.serialize_str(protocol.name()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Protocol>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        name.map(|name| name.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoints(text: &str) -> Endpoints {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_contain_what_they_name() {
        let at = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        for (text, inside, outside) in [
            ("10.0.0.2", "10.0.0.2:80", "10.0.0.3:80"),
            ("10.0.0.0/24", "10.0.0.255:0", "10.0.1.0:0"),
            ("10.0.0.7/24", "10.0.0.1:0", "10.0.1.7:0"),
            ("10.0.0.2:80", "10.0.0.2:80", "10.0.0.2:81"),
            ("10.0.0.0/8:80", "10.9.9.9:80", "10.9.9.9:8"),
            (":80", "192.0.2.1:80", "192.0.2.1:79"),
            ("0.0.0.0/0", "192.0.2.1:80", ""),
        ] {
            assert!(endpoints(text).contain(at(inside)), "{text}");
            assert!(
                outside.is_empty() || !endpoints(text).contain(at(outside)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_no_endpoints_is_told_what_would() {
        for text in [
            "",
            ":",
            "10.0.0.300",
            "10.0.0.0/33",
            "10.0.0.2:70000",
            "10.0.0.2:+5",
            "host",
            "::1",
            ":5:5",
        ] {
            let error = text.parse::<Endpoints>().unwrap_err().to_string();
            assert!(error.contains("expected an IPv4 address or prefix"), "{error}");
        }
        let long = "x".repeat(10_000).parse::<Endpoints>().unwrap_err();
        assert!(long.to_string().len() < 400);
    }

    #[test]
    fn filters_are_text_in_json() {
        let filter = Filter {
            channel: Some("internet".to_owned()),
            protocol: Some(Protocol::Udp),
            inside: Some(endpoints("10.0.0.0/24")),
            external: Some(endpoints(":2000")),
            remote: None,
            min_age_seconds: Some(5),
            max_age_seconds: None,
        };
        let text = r#"{"channel":"internet","protocol":"udp","inside":"10.0.0.0/24","external":":2000","min_age_seconds":5}"#;
        assert_eq!(serde_json::to_string(&filter).unwrap(), text);
        assert_eq!(serde_json::from_str::<Filter>(text).unwrap(), filter);
        assert_eq!(serde_json::from_str::<Filter>("{}").unwrap(), Filter::default());
        let error = |text: &str| serde_json::from_str::<Filter>(text).unwrap_err().to_string();
        assert!(error(r#"{"protocol":"sctp"}"#).contains("expected \"tcp\", \"udp\" or \"icmp\""));
        assert!(error(r#"{"inside":"x"}"#).contains("\"x\" names no endpoints"));
        assert!(error(r#"{"colour":1}"#).contains("unknown field `colour`"));
    }

    proptest! {
        #[test]
        fn endpoints_survive_the_way_through_text(
            address in any::<u32>(), length in 0u8..=32, port in proptest::option::of(any::<u16>()),
        ) {
            let addresses = Ipv4Net::new(address.into(), length).unwrap().trunc();
            let endpoints = Endpoints { addresses, port };
            prop_assert_eq!(endpoints.to_string().parse(), Ok(endpoints));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,30}") {
            let _ = text.parse::<Endpoints>();
        }
    }
}
