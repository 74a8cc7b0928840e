//! `netchannel nat`.

use std::io::Write;
use std::net::SocketAddrV4;

use netchannel::channel::nat::PortScheme;
use netchannel::setup;
use serde_json::json;

use crate::arguments::{Nat, NatCommand, Reverse};
use crate::check::load;
use crate::failure::Failure;

pub(crate) fn nat(arguments: &Nat) -> Result<(), Failure> {
    match &arguments.command {
        NatCommand::Reverse(arguments) => reverse(arguments),
    }
}

/// Prints which inside host has each external endpoint; fails if nobody has one of them.
fn reverse(arguments: &Reverse) -> Result<(), Failure> {
    let config = load(&arguments.config).map_err(|error| Failure::Refused(vec![error]))?;
    let schemes = setup::port_schemes(&config)?;
    if schemes.is_empty() {
        let file = arguments.config.display();
        return Err(anyhow::anyhow!(
            "{file} has no nat channel with [channel.deterministic]: who had a port can't be computed from it"
        )
        .into());
    }
    let mut out = std::io::stdout().lock();
    let mut nobody = Vec::new();
    for &external in &arguments.external {
        let Some((channel, host)) = find(&schemes, external) else {
            nobody.push(external.to_string());
            continue;
        };
        if arguments.json {
            let line =
                json!({ "external": external.to_string(), "inside": host.to_string(), "channel": channel });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{external} {host} {channel}")?;
        }
    }
    out.flush()?;
    if nobody.is_empty() {
        return Ok(());
    }
    let list = nobody.join(", ");
    Err(anyhow::anyhow!("no inside host has {list} with this configuration").into())
}

/// The host that has an external endpoint, and its channel.
fn find<'a>(
    schemes: &[(&'a str, PortScheme)],
    external: SocketAddrV4,
) -> Option<(&'a str, std::net::Ipv4Addr)> {
    schemes
        .iter()
        .find_map(|(channel, scheme)| Some((*channel, scheme.host_of(*external.ip(), external.port())?)))
}
