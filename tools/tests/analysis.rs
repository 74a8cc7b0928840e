//! `netchannel rules lint`, `explain` and `match` as a user meets them.

mod common;

use std::fs;

use common::{netchannel, text};
use serde_json::Value;
use tempfile::TempDir;

const RULES: &str = "\
set office = { 10.0.0.0/24, 10.0.1.0/24 }
priority 10 from @office to 192.0.2.0/24 drop comment \"not there\"
priority 20 tcp from 10.0.0.0/24 to 192.0.2.7 port 443 use internet
priority 30 from 10.0.0.0/25 use internet
priority 30 from 10.0.0.128/25 use internet
priority 40 udp from 10.0.0.0/24 to any port 53 drop
priority 50 tcp from @office to any port {80, 443} use internet
priority 50 from @office drop
";

const CONFIG: &str = r#"
[[interface]]
name = "lan0"
role = "inside"
prefixes = ["10.0.0.0/23"]
[[interface]]
name = "wan0"
role = "outside"
[[channel]]
name = "internet"
type = "nat"
external = "203.0.113.1"
[[channel.forward]]
protocol = "tcp"
ports = 8080
to = "10.0.0.5"
to_port = 80
[[rule]]
from = "10.0.0.0/23"
channel = "internet"
"#;

fn write(directory: &TempDir, name: &str, content: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    text(&path).to_owned()
}

#[test]
fn lint_tells_what_is_probably_not_meant() {
    let directory = tempfile::tempdir().unwrap();
    let rules = write(&directory, "site.rules", RULES);
    let ran = netchannel(&["rules", "lint", &rules]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let expected = format!(
        "{rules}:3:1: never: never wins, for this rule takes all its packets before:
  priority 20 tcp from 10.0.0.0/24 to 192.0.2.7 port 443 use internet
    {rules}:2:1: priority 10 from @office to 192.0.2.0/24 drop comment \"not there\"
{rules}:6:1: never: never wins, for 2 rules together take all its packets before:
  priority 40 udp from 10.0.0.0/24 to any port 53 drop
    {rules}:4:1: priority 30 from 10.0.0.0/25 use internet
    {rules}:5:1: priority 30 from 10.0.0.128/25 use internet
{rules}:8:1: order: overlaps rules of the same priority that do something else; their order alone decides:
  priority 50 from @office drop
    {rules}:7:1: priority 50 tcp from @office to any port {{80, 443}} use internet
7 rules: 3 findings
"
    );
    assert_eq!(ran.out, expected);

    let ran = netchannel(&["rules", "lint", "-j", &rules]);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 1);
    assert_eq!(found["findings"].as_array().unwrap().len(), 3);
    assert_eq!(found["findings"][1]["kind"], "never");
    assert_eq!(found["findings"][1]["rule"]["line"], 6);
    assert_eq!(
        found["findings"][1]["others"][0]["text"],
        "priority 30 from 10.0.0.0/25 use internet"
    );

    let config = write(&directory, "c.toml", CONFIG);
    let ran = netchannel(&["rules", "lint", "--config", &config]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "1 rule: nothing found\n"),
        "{}",
        ran.err
    );
    assert_eq!(netchannel(&["rules", "lint"]).code, 2);
    let wrong = write(&directory, "wrong.rules", "tpc drop\n");
    assert_eq!(netchannel(&["rules", "lint", &wrong]).code, 3);
}

