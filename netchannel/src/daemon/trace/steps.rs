//! The steps of a packet, each with its reason.

use std::net::IpAddr;

use super::Scene;
use super::short::{mac, of_frame};
use crate::control::report::TraceStep;
use crate::dispatch::{Decision, Fate, Novelty, Observation, Sent, Translation, flow_hash};
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::network::{Forwarding, NeighbourState, Network, Path, RouteKind};
use crate::packet::Headers;

/// Steps in the order in which they are taken.
#[derive(Default)]
struct Steps(Vec<TraceStep>);

impl Steps {
    fn add(&mut self, step: &str, text: impl Into<String>) {
        self.0.push(TraceStep {
            step: step.to_owned(),
            text: text.into(),
        });
    }
}

impl Scene {
    pub(super) fn steps(&self, seen: &Observation) -> Vec<TraceStep> {
        let mut steps = Steps::default();
        self.arrival(seen, &mut steps);
        if let Some(decision) = &seen.decision {
            self.decision(seen, decision, &mut steps);
        }
        if let Some(translation) = &seen.translation {
            steps.add("nat", translated(translation));
        }
        if let (Some(headers), Some(destination)) = (&seen.headers, self.routed_to(seen)) {
            self.way(headers, destination, &mut steps);
        }
        self.end(seen, &mut steps);
        steps.0
    }

    fn arrival(&self, seen: &Observation, steps: &mut Steps) {
        let length = seen.length;
        match seen.interface {
            Some(id) => {
                let interface = self.interfaces.get(id);
                let side = match interface.role {
                    Role::Inside => "inside",
                    Role::Outside => "outside",
                };
                steps.add(
                    "received",
                    format!("by {} ({side}), {length} bytes", interface.name),
                );
            }
            None => {
                let mut all = self.interfaces.iter().map(|(_, interface)| interface);
                let device = all.find(|interface| interface.port == seen.port);
                let device = device.map_or("?", |interface| &interface.name);
                steps.add("received", format!("on the device of {device}, {length} bytes"));
            }
        }
        if seen.has_waited {
            steps.add(
                "waited",
                "it came before, and waited for its next hop's Ethernet address",
            );
        }
        match &seen.headers {
            Some(headers) => steps.add("parsed", parsed(headers)),
            None => steps.add("parsed", "no: it is malformed, or no IP packet"),
        }
    }

    fn decision(&self, seen: &Observation, decision: &Decision, steps: &mut Steps) {
        let number = decision.packets;
        let flow = if decision.was_known {
            format!("known, this is its packet {number}; the rule that decided the first one holds")
        } else {
            "new: the rules decide".to_owned()
        };
        steps.add("flow", flow);
        let (name, kind) = self.channel(seen).unwrap_or(("?", "?"));
        let rule = match self.rule(seen) {
            Some(number) => match self.rule_text(number) {
                Some(text) => format!("{}: {text}", number.0),
                None => format!("{}, which is in force no more", number.0),
            },
            None => match kind {
                "nat" => "none of the configured: it is sent to an address of this translator",
                "forward" => "none of the configured: it is the way back of what is forwarded",
                _ => "none matches",
            }
            .to_owned(),
        };
        steps.add("rule", rule);
        steps.add("channel", format!("{name} ({kind})"));
    }

    /// Where a packet was to go, if it got as far as to be routed.
    fn routed_to(&self, seen: &Observation) -> Option<IpAddr> {
        use DropReason::*;
        let headers = seen.headers.as_ref()?;
        let (_, kind) = self.channel(seen)?;
        match seen.fate {
            Fate::Transmitted => {
                let sent = seen.sent.first()?;
                Some(sent.headers.as_ref()?.destination)
            }
            Fate::Waits
            | Fate::Dropped(
                TtlExpired | NoRoute | RouteBlackhole | RouteUnreachable | RouteProhibited | EgressNotServed
                | InterfaceDown | NeighbourUnresolved | NeighbourQueueFull | TooBig | NoFrame | TransmitFull
                | HandoffFull,
            ) => {
                let is_inbound = self.interfaces.get(seen.interface?).role == Role::Outside;
                match (kind, &seen.translation) {
                    ("nat", Some(translation)) if is_inbound => {
                        Some((*translation.session.inside.ip()).into())
                    }
                    ("nat", None) if is_inbound => None,
                    _ => Some(headers.destination),
                }
            }
            _ => None,
        }
    }

    /// Route and neighbour, looked up once more: as of now, which is an instant later.
    fn way(&self, headers: &Headers, destination: IpAddr, steps: &mut Steps) {
        let network = self.network.load();
        let forwarding = network.forwarding(destination, flow_hash(headers));
        steps.add("route", route(&network, destination, &forwarding));
        if let Forwarding::Via(path) = forwarding {
            steps.add("neighbour", neighbour(&path));
        }
    }

