//! What `nft -j list ruleset` prints, and what becomes of it.

mod kernel;
use serde_json::json;

use super::*;
use crate::rules::explain::{Flow, matching};
use crate::rules::text::rule_text;
use crate::rules::{RuleList, check};

fn import(text: &str, options: &ImportOptions) -> Result<Loaded, ConfigError> {
    imported(text, options, false)
}

fn leniently(text: &str, options: &ImportOptions) -> Result<Loaded, ConfigError> {
    imported(text, options, true)
}

fn imported(text: &str, options: &ImportOptions, lenient: bool) -> Result<Loaded, ConfigError> {
    let import = read(Path::new("test.json"), text, options, lenient)?;
    for rule in &import.rules.rules {
        assert_eq!(check(rule), [], "{rule:?}");
    }
    Ok(import)
}

fn options(ways: &[&str]) -> ImportOptions {
    ImportOptions {
        ways_out: ways.iter().map(|way| way.parse().unwrap()).collect(),
        ..ImportOptions::default()
    }
}

/// A rule set with a chain `forward` that drops, a chain `sub`, and nat chains.
fn ruleset(objects: &[Value]) -> String {
    let chain = |family: &str, table: &str, name: &str, at: Option<(&str, &str, i64, &str)>| {
        let mut chain = json!({ "family": family, "table": table, "name": name, "handle": 1 });
        if let Some((kind, hook, priority, policy)) = at {
            chain["type"] = kind.into();
            chain["hook"] = hook.into();
            chain["prio"] = priority.into();
            chain["policy"] = policy.into();
        }
        json!({ "chain": chain })
    };
    let mut all = vec![
        json!({ "metainfo": { "version": "1.0.6", "json_schema_version": 1 } }),
        json!({ "table": { "family": "inet", "name": "filter", "handle": 1 } }),
        chain("inet", "filter", "sub", None),
        chain(
            "inet",
            "filter",
            "forward",
            Some(("filter", "forward", 0, "drop")),
        ),
        chain("ip", "nat", "pre", Some(("nat", "prerouting", -100, "accept"))),
        chain("ip", "nat", "post", Some(("nat", "postrouting", 100, "accept"))),
    ];
    all.extend(objects.iter().cloned());
    json!({ "nftables": all }).to_string()
}

fn rule(chain: &str, statements: Value) -> Value {
    let (family, table) = if ["pre", "post"].contains(&chain) {
        ("ip", "nat")
    } else {
        ("inet", "filter")
    };
    json!({ "rule": { "family": family, "table": table, "chain": chain, "handle": 7, "expr": statements } })
}

