//! What rules do with packets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::matches::{Context, MAX_ALTERNATIVES, Matches, Named, plain};
use super::schema::{Match, single};
use super::selector::{Selector, selector, shown, unknown};
use crate::rules::chains::{Body, Branch, Destination, External, Refusal, Region, Source, Spans, Verdict};
use crate::rules::{AddressRange, PortRange};
use crate::text::quoted;

/// What is in a rule.
pub(super) struct Read {
    pub(super) notes: Vec<String>,
    pub(super) body: Result<Body, Refusal>,
}

/// What becomes of packets that a rule takes, for each of their parts.
type Verdicts = Vec<(Region, Verdict)>;

/// Reads the statements of a rule; `chains` are those of its table by name.
pub(super) fn read(
    statements: &[Value],
    context: &Context<'_>,
    chains: &HashMap<&str, usize>,
    named: &mut Named,
) -> Read {
    let mut rule = Rule {
        matches: Matches {
            context,
            regions: vec![Region::default()],
            body: Body::default(),
            only_answers: false,
            leaves_by: None,
            notes: Vec::new(),
            named,
        },
        chains,
        only_accepts: false,
    };
    let verdicts = rule.all(statements);
    let mut notes = std::mem::take(&mut rule.matches.notes);
    let body = match verdicts {
        _ if rule.matches.only_answers && rule.only_accepts => {
            notes.push("is not needed: answers to what a rule let out come in without one".to_owned());
            Ok(Body::default())
        }
        Ok(_) if rule.matches.only_answers => {
            let message = "rules are asked about packets that open flows, and these are answers; expected only accept for them";
            Err(message.to_owned().into())
        }
        Ok(verdicts) => rule.matches.body(verdicts).map_err(Refusal::from),
        Err(message) => Err(message.into()),
    };
    if body.is_err() {
        notes.clear();
    }
    Read { notes, body }
}

impl Matches<'_> {
    /// The packets and what becomes of them.
    fn body(&mut self, verdicts: Option<Verdicts>) -> Result<Body, String> {
        let mut body = std::mem::take(&mut self.body);
        let Some(verdicts) = verdicts else {
            self.notes.push("decides nothing, and is no rule".to_owned());
            return Ok(body);
        };
        if self.regions.len().saturating_mul(verdicts.len()) > MAX_ALTERNATIVES {
            return Err(format!(
                "the rule is for more than {MAX_ALTERNATIVES} combinations of values; expected fewer"
            ));
        }
        for region in &self.regions {
            body.branches
                .extend(verdicts.iter().filter_map(|(other, verdict)| {
                    Some(Branch {
                        region: region.and(other)?,
                        verdict: verdict.clone(),
                    })
                }));
        }
        Ok(body)
    }
}

struct Rule<'r, 'c> {
    matches: Matches<'r>,
    chains: &'c HashMap<&'c str, usize>,
    /// Whether its only verdict is `accept`.
    only_accepts: bool,
}

