//! The table `[metrics]`.

use std::net::{Ipv4Addr, SocketAddr};

use super::error::Source;
use super::section::{Section, refuse};

/// Metrics for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where they are served over HTTP; `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

pub(super) fn read(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> Metrics {
    const EXPECTED: &str = "an address and a port, as in \"127.0.0.1:9478\" or \"[::1]:9478\", or a port of this host, as in 9478";
    let Some(table) = table else {
        return Metrics::default();
    };
    let Some(value) = table.value("listen") else {
        table.missing("listen", EXPECTED, source);
        return Metrics::default();
    };
    let listen = match value.get_ref() {
        toml::de::DeValue::Integer(_) => {
            let port = table.number("listen", 0, 1..=65_535, source);
            // A number alone is for this host only.
            u16::try_from(port)
                .ok()
                .filter(|port| *port > 0)
                .map(|port| (Ipv4Addr::LOCALHOST, port).into())
        }
        found => {
            let address = found.as_str().and_then(|text| text.parse::<SocketAddr>().ok());
            let address = address.filter(|address| address.port() > 0);
            if address.is_none() {
                refuse(value, "listen", EXPECTED, source);
            }
            address
        }
    };
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
        let message = format!(
            "{address} is not this host's own: whoever reaches it reads the metrics, without encryption and unasked; expected for \
             example 127.0.0.1:{}, or a firewall in front",
            address.port()
        );
        source.warning(&value.span(), "listen", message);
    }
    Metrics { listen }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn parse(listen: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "[metrics]\n{listen}\n[[interface]]\nname = \"lan0\"\nrole = \"inside\"\n[[rule]]\nchannel = \"pass\"\n"
        );
        Config::parse(&text, "test.toml")
    }

    #[test]
    fn they_are_at_an_address_and_a_port() {
        let listen = |text: &str| parse(text).unwrap().metrics.listen.unwrap().to_string();
        assert_eq!(listen("listen = 9478"), "127.0.0.1:9478");
        assert_eq!(listen("listen = \"127.0.0.2:80\""), "127.0.0.2:80");
        assert_eq!(listen("listen = \"[::1]:9478\""), "[::1]:9478");
        assert_eq!(listen("listen = \"192.0.2.1:9478\""), "192.0.2.1:9478");
        assert_eq!(
            Config::parse("[[interface]]\nname = \"a\"\nrole = \"inside\"\n", "x")
                .unwrap()
                .metrics
                .listen,
            None
        );
    }

    #[test]
    fn an_address_that_others_reach_is_warned_of() {
        assert!(parse("listen = 9478").unwrap().warnings.is_empty());
        assert!(parse("listen = \"[::1]:9478\"").unwrap().warnings.is_empty());
        let warnings = parse("listen = \"0.0.0.0:9478\"").unwrap().warnings;
        assert!(
            warnings[0].to_string().contains("without encryption"),
            "{}",
            warnings[0]
        );
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for wrong in [
            "",
            "listen = 0",
            "listen = 65536",
            "listen = -1",
            "listen = \"9478\"",
            "listen = \"localhost:9478\"",
            "listen = \"127.0.0.1\"",
            "listen = \"127.0.0.1:0\"",
            "listen = true",
            "listen = 9478\ncolour = 1",
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains("expected"), "{wrong}: {error}");
        }
        assert!(
            parse("lisen = 9478")
                .unwrap_err()
                .to_string()
                .contains("did you mean")
        );
    }
}
