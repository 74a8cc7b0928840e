//! What rules do with packets.

use std::net::{IpAddr, Ipv4Addr};

use super::line::{refuse, wrong};
use super::matches::Context;
use super::words::Word;
use crate::rules::chains::{Destination, External, Family, Refusal, Source, Verdict};
use crate::rules::{AddressRange, PortRange};
use crate::text::quoted;

/// The verdict of a target with these arguments; `chain` is the chain of that name, if there is one.
pub(super) fn verdict(
    target: &Word,
    arguments: &[Word],
    goes: bool,
    chain: Option<usize>,
    context: &Context<'_>,
    notes: &mut Vec<String>,
) -> Result<Verdict, Refusal> {
    if let Some(chain) = chain {
        return match arguments.first() {
            Some(word) => Err(wrong(word, "nothing behind the name of a chain")),
            None if goes => Ok(Verdict::Goto(chain)),
            None => Ok(Verdict::Jump(chain)),
        };
    }
    match target.text.as_str() {
        "ACCEPT" => Ok(Verdict::Accept),
        "DROP" => Ok(Verdict::Drop),
        "RETURN" => Ok(Verdict::Return),
        "REJECT" => {
            notes.push("becomes a drop: the sender is not told".to_owned());
            Ok(Verdict::Drop)
        }
        "SNAT" | "MASQUERADE" | "DNAT" if context.family == Family::Ipv6 => Err(refuse(
            target,
            "channels translate IPv4 only; expected no translation of IPv6",
        )),
        "MASQUERADE" => {
            let ports = option(arguments, "--to-ports")?
                .map(|word| ports(word, &word.text))
                .transpose()?;
            let external = context.leaves_by().ok_or_else(|| {
                let expected = "expected -o INTERFACE, or to be told the interface to the outside: --route default=INTERFACE";
                refuse(target, format!("which address it translates to depends on the way out; {expected}"))
            })?;
            Ok(Verdict::Source(Source {
                external: External::Interface(external),
                ports,
            }))
        }
        "SNAT" => {
            let to = option(arguments, "--to-source")?
                .ok_or_else(|| refuse(target, "SNAT without --to-source; expected --to-source ADDRESS"))?;
            let (first, last, ports) = endpoint(to)?;
            Ok(Verdict::Source(Source {
                external: External::Addresses(AddressRange::V4(first, last)),
                ports,
            }))
        }
        "DNAT" => {
            let to = option(arguments, "--to-destination")?.ok_or_else(|| {
                refuse(
                    target,
                    "DNAT without --to-destination; expected --to-destination ADDRESS",
                )
            })?;
            let (first, last, ports) = endpoint(to)?;
            if first != last {
                return Err(refuse(
                    to,
                    "a port forward leads to one inside host; expected one address",
                ));
            }
            Ok(Verdict::Destination(Destination {
                address: first,
                ports,
            }))
        }
        "REDIRECT" => Err(refuse(
            target,
            "sends packets to the box itself, which is the kernel's; expected DNAT to another host",
        )),
        "NETMAP" => Err(refuse(
            target,
            "translates a network to another; a nat channel has [[channel.one_to_one]] for that",
        )),
        "LOG" | "NFLOG" | "ULOG" | "TRACE" => Err(refuse(
            target,
            "logs packets, which rules do not; see netchannel trace, capture and show rules",
        )),
        "TCPMSS" => Err(refuse(
            target,
            "changes the segment size of connections; a nat channel has `mss_clamp` for that",
        )),
        other => Err(refuse(
            target,
            format!(
                "rules do not do what the target {} does, and there is no chain of that name; expected ACCEPT, DROP, REJECT, \
                 RETURN, SNAT, MASQUERADE, DNAT or a chain",
                quoted(other)
            ),
        )),
    }
}

/// The value of an option behind a target. Options that say how a port is drawn are passed over.
fn option<'w>(arguments: &'w [Word], name: &str) -> Result<Option<&'w Word>, Refusal> {
    let mut found = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "--random" | "--random-fully" | "--persistent" => {}
            text if text == name => {
                if found.is_some() {
                    return Err(refuse(word, "is here twice; expected it once"));
                }
                found = words.next();
                if found.is_none() {
                    return Err(refuse(word, "is the last word; expected a value behind it"));
                }
            }
            _ => return Err(wrong(word, name)),
        }
    }
    Ok(found)
}

/// `ADDRESS[-ADDRESS][:PORT[-PORT]]`
fn endpoint(word: &Word) -> Result<(Ipv4Addr, Ipv4Addr, Option<PortRange>), Refusal> {
    let (addresses, behind) = match word.text.split_once(':') {
        Some((addresses, behind)) => (addresses, Some(behind)),
        None => (word.text.as_str(), None),
    };
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let address = |text: &str| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Ok(address),
        _ => Err(wrong(
            word,
            "ADDRESS, ADDRESS-ADDRESS, and :PORT or :PORT-PORT behind it",
        )),
    };
    let (first, last) = (address(first)?, address(last)?);
    if first > last {
        return Err(wrong(word, "the lower address first"));
    }
    Ok((first, last, behind.map(|text| ports(word, text)).transpose()?))
}

/// `PORT` or `PORT-PORT`
fn ports(word: &Word, text: &str) -> Result<PortRange, Refusal> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(PortRange { first, last }),
        _ => Err(wrong(word, "PORT or PORT-PORT, 0 to 65535")),
    }
}
