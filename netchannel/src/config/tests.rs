mod files;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::schema::SCHEMAS;
use super::*;
use crate::channel::nat::{Filtering, PortBlocks};
use crate::rules::Values;

pub(super) const SAMPLE: &str = include_str!("../../../docs/netchannel.toml");

/// Two interfaces and a translator, for tests that add what they are about.
const BASE: &str = r#"
[[interface]]
name = "lan0"
role = "inside"
[[interface]]
name = "wan0"
role = "outside"
[[channel]]
name = "internet"
type = "nat"
external = "wan0"
"#;

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "test.toml")
}

fn with_base(text: &str) -> Result<Config, ConfigError> {
    parse(&format!("{BASE}{text}"))
}

/// Each problem as `LINE:COLUMN: KEY: MESSAGE`, lines counted from `BASE`'s end.
fn problems_after_base(text: &str) -> Vec<String> {
    let error = with_base(text).expect_err(text);
    let base = BASE.lines().count() as u32;
    let shown = error.problems.iter().map(|problem| {
        let position = problem.position.unwrap();
        let line = i64::from(position.line) - i64::from(base);
        let key = if problem.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", problem.key)
        };
        format!("{line}:{}: {key}{}", position.column, problem.message)
    });
    shown.collect()
}

fn the_problem(text: &str) -> String {
    let problems = problems_after_base(text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().unwrap()
}

/// The sample with every commented-out key taken.
pub(super) fn uncommented() -> String {
    let is_key = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(char::is_alphabetic))
    };
    SAMPLE
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_sample_is_accepted_without_warnings() {
    let config = parse(SAMPLE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.warnings, []);
    let shape = (config.interfaces.len(), config.channels.len(), config.rules.len());
    assert_eq!(shape, (2, 5, 9));
}

#[test]
fn the_sample_gives_the_defaults_that_are_used() {
    let mut with_defaults = parse(&uncommented()).unwrap_or_else(|error| panic!("{error}"));
    let mut config = parse(SAMPLE).unwrap();
    // They tell how to wait in another way than they do.
    with_defaults.warnings.clear();
    // These two show a value where the default is none.
    with_defaults.replay[1].gateway = None;
    for rule in with_defaults
        .rules
        .rules
        .iter_mut()
        .chain(&mut config.rules.rules)
    {
        rule.source_ports = Values::any();
        rule.comment = None;
    }
    assert_eq!(with_defaults, config);
}