impl Rule<'_, '_> {
    /// All statements. `None` if none of them decides anything.
    fn all(&mut self, statements: &[Value]) -> Result<Option<Verdicts>, String> {
        self.only_accepts = matches!(statements.last().map(single), Some(Some(("accept", _))));
        let mut refused = None;
        for statement in statements {
            match self.statement(statement) {
                Ok(Some(verdicts)) if refused.is_none() => return Ok(Some(verdicts)),
                Ok(_) => {}
                Err(message) => {
                    refused.get_or_insert(message);
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn statement(&mut self, statement: &Value) -> Result<Option<Verdicts>, String> {
        let Some((kind, value)) = single(statement) else {
            return Err(format!("{} is no statement that rules know", shown(statement)));
        };
        let refused = |reason: &str| Err(reason.to_owned());
        match kind {
            "match" => {
                let found = serde_json::from_value::<Match>(value.clone()).map_err(|_| unknown(statement))?;
                self.matches.one(&found).map(|()| None)
            }
            // Counts, and what says nothing about packets.
            "counter" | "comment" => Ok(None),
            "accept" | "drop" | "return" | "continue" | "jump" | "goto" => {
                let verdict = self.verdict(kind, value)?;
                Ok(Some(
                    verdict
                        .map(|verdict| (Region::default(), verdict))
                        .into_iter()
                        .collect(),
                ))
            }
            "reject" => {
                self.matches
                    .notes
                    .push("becomes a drop: the sender is not told".to_owned());
                Ok(Some(vec![(Region::default(), Verdict::Drop)]))
            }
            "vmap" => self.verdict_map(value).map(Some),
            "masquerade" => {
                let options = &self.matches.context.options;
                let external = self
                    .matches
                    .leaves_by
                    .clone()
                    .or_else(|| options.default_interface().cloned());
                let external = external.ok_or(
                    "which address it translates to depends on the way out; expected oifname, or to be told the interface \
                     to the outside: --route default=INTERFACE",
                )?;
                let ports = value.get("port").map(ports).transpose()?;
                Ok(Some(vec![(
                    Region::default(),
                    Verdict::Source(Source {
                        external: External::Interface(external),
                        ports,
                    }),
                )]))
            }
            "snat" => self.source(value).map(Some),
            "dnat" => self.destinations(value).map(Some),
            "redirect" => refused(
                "redirect sends packets to the box itself, which is the kernel's; expected dnat to another host",
            ),
            "limit" | "quota" | "ct count" | "meter" => {
                refused("rules do not limit or count (see [channel.limits] for what a nat channel limits)")
            }
            "log" => refused("rules do not log packets; see netchannel trace, capture and show rules"),
            "xt" => refused(
                "is a match or target of iptables; expected to read what iptables-save prints instead",
            ),
            "mangle" => refused(
                "rules change nothing in packets; for the segment size of TCP a nat channel has `mss_clamp`",
            ),
            "flow" => refused(
                "hands flows to a flow table of the kernel, which bypasses everything; expected to leave it out",
            ),
            other => Err(format!(
                "rules do not do what the statement {} does",
                quoted(other)
            )),
        }
    }

    /// `None` for `continue`.
    fn verdict(&self, kind: &str, value: &Value) -> Result<Option<Verdict>, String> {
        Ok(Some(match kind {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "return" => Verdict::Return,
            "continue" => return Ok(None),
            "jump" | "goto" => {
                let name = value
                    .get("target")
                    .and_then(Value::as_str)
                    .ok_or_else(|| unknown(value))?;
                let chain = *self
                    .chains
                    .get(name)
                    .ok_or_else(|| format!("there is no chain {} in this table", quoted(name)))?;
                if kind == "jump" {
                    Verdict::Jump(chain)
                } else {
                    Verdict::Goto(chain)
                }
            }
            other => return Err(format!("rules do not know the verdict {}", quoted(other))),
        }))
    }

    /// `KEY vmap { VALUE : VERDICT, ... }`
    fn verdict_map(&mut self, map: &Value) -> Result<Verdicts, String> {
        let (Some(key), Some(data)) = (map.get("key"), map.get("data")) else {
            return Err(unknown(map));
        };
        let elements = pairs(self.matches.context, data)?;
        if let Some(("ct", _)) = single(key) {
            return self.states(elements);
        }
        let mut verdicts: Verdicts = Vec::new();
        // Values of one field with one verdict go together.
        let mut together: Vec<(Verdict, Spans)> = Vec::new();
        let mut otherwise = None;
        let selector = selector(key).ok();
        for (value, verdict) in elements {
            let (kind, target) = single(verdict).ok_or_else(|| unknown(verdict))?;
            let verdict = self.verdict(kind, target)?;
            if value == "*" {
                otherwise = verdict;
                continue;
            }
            match (&selector, verdict) {
                (Some(Selector::Number(number)), verdict) if number.mask.is_none() => {
                    let spans = number.spans(plain(value)?)?;
                    // What goes on takes part too, for the packets that are in no element are others.
                    let verdict = verdict.unwrap_or(Verdict::Jump(usize::MAX));
                    match together.iter_mut().find(|(known, _)| *known == verdict) {
                        Some((_, known)) => *known = Spans::new(known.iter().chain(spans.iter())),
                        None => together.push((verdict, spans)),
                    }
                }
                (_, Some(verdict)) => {
                    verdicts.extend(Matches::keyed(key, value)?.map(|region| (region, verdict)))
                }
                (_, None) => {
                    Matches::keyed(key, value)?;
                }
            }
        }
        let Some(Selector::Number(number)) = &selector else {
            return match otherwise {
                None => Ok(verdicts),
                Some(_) => Err(
                    "rules do not know what is in no element of a map of several fields; expected no *"
                        .to_owned(),
                ),
            };
        };
        if let Some(otherwise) = otherwise {
            let named = Spans::new(together.iter().flat_map(|(_, spans)| spans.iter()));
            together.push((otherwise, named.complement(number.highest)));
        }
        let known = together
            .into_iter()
            .filter(|(verdict, _)| *verdict != Verdict::Jump(usize::MAX));
        verdicts.extend(known.filter_map(|(verdict, spans)| Some((number.region(spans)?, verdict))));
        Ok(verdicts)
    }

    /// A map of states of connections: what it says of new ones counts, and what is answered needs no rule.
    fn states(&mut self, elements: Vec<(&Value, &Value)>) -> Result<Verdicts, String> {
        let mut verdicts = Vec::new();
        for (state, verdict) in elements {
            let (kind, target) = single(verdict).ok_or_else(|| unknown(verdict))?;
            match (state.as_str(), kind) {
                (Some("new"), _) => {
                    verdicts.extend(
                        self.verdict(kind, target)?
                            .map(|verdict| (Region::default(), verdict)),
                    );
                }
                (Some("established" | "related"), "accept" | "continue") => {}
                _ => {
                    return Err(format!(
                        "rules are asked about packets that open flows, and {} is none that {kind} can be for",
                        shown(state)
                    ));
                }
            }
        }
        self.matches
            .notes
            .push("answers need no rule: what it says of them is left away".to_owned());
        Ok(verdicts)
    }

    fn source(&mut self, value: &Value) -> Result<Verdicts, String> {
        let address = value.get("addr").ok_or_else(|| unknown(value))?;
        let ports = value.get("port").map(ports).transpose()?;
        let range = match single(address) {
            Some(("range", Value::Array(ends))) => match &ends[..] {
                [first, last] => (ipv4(first)?, ipv4(last)?),
                _ => return Err(unknown(address)),
            },
            Some(_) => return Err("translates sources by a map; expected a rule for each address".to_owned()),
            None => (ipv4(address)?, ipv4(address)?),
        };
        if range.0 > range.1 {
            return Err(unknown(address));
        }
        let source = Source {
            external: External::Addresses(AddressRange::V4(range.0, range.1)),
            ports,
        };
        Ok(vec![(Region::default(), Verdict::Source(source))])
    }

    /// `dnat to ADDRESS`, or by a map.
    fn destinations(&mut self, value: &Value) -> Result<Verdicts, String> {
        let address = value
            .get("addr")
            .ok_or("dnat without an address sends packets to the box; expected one")?;
        let port = value.get("port").map(ports).transpose()?;
        let Some(("map", map)) = single(address) else {
            let address = ipv4(address)?;
            return Ok(vec![(
                Region::default(),
                Verdict::Destination(Destination { address, ports: port }),
            )]);
        };
        let (Some(key), Some(data)) = (map.get("key"), map.get("data")) else {
            return Err(unknown(map));
        };
        let mut verdicts = Vec::new();
        for (value, to) in pairs(self.matches.context, data)? {
            let to = match single(to) {
                Some(("concat", Value::Array(parts))) => match &parts[..] {
                    [address, to_port] => Destination {
                        address: ipv4(address)?,
                        ports: Some(ports(to_port)?),
                    },
                    _ => return Err(unknown(to)),
                },
                _ => Destination {
                    address: ipv4(to)?,
                    ports: port,
                },
            };
            verdicts.extend(Matches::keyed(key, value)?.map(|region| (region, Verdict::Destination(to))));
        }
        Ok(verdicts)
    }
}

/// Keys and values of a map, named or written out.
fn pairs<'v>(context: &'v Context<'_>, data: &'v Value) -> Result<Vec<(&'v Value, &'v Value)>, String> {
    let elements = match (data, single(data)) {
        (Value::String(name), _) => context.elements(name)?,
        (_, Some(("set", Value::Array(elements)))) => elements,
        _ => return Err(unknown(data)),
    };
    let pair = |element: &'v Value| match element.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((plain(key)?, value)),
        _ => Err(unknown(element)),
    };
    elements.iter().map(pair).collect()
}

fn ipv4(value: &Value) -> Result<Ipv4Addr, String> {
    match value.as_str().and_then(|text| text.parse().ok()) {
        Some(IpAddr::V4(address)) => Ok(address),
        Some(IpAddr::V6(_)) => {
            Err("channels translate IPv4 only; expected no translation of IPv6".to_owned())
        }
        None => Err(format!(
            "{} is no address to translate to; expected one that is written out",
            shown(value)
        )),
    }
}

/// A port or a range of ports.
fn ports(value: &Value) -> Result<PortRange, String> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let ends = match single(value) {
        Some(("range", Value::Array(ends))) => match &ends[..] {
            [first, last] => port(first).zip(port(last)),
            _ => None,
        },
        _ => port(value).map(|port| (port, port)),
    };
    match ends {
        Some((first, last)) if first <= last => Ok(PortRange { first, last }),
        _ => Err(unknown(value)),
    }
}
