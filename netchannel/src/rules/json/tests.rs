//! JSON that is taken, and JSON that is refused.

use proptest::prelude::*;

use super::*;
use crate::rules::{Rule, RuleList, random, text};

fn rules(json: &str) -> RuleList {
    parse(json, "t").unwrap_or_else(|error| panic!("{error}")).rules
}

fn written(list: &RuleList) -> String {
    let mut out = Vec::new();
    write(list, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// All problems, without their source lines.
fn problems(json: &str) -> Vec<String> {
    let error = parse(json, "t").expect_err(json);
    error.problems.iter().map(|problem| problem.headline()).collect()
}

#[test]
fn keys_are_those_of_the_configuration() {
    let list = rules(
        r#"{"sets": [{"name": "office", "addresses": ["10.0.0.0/24", "10.1.0.0/16"]}, {"name": "web", "ports": [80, "8000-8099"]}],
            "rules": [
              {"priority": 10, "protocol": ["tcp"], "from": ["@office", "10.2.0.0/24"], "source_ports": "1024-65535",
               "to": "192.0.2.1", "destination_ports": ["@web", 25], "interface": ["lan0"], "tcp_flags": ["syn/syn,ack"],
               "vlan": [1, "none", "100-199"], "dscp": ["ef"], "fragment": ["whole"], "channel": "internet",
               "filtering": "address-dependent", "comment": "w\u0065b"},
              {"protocol": [1], "icmp_type": [8], "channel": "pass"}]}"#,
    );
    let texts: Vec<String> = list.rules.iter().map(text::rule_text).collect();
    assert_eq!(
        texts,
        [
            "priority 10 tcp flags syn/syn,ack from {10.2.0.0/24, @office} port 1024-65535 to 192.0.2.1 port {25, @web} \
             on lan0 vlan {1, none, 100-199} dscp ef fragment whole use internet with filtering address-dependent \
             comment \"web\"",
            "priority 100 icmp type 8 pass"
        ]
    );
    assert_eq!(
        written(&list),
        r#"{"sets": [
  {"name":"office","addresses":["10.0.0.0/24","10.1.0.0/16"]},
  {"name":"web","ports":[80,"8000-8099"]}],
 "rules": [
  {"priority":10,"protocol":["tcp"],"from":["10.2.0.0/24","@office"],"source_ports":["1024-65535"],"to":["192.0.2.1"],"destination_ports":[25,"@web"],"tcp_flags":["syn/syn,ack"],"interface":["lan0"],"vlan":[1,"none","100-199"],"dscp":["ef"],"fragment":["whole"],"channel":"internet","filtering":"address-dependent","comment":"web"},
  {"priority":100,"protocol":["icmp"],"icmp_type":[8],"channel":"pass"}]}
"#
    );
    assert_eq!(written(&RuleList::default()), "{\"rules\": []}\n");
    assert_eq!(rules("{\"rules\": []}"), RuleList::default());
}

#[test]
fn sets_may_stand_behind_the_rules() {
    let sets = r#""sets": [{"name": "web", "ports": 80}]"#;
    let of_rules = r#""rules": [{"protocol": "tcp", "destination_ports": "@web", "channel": "drop"}]"#;
    let expected = rules(&format!("{{{sets}, {of_rules}}}"));
    assert_eq!(rules(&format!("{{{of_rules}, {sets}}}")), expected);
    assert_eq!(expected.port_sets.len(), 1);
}

