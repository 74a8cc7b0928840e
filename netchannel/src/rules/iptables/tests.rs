//! What `iptables-save` prints, and what becomes of it.

mod kernel;

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
    let import = read(Path::new("test.rules"), text, options, lenient)?;
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

/// The text of all rules.
fn texts(list: &RuleList) -> Vec<String> {
    list.rules.iter().map(rule_text).collect()
}

/// The rules of some lines of FORWARD, whose policy drops.
fn forwarded(lines: &str) -> Vec<String> {
    let text = format!("*filter\n:FORWARD DROP [0:0]\n{lines}\nCOMMIT\n");
    let found = import(&text, &options(&["default=wan0", "10.0.0.0/8=lan0"])).unwrap();
    let mut texts = texts(&found.rules);
    let policy = texts.pop().unwrap();
    assert!(policy.contains("from 0.0.0.0/0"), "{policy}");
    texts
}

#[test]
fn matches_become_fields() {
    for (line, expected) in [
        (
            "-s 10.0.0.0/8 -d 192.0.2.1/32 -j ACCEPT",
            "from 10.0.0.0/8 to 192.0.2.1 use pass",
        ),
        ("-s 10.1.0.0/255.255.0.0 -j DROP", "from 10.1.0.0/16 use drop"),
        ("! -s 128.0.0.0/1 -j DROP", "from 0.0.0.0/1 use drop"),
        (
            "-p tcp -m tcp --sport 1024:65535 --dport 80 -j ACCEPT",
            "tcp sport 1024-65535 dport 80 use pass",
        ),
        (
            "-p udp -m multiport --dports 53,100:200 -j ACCEPT",
            "udp dport { 53, 100-200 } use pass",
        ),
        (
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
            "flags syn/syn,ack,rst,fin use drop",
        ),
        (
            "-p icmp -m icmp --icmp-type 3/1 -j ACCEPT",
            "icmp type 3 code 1 use pass",
        ),
        (
            "-p icmp -m icmp --icmp-type echo-request -j ACCEPT",
            "icmp type 8 use pass",
        ),
        ("-p icmp -j ACCEPT", "icmp use pass"),
        (
            "-m iprange --src-range 10.0.0.5-10.0.0.9 -j REJECT",
            "from 10.0.0.5-10.0.0.9 use drop",
        ),
        ("-i lan0 -p gre -j ACCEPT", "gre use pass"),
        ("-f -j DROP", "fragment later use drop"),
        ("-s 10.0.0.1/32 -m dscp --dscp 0x2e -j ACCEPT", "dscp ef use pass"),
        (
            "-s 10.0.0.1/32 -m conntrack --ctstate NEW,RELATED -j ACCEPT",
            "from 10.0.0.1 use pass",
        ),
        (
            "-s 10.0.0.1/32 -m comment --comment \"the \\\"printer\\\"\" -j ACCEPT",
            "comment",
        ),
        ("-o lan0 -j ACCEPT", "to 10.0.0.0/8 use pass"),
        ("! -o wan0 -j ACCEPT", "to 10.0.0.0/8 use pass"),
    ] {
        let texts = forwarded(&format!("-A FORWARD {line}"));
        assert_eq!(texts.len(), 1, "{line}: {texts:?}");
        let plain = texts[0].replace("protocol ", "").replace("from 0.0.0.0/0 ", "");
        for word in expected
            .split(' ')
            .filter(|word| !["use", "dport", "sport", "flags", "type", "code", "{", "}"].contains(word))
        {
            assert!(
                plain.contains(word.trim_matches(',')),
                "{line}: {plain}, not {expected}"
            );
        }
    }
}

#[test]
fn the_order_of_chains_stays() {
    let texts = forwarded(
        ":user - [0:0]\n-A FORWARD -s 10.0.0.0/8 -j user\n-A user -d 192.0.2.1/32 -j RETURN\n-A user -j DROP",
    );
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(
        texts[0].contains("from 10.0.0.0/8 to {0.0.0.0-192.0.2.0, 192.0.2.2-255.255.255.255}"),
        "{texts:#?}"
    );
}

