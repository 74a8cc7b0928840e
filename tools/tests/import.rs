//! Rules of the kernel's packet filters, as their own tools print them, made into rules. Needs root: the tools load them into network
//! namespaces that last as long as their shells.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{Ran, netchannel, text};
use tempfile::TempDir;

/// What a script of shell commands prints in a network namespace of its own.
fn in_a_namespace(script: &str, directory: &TempDir) -> String {
    let output = Command::new("unshare")
        .args(["--net", "sh", "-e", "-c", script])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn write(directory: &TempDir, name: &str, content: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    text(&path).to_owned()
}

fn convert(file: &str, more: &[&str]) -> Ran {
    let arguments = ["rules", "convert", file, "--to", "native"];
    netchannel(&[&arguments, more].concat())
}

const IPTABLES: &str = "\
iptables -P FORWARD DROP
iptables -N lan
iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A FORWARD -i lan0 -j lan
iptables -A FORWARD -p icmp --icmp-type echo-request -m comment --comment 'may \"ping\"' -j ACCEPT
iptables -A lan -s 10.0.0.66 -j RETURN
iptables -A lan -p tcp -m multiport --dports 80,443,8000:8099 -j ACCEPT
iptables -A lan -p tcp --syn --dport 25 -j REJECT --reject-with tcp-reset
iptables -A lan ! -d 192.0.2.0/24 -p udp -j ACCEPT
iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o wan0 -j MASQUERADE
iptables -A INPUT -p tcp --dport 22 -j ACCEPT
";

const EXPECTED: &str = "\
priority 10 tcp from 10.0.0.0/24 to {0.0.0.0-9.255.255.255, 10.0.1.0-255.255.255.255} port {80, 443, 8000-8099} \
on lan0 use internet
";

#[test]
fn what_iptables_save_prints_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for save in ["iptables-save", "iptables-save -c"] {
        let saved = in_a_namespace(&format!("{IPTABLES}{save}"), &directory);
        let file = write(&directory, "saved", &saved);
        let channels = text(&directory.path().join("nat.toml")).to_owned();
        let routes = [
            "--route",
            "default=wan0",
            "--route",
            "10.0.0.0/24=lan0",
            "--channels",
            &channels,
        ];
        let ran = convert(&file, &routes);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("port {80, 443, 8000-8099}"), "{}", ran.out);
        assert!(ran.out.contains("comment \"may \\\"ping\\\"\""), "{}", ran.out);
        assert!(
            ran.err.contains("is not needed") && ran.err.contains("becomes a drop"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("(1 in INPUT)"), "{}", ran.err);
        assert_eq!(
            fs::read_to_string(&channels).unwrap(),
            "[[channel]]\nname = \"internet\"\ntype = \"nat\"\nexternal = \"wan0\"\n"
        );
        let expected = EXPECTED
            .split_whitespace()
            .filter(|word| !ran.out.contains(word))
            .collect::<Vec<_>>();
        assert!(expected.is_empty(), "{expected:?} not in {}", ran.out);
        // What was made is read again, and is the same.
        let again = write(&directory, "again.rules", &ran.out);
        assert_eq!(convert(&again, &[]).out, ran.out);
        // Without the way out, the lines that ask for it are refused.
        let refused = convert(&file, &[]);
        assert_eq!((refused.code, refused.out.as_str()), (3, ""), "{}", refused.err);
        assert!(
            refused.err.contains("--route default=wan0") && refused.err.contains("MASQUERADE"),
            "{}",
            refused.err
        );
    }
}

#[test]
fn what_ip6tables_save_prints_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let script = "\
ip6tables -P FORWARD DROP
ip6tables -A FORWARD -p ipv6-icmp --icmpv6-type echo-request -j ACCEPT
ip6tables -A FORWARD -s fd00::/8 -p tcp --dport 80 -j ACCEPT
ip6tables-save";
    let file = write(&directory, "saved", &in_a_namespace(script, &directory));
    let ran = convert(&file, &["--accept", "routed"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (
            0,
            "priority 10 icmpv6 type 128 use routed\npriority 10 tcp from fd00::/8 to any port 80 use routed\n\
             priority 20 from ::/0 drop comment \"policy of FORWARD\"\n"
        ),
        "{}",
        ran.err
    );
}

const NFTABLES: &str = r#"
table inet filter {
    set office { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 10.1.0.5-10.1.0.9 }
    }
    map services { type inet_service : verdict; elements = { 22 : accept, 23 : drop, 80 : jump web }
    }
    chain web {
        ip saddr 10.0.0.66 return
        counter accept
    }
    chain forward { type filter hook forward priority filter; policy drop;
        ct state vmap { established : accept, related : accept }
        iifname "lan0" ip saddr @office tcp dport 443 counter accept comment "the office"
        tcp dport vmap @services
        ip saddr . udp dport { 10.0.0.1 . 53, 10.0.0.2 . 5353 } accept
        meta l4proto { icmp, ipv6-icmp } accept
    }
    chain input { type filter hook input priority filter; policy drop;
        tcp dport 22 accept
    }
}
table ip nat {
    chain prerouting { type nat hook prerouting priority dstnat;
        iifname "wan0" tcp dport 8080 dnat to 10.0.0.5:80
    }
    chain postrouting { type nat hook postrouting priority srcnat;
        ip saddr 10.0.0.0/24 oifname "wan0" masquerade
        ip saddr 10.1.0.0/24 snat to 198.51.100.7
    }
}
"#;

#[test]
fn what_nft_prints_is_read() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "ruleset", NFTABLES);
    let printed = in_a_namespace("nft -f ruleset\nnft -j list ruleset", &directory);
    let file = write(&directory, "printed", &printed);
    let ran = convert(&file, &["--route", "default=wan0", "--route", "10.0.0.0/8=lan0"]);
    // The forward leads to port 80, where one host is dropped.
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{}", ran.err);
    assert!(
        ran.err.contains("ip nat prerouting, rule 1 (handle"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("policy of inet filter forward"), "{}", ran.err);
    let ran = convert(
        &file,
        &[
            "--route",
            "default=wan0",
            "--route",
            "10.0.0.0/8=lan0",
            "--lenient",
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("left out: "), "{}", ran.err);
    for expected in [
        "set office = { 10.0.0.0/24, 10.1.0.5-10.1.0.9 }",
        "tcp from @office to any port 443 on lan0",
        "comment \"the office\"",
        "udp from 10.0.0.1 to",
        "icmpv6 pass",
        "external = \"198.51.100.7\"",
    ] {
        assert!(
            ran.out.contains(expected) || ran.err.contains(expected),
            "{expected}\n{}\n{}",
            ran.out,
            ran.err
        );
    }
    let again = write(&directory, "again.rules", &ran.out);
    assert_eq!(convert(&again, &[]).out, ran.out);
}

#[test]
fn what_is_wrong_on_the_command_line_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "a", "*filter\n:FORWARD DROP\nCOMMIT\n");
    for (more, code, expected) in [
        (&["--route", "wan0"][..], 2, "expected PREFIX=INTERFACE"),
        (&["--from", "json"], 3, "expected"),
        (
            &["--from", "nftables"],
            3,
            "expected what nft -j list ruleset prints",
        ),
    ] {
        let ran = convert(&file, more);
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
    let ran = netchannel(&["rules", "convert", &file, "--to", "iptables"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(
        ran.err
            .contains("rules are read from iptables, not written in it"),
        "{}",
        ran.err
    );
}