fn is(left: Value, operator: &str, right: Value) -> Value {
    json!({ "match": { "op": operator, "left": left, "right": right } })
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

fn texts(list: &RuleList) -> Vec<String> {
    list.rules.iter().map(rule_text).collect()
}

#[test]
fn matches_become_fields() {
    let accept = || json!({ "accept": null });
    for (statements, expected) in [
        (
            json!([
                is(
                    payload("ip", "saddr"),
                    "==",
                    json!({ "prefix": { "addr": "10.0.0.0", "len": 8 } })
                ),
                accept()
            ]),
            "from 10.0.0.0/8",
        ),
        (
            json!([
                is(
                    payload("ip", "daddr"),
                    "==",
                    json!({ "range": ["10.0.0.5", "10.0.0.9"] })
                ),
                accept()
            ]),
            "to 10.0.0.5-10.0.0.9",
        ),
        (
            json!([is(payload("ip6", "saddr"), "==", json!("fd00::1")), accept()]),
            "from fd00::1",
        ),
        (
            json!([
                is(
                    payload("tcp", "dport"),
                    "==",
                    json!({ "set": [{ "range": [1, 5] }, 7] })
                ),
                accept()
            ]),
            "tcp to port { 1-5, 7 }",
        ),
        (
            json!([is(payload("tcp", "sport"), ">", json!(1023)), accept()]),
            "1024-65535",
        ),
        (
            json!([is(payload("tcp", "sport"), ">=", json!(1023)), accept()]),
            "1023-65535",
        ),
        (
            json!([is(payload("udp", "dport"), "<=", json!(22)), accept()]),
            "0-22",
        ),
        (
            json!([is(payload("udp", "dport"), "<", json!(22)), accept()]),
            "0-21",
        ),
        (
            json!([
                is(meta("l4proto"), "==", json!({ "set": ["tcp", "udp"] })),
                is(payload("th", "dport"), "==", json!(53)),
                accept()
            ]),
            "53",
        ),
        (
            json!([is(payload("icmp", "type"), "==", json!("echo-request")), accept()]),
            "icmp",
        ),
        (
            json!([
                is(
                    payload("icmpv6", "type"),
                    "==",
                    json!({ "set": ["echo-request", "nd-router-advert"] })
                ),
                accept()
            ]),
            "icmpv6",
        ),
        (
            json!([
                is(
                    json!({ "&": [payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]] }),
                    "==",
                    json!("syn")
                ),
                accept()
            ]),
            "syn/syn,ack,rst,fin",
        ),
        (
            json!([is(payload("tcp", "flags"), "in", json!("syn")), accept()]),
            "syn",
        ),
        (
            json!([is(payload("ip", "dscp"), "==", json!("ef")), accept()]),
            "ef",
        ),
        (
            json!([
                is(json!({ "&": [payload("ip", "frag-off"), 8191] }), "!=", json!(0)),
                accept()
            ]),
            "fragment later",
        ),
        (
            json!([
                is(meta("iifname"), "==", json!({ "set": ["lan0", "lan1"] })),
                accept()
            ]),
            "{ lan0, lan1 }",
        ),
        (
            json!([is(meta("oifname"), "==", json!("lan0")), accept()]),
            "to 10.0.0.0/8",
        ),
        (
            json!([
                is(
                    json!({ "ct": { "key": "state" } }),
                    "in",
                    json!(["new", "related"])
                ),
                is(meta("nfproto"), "==", json!("ipv6")),
                accept()
            ]),
            "from ::/0",
        ),
        (
            json!([
                is(
                    json!({ "&": [payload("ip", "saddr"), "255.255.0.0"] }),
                    "==",
                    json!("10.7.0.0")
                ),
                accept()
            ]),
            "from 10.7.0.0/16",
        ),
        (
            json!([is(payload("ip", "saddr"), "==", json!("10.0.0.1")), { "counter": { "packets": 5, "bytes": 500 } }, { "reject": null }]),
            "drop",
        ),
    ] {
        let found = import(
            &ruleset(&[rule("forward", statements.clone())]),
            &options(&["default=wan0", "10.0.0.0/8=lan0"]),
        );
        let texts = texts(&found.unwrap().rules);
        for word in expected.split(' ') {
            assert!(
                texts[0].contains(word),
                "{statements}: {texts:#?}, not {expected}"
            );
        }
    }
}

#[test]
fn named_sets_stay_named() {
    let set = json!({ "set": {
        "family": "inet", "name": "lan", "table": "filter", "type": "ipv4_addr", "handle": 4, "flags": ["interval"],
        "elem": [{ "prefix": { "addr": "10.0.0.0", "len": 24 } }, { "range": ["10.1.0.5", "10.1.0.9"] }, { "elem": { "val": "192.168.1.1", "comment": "printer" } }],
    } });
    let objects = [
        set,
        rule(
            "forward",
            json!([is(payload("ip", "saddr"), "==", json!("@lan")), is(payload("tcp", "dport"), "==", json!(443)), { "accept": null }]),
        ),
        rule(
            "forward",
            json!([is(payload("ip", "saddr"), "!=", json!("@lan")), { "drop": null }]),
        ),
    ];
    let import = import(&ruleset(&objects), &options(&[])).unwrap();
    assert_eq!(import.rules.address_sets.len(), 1);
    assert_eq!(import.rules.address_sets[0].values.len(), 3);
    assert!(
        texts(&import.rules)[0].contains("@lan"),
        "{:#?}",
        texts(&import.rules)
    );
    assert!(import.rules.rules[1].from.sets.is_empty());
}

fn decided(list: &RuleList, flow: &str) -> String {
    let flow: Flow = flow.parse().unwrap();
    let winner = matching(&list.rules, &flow).first().copied();
    winner.map_or_else(|| "-".to_owned(), |rule| list.rules[rule].channel.to_string())
}