/// What is refused of a line of FORWARD, or of another chain where the line names one.
fn refusal(line: &str) -> String {
    let text = format!(
        "*filter\n:FORWARD ACCEPT [0:0]\n{line}\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"
    );
    let text = match line.contains("ROUTING") {
        true => format!("*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{line}\nCOMMIT\n"),
        false => text,
    };
    let error = import(&text, &options(&[])).unwrap_err();
    assert_eq!(error.count(), 1, "{line}: {error}");
    let import = leniently(&text, &options(&[])).unwrap();
    assert_eq!(import.left_out, error.problems, "{line}");
    error.to_string()
}

#[test]
fn what_rules_can_not_say_is_refused_by_line_and_reason() {
    for (line, place, reason) in [
        (
            "-A FORWARD -m limit --limit 5/min -j ACCEPT",
            "3:15",
            "do not limit",
        ),
        ("-A FORWARD -m mark --mark 0x1 -j ACCEPT", "3:15", "-m mark"),
        ("-A FORWARD -m set --match-set foo src -j DROP", "3:15", "ipset"),
        (
            "-A FORWARD -m mac --mac-source 00:01:02:03:04:05 -j ACCEPT",
            "3:15",
            "-m mac",
        ),
        ("-A FORWARD -o eth1 -j ACCEPT", "3:12", "--route default=eth1"),
        ("-A FORWARD -i eth+ -j ACCEPT", "3:15", "one by one"),
        ("-A FORWARD -s 10.0.0.1/255.255.0.255 -j ACCEPT", "3:15", "holes"),
        (
            "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
            "3:25",
            "open flows",
        ),
        ("-A FORWARD -j LOG --log-prefix \"x y\"", "3:15", "logs packets"),
        (
            "-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu",
            "3:22",
            "mss_clamp",
        ),
        ("-A FORWARD -j nowhere", "3:15", "no chain of that name"),
        (
            "-A FORWARD -p tcp --dport http -j DROP",
            "3:27",
            "PORT or FIRST:LAST",
        ),
        (
            "-A FORWARD -p tcp --dport 99999 -j DROP",
            "3:27",
            "PORT or FIRST:LAST",
        ),
        ("-A FORWARD -s", "3:12", "last word"),
        ("-A ELSEWHERE -j DROP", "3:1", "no chain \"ELSEWHERE\""),
        ("nonsense", "3:1", "no line of iptables-save"),
        ("-A FORWARD -m comment --comment \"open", "3:1", "quotes"),
        (
            "-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE",
            "4:33",
            "--route default",
        ),
        (
            "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080",
            "4:43",
            "box itself",
        ),
        (
            "-A PREROUTING -d 192.0.2.1/32 -j DNAT --to-destination 10.0.0.5",
            "4:1",
            "TCP or UDP",
        ),
        (
            "-A PREROUTING -s 10.0.0.1/32 -d 192.0.2.1/32 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5",
            "4:1",
            "where packets come from",
        ),
        (
            "-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5",
            "4:1",
            "which external address",
        ),
    ] {
        let error = refusal(line);
        let line_number = place.split(':').next().unwrap_or_default();
        assert!(
            error.starts_with(&format!("test.rules:{place}: ")),
            "{line}: {error}"
        );
        assert!(
            error.contains(reason) && error.contains(&format!("{line_number} | {line}")),
            "{line}: {error}"
        );
    }
}

