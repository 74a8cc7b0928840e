//! `netchannel nat`.

use std::io::{BufWriter, Write};
use std::net::SocketAddrV4;

use netchannel::channel::nat::PortScheme;
use netchannel::control::Client;
use netchannel::setup;
use serde_json::json;

use crate::arguments::{Delete, Nat, NatCommand, Reverse};
use crate::check::load;
use crate::failure::Failure;
use crate::show;
use crate::units::count;

pub(crate) fn nat(arguments: &Nat) -> Result<(), Failure> {
    match &arguments.command {
        NatCommand::Delete(arguments) => delete(arguments),
        NatCommand::Reverse(arguments) => reverse(arguments),
    }
}

/// Deletes mappings of a running netchannel, or lists those that it would delete.
fn delete(arguments: &Delete) -> Result<(), Failure> {
    let filter = arguments.filter.filter();
    if filter.is_empty() && !arguments.all {
        return Err(Failure::Usage(
            "this would delete all mappings; expected an option that says which (--inside, --external, --protocol, \
             --channel, --min-age, --max-age), or --all"
                .to_owned(),
        ));
    }
    let mut client = Client::connect(&arguments.socket)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.dry_run {
        show::mappings_to_delete(&mut client, filter, arguments.json, &mut out)?;
    } else {
        let deleted = client.delete_mappings(filter)?;
        if arguments.json {
            writeln!(out, "{}", json!({ "deleted": deleted }))?;
        } else {
            let mappings = if deleted == 1 { "mapping" } else { "mappings" };
            writeln!(out, "{} {mappings} deleted", count(deleted))?;
        }
    }
    out.flush()?;
    Ok(())
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