#[test]
fn maps_and_translations_are_followed() {
    let verdicts = json!({ "map": {
        "family": "inet", "name": "services", "table": "filter", "type": "inet_service", "map": "verdict",
        "elem": [[22, { "accept": null }], [23, { "drop": null }], [80, { "jump": { "target": "sub" } }], [81, { "continue": null }]],
    } });
    let concatenated = json!({ "concat": [payload("ip", "saddr"), payload("udp", "dport")] });
    let pairs = json!({ "set": [{ "concat": ["10.0.0.1", 53] }, { "concat": [{ "prefix": { "addr": "10.2.0.0", "len": 16 } }, { "range": [60, 70] }] }] });
    let objects = [
        verdicts,
        rule(
            "sub",
            json!([is(payload("ip", "saddr"), "==", json!("10.9.0.1")), { "return": null }]),
        ),
        rule("sub", json!([{ "drop": null }])),
        rule(
            "forward",
            json!([{ "vmap": { "key": { "ct": { "key": "state" } }, "data": { "set": [["established", { "accept": null }], ["related", { "accept": null }]] } } }]),
        ),
        rule(
            "forward",
            json!([{ "vmap": { "key": payload("tcp", "dport"), "data": "@services" } }]),
        ),
        rule(
            "forward",
            json!([is(concatenated, "==", pairs), { "accept": null }]),
        ),
        rule(
            "forward",
            json!([is(meta("l4proto"), "==", json!("tcp")), { "accept": null }]),
        ),
        rule(
            "pre",
            json!([is(payload("ip", "daddr"), "==", json!("198.51.100.7")), is(payload("tcp", "dport"), "==", json!(8080)), { "dnat": { "addr": "10.0.0.5", "port": 8443 } }]),
        ),
        rule(
            "pre",
            json!([{ "dnat": { "addr": { "map": { "key": payload("tcp", "dport"), "data": { "set": [[90, "10.0.0.9"], [91, { "concat": ["10.0.0.10", 6] }]] } } } } }]),
        ),
        rule(
            "post",
            json!([is(payload("ip", "saddr"), "==", json!({ "prefix": { "addr": "10.0.0.0", "len": 16 } })), is(meta("oifname"), "==", json!("wan0")), { "masquerade": null }]),
        ),
        rule(
            "post",
            json!([is(payload("ip", "saddr"), "==", json!({ "prefix": { "addr": "10.2.0.0", "len": 16 } })), { "snat": { "addr": { "range": ["198.51.100.7", "198.51.100.8"] }, "port": { "range": [2000, 3000] } } }]),
        ),
    ];
    let import = import(&ruleset(&objects), &options(&["default=wan0", "10.0.0.0/8=lan0"])).unwrap();
    for (flow, channel) in [
        ("tcp 10.0.0.5:5 > 192.0.2.1:22", "internet"),
        ("tcp 10.0.0.5:5 > 192.0.2.1:23", "drop"),
        ("tcp 10.0.0.5:5 > 192.0.2.1:80", "drop"),
        ("tcp 10.9.0.1:5 > 192.0.2.1:80", "pass"),
        ("tcp 10.0.0.5:5 > 192.0.2.1:81", "internet"),
        ("tcp 10.0.0.5:5 > 10.3.0.1:81", "pass"),
        ("udp 10.0.0.1:5 > 192.0.2.1:53", "internet"),
        ("udp 10.0.0.2:5 > 192.0.2.1:53", "drop"),
        ("udp 10.2.0.2:5 > 192.0.2.1:65", "internet-2"),
        ("udp 10.2.0.2:5 > 192.0.2.1:71", "drop"),
        ("tcp [fd00::1]:5 > [fd00::2]:81", "pass"),
        ("tcp [fd00::1]:5 > [fd00::2]:23", "drop"),
    ] {
        assert_eq!(
            decided(&import.rules, flow),
            channel,
            "{flow}\n{:#?}",
            texts(&import.rules)
        );
    }
    assert_eq!(
        import.channels,
        "[[channel]]\nname = \"internet\"\ntype = \"nat\"\nexternal = \"wan0\"\n\n\
         [[channel.forward]]\nprotocol = \"tcp\"\nports = 90\nto = \"10.0.0.9\"\n\n\
         [[channel.forward]]\nprotocol = \"tcp\"\nports = 91\nto = \"10.0.0.10\"\nto_port = 6\n\n\
         [[channel]]\nname = \"internet-2\"\ntype = \"nat\"\nexternal = \"198.51.100.7-198.51.100.8\"\nports = \"2000-3000\"\n\n\
         [[channel.forward]]\nprotocol = \"tcp\"\nexternal = \"198.51.100.7\"\nports = 8080\nto = \"10.0.0.5\"\nto_port = 8443\n"
    );
}

