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
