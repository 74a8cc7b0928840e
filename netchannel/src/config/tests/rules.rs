//! Rules and their fields.

use super::*;
use crate::rules::{AddressRange, RuleBox};

/// The boxes of all rules, those that are tried first first.
fn boxes(config: &Config) -> Vec<RuleBox<'_>> {
    let interfaces = config.interface_names();
    let rules = config.rules.iter();
    rules.flat_map(|rule| rule.expand(&interfaces)).collect()
}

#[test]
fn rules_are_checked() {
    let problem = |text: &str| the_problem(&format!("[[rule]]\n{text}"));
    assert!(problem("from = \"10.0.0.1\"\n").starts_with("1:1: channel: missing in [[rule]]"));
    let rule = "channel = \"pass\"\n";
    assert!(
        problem(&format!("{rule}to = \"::1\"\nfrom = \"10.0.0.1\"\n"))
            .contains("expected one address family")
    );
    assert!(
        problem(&format!("{rule}to = \"::1\"\nprotocol = \"icmp\"\n"))
            .contains("does not go with the IPv6 address")
    );
    assert!(
        problem(&format!("{rule}destination_ports = 80\n"))
            .starts_with("3:1: destination_ports: ports without")
    );
    assert!(
        problem(&format!("{rule}protocol = \"icmp\"\nsource_ports = 80\n"))
            .contains("protocol icmp has no ports")
    );
    assert!(problem(&format!("{rule}protocol = [\"tcp\", 6]\n")).contains("is here twice"));
    assert!(problem(&format!("{rule}priority = -1\n")).contains("a whole number from 0 to 4294967295"));
    assert!(problem("channel = \"internet\"\nto = \"::/0\"\n").contains("translates IPv4 only"));
    let filtering = |value: &str| problem(&format!("channel = \"internet\"\nfiltering = \"{value}\"\n"));
    assert!(filtering("open").starts_with("3:13: filtering: "));
    assert!(
        problem(&format!("{rule}filtering = \"address-dependent\"\n"))
            .starts_with("3:1: filtering: is for translators")
    );
}

#[test]
fn fields_are_checked() {
    let problem = |text: &str| the_problem(&format!("[[rule]]\nchannel = \"drop\"\n{text}\n"));
    let tcp = |flags: &str| problem(&format!("protocol = \"tcp\"\ntcp_flags = {flags}"));
    assert_eq!(
        tcp("\"syn/sny\""),
        "4:13: tcp_flags: \"sny\" is not a TCP flag; expected some of syn, ack, rst, fin, psh, urg, ece, cwr, as in \
         \"syn/syn,ack\", or \"none\" before the slash or \"all\" behind it"
    );
    assert_eq!(
        tcp("\"syn,ack/syn\""),
        "4:13: tcp_flags: \"syn,ack/syn\" wants flags set that are not behind the slash; expected all of them there, as \
         in \"syn/syn,ack\""
    );
    assert!(tcp("2").contains("found 2; expected TCP flags, as in"));
    assert!(tcp("\"none\"").contains("\"none\" is not a TCP flag"));
    assert!(tcp("\"/syn\"").contains("\"\" is not a TCP flag"));
    assert!(tcp("[]").contains("the list is empty; expected TCP flags"));
    assert_eq!(
        problem("tcp_flags = \"syn\""),
        "3:1: tcp_flags: needs a protocol; expected also the protocol \"tcp\""
    );
    assert_eq!(
        problem("protocol = [\"tcp\", \"udp\"]\ntcp_flags = \"syn\""),
        "3:20: protocol: protocol udp has no `tcp_flags`, which the rule names; expected only \"tcp\""
    );
    assert_eq!(
        problem("protocol = \"tcp\"\ntcp_flags = \"syn\"\nfragment = [\"whole\", \"later\"]"),
        "5:22: fragment: later fragments have no `tcp_flags`; expected \"whole\" or \"first\""
    );

    assert_eq!(
        problem("icmp_code = 1"),
        "3:1: icmp_code: needs a protocol; expected also the protocol \"icmp\" or \"icmpv6\""
    );
    let icmp = |text: &str| problem(&format!("protocol = \"icmp\"\nicmp_type = {text}"));
    assert_eq!(
        icmp("256"),
        "4:13: icmp_type: found 256; expected a number, 0 to 255, or a range \"LOW-HIGH\""
    );
    assert!(icmp("\"9-8\"").contains("\"9-8\" runs backwards; expected \"8-9\""));
    assert_eq!(
        icmp("[8, \"3-9\"]"),
        "4:14: icmp_type: overlaps another value of the list; expected each value once"
    );

    assert_eq!(
        problem("interface = \"lan1\""),
        "3:13: interface: \"lan1\" is not an [[interface]] of the configuration; expected \"lan0\" or \"wan0\""
    );
    assert!(problem("vlan = 4095").contains("a number, 0 to 4094, or a range \"LOW-HIGH\", or one of none"));
    assert!(problem("dscp = \"ef1\"").contains("found \"ef1\"; expected a number, 0 to 63"));
    assert_eq!(
        problem("fragment = \"yes\""),
        "3:12: fragment: found \"yes\"; expected \"whole\", \"first\" or \"later\""
    );
}