#[test]
fn what_rules_can_not_say_is_refused_by_rule_and_reason() {
    let drop = || json!({ "drop": null });
    let dynamic = json!({ "set": { "family": "inet", "name": "dyn", "table": "filter", "type": "ipv4_addr", "flags": ["timeout"], "timeout": 3600 } });
    for (statements, reason) in [
        (json!([is(meta("mark"), "==", json!(1)), drop()]), "meta mark"),
        (
            json!([{ "limit": { "rate": 10, "per": "second" } }, { "accept": null }]),
            "do not limit",
        ),
        (json!([{ "log": { "prefix": "x" } }, drop()]), "do not log"),
        (
            json!([{ "xt": { "type": "match", "name": "multiport" } }, drop()]),
            "iptables-save",
        ),
        (
            json!([is(payload("ip", "ttl"), "==", json!(1)), drop()]),
            "ip ttl",
        ),
        (
            json!([is(payload("ip6", "nexthdr"), "==", json!("tcp")), drop()]),
            "meta l4proto",
        ),
        (
            json!([is(payload("ip", "saddr"), "==", json!("@dyn")), drop()]),
            "comes and goes",
        ),
        (
            json!([is(payload("ip", "saddr"), "==", json!("@nothing")), drop()]),
            "no set \"@nothing\"",
        ),
        (
            json!([is(payload("ip", "saddr"), "==", json!("10.0.0")), drop()]),
            "no value",
        ),
        (
            json!([
                is(
                    json!({ "&": [payload("ip", "saddr"), "255.255.0.255"] }),
                    "==",
                    json!("10.0.0.1")
                ),
                drop()
            ]),
            "do not ask for",
        ),
        (
            json!([is(meta("iifname"), "==", json!("eth*")), drop()]),
            "one by one",
        ),
        (
            json!([is(meta("oifname"), "==", json!("ppp0")), drop()]),
            "--route default=ppp0",
        ),
        (
            json!([
                is(json!({ "ct": { "key": "state" } }), "in", json!("invalid")),
                drop()
            ]),
            "open flows",
        ),
        (
            json!([
                is(json!({ "ct": { "key": "state" } }), "in", json!(["established"])),
                drop()
            ]),
            "these are answers",
        ),
        (
            json!([{ "jump": { "target": "nowhere" } }]),
            "no chain \"nowhere\"",
        ),
        (json!([{ "queue": null }]), "\"queue\""),
        (json!([{ "masquerade": null }]), "--route default"),
        (json!([{ "redirect": { "port": 55 } }]), "box itself"),
        (
            json!([is(payload("th", "dport"), "==", json!(5)), drop()]),
            "ports without a protocol",
        ),
        (json!([{ "dnat": {} }]), "without an address"),
        (json!([7]), "no statement"),
    ] {
        let text = ruleset(&[dynamic.clone(), rule("forward", statements.clone())]);
        let error = import(&text, &options(&[])).unwrap_err();
        assert_eq!(error.count(), 1, "{statements}: {error}");
        let shown = error.to_string();
        assert!(
            shown.starts_with("test.json: inet filter forward, rule 1 (handle 7): "),
            "{shown}"
        );
        assert!(shown.contains(reason), "{statements}: {shown}");
        assert_eq!(leniently(&text, &options(&[])).unwrap().left_out, error.problems);
    }
}

#[test]
fn what_is_no_rule_set_is_refused() {
    for text in [
        "",
        "{}",
        "[]",
        "{\"nftables\":1}",
        "{\"nftables\":[]}",
        "{\"nftables\":[{\"table\":{}}]}",
    ] {
        let error = import(text, &options(&[])).unwrap_err().to_string();
        assert!(
            error.contains("expected what nft -j list ruleset prints"),
            "{text}: {error}"
        );
    }
    let deep = format!("{{\"nftables\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(import(&deep, &options(&[])).is_err());
    let looping = [
        rule("forward", json!([{ "jump": { "target": "sub" } }])),
        rule("sub", json!([{ "goto": { "target": "sub" } }])),
    ];
    let error = import(&ruleset(&looping), &options(&[])).unwrap_err().to_string();
    assert!(error.contains("chain inet filter sub: the jumps"), "{error}");
}