#[test]
fn explain_says_which_rule_decides_and_what_becomes_of_the_packet() {
    let directory = tempfile::tempdir().unwrap();
    let rules = write(&directory, "site.rules", RULES);
    let config = write(&directory, "c.toml", CONFIG);
    let flow = "tcp 10.0.1.5:1234 > 198.51.100.4:443";
    let with = ["rules", "explain", "--rules", &rules, "--config", &config];
    let ran = netchannel(&[&with[..], &[flow]].concat());
    let expected = format!(
        "tcp 10.0.1.5:1234 > 198.51.100.4:443 on lan0
goes to internet (nat)
by    {rules}:7:1: priority 50 tcp from @office to any port {{80, 443}} use internet
these match too, in this order:
      {rules}:8:1: priority 50 from @office drop
nat   the source becomes 203.0.113.1; the port 1234 if it is free, else one of 1024-32767, by lot
nat   unless 10.0.1.5 has a mapping for it already: see netchannel show mappings --inside 10.0.1.5
"
    );
    assert_eq!((ran.code, ran.out), (0, expected), "{}", ran.err);

    let ran = netchannel(&[&with[..], &["-v", "-j", flow]].concat());
    let explained: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(explained["channel"], "internet");
    assert_eq!(explained["rule"]["line"], 7);
    let dimensions = explained["dimensions"].as_array().unwrap();
    assert_eq!(dimensions.len(), 12);
    assert_eq!(
        (&dimensions[0]["dimension"], &dimensions[11]["rules"]),
        (&"from".into(), &2.into())
    );

    for (flow, expected) in [
        (
            "tcp 198.51.100.4:1234 > 203.0.113.1:8080 on wan0",
            "external address of this translator",
        ),
        (
            "tcp 198.51.100.4:1234 > 203.0.113.1:8080 on wan0",
            "10.0.0.5:80 (forward)",
        ),
        (
            "udp 198.51.100.4:1234 > 198.51.100.5:53 on wan0",
            "no rule matches",
        ),
        ("tcp [fd00::1]:1 > [fd00::2]:2", "goes to pass"),
    ] {
        let ran = netchannel(&["rules", "explain", "--config", &config, flow]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains(expected), "{flow}: {}", ran.out);
    }
    let ran = netchannel(&[
        "rules",
        "explain",
        "--config",
        &config,
        "tcp 10.0.0.5:1234 1.2.3.4:443",
    ]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("expected \">\" and the destination") && ran.err.contains("^^^^^^^^^^^"),
        "{}",
        ran.err
    );
    let socket = directory.path().join("none.sock");
    let ran = netchannel(&["rules", "explain", "--socket", text(&socket), flow]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no netchannel is running"), "{}", ran.err);
}

#[test]
fn match_takes_flows_and_traces_for_rules_of_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let rules = write(&directory, "site.rules", RULES);
    let json = netchannel(&["rules", "convert", &rules, "--to", "json"]).out;
    let json = write(&directory, "site.json", &json);
    let flows = [
        "tcp 10.0.1.5:1234 > 198.51.100.4:443",
        "icmp 192.0.2.1 > 10.0.0.1",
    ];
    let ran = netchannel(&[&["rules", "match", "--rules", &rules][..], &flows].concat());
    assert_eq!(
        (ran.code, ran.out),
        (
            0,
            format!("{rules}:7:1: priority 50 tcp from @office to any port {{80, 443}} use internet\n-\n")
        ),
        "{}",
        ran.err
    );
    // 10.0.1.5 to 198.51.100.4, then 192.0.2.1 to 10.0.0.1.
    let trace = write(
        &directory,
        "trace",
        "167772421 3325256708 1234 443 6\n3221225985 167772161 0 0 1\n",
    );
    let ran = netchannel(&[
        "rules", "match", "--rules", &rules, "--format", "native", "--trace", &trace,
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "7\n-\n"), "{}", ran.err);
    let ran = netchannel(&[
        "rules", "match", "--rules", &json, "--format", "json", "--trace", &trace,
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "6\n-\n"), "{}", ran.err);
    let iptables = write(
        &directory,
        "saved",
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n",
    );
    let ran = netchannel(&["rules", "match", "--rules", &iptables, flows[0]]);
    assert!(
        ran.out.starts_with(&format!("{iptables}:3:1: ")),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(netchannel(&["rules", "match", "--rules", &rules]).code, 2);
}