#[test]
fn fields_become_ranges() {
    let fields = |text: &str| {
        let config = with_base(&format!("[[rule]]\nchannel = \"drop\"\n{text}\n")).unwrap();
        let boxes = boxes(&config);
        let boxes = boxes.iter().map(|rule_box| rule_box.fields.to_vec());
        let mut boxes: Vec<Vec<Option<(u32, u32)>>> = boxes
            .map(|fields| {
                let ends = fields
                    .into_iter()
                    .map(|range| range.map(|range| (range.first, range.last)));
                ends.collect()
            })
            .collect();
        boxes.sort();
        boxes
    };
    let any = || vec![None; crate::dispatch::dimensions::FIELDS.len()];
    let with = |values: &[(usize, (u32, u32))]| {
        let mut fields = any();
        for &(field, ends) in values {
            fields[field] = Some(ends);
        }
        fields
    };
    assert_eq!(fields(""), [any()]);
    // SYN is the highest bit of a key, ACK the next.
    let tcp = "protocol = \"tcp\"\ntcp_flags = ";
    assert_eq!(
        fields(&format!("{tcp}\"SYN/syn, ack\"")),
        [with(&[(0, (128, 191))])]
    );
    assert_eq!(
        fields(&format!("{tcp}[\"ack\", \"syn/syn,ack\"]")),
        [with(&[(0, (64, 255))])]
    );
    assert_eq!(fields(&format!("{tcp}\"none/all\"")), [with(&[(0, (0, 0))])]);
    assert_eq!(fields(&format!("{tcp}\"cwr\"")).len(), 128);
    assert_eq!(
        fields("protocol = \"icmp\"\nicmp_type = [3, \"8-11\"]\nicmp_code = 0"),
        [
            with(&[(1, (3, 3)), (2, (0, 0))]),
            with(&[(1, (8, 11)), (2, (0, 0))])
        ]
    );
    assert_eq!(
        fields(
            "interface = \"wan0\"\nvlan = [\"none\", \"7\"]\ndscp = [\"AF11-af13\", 63]\nfragment = \"later\""
        ),
        [
            with(&[(3, (1, 1)), (4, (0, 0)), (5, (10, 14)), (6, (2, 2))]),
            with(&[(3, (1, 1)), (4, (0, 0)), (5, (63, 63)), (6, (2, 2))]),
            with(&[(3, (1, 1)), (4, (7, 7)), (5, (10, 14)), (6, (2, 2))]),
            with(&[(3, (1, 1)), (4, (7, 7)), (5, (63, 63)), (6, (2, 2))])
        ]
    );
}

#[test]
fn lists_multiply_up_to_a_limit() {
    let list = |count: usize| {
        (0..count)
            .map(|i| format!("\"10.0.{}.{}\"", i / 256, i % 256))
            .collect::<Vec<_>>()
    };
    let rule = |count: usize| {
        let list = list(count).join(",");
        format!("[[rule]]\nchannel = \"internet\"\nfrom = [{list}]\nto = [{list}]\n")
    };
    assert_eq!(boxes(&with_base(&rule(256)).unwrap()).len(), 65_536);
    assert!(the_problem(&rule(257)).contains("make 66049 single rules; expected at most 65536"));
    assert!(the_problem(&rule(256).repeat(65)).contains("more than 4194304 single rules"));
}