#[test]
fn what_is_wrong_is_told_with_rule_and_key() {
    let one = |keys: &str| {
        let found = problems(&format!("{{\"rules\": [{{\"channel\": \"drop\"}}, {{{keys}}}]}}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    for (keys, expected) in [
        (
            r#""priority": 1"#,
            "t: rule 2: channel: missing; expected the name of a channel",
        ),
        (
            r#""channel": "x", "chanel": "x""#,
            "t: rule 2: unknown key \"chanel\", did you mean \"channel\"?",
        ),
        (
            r#""channel": "x", "from": "10.0.0.1/8""#,
            "t: rule 2: from: \"10.0.0.1/8\" has host bits set",
        ),
        (
            r#""channel": "x", "from": []"#,
            "t: rule 2: from: the list is empty",
        ),
        (
            r#""channel": "x", "from": "@x""#,
            "t: rule 2: from: there is no set \"x\"",
        ),
        (
            r#""channel": "x", "from": 7"#,
            "t: rule 2: from: \"7\" is not an address",
        ),
        (
            r#""channel": "x", "from": "::1", "to": "10.0.0.1""#,
            "t: rule 2: to: the IPv4 address in `to` does not go with",
        ),
        (
            r#""channel": "x", "channel": "y""#,
            "t: rule 2: channel: is here twice",
        ),
        (
            r#""channel": "x", "filtering": "open""#,
            "t: rule 2: filtering: \"open\" is no way to filter",
        ),
        (
            r#""channel": "x", "dscp": -1"#,
            "t: rule 2: dscp: found \"-1\"; expected a number, 0 to 63",
        ),
        (
            r#""channel": "x", "destination_ports": 80"#,
            "t: rule 2: destination_ports: ports without a protocol",
        ),
        (
            r#""channel": "x", "priority": -1"#,
            "t: rule 2: priority: found \"-1\"; expected a whole number from 0 to 4294967295",
        ),
        (
            r#""channel": "x", "to": {}"#,
            "rule 2: invalid type: map, expected a value or a list of values",
        ),
        (
            r#""channel": "x", "to": [[]]"#,
            "rule 2: invalid type: sequence, expected a text or a number",
        ),
        (
            r#""channel": 3"#,
            "rule 2: invalid type: integer `3`, expected a text",
        ),
    ] {
        let found = one(keys);
        assert!(
            found.contains(expected),
            "{keys}\nfound:    {found}\nexpected: {expected}"
        );
    }
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    for (json, expected) in [
        ("", "t:1:1: EOF while parsing a value"),
        (
            "[]",
            "invalid type: sequence, expected an object with \"rules\" and \"sets\"",
        ),
        ("{}", "t: the object has neither rules nor sets"),
        ("{\"rules\": [\n {\"channel\": }]}", "t:2:14: expected value"),
        ("{\"rules\": []} x", "t:1:15: trailing characters"),
        (
            "{\"rules\": [3]}",
            "rule 1: invalid type: integer `3`, expected a rule, which is an object",
        ),
        (
            "{\"rule\": []}",
            "t: unknown key \"rule\", did you mean \"rules\"?",
        ),
        ("{\"rules\": [], \"rules\": []}", "t: rules: is here twice"),
        (
            "{\"sets\": [{\"name\": \"a b\", \"ports\": 1}]}",
            "t: set 1: name: \"a b\" is not the name of a set",
        ),
        ("{\"sets\": [{\"ports\": 1}]}", "t: set 1: name: missing"),
        (
            "{\"sets\": [{\"name\": \"a\"}]}",
            "t: set 1: expected one of `addresses` and `ports`",
        ),
        (
            "{\"sets\": [{\"name\": \"a\", \"ports\": [1, \"0-9\"]}]}",
            "t: set 1: ports: \"0-9\" overlaps \"1\"",
        ),
        (
            "{\"sets\": [{\"name\": \"a\", \"ports\": []}]}",
            "t: set 1: ports: the list is empty",
        ),
    ] {
        let found = problems(json);
        assert!(
            found[0].contains(expected),
            "{json}\nfound:    {found:?}\nexpected: {expected}"
        );
    }
    let warnings = parse("{\"sets\": [{\"name\": \"a\", \"ports\": 1}]}", "t")
        .unwrap()
        .warnings;
    assert_eq!(warnings[0].headline(), "t: set 1: no rule names the set \"a\"");
}

#[test]
fn single_rules_have_their_form() {
    let form = serde_json::to_string(&RuleForm(&Rule::any("pass"))).unwrap();
    assert_eq!(form, r#"{"priority":100,"channel":"pass"}"#);
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(seed in any::<u64>()) {
        let list = random::list(seed);
        let json = written(&list);
        match parse(&json, "t") {
            Ok(read) => prop_assert_eq!(read.rules, list, "{}", json),
            Err(error) => prop_assert!(false, "{}\n{}", error, json),
        }
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
}
