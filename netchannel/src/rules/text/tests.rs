//! Texts that are taken, and texts that are refused.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::clause::word_of;
use super::*;
use crate::channel::nat::Filtering;
use crate::config::MAX_PROBLEMS;
use crate::dispatch::dimensions::FIELDS;
use crate::rules::{AddressRange, FlagMatch, PortRange, notation, random};

fn rules(text: &str) -> Vec<Rule> {
    parse(text, "test.rules")
        .unwrap_or_else(|error| panic!("{error}"))
        .rules
        .rules
}

fn one(text: &str) -> Rule {
    let mut rules = rules(text);
    assert_eq!(rules.len(), 1, "{text}");
    rules.remove(0)
}

/// All problems, without their source lines.
fn problems(text: &str) -> Vec<String> {
    let error = parse(text, "t").expect_err(text);
    error.problems.iter().map(|problem| problem.headline()).collect()
}

fn problem(text: &str) -> String {
    let mut all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn addresses(text: &str) -> AddressRange {
    notation::addresses(text).unwrap()
}

fn port(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

#[test]
fn a_rule_says_what_it_reads_like() {
    let text = r#"
        set office = { 10.0.0.0/24, 10.1.0.0/16 }   # where people sit
        set web = {
            80, 443,        # a comment in a list
            8000-8099,
        }
        priority 10 tcp from @office to any port @web on lan0 use internet with filtering address-dependent comment "web"
        tcp flags syn/syn,ack or rst from 10.0.0.0/8 port 1024-65535 to {192.0.2.1, @office} port {25, 465} drop
        icmp type 8 to 192.0.2.1 dscp ef vlan 7 fragment whole pass
    "#;
    let list = parse(text, "test.rules").unwrap().rules;
    assert_eq!(
        (list.address_sets.len(), list.port_sets.len(), list.rules.len()),
        (1, 1, 3)
    );
    assert_eq!(
        list.port_sets[0].values,
        [port(80, 80), port(443, 443), port(8000, 8099)]
    );
    let [web, opening, echo] = &list.rules[..] else {
        panic!()
    };
    assert_eq!((web.priority, &*web.channel), (10, "internet"));
    assert_eq!((&web.protocols[..], &*web.interfaces[0]), (&[6][..], "lan0"));
    assert_eq!(web.filtering, Some(Filtering::AddressDependent));
    assert_eq!(web.comment.as_deref(), Some("web"));
    assert!(web.from.listed.is_empty() && web.to.is_any() && web.source_ports.is_any());
    assert!(std::sync::Arc::ptr_eq(&web.from.sets[0], &list.address_sets[0]));
    assert!(std::sync::Arc::ptr_eq(
        &web.destination_ports.sets[0],
        &list.port_sets[0]
    ));
    assert_eq!(web.place.to_string(), "test.rules:7:9");

    assert_eq!(
        opening.tcp_flags,
        [FlagMatch { set: 2, mask: 0x12 }, FlagMatch { set: 4, mask: 4 }]
    );
    assert_eq!(opening.source_ports.listed, [port(1024, 65535)]);
    assert_eq!(opening.to.listed, [addresses("192.0.2.1")]);
    assert_eq!(opening.to.sets.len(), 1);
    assert_eq!((opening.priority, &*opening.channel), (100, "drop"));

    let field = |key| {
        let index = FIELDS.iter().position(|field| field.key == key).unwrap();
        let range = echo.fields.get(index)[0];
        (range.first, range.last)
    };
    let fields = ["icmp_type", "dscp", "vlan", "fragment"].map(field);
    assert_eq!(fields, [(8, 8), (46, 46), (7, 7), (0, 0)]);
    assert_eq!((echo.protocols[0], &*echo.channel), (1, "pass"));
}

#[test]
fn what_is_left_out_is_any() {
    for text in [
        "pass",
        "any pass",
        "from any to any port any on any vlan any protocol any pass",
        "priority 100 pass",
    ] {
        assert_eq!(one(text), Rule::any("pass"), "{text}");
    }
    assert_eq!(
        one("tcp to port 443 drop"),
        one("protocol 6 to any port 443 drop")
    );
    assert_eq!(one("{tcp, 89} drop").protocols, [6, 89]);
    assert_eq!(one("tcp_flags syn tcp drop"), one("tcp flags syn drop"));
    assert_eq!(
        rules("\u{feff}pass\r\n\r\n# only a comment\r\ndrop"),
        [Rule::any("pass"), Rule::any("drop")]
    );
    assert_eq!(rules(""), []);
    assert_eq!(one("use \"a b\"\n").channel, "a b".into());
}

#[test]
fn fields_have_words_of_their_own() {
    let mut words = HashSet::new();
    let own = [
        "from", "to", "port", "priority", "protocol", "any", "use", "drop", "pass", "with", "comment", "or",
        "set", "include",
    ];
    let fields = FIELDS
        .iter()
        .map(|field| field.key)
        .filter(|key| *key != "interface");
    let fields = fields.collect::<HashSet<_>>();
    let short = FIELDS.iter().map(word_of).filter(|word| !fields.contains(word));
    for word in own
        .into_iter()
        .chain(notation::protocol_names())
        .chain(fields.iter().copied())
        .chain(short)
    {
        assert!(words.insert(word), "{word} has two meanings");
    }
}

#[test]
fn what_is_written_reads_well() {
    for text in [
        "priority 10 tcp from 10.0.0.0/24 port 1024-65535 to 192.0.2.1 port {25, 465} on lan0 use internet comment \"mail\"",
        "priority 100 {tcp, udp} to any port 53 pass",
        "priority 100 protocol 89 from 2001:db8::/32 drop",
        "priority 100 tcp flags none/all or syn,fin drop",
        "priority 100 icmpv6 type 128-129 code 0 to ::1 drop",
        "priority 0 vlan {none, 100-199} dscp {ef, 8-10} fragment {first, later} drop",
        "priority 4294967295 on \"any\" use \"drop it\" with filtering endpoint-independent",
        "priority 100 from 10.0.0.1-10.0.0.2 drop",
        "priority 100 drop",
    ] {
        assert_eq!(rule_text(&one(text)), text);
    }
    assert_eq!(
        match_text(&one("priority 7 tcp to port 443 drop")),
        "tcp to any port 443"
    );
    assert_eq!(match_text(&Rule::any("drop")), "any");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        (
            "drop it",
            "t:1:6: found \"it\"; expected with, comment \"...\" or the end of the line",
        ),
        ("tcp form 10.0.0.1 drop", "(did you mean from?)"),
        (
            "tpc drop",
            "t:1:1: found \"tpc\"; expected a protocol's name, priority",
        ),
        (
            "tcp from drop",
            "t:1:10: found \"drop\"; expected a prefix, an address or a range \"FIRST-LAST\"",
        ),
        (
            "from 10.0.0.1/24 drop",
            "t:1:6: \"10.0.0.1/24\" has host bits set; expected the prefix \"10.0.0.0/24\", or \"10.0.0.1/32\" for the one",
        ),
        (
            "from 10.0.0.0/33 drop",
            "has the prefix length \"33\", which is not 0 to 32",
        ),
        (
            "from 10.0.0.9-10.0.0.1 drop",
            "runs backwards; expected \"10.0.0.1-10.0.0.9\"",
        ),
        ("from 10.0.0.9-::1 drop", "mixes IPv4 and IPv6"),
        ("from {} drop", "t:1:7: the list is empty; expected a prefix"),
        (
            "from {10.0.0.1 10.0.0.2} drop",
            "t:1:16: found \"10.0.0.2\"; expected `,` and another value, or `}`",
        ),
        (
            "from 10.0.0.1, 10.0.0.2 drop",
            "t:1:14: found \",\"; expected the action",
        ),
        (
            "from @nowhere drop",
            "t:1:6: there is no set \"nowhere\" up to here; expected it to be defined before the rules that name it",
        ),
        (
            "set servers = 10.0.0.1\nfrom @server drop",
            "t:2:6: there is no set \"server\" up to here; did you mean @servers?",
        ),
        (
            "set web = 80\nfrom @web drop",
            "t:2:6: @web is a set of ports; expected one of addresses",
        ),
        ("set a = 80\nset a = 81\n", "t:2:5: the set \"a\" is here twice"),
        (
            "set a = {80, 10.0.0.1}\n",
            "t:1:14: \"10.0.0.1\" is among ports; expected addresses or ports alone",
        ),
        (
            "set a = {10.0.0.0/8,\n  10.1.0.0/16}\n",
            "t:2:3: \"10.1.0.0/16\" overlaps \"10.0.0.0/8\"",
        ),
        ("set a = {@b}\n", "t:1:10: sets hold no other sets"),
        ("set a/b = 1\n", "t:1:5: \"a/b\" is not the name of a set"),
        ("set a 1\n", "t:1:7: found \"1\"; expected `=`"),
        (
            "tcp to any port 70000 drop",
            "t:1:17: \"70000\" is not a port range",
        ),
        (
            "tcp port 25 drop",
            "t:1:5: found \"port\"; expected it behind the addresses",
        ),
        ("tcp from any from any drop", "t:1:14: \"from\" is here twice"),
        ("tcp udp drop", "t:1:5: \"udp\" is here twice"),
        ("protocol 256 drop", "t:1:10: \"256\" is not a protocol"),
        (
            "priority -1 drop",
            "t:1:10: found \"-1\"; expected a priority, 0 to 4294967295",
        ),
        ("priority 4294967296 drop", "t:1:10: found \"4294967296\""),
        ("tcp flags syn/sny drop", "t:1:11: \"sny\" is not a TCP flag"),
        (
            "tcp flags syn,ack/syn drop",
            "wants flags set that are not behind the slash",
        ),
        ("tcp flags {syn} drop", "t:1:11: found \"{\"; expected TCP flags"),
        (
            "icmp type 256 drop",
            "t:1:11: found \"256\"; expected a number, 0 to 255",
        ),
        (
            "dscp xx drop",
            "t:1:6: found \"xx\"; expected a number, 0 to 63, or a range LOW-HIGH, or one of be, le",
        ),
        ("vlan 9-2 drop", "runs backwards; expected 2-9"),
        (
            "use",
            "t:1:4: found the end of the text; expected the name of a channel",
        ),
        (
            "tcp\ndrop",
            "t:1:4: found the end of the line; expected the action: use CHANNEL, drop or pass",
        ),
        (
            "use x with speed 9",
            "t:1:12: found \"speed\"; expected filtering",
        ),
        (
            "use x with filtering open",
            "t:1:22: \"open\" is no way to filter; expected",
        ),
        (
            "drop comment web",
            "t:1:14: found \"web\"; expected a text in quotes",
        ),
        (
            "drop comment \"web",
            "t:1:14: the text has no end; expected a closing \" in the same line",
        ),
        ("drop comment \"a\\x\"", "t:1:16: unknown escape"),
        (
            "include rules",
            "t:1:9: found \"rules\"; expected the file to include in quotes",
        ),
        ("include \"rules\"", "t:1:9: only files include others"),
        ("}", "t:1:1: found \"}\"; expected the action"),
    ] {
        let found = problem(text);
        assert!(
            found.contains(expected),
            "{text}\nfound:    {found}\nexpected: {expected}"
        );
    }
}

#[test]
fn all_problems_of_a_text_are_told() {
    let text = "tcp form x drop\nset a = {\n 1, x,\n 2\n}\nfrom {10.0.0.1 x,\n y\n drop\nfrom 1 drop\npass\nfrom {a, b} drop";
    let found = problems(text);
    let places: Vec<&str> = found
        .iter()
        .map(|problem| problem.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        ["t:1:5", "t:3:5", "t:6:16", "t:9:6", "t:11:7", "t:11:10"],
        "{found:#?}"
    );
    let error = parse("x\n".repeat(1_000).as_str(), "t").unwrap_err();
    assert_eq!((error.problems.len(), error.more), (MAX_PROBLEMS, MAX_PROBLEMS));
    let error = parse("pass\n\tfrom x drop", "f.rules").unwrap_err();
    assert!(
        error.to_string().ends_with("\n2 | \tfrom x drop\n  | \t     ^"),
        "{error}"
    );
}

#[test]
fn sets_that_no_rule_names_are_told() {
    let read = parse("set b = 1\nset a = 2\ntcp to port @a drop", "t").unwrap();
    let warnings: Vec<String> = read.warnings.iter().map(|warning| warning.headline()).collect();
    assert_eq!(warnings, ["t:1:5: no rule names the set \"b\""]);
    assert_eq!(read.rules.port_sets.len(), 2);
}

#[test]
fn single_rules_and_filters_name_the_sets_of_a_list() {
    let list = parse("set web = 80\ntcp to port @web drop", "t").unwrap().rules;
    assert_eq!(parse_rules("tcp to port @web drop", &list).unwrap(), list.rules);
    assert_eq!(parse_rules("drop\npass", &list).unwrap().len(), 2);
    let message = |text| parse_rules(text, &list).unwrap_err().problems[0].headline();
    assert!(message("set a = 1").starts_with("rule:1:1: only files define sets"));
    assert!(message("tcp to port @wob drop").ends_with("did you mean @web?"));

    assert_eq!(parse_match(" tcp to port @web ", &list).unwrap(), list.rules[0]);
    for text in ["", "any", " \t"] {
        assert_eq!(parse_match(text, &list).unwrap(), Rule::any("drop"));
    }
    let message = |text| parse_match(text, &list).unwrap_err().problems[0].headline();
    assert_eq!(
        message("tcp drop"),
        "filter:1:5: found \"drop\"; expected the end of the filter, which has no action"
    );
    assert!(
        message("priority 3 tcp")
            .starts_with("filter:1:1: found \"priority\"; expected a protocol's name, protocol, any")
    );
    assert!(message("tcp\ntcp").starts_with("filter:1:4: found the end of the line"));
}

#[test]
fn files_include_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    fs::create_dir(path("rules.d")).unwrap();
    write(
        "main.rules",
        "include \"sets.rules\"\ninclude \"rules.d/*.rules\"\npass\n",
    );
    write("sets.rules", "set office = 10.0.0.0/24\n");
    write("rules.d/20.rules", "from @office use b\n");
    write("rules.d/10.rules", "\n from @office use a\n");
    write("rules.d/10.rules~", "no rule\n");
    let list = read(path("main.rules")).unwrap().rules;
    let channels: Vec<&str> = list.rules.iter().map(|rule| &*rule.channel).collect();
    assert_eq!(channels, ["a", "b", "pass"]);
    assert_eq!(
        list.rules[0].place.to_string(),
        format!("{}:2:2", path("rules.d/10.rules").display())
    );

    write("rules.d/20.rules", "from x drop\n");
    let error = read(path("main.rules")).unwrap_err();
    assert!(
        error.problems[0]
            .headline()
            .starts_with(&format!("{}:1:6: ", path("rules.d/20.rules").display())),
        "{error}"
    );

    let refused = |text: &str| {
        write("main.rules", text);
        let error = read(path("main.rules")).unwrap_err();
        error.problems[0].headline()
    };
    assert!(refused("include \"none.rules\"").contains("none.rules can not be read: there is no such file"));
    assert!(refused("include \"rules.d\"").contains("rules.d is a directory"));
    write("loop.rules", "include \"main.rules\"");
    assert!(refused("include \"loop.rules\"").contains("includes itself"));
    write("bytes.rules", "");
    fs::write(path("bytes.rules"), b"pass\n\xff").unwrap();
    assert!(refused("include \"bytes.rules\"").contains("has bytes in line 2 that are not UTF-8"));
    for depth in 0..=MAX_INCLUDE_DEPTH {
        write(
            &format!("{depth}.rules"),
            &format!("include \"{}.rules\"\n", depth + 1),
        );
    }
    assert!(refused("include \"0.rules\"").contains("is the innermost of more than 16 files"));
    let error = read(path("nothing")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("nothing: can not be read: there is no such file"),
        "{error}"
    );
}