#[test]
fn rules_expand_in_the_order_they_are_tried() {
    let config = with_base(
        r#"
        [[rule]]
        from = ["10.0.0.0/24", "10.1.0.5-10.1.0.9"]
        protocol = ["tcp", 17]
        destination_ports = "80"
        channel = "internet"
        [[rule]]
        priority = 1
        channel = "drop"
        [[rule]]
        to = "2001:db8::/32"
        channel = "pass"
        "#,
    )
    .unwrap();
    let shown: Vec<String> = boxes(&config)
        .iter()
        .map(|b| {
            let address =
                |range: Option<AddressRange>| range.map_or("any".to_owned(), |range| range.to_string());
            let families = crate::setup::families(&config, b.rule);
            let families = (families.ipv4, families.ipv6);
            format!(
                "{} {} {} {:?} {} {} {} {families:?}",
                b.rule.priority,
                address(b.from),
                address(b.to),
                b.protocol,
                b.source_ports,
                b.destination_ports,
                b.rule.channel
            )
        })
        .collect();
    let expected = [
        "1 any any None 0-65535 0-65535 drop (true, true)",
        "100 10.0.0.0/24 any Some(6) 0-65535 80 internet (true, false)",
        "100 10.0.0.0/24 any Some(17) 0-65535 80 internet (true, false)",
        "100 10.1.0.5-10.1.0.9 any Some(6) 0-65535 80 internet (true, false)",
        "100 10.1.0.5-10.1.0.9 any Some(17) 0-65535 80 internet (true, false)",
        "100 any 2001:db8::/32 None 0-65535 0-65535 pass (false, true)",
    ];
    assert_eq!(shown, expected);
}

/// 4787-8a: a rule may filter in place of its channel, and not be more open than the channel's mapping.
#[test]
fn rfc_4787_8a_filtering_of_a_rule_is_read_and_checked() {
    let with = |mapping: &str, filtering: &str| {
        with_base(&format!(
            "mapping = \"{mapping}\"\nfiltering = \"address-and-port-dependent\"\n\
             [[rule]]\nchannel = \"internet\"\nfiltering = \"{filtering}\"\n"
        ))
    };
    let config = with("endpoint-independent", "address-dependent").unwrap();
    assert_eq!(config.rules.rules[0].filtering, Some(Filtering::AddressDependent));
    let error = with("address-dependent", "endpoint-independent").unwrap_err();
    assert_eq!(error.problems[0].key, "filtering");
    assert!(
        error.problems[0]
            .message
            .contains("at least as dependent as `mapping`")
    );
}

