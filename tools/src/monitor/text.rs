//! Events as lines for people.

use netchannel::control::report::{Neighbour, Route};
use netchannel::events::{Event, Flow, Limit, Link, Translation, What};
use serde_json::Value;

use crate::units::{bytes, count};

/// `2026-11-21T15:51:42.289Z mapping created: internet udp 10.77.0.2:5060 is 198.51.100.1:5060 outside`.
pub(super) fn event(event: &Value) -> String {
    match serde_json::from_value::<Event>(event.clone()) {
        Ok(event) => {
            let time = humantime::format_rfc3339_millis(event.time);
            format!("{time} {}", words(&event.what))
        }
        // Of a newer daemon: as it came.
        Err(_) => event.to_string(),
    }
}

pub(super) fn lost(events: u64) -> String {
    let (noun, verb) = if events == 1 {
        ("event", "is")
    } else {
        ("events", "are")
    };
    format!(
        "{} {noun} {verb} missing here: more happened than could be told",
        count(events)
    )
}

fn words(what: &What) -> String {
    match what {
        What::FlowOpened(of) => format!("flow opened: {}", flow(of)),
        What::FlowClosed(of) => format!(
            "flow closed: {}, {} packets, {}, {}",
            flow(&of.flow),
            count(of.packets),
            bytes(of.bytes),
            of.reason
        ),
        What::MappingCreated(of) => format!("mapping created: {}", translation(of)),
        What::MappingDeleted(of) => format!("mapping deleted: {}", translation(of)),
        What::BlockAllocated(of) => format!(
            "block allocated: {} {} has ports {} of {}",
            of.channel, of.host, of.ports, of.external
        ),
        What::BlockReleased(of) => format!(
            "block released: {} {} had ports {} of {}",
            of.channel, of.host, of.ports, of.external
        ),
        What::LimitReached(of) => format!("limit reached: {}", limit(of)),
        What::RulesLoaded(of) => format!("rules loaded: {} by {}", count(of.rules), of.cause),
        What::LinkAdded(of) => format!("link added: {}", link(of)),
        What::LinkRemoved(of) => format!("link removed: {}", link(of)),
        What::LinkRenamed(of) => format!("link renamed: {}", link(of)),
        What::LinkChanged(of) => format!("link changed: {}", link(of)),
        What::LinkUp(of) => format!("link up: {}", link(of)),
        What::LinkDown(of) => format!("link down: {}", link(of)),
        What::AddressAdded(of) => format!("address added: {} {}", of.interface, of.address),
        What::AddressRemoved(of) => format!("address removed: {} {}", of.interface, of.address),
        What::RouteAdded(of) => format!("route added: {}", route(of)),
        What::RouteRemoved(of) => format!("route removed: {}", route(of)),
        What::NeighbourChanged(of) => format!("neighbour changed: {}", neighbour(of)),
        What::NeighbourRemoved(of) => format!("neighbour removed: {}", neighbour(of)),
        What::Stopping => "stopping: the daemon ends".to_owned(),
    }
}

fn flow(flow: &Flow) -> String {
    let protocol = match flow.protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        number => format!("protocol {number}"),
    };
    let end = |address: std::net::IpAddr, port: u16| match port {
        0 => address.to_string(),
        port => std::net::SocketAddr::new(address, port).to_string(),
    };
    let rule = flow.rule.map_or(String::new(), |rule| format!(" by rule {rule}"));
    format!(
        "{protocol} {} > {} on {} to {}{rule}",
        end(flow.source, flow.source_port),
        end(flow.destination, flow.destination_port),
        flow.interface,
        flow.channel
    )
}

fn translation(of: &Translation) -> String {
    let mut text = format!(
        "{} {} {} is {} outside",
        of.channel, of.protocol, of.inside, of.external
    );
    if let Some(remote) = of.remote {
        text.push_str(&format!(", for {remote}"));
    }
    if let Some(reason) = &of.reason {
        text.push_str(&format!(", {reason}"));
    }
    text
}