#[test]
fn what_is_no_such_file_is_refused_also_leniently() {
    for text in [
        "",
        "hello\nworld\n",
        "*filter\nCOMMIT\n",
        "*mangle\n:FORWARD ACCEPT [0:0]\nCOMMIT\n",
    ] {
        let error = leniently(text, &options(&[])).unwrap_err().to_string();
        assert!(error.contains("expected what iptables-save prints"), "{error}");
    }
    let looping = "*filter\n:FORWARD DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n-A FORWARD -j a\n-A a -j b\n-A b -g a\nCOMMIT\n";
    let error = leniently(looping, &options(&[])).unwrap_err().to_string();
    assert!(
        error.contains("chain a: the jumps from here lead back here"),
        "{error}"
    );
}

/// What Docker sets up for a container whose port 80 is published as 8080, on a box that masquerades for its own network besides.
const DOCKER: &str = "\
# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov  3 09:12:44 2025
*nat
:PREROUTING ACCEPT [112:6720]
:INPUT ACCEPT [3:180]
:OUTPUT ACCEPT [44:3210]
:POSTROUTING ACCEPT [44:3210]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.0.0.0/24 -o wan0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
# Completed on Mon Nov  3 09:12:44 2025
# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov  3 09:12:44 2025
*filter
:INPUT ACCEPT [3120:291044]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [2893:340122]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -i wan0 -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A FORWARD -i lan0 -o wan0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
# Completed on Mon Nov  3 09:12:44 2025
";

fn decided(list: &RuleList, flow: &str) -> String {
    let flow: Flow = flow.parse().unwrap();
    let winner = matching(&list.rules, &flow).first().copied();
    winner.map_or_else(|| "-".to_owned(), |rule| list.rules[rule].channel.to_string())
}

#[test]
fn a_box_with_docker_is_read() {
    let ways = ["default=wan0", "10.0.0.0/24=lan0", "172.17.0.0/16=docker0"];
    let import = import(DOCKER, &options(&ways)).unwrap();
    for (flow, channel) in [
        ("tcp 172.17.0.2:5000 > 192.0.2.1:443 on docker0", "internet"),
        ("tcp 10.0.0.5:5000 > 192.0.2.1:443 on lan0", "internet"),
        ("tcp 10.0.0.5:5000 > 172.17.0.2:80 on lan0", "pass"),
        ("tcp 10.0.0.5:5000 > 172.17.0.2:81 on lan0", "drop"),
        ("tcp 172.17.0.2:5000 > 172.17.0.3:1 on docker0", "pass"),
        ("tcp 192.0.2.1:5000 > 10.0.0.5:22 on wan0", "drop"),
        ("tcp 10.0.0.5:5000 > 192.0.2.1:443 on docker0", "internet"),
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
        "[[channel]]\nname = \"internet\"\ntype = \"nat\"\nexternal = \"wan0\"\n\n[[channel.forward]]\nprotocol = \"tcp\"\n\
         ports = 8080\nto = \"172.17.0.2\"\nto_port = 80\n"
    );
    let notes: Vec<String> = import.warnings.iter().map(Problem::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("not needed")), "{notes:#?}");
    assert!(
        notes.iter().any(|note| note.contains("by any interface")),
        "{notes:#?}"
    );
    assert!(
        notes.iter().any(|note| note.contains("2 in OUTPUT, INPUT")),
        "{notes:#?}"
    );
    assert!(import.left_out.is_empty());
}

#[test]
fn a_forward_that_the_filter_would_drop_is_refused() {
    let closed = DOCKER.replace("--dport 80 -j ACCEPT", "--dport 81 -j ACCEPT");
    let ways = ["default=wan0", "10.0.0.0/24=lan0", "172.17.0.0/16=docker0"];
    let error = import(&closed, &options(&ways)).unwrap_err().to_string();
    assert!(
        error.contains("the filter drops some of what is forwarded here (policy of FORWARD)"),
        "{error}"
    );
    assert!(error.starts_with("test.rules:13:1"), "{error}");
}