#[test]
fn rules_name_sets() {
    let text = "[[set]]\nname = \"office\"\naddresses = [\"10.0.0.0/24\", \"10.1.0.0/16\"]\n[[set]]\nname = \"web\"\nports = [80, \"8000-8099\"]\n";
    let rule = "[[rule]]\nfrom = [\"10.9.0.1\", \"@office\"]\nprotocol = \"tcp\"\ndestination_ports = \"@web\"\nchannel = \"internet\"\n";
    let config = parse(&format!("{BASE}{rule}{text}")).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(
        (config.rules.address_sets.len(), config.rules.port_sets.len()),
        (1, 1)
    );
    assert_eq!(
        crate::rules::text::rule_text(&config.rules.rules[0]),
        "priority 100 tcp from {10.9.0.1, @office} to any port @web use internet"
    );
    let config = parse(&format!("{BASE}{text}")).unwrap();
    let warnings: Vec<&str> = config
        .warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert!(
        warnings.contains(&"no rule names the set \"web\""),
        "{warnings:?}"
    );

    let problem = |text: &str| the_problem(text);
    for (text, expected) in [
        ("[[set]]\nports = 1\n", "1:1: name: missing in [[set]]"),
        (
            "[[set]]\nname = \"a b\"\nports = 1\n",
            "2:8: name: \"a b\" is not the name of a set",
        ),
        (
            "[[set]]\nname = \"a\"\n",
            "1:1: has both or none of them; expected `addresses` or `ports`",
        ),
        (
            "[[set]]\nname = \"a\"\nports = []\n",
            "3:9: ports: the list is empty",
        ),
        (
            "[[set]]\nname = \"a\"\nports = [\"1-5\", 3]\n",
            "3:17: ports: \"3\" overlaps \"1-5\"",
        ),
        (
            "[[set]]\nname = \"a\"\naddress = \"::1\"\nports = 1\n",
            "3:1: unknown key `address` in [[set]], did you mean `addresses`?",
        ),
        (
            "[[set]]\nname = \"web\"\nports = 1\n[[rule]]\nfrom = \"@web\"\nchannel = \"drop\"\n",
            "5:8: from: @web is a set of ports; expected one of addresses",
        ),
        (
            "[[rule]]\nto = [\"::1\", \"@x\"]\nchannel = \"drop\"\n",
            "2:14: to: there is no set \"x\"",
        ),
    ] {
        let found = problem(text);
        assert!(
            found.contains(expected),
            "{text}\nfound:    {found}\nexpected: {expected}"
        );
    }
}

#[test]
fn rules_come_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    std::fs::create_dir(path("rules.d")).unwrap();
    write(
        "main.toml",
        &format!(
            "{BASE}[rules]\nfiles = [\"rules.d/*.rules\", \"more.json\"]\n[[set]]\nname = \"web\"\nports = 80\n\
             [[rule]]\nchannel = \"pass\"\n"
        ),
    );
    write("rules.d/20.rules", "priority 200 tcp to port @web on lan0 drop\n");
    write(
        "rules.d/10.rules",
        "set mail = 25\npriority 50 tcp to port @mail use internet\n",
    );
    write(
        "more.json",
        "{\"rules\": [{\"protocol\": \"tcp\", \"destination_ports\": [\"@web\", \"@mail\"], \"channel\": \"drop\"}]}",
    );
    let config = Config::load(path("main.toml")).unwrap_or_else(|error| panic!("{error}"));
    let texts: Vec<String> = config.rules.iter().map(crate::rules::text::rule_text).collect();
    assert_eq!(
        texts,
        [
            "priority 50 tcp to any port @mail use internet",
            "priority 100 pass",
            "priority 100 tcp to any port {@web, @mail} drop",
            "priority 200 tcp to any port @web on lan0 drop",
        ]
    );
    let place = config.rules.rules[3].place.to_string();
    assert_eq!(place, format!("{}:1:1", path("rules.d/20.rules").display()));

    let problems = || {
        let error = Config::load(path("main.toml")).unwrap_err();
        let lines = error.problems.iter().map(|problem| problem.headline());
        lines.collect::<Vec<_>>().join("\n")
    };
    write(
        "rules.d/20.rules",
        "tcp to port @wob on lan9 drop\npriority 200 on lan9 use internett\n",
    );
    assert!(
        problems().contains("20.rules:1:13: there is no set \"wob\" up to here; did you mean @web?"),
        "{}",
        problems()
    );
    write("rules.d/20.rules", "priority 200 on lan9 use internett\n");
    let found = problems();
    assert!(
        found.contains("20.rules:1:1: \"lan9\" is not an [[interface]]"),
        "{found}"
    );
    assert!(
        found.contains("20.rules:1:1: \"internett\" is not a channel, did you mean \"internet\"?"),
        "{found}"
    );
    std::fs::remove_file(path("more.json")).unwrap();
    assert!(problems().contains("more.json can not be read: there is no such file"));
    write("main.toml", &format!("{BASE}[rules]\nfiles = [7, \"*/x\"]\n"));
    let found = problems();
    assert!(
        found.contains("files: found 7; expected a file or a pattern"),
        "{found}"
    );
    assert!(found.contains("has * or ? in the name of a directory"), "{found}");
}