fn limit(of: &Limit) -> String {
    let external = of
        .external
        .map_or(String::new(), |address| format!(" at {address}"));
    format!(
        "{} {} of {}{external}: {} {} packet of {} refused",
        of.channel,
        of.limit,
        count(of.bound.into()),
        if of.refused == 1 { "a" } else { "the last" },
        of.protocol,
        of.host,
    ) + &match of.refused {
        1 => String::new(),
        refused => format!(", {} in all", count(refused.into())),
    }
}

fn link(of: &Link) -> String {
    match &of.from {
        Some(from) => format!("{} (was {from})", of.interface),
        None => of.interface.clone(),
    }
}

fn route(route: &Route) -> String {
    let mut text = route.destination.to_string();
    if route.kind != "unicast" {
        text.push_str(&format!(" {}", route.kind));
    }
    for hop in &route.next_hops {
        if let Some(gateway) = hop.gateway {
            text.push_str(&format!(" via {gateway}"));
        }
        text.push_str(&format!(" dev {}", hop.interface));
    }
    if route.metric != 0 {
        text.push_str(&format!(" metric {}", route.metric));
    }
    text
}

fn neighbour(of: &Neighbour) -> String {
    let mac = of
        .mac
        .as_deref()
        .map_or(String::new(), |mac| format!(" at {mac}"));
    format!("{}{mac} on {}, {}", of.address, of.interface, of.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_read_like_sentences() {
        let read = |mut what: Value| {
            what["time"] = "2026-11-21T15:51:42.289Z".into();
            let text = event(&what);
            text.strip_prefix("2026-11-21T15:51:42.289Z ")
                .unwrap_or(&text)
                .to_owned()
        };
        assert_eq!(
            read(
                json!({"event": "flow-opened", "interface": "lan", "source": "10.0.0.2", "destination": "192.0.2.1", "protocol": 6,
                "source_port": 5, "destination_port": 80, "channel": "internet"})
            ),
            "flow opened: tcp 10.0.0.2:5 > 192.0.2.1:80 on lan to internet"
        );
        assert_eq!(
            read(
                json!({"event": "flow-closed", "interface": "lan", "source": "2001:db8::2", "destination": "2001:db8::1", "protocol": 47,
                "source_port": 0, "destination_port": 0, "channel": "pass", "packets": 1200, "bytes": 3400, "reason": "replaced"})
            ),
            "flow closed: protocol 47 2001:db8::2 > 2001:db8::1 on lan to pass, 1,200 packets, 3.40 kB, replaced"
        );
        assert_eq!(
            read(
                json!({"event": "mapping-deleted", "channel": "internet", "protocol": "udp", "inside": "10.0.0.2:5",
                "external": "198.51.100.1:7", "reason": "expired"})
            ),
            "mapping deleted: internet udp 10.0.0.2:5 is 198.51.100.1:7 outside, expired"
        );
        assert_eq!(
            read(
                json!({"event": "limit-reached", "channel": "internet", "limit": "nat-host-mapping-limit", "protocol": "udp",
                "host": "10.0.0.2", "bound": 4, "refused": 12})
            ),
            "limit reached: internet nat-host-mapping-limit of 4: the last udp packet of 10.0.0.2 refused, 12 in all"
        );
        assert_eq!(
            read(
                json!({"event": "route-added", "destination": "0.0.0.0/0", "kind": "unicast", "metric": 100,
                "next_hops": [{"interface": "wan", "gateway": "192.0.2.254", "weight": 1}]})
            ),
            "route added: 0.0.0.0/0 via 192.0.2.254 dev wan metric 100"
        );
        assert_eq!(
            read(
                json!({"event": "neighbour-changed", "interface": "wan", "address": "192.0.2.254", "mac": "02:00:00:00:00:01", "state": "fresh"})
            ),
            "neighbour changed: 192.0.2.254 at 02:00:00:00:00:01 on wan, fresh"
        );
        assert_eq!(read(json!({"event": "stopping"})), "stopping: the daemon ends");
        // What is not known is shown as it came.
        assert!(read(json!({"event": "paint-dried", "colour": 1})).contains("\"paint-dried\""));
        assert_eq!(
            lost(1200),
            "1,200 events are missing here: more happened than could be told"
        );
    }
}