#[test]
fn long_sets_are_written_in_several_lines() {
    let mut text = "set a = {".to_owned();
    for port in 0..100 {
        text.push_str(&format!("{}, ", port * 2));
    }
    text.push_str("}\n");
    let list = parse(&text, "t").unwrap().rules;
    let mut out = Vec::new();
    write(&list, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.lines().count() > 3 && out.lines().all(|line| line.len() < 120),
        "{out}"
    );
    assert_eq!(parse(&out, "t").unwrap().rules, list);
}

/// Pieces that reach deep into the parser when put at random places.
const PIECES: &[&str] = &[
    "{",
    "}",
    ",",
    "=",
    "\"",
    "#",
    "\n",
    "@",
    "@a",
    "set a = {1}",
    "set",
    "include \"x\"",
    "from",
    "to",
    "port",
    "use x",
    "drop",
    "priority",
    "4294967295",
    "with filtering",
    "comment",
    "\\",
    "\\u{41}",
    "any",
    "flags",
    "or",
    "on",
    "10.0.0.0/8",
    "::",
    "-",
    "/",
    "\u{feff}",
    "\u{fc}",
    "\r",
    "\0",
    "tcp",
];

fn written(list: &RuleList) -> String {
    let mut out = Vec::new();
    write(list, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(seed in any::<u64>()) {
        let list = random::list(seed);
        let text = written(&list);
        match parse(&text, "t") {
            Ok(read) => prop_assert_eq!(read.rules, list, "{}", text),
            Err(error) => prop_assert!(false, "{}\n{}", error, text),
        }
    }

    #[test]
    fn whatever_stands_in_a_text_has_a_place(
        seed in any::<u64>(),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0..9_usize, proptest::sample::select(PIECES)), 1..6),
    ) {
        let mut text = written(&random::list(seed));
        for (at, length, piece) in edits {
            let boundary = |mut at: usize| {
                while !text.is_char_boundary(at) { at += 1 }
                at
            };
            let start = boundary(at.index(text.len() + 1));
            let end = boundary((start + length).min(text.len()));
            text.replace_range(start..end, piece);
        }
        match parse(&text, "t") {
            Ok(read) => prop_assert_eq!(parse(&written(&read.rules), "t").unwrap().rules, read.rules),
            Err(error) => {
                let lines: Vec<&str> = text.split('\n').collect();
                for problem in &error.problems {
                    let position = problem.position.unwrap();
                    let columns = lines[position.line as usize - 1].chars().count() as u32 + 1;
                    prop_assert!((1..=columns).contains(&position.column), "{} of {}", position, columns);
                }
            }
        }
        let _ = parse_match(&text, &RuleList::default());
    }
}

#[test]
fn places_are_of_the_file_that_was_named() {
    let rule = one("pass");
    assert_eq!(rule.place.file.as_deref(), Some(Path::new("test.rules")));
    let alone = parse_match("tcp", &RuleList::default()).unwrap();
    assert_eq!(alone.place.file, None);
}

#[test]
fn what_is_wrong_a_million_times_is_told_soon() {
    for text in [
        format!("tcp from {{{}}} drop", "x,".repeat(1_000_000)),
        format!("tcp to port {{{}}} drop", "1,".repeat(1_000_000)),
        format!("tcp to port {{{}}} drop", "1,".repeat(60_000)),
        format!("on {{{}}} drop", "a,".repeat(60_000)),
        format!("set a = {{{}}}", "x,".repeat(1_000_000)),
        "}".repeat(1_000_000),
        "{".repeat(1_000_000),
        "x\n".repeat(1_000_000),
    ] {
        let error = parse(&text, "t").unwrap_err();
        assert!(!error.problems.is_empty() && error.problems.len() <= MAX_PROBLEMS);
    }
}