#[test]
fn the_sample_documents_every_key_and_no_other() {
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut header = String::new();
    for line in uncommented().lines() {
        if line.starts_with('[') {
            header = line.to_owned();
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with(['#', ' '])) {
            shown
                .entry(header.clone())
                .or_default()
                .insert(key.trim().to_owned());
        }
    }
    assert_eq!(shown.remove(""), Some(BTreeSet::from(["include".to_owned()])));
    let leaf = |schema: &&&schema::Schema| !["", "[replay]"].contains(&schema.header);
    for schema in SCHEMAS.iter().filter(leaf) {
        let mut known: BTreeSet<String> = schema.keys.iter().map(|key| key.to_string()).collect();
        // Tables of their own.
        let tables = [
            "timeouts",
            "udp_to_port",
            "limits",
            "host_limits",
            "forward",
            "one_to_one",
            "deterministic",
            "blocks",
            "log",
            "ipfix",
        ];
        known.retain(|key| !tables.contains(&key.as_str()));
        assert_eq!(
            shown.remove(schema.header).unwrap_or_default(),
            known,
            "{}",
            schema.header
        );
    }
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn a_wrong_port_prints_like_a_compiler() {
    let error = with_base("ports = [\"1024-2047\", \"70000\"]\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.toml:12:23: ports: \"70000\" is not a port range; expected \"LOW-HIGH\" or a port, 0 to 65535\n\
         12 | ports = [\"1024-2047\", \"70000\"]\n   |                       ^^^^^^^"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let problems = problems_after_base(
        "prot = 5\n[[rule]]\nfrom = [\"10.0.0.1/24\", 7]\nto = []\nchannel = \"internt\"\n[rings]\nfill = 1000\n",
    );
    let expected = [
        "1:1: unknown key `prot` in [[channel]], did you mean `ports`?",
        "3:9: from: \"10.0.0.1/24\" has host bits set; expected the prefix \"10.0.0.0/24\", or \"10.0.0.1/32\" for \
         the one address",
        "3:24: from: 7 is not an address; expected a prefix, an address or a range \"FIRST-LAST\"",
        "4:6: to: the list is empty; expected a prefix, an address or a range \"FIRST-LAST\", or leave the key out",
        "5:11: channel: \"internt\" is not a channel, did you mean \"internet\"?",
        "7:8: fill: found 1000; expected a power of two from 64 to 32768 (the next one is 1024)",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn interfaces_are_checked() {
    let problem = |text: &str| the_problem(&format!("[[interface]]\n{text}"));
    assert_eq!(
        problem("name = \"lan0\"\nrole = \"inside\"\n"),
        "2:8: name: \"lan0\" is here twice; expected each interface once"
    );
    assert_eq!(
        problem("name = \"lan1\"\n"),
        "1:1: role: missing in [[interface]]; expected \"inside\" or \"outside\""
    );
    assert_eq!(
        problem("name = \"a234567890123456\"\nrole = \"inside\"\n"),
        "2:8: name: \"a234567890123456\" has 16 bytes; the kernel's names have at most 15"
    );
    assert!(problem("name = \"a/b\"\nrole = \"inside\"\n").contains("can not be the name of an interface"));
    assert_eq!(
        problem("name = \"w\"\nrole = \"outsid\"\n"),
        "3:8: role: found \"outsid\"; expected \"inside\" or \"outside\" (did you mean \"outside\"?)"
    );
    assert!(
        problem("name = \"w\"\nrole = \"outside\"\nprefixes = \"10.0.0.0/8\"\n").contains("has no prefixes")
    );
    assert!(problem("name = \"w\"\nrole = \"inside\"\nprefixes = []\n").contains("the list is empty"));
    assert!(
        problem("name = \"w\"\nrole = \"inside\"\nmode = \"generic\"\nzero_copy = \"on\"\n")
            .starts_with("5:13: zero_copy")
    );
    assert!(problem("name = 5\nrole = \"inside\"\n").starts_with("2:8: name: found 5; expected the name"));

    let error = parse("[control]\n").unwrap_err();
    assert_eq!(
        error.problems[0].headline(),
        "test.toml:1:1: no interface; expected at least one [[interface]] with its name and role"
    );
    let error = parse("[interface]\nname = \"x\"\n").unwrap_err();
    assert_eq!(
        error.problems[0].headline(),
        "test.toml:1:1: interface: a table stands where there can be several; expected [[interface]]"
    );
}

#[test]
fn channels_are_checked() {
    let problem = |text: &str| the_problem(&format!("[[channel]]\n{text}"));
    let nat = "name = \"n\"\ntype = \"nat\"\n";
    assert!(problem("name = \"drop\"\ntype = \"forward\"\n").contains("\"drop\" always exists"));
    assert!(problem("name = \"internet\"\ntype = \"forward\"\n").contains("is here twice"));
    assert!(problem("name = \"a b\"\ntype = \"forward\"\n").contains("is not a name"));
    assert!(
        problem("name = \"f\"\ntype = \"forward\"\nports = 5\n").starts_with("4:1: ports: a forward channel")
    );
    assert!(problem(nat).contains("needs external addresses"));
    assert_eq!(
        problem(&format!("{nat}external = \"lan0\"\n")),
        "4:12: external: \"lan0\" is an inside interface; expected an outside one: \"wan0\""
    );
    assert!(
        problem(&format!("{nat}external = \"wan1\"\n"))
            .contains("\"wan1\" is not an [[interface]] of this file")
    );
    let external = |list: &str| problem(&format!("{nat}external = {list}\n"));
    assert!(external("\"224.0.0.1\"").contains("can not be the source"));
    assert!(external("[\"192.0.2.1\", \"192.0.2.0/30\"]").contains("is here already"));
    assert!(external("\"192.0.2.300\"").contains("is not an address"));
    assert!(external("\"2001:db8::/64\"").contains("is IPv6"));
    assert!(external("\"20.0.0.0/15\"").contains("131072 addresses are too many"));
    let own = format!("{nat}external = \"192.0.2.1\"\n");
    assert!(problem(&format!("{own}pooling = \"any\"\n")).contains("\"paired\" or \"arbitrary\""));
    assert!(
        problem(&format!("{own}pooling = \"arbitrary\"\nsoft_pairing = true\n")).contains("pairs nothing")
    );
    assert!(
        problem(&format!(
            "{own}ports = \"5-9\"\nreserved_ports = [\"1-6\", \"7-9\"]\n"
        ))
        .contains("expected some of them to be left")
    );
    assert!(problem(&format!("{own}port_hold = \"99d\"\n")).contains("99d is too long"));
    assert!(problem(&format!("{own}ports = \"2000-1000\"\n")).contains("expected \"1000-2000\""));
    assert!(problem(&format!("{own}ports = [\"1-100\", 50]\n")).contains("\"50\" overlaps \"1-100\""));
    assert!(problem(&format!("{own}ports = \"0-100\"\n")).contains("port 0 is reserved"));
    assert_eq!(
        problem(&format!("{own}timeouts.udp = \"30s\"\n")),
        "5:16: udp: 30s is shorter than RFC 4787 section 4.3 allows; expected at least \"2m\", or allow_noncompliant = \
         true"
    );
    for wrong in ["535", "65496", "\"big\"", "true"] {
        assert!(problem(&format!("{own}mss_clamp = {wrong}\n")).contains("536 to 65495 bytes"));
    }
    assert!(problem(&format!("{own}max_held_fragments = 4097\n")).contains("0 to 4096"));
    for (key, value, floor) in [
        ("tcp_established", "2h3m", "2h4m"),
        ("tcp_closing", "3m", "4m"),
        ("icmp", "59s", "1m"),
    ] {
        let text = format!("{own}timeouts.{key} = \"{value}\"\n");
        assert!(problem(&text).contains(&format!(
            "expected at least \"{floor}\", or allow_noncompliant = true"
        )));
    }
    let to_port = |entries: &str| problem(&format!("{own}timeouts.udp_to_port = [{entries}]\n"));
    assert!(to_port("{ port = 1024, time = 30 }").contains("0 to 1023"));
    assert!(to_port("{ port = 53, time = 30 }, { port = 53, time = 40 }").contains("is here twice"));
    assert!(to_port("{ port = 53 }").contains("time: missing"));
    assert!(to_port("{ time = 5 }").contains("port: missing"));
    assert!(to_port("{ port = 53, time = 0 }").contains("no time"));
    assert!(
        problem(&format!(
            "{own}timeouts.icmp = 0\ntimeouts.allow_noncompliant = true\n"
        ))
        .contains("no time")
    );
    let log = |text: &str| problem(&format!("{own}[channel.log]\n{text}"));
    assert!(log("").contains("5:1: log: tells nobody; expected `file`"));
    assert!(log("file = \"nat.log\"\n").contains("found \"nat.log\"; expected the absolute path"));
    assert!(
        log("file = \"-\"\nevents = [\"mapping\"]\n")
            .contains("expected \"mappings\", \"sessions\", \"blocks\" or")
    );
    assert!(log("file = \"-\"\nevents = \"blocks\"\n").contains("with [channel.blocks] only"));
    assert!(log("file = \"-\"\nbuffer = 5\n").contains("1024 to 16777216"));
    assert!(log("file = \"-\"\nfiles = 5\n").contains("did you mean `file`?"));
    let ipfix = |text: &str| log(&format!("[channel.log.ipfix]\n{text}"));
    assert!(ipfix("").contains("collector: missing in [channel.log.ipfix]"));
    assert!(ipfix("collector = \"host\"\n").contains("found \"host\"; expected the collector's address"));
    assert!(ipfix("collector = \"0.0.0.0\"\n").contains("expected the collector's address"));
    let collector = "collector = \"192.0.2.9\"\n";
    assert!(ipfix(&format!("{collector}template_interval = 0\n")).contains("expected 1s to 1d"));
    assert!(ipfix(&format!("{collector}message_size = 100\n")).contains("512 to 65507"));
    // The base's channel has these ports of this interface already.
    assert!(
        problem(&format!("{nat}external = \"wan0\"\nports = 5000\n"))
            .contains("channel \"internet\" already")
    );
}

#[test]
fn blocks_of_ports_are_checked() {
    let nat = "[[channel]]\nname = \"n\"\ntype = \"nat\"\nexternal = \"192.0.2.1\"\nports = [\"1000-1099\", \"2000-2999\"]\n";
    let blocks = |text: &str| format!("{nat}[channel.blocks]\n{text}");
    assert_eq!(
        the_problem(&blocks("size = 1001\n")),
        "7:8: size: no range of `ports` has 1001 ports in a row; expected blocks that fit in one"
    );
    assert!(the_problem(&blocks("size = 15\n")).contains("a whole number from 16 to 65535"));
    assert!(the_problem(&blocks("size = 64\nmost = 257\n")).contains("a whole number from 1 to 256"));
    assert!(the_problem(&blocks("size = 64\nhold = \"31d\"\n")).contains("31d is too long"));
    assert!(the_problem(&blocks("size = 64\nholds = 1\n")).contains("unknown key"));
    let both = blocks("size = 64\n[channel.deterministic]\ninside = \"10.0.0.0/28\"\n");
    assert_eq!(
        the_problem(&both),
        "6:1: blocks: [channel.deterministic] gives each inside host ports of its own; expected `spare_ports` there, 64 or more, or no \
         [channel.blocks]"
    );
    let spare = format!("{nat}[channel.deterministic]\ninside = \"10.0.0.0/28\"\nspare_ports = 128\n");
    assert_eq!(
        the_problem(&spare),
        "8:1: spare_ports: nobody gets these ports; expected a [channel.blocks]"
    );
    let interface = "[[interface]]\nname = \"lan0\"\nrole = \"inside\"\n";
    let config = parse(&format!("{interface}{}", blocks("size = 300\nhold = 0\n"))).unwrap();
    let ChannelKind::Nat(nat) = &config.channels[0].kind else {
        panic!("no translator");
    };
    let expected = PortBlocks {
        size: 300,
        hold: Duration::ZERO,
        ..PortBlocks::default()
    };
    assert_eq!(nat.blocks, Some(expected));

    // With blocks, mappings are in the log by choice only.
    let logged = |text: &str| {
        let log = format!("size = 64\n[channel.log]\nfile = \"-\"\n{text}");
        let config = parse(&format!("{interface}{}", blocks(&log))).unwrap();
        let ChannelKind::Nat(nat) = &config.channels[0].kind else {
            panic!("no translator");
        };
        let selection = nat.log.as_ref().unwrap().selection;
        (selection.mappings, selection.blocks)
    };
    assert_eq!(logged(""), (false, true));
    assert_eq!(logged("events = [\"blocks\", \"mappings\"]\n"), (true, true));
    assert_eq!(logged("events = \"limits\"\n"), (false, false));
}

/// RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-2, RFC 7857 §2.2.
#[test]
fn shorter_times_are_taken_where_they_may_be() {
    let timeouts = |text: &str| {
        let text = format!(
            "[[interface]]\nname = \"lan0\"\nrole = \"inside\"\n[[channel]]\nname = \"n\"\ntype = \"nat\"\n\
             external = \"192.0.2.1\"\n[channel.timeouts]\n{text}"
        );
        let config = parse(&text).unwrap();
        let ChannelKind::Nat(nat) = &config.channels[0].kind else {
            panic!("no translator");
        };
        nat.timeouts.clone()
    };
    let seconds = Duration::from_secs;
    assert_eq!(timeouts(""), Timeouts::default());
    let shorter = timeouts("tcp_opening = 20\nudp_to_port = [{ port = 53, time = \"10s\" }]\nudp = \"2m\"\n");
    let expected = Timeouts {
        udp: seconds(120),
        udp_to_port: vec![(53, seconds(10))],
        tcp_opening: seconds(20),
        ..Timeouts::default()
    };
    assert_eq!(shorter, expected);
    let any =
        timeouts("allow_noncompliant = true\nudp = 1\nicmp = 1\ntcp_closing = 1\ntcp_established = 1\n");
    assert_eq!(
        [any.udp, any.icmp, any.tcp_closing, any.tcp_established],
        [seconds(1); 4]
    );
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let config = with_base("ports = \"1024-40000\"\n[[rule]]\nchannel = \"pass\"\n").unwrap();
    let warnings: Vec<String> = config.warnings.iter().map(Problem::headline).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with("test.toml:9:8: name: no rule sends packets to channel"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("takes from 32768-60999"), "{warnings:?}");
    assert!(
        with_base("").unwrap().warnings[0]
            .message
            .starts_with("no [[rule]]")
    );
}

#[test]
fn memory_must_hold_what_the_rings_take() {
    assert!(the_problem("[memory]\nframes = 4096\n").contains("expected at least 8192"));
    assert!(with_base("[memory]\nframes = 8192\n").is_ok());
    assert!(the_problem("[memory]\nframes = 3000\n").contains("the next one is 4096"));
}

#[test]
fn replay_makes_up_what_is_not_given() {
    let config = with_base(
        "[[replay.interface]]\nname = \"wan0\"\nmac = \"0a:00:00:00:00:01\"\naddresses = \"192.0.2.7/24\"\ngateway = \
         \"192.0.2.1\"\n",
    )
    .unwrap();
    let lan = config.replay_interface("lan0").unwrap();
    assert_eq!(
        (lan.mac, lan.neighbour_mac, lan.mtu),
        ([2, 0, 0, 0, 0, 1], [2, 0, 0, 1, 0, 1], 1500)
    );
    assert_eq!(lan.addresses[0].to_string(), "192.0.0.8/32");
    assert!(
        lan.prefixes
            .iter()
            .any(|prefix| prefix.contains(&"192.168.7.7".parse::<IpAddr>().unwrap()))
    );
    let wan = config.replay_interface("wan0").unwrap();
    assert_eq!(
        (wan.mac, wan.neighbour_mac),
        ([10, 0, 0, 0, 0, 1], [2, 0, 0, 1, 0, 2])
    );
    assert_eq!(wan.addresses[0].to_string(), "192.0.2.7/24");
    assert_eq!(
        (wan.gateway, wan.prefixes.len()),
        (Some("192.0.2.1".parse().unwrap()), 0)
    );

    let sample = parse(SAMPLE).unwrap();
    assert_eq!(sample.replay[0].addresses[0].to_string(), "10.0.0.1/24");
    let problem = |text: &str| the_problem(&format!("[[replay.interface]]\n{text}"));
    assert!(problem("name = \"x\"\n").contains("is not an [[interface]] of this file"));
    assert!(problem("name = \"wan0\"\nmac = \"zz\"\n").contains("is not an Ethernet address"));
    assert!(problem("name = \"wan0\"\nmtu = 5\n").contains("from 68 to 65535"));
}

#[test]
fn files_that_are_no_text_are_refused_clearly() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Config::load(&path).unwrap_err().problems.remove(0)
    };
    let load = |path: &std::path::Path| Config::load(path).unwrap_err().problems.remove(0);
    assert_eq!(
        load(&directory.path().join("none")).message,
        "can not be read: there is no such file"
    );
    assert_eq!(
        load(directory.path()).message,
        "is a directory without files *.toml; expected at least one"
    );
    let empty = file("empty", b"\n# nothing\n");
    assert_eq!(empty.position, Some(Position { line: 1, column: 1 }));
    assert!(empty.message.starts_with("the file holds no settings"));
    let binary = file("binary", b"[memory]\nframes = \xff\n");
    assert_eq!(binary.position, Some(Position { line: 2, column: 10 }));
    assert!(binary.message.starts_with("the byte 0xff is not UTF-8 text"));
    assert!(
        file("long", &vec![b'#'; MAX_FILE_SIZE as usize + 1])
            .message
            .starts_with("is longer than 16 MiB")
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let error = parse("[memory]\nframes = \n[rings\n").unwrap_err();
    let lines: Vec<u32> = error
        .problems
        .iter()
        .filter_map(|p| p.position)
        .map(|p| p.line)
        .collect();
    assert_eq!(lines.first(), Some(&2), "{error}");
    assert!(
        parse("[memory]\nframes = 64\nframes = 64\n")
            .unwrap_err()
            .problems[0]
            .message
            .contains("duplicate key")
    );
}