    fn end(&self, seen: &Observation, steps: &mut Steps) {
        match seen.fate {
            Fate::Transmitted => self.departure(seen, steps),
            Fate::Dropped(reason) => {
                steps.add("dropped", format!("{}: {}", reason.name(), reason.explanation()));
                for told in &seen.sent {
                    steps.add("told", self.leaving(told));
                }
            }
            Fate::Passed => steps.add("passed", "to the kernel, as if it had just come in"),
            Fate::Waits => steps.add(
                "waits",
                "for its next hop's Ethernet address, which the kernel was asked for",
            ),
            Fate::Kept => steps.add(
                "kept",
                "by its channel, which has not seen the first fragment of its datagram, say",
            ),
            Fate::Consumed => steps.add("consumed", "by its channel"),
        }
    }

    fn departure(&self, seen: &Observation, steps: &mut Steps) {
        let left = seen.sent.first().and_then(|sent| sent.headers);
        if let (Some(headers), Some(left)) = (&seen.headers, left) {
            steps.add("ttl", format!("{}, leaves with {}", headers.ttl, left.ttl));
        }
        if seen.sent.len() > 1 {
            steps.add("fragments", format!("it leaves in {} packets", seen.sent.len()));
        }
        for sent in &seen.sent {
            steps.add("sent", self.leaving(sent));
        }
    }

    fn leaving(&self, sent: &Sent) -> String {
        let interface = self.interface(sent.interface);
        let packet = of_frame(sent.headers.as_ref(), &sent.frame);
        format!("by {interface}: {packet}, {} bytes", sent.length)
    }
}

fn parsed(headers: &Headers) -> String {
    let (family, ttl) = if headers.is_ipv4() {
        ("IPv4", "time to live")
    } else {
        ("IPv6", "hop limit")
    };
    let mut text = format!("{family}, {ttl} {}", headers.ttl);
    for tag in [headers.vlan.outer, headers.vlan.inner] {
        if tag != 0 {
            text.push_str(&format!(", VLAN {tag}"));
        }
    }
    if headers.is_ipv4() && headers.dont_fragment {
        text.push_str(", not to be fragmented");
    }
    text
}

fn translated(translation: &Translation) -> String {
    let session = &translation.session;
    let (inside, external, remote) = (session.inside, session.external, session.remote);
    let state = session
        .state
        .map_or(String::new(), |state| format!(", TCP {state}"));
    match translation.novelty {
        Novelty::NewMapping => {
            format!("new mapping: {inside} is {external} outside, for the session with {remote}{state}")
        }
        Novelty::NewSession => {
            format!("known mapping of {inside} to {external}, new session with {remote}{state}")
        }
        Novelty::Known => format!("known session of {inside}, {external} outside, with {remote}{state}"),
    }
}

fn route(network: &Network, destination: IpAddr, forwarding: &Forwarding<'_>) -> String {
    let prefix = network.routes.lookup(destination);
    let by = prefix.map_or(String::new(), |route| {
        format!(" by the route {}", route.destination)
    });
    match forwarding {
        Forwarding::Via(path) => {
            let via = if path.neighbour_address == destination {
                "on the link".to_owned()
            } else {
                format!("via {}", path.neighbour_address)
            };
            format!(
                "to {destination}{by} {via} of {}, MTU {}",
                path.link.name, path.mtu
            )
        }
        Forwarding::Local => format!("{destination} is an address of the box itself"),
        Forwarding::Broadcast => format!("{destination} is all hosts of a subnet"),
        Forwarding::NoRoute => format!("none to {destination}"),
        Forwarding::Refused(kind) => {
            let kind = match kind {
                RouteKind::Blackhole => "a blackhole",
                RouteKind::Unreachable => "unreachable",
                _ => "prohibited",
            };
            format!("to {destination}{by}, which is {kind}")
        }
        Forwarding::LinkDown(link) => format!("to {destination}{by} on {}, which is down", link.name),
    }
}

fn neighbour(path: &Path<'_>) -> String {
    let address = path.neighbour_address;
    match path.neighbour {
        Some(neighbour) => {
            let state = match neighbour.state {
                NeighbourState::Fresh => "fresh",
                _ => "not confirmed lately",
            };
            match neighbour.mac {
                Some(address_of) => format!("{address} is {}, {state}", mac(&address_of)),
                None => format!("{address} does not answer so far"),
            }
        }
        None => format!("{address} is not known so far"),
    }
}