/// The forwarding half of what ufw sets up, with routing allowed for one network.
const UFW: &str = "\
# Generated by iptables-save v1.8.10 (nf_tables) on Tue Nov  4 20:01:02 2025
*filter
:INPUT DROP [12:960]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-after-forward - [0:0]
:ufw-after-logging-forward - [0:0]
:ufw-before-forward - [0:0]
:ufw-before-input - [0:0]
:ufw-before-logging-forward - [0:0]
:ufw-reject-forward - [0:0]
:ufw-track-forward - [0:0]
:ufw-user-forward - [0:0]
[12:960] -A INPUT -j ufw-before-input
[5:300] -A FORWARD -j ufw-before-logging-forward
[5:300] -A FORWARD -j ufw-before-forward
[0:0] -A FORWARD -j ufw-after-forward
[0:0] -A FORWARD -j ufw-after-logging-forward
[0:0] -A FORWARD -j ufw-reject-forward
[0:0] -A FORWARD -j ufw-track-forward
[0:0] -A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix \"[UFW BLOCK] \"
[3:180] -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A ufw-before-forward -p icmp -m icmp --icmp-type 3 -j ACCEPT
[0:0] -A ufw-before-forward -p icmp -m icmp --icmp-type 11 -j ACCEPT
[0:0] -A ufw-before-forward -p icmp -m icmp --icmp-type 12 -j ACCEPT
[1:84] -A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
[2:120] -A ufw-before-forward -j ufw-user-forward
[0:0] -A ufw-before-input -i lo -j ACCEPT
[2:120] -A ufw-user-forward -s 10.8.0.0/24 -i wg0 -o eth0 -m comment --comment \"vpn to the internet\" -j ACCEPT
COMMIT
# Completed on Tue Nov  4 20:01:02 2025
";

#[test]
fn a_box_with_ufw_is_read() {
    let strict = import(UFW, &options(&["default=eth0"])).unwrap_err();
    assert_eq!(strict.count(), 1, "{strict}");
    assert!(strict.to_string().starts_with("test.rules:21:39: "), "{strict}");
    let import = leniently(UFW, &options(&["default=eth0"])).unwrap();
    assert_eq!(import.left_out, strict.problems);
    for (flow, channel) in [
        ("icmp 8/0 192.0.2.1 > 10.8.0.1", "pass"),
        ("icmp 5/0 192.0.2.1 > 10.8.0.1", "drop"),
        ("udp 10.8.0.7:5 > 192.0.2.1:443 on wg0", "pass"),
        ("udp 10.9.0.7:5 > 192.0.2.1:443 on wg0", "drop"),
    ] {
        assert_eq!(decided(&import.rules, flow), channel, "{flow}");
    }
    let vpn = import
        .rules
        .rules
        .iter()
        .find(|rule| !rule.interfaces.is_empty())
        .unwrap();
    assert_eq!(vpn.comment.as_deref(), Some("vpn to the internet"));
    assert_eq!(vpn.place.position.unwrap().line, 29);
}

#[test]
fn both_families_may_follow_each_other() {
    let text = "\
# Generated by iptables-save v1.8.9 on Tue Nov  4 20:01:02 2025
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --dport 22 -j DROP
COMMIT
# Generated by ip6tables-save v1.8.9 on Tue Nov  4 20:01:02 2025
*filter
:FORWARD DROP [0:0]
-A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
-A FORWARD -s fd00::/8 ! -d 2001:db8::1/128 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
";
    let import = import(text, &options(&[])).unwrap();
    for (flow, channel) in [
        ("tcp 10.0.0.1:1 > 10.0.0.2:22", "drop"),
        ("tcp 10.0.0.1:1 > 10.0.0.2:23", "pass"),
        ("tcp [fd00::1]:1 > [fd00::2]:22", "drop"),
        ("tcp [fd00::1]:1 > [fd00::2]:80", "pass"),
        ("tcp [fd00::1]:1 > [2001:db8::1]:80", "drop"),
        ("icmpv6 fd00::1 > fd00::2", "pass"),
    ] {
        assert_eq!(decided(&import.rules, flow), channel, "{flow}");
    }
}
