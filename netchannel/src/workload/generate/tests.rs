use std::collections::HashSet;

use classifier::{Ipv4Rule, Range, dimension};

use super::{
    Distribution, GenerateError, MAX_RULES, OutOfRange, Properties, Style, TraceOptions, rules, trace,
};
use crate::workload::classbench;
use crate::workload::trace::Winner;

const COUNT: u32 = 3_000;

fn made(style: Style, count: u32, change: impl Fn(&mut Properties)) -> Vec<Ipv4Rule<u32>> {
    let mut properties = style.properties(count);
    change(&mut properties);
    rules(style, count, 1, &properties).unwrap()
}

/// The share of rules of which this holds.
fn share(rules: &[Ipv4Rule<u32>], holds: impl Fn(&[Range<u32>; 5]) -> bool) -> f64 {
    let count = rules.iter().filter(|rule| holds(&rule.ranges)).count();
    count as f64 / rules.len() as f64
}

fn bits(range: &Range<u32>) -> u32 {
    (range.high() ^ range.low()).leading_zeros()
}

fn has_wildcard(ranges: &[Range<u32>; 5]) -> bool {
    ranges[..2].iter().any(|range| bits(range) < 4)
}

fn has_arbitrary_ports(ranges: &[Range<u32>; 5]) -> bool {
    ranges[2..4].iter().any(|range| {
        range.low() < range.high()
            && ![(0, 65_535), (0, 1_023), (1_024, 65_535)].contains(&(range.low(), range.high()))
    })
}

fn close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 0.06
}

fn distinct(rules: &[Ipv4Rule<u32>], dimension: usize) -> usize {
    let all: HashSet<_> = rules.iter().map(|rule| rule.ranges[dimension]).collect();
    all.len()
}

#[test]
fn a_seed_always_makes_the_same_rules() {
    let mut text = Vec::new();
    for style in Style::ALL {
        let rules = made(style, 3, |_| {});
        classbench::write(&rules, &mut text).unwrap();
    }
    let expected = "\
@179.88.65.48/32\t60.75.234.34/31\t0 : 65535\t80 : 80\t0x06/0xFF\n\
@105.27.180.0/23\t60.74.0.0/15\t0 : 65535\t22 : 22\t0x06/0xFF\n\
@105.27.180.0/24\t0.0.0.0/2\t0 : 65535\t31071 : 31071\t0x06/0xFF\n\
@0.0.0.0/0\t154.143.155.118/32\t389 : 389\t0 : 65535\t0x11/0xFF\n\
@0.0.0.0/0\t154.143.155.118/32\t0 : 65535\t0 : 65535\t0x06/0xFF\n\
@0.0.0.0/0\t52.11.244.211/32\t0 : 65535\t21 : 21\t0x06/0xFF\n\
@105.27.180.0/24\t60.75.234.36/31\t0 : 65535\t3306 : 3306\t0x06/0xFF\n\
@105.27.180.0/22\t60.75.232.0/21\t0 : 65535\t0 : 65535\t0x00/0x00\n\
@0.0.0.0/0\t60.75.0.0/16\t750 : 750\t0 : 65535\t0x06/0xFF\n\
";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn another_seed_makes_other_rules() {
    let properties = Style::Firewall.properties(100);
    let [first, second] = [1, 2].map(|seed| rules(Style::Firewall, 100, seed, &properties).unwrap());
    assert!(
        first
            .iter()
            .zip(&second)
            .filter(|(a, b)| a.ranges == b.ranges)
            .count()
            < 5
    );
}

#[test]
fn no_rule_is_there_twice_and_priorities_count_up() {
    for style in Style::ALL {
        let rules = made(style, COUNT, |_| {});
        let seen: HashSet<_> = rules.iter().map(|rule| rule.ranges).collect();
        assert_eq!((rules.len(), seen.len()), (COUNT as usize, COUNT as usize));
        for (place, rule) in (0..).zip(&rules) {
            assert_eq!((rule.priority, rule.action), (place, place + 1));
        }
    }
}

#[test]
fn styles_have_the_shares_that_they_say() {
    for style in Style::ALL {
        let rules = made(style, COUNT, |_| {});
        let properties = style.properties(COUNT);
        let any_protocol = |ranges: &[Range<u32>; 5]| ranges[dimension::PROTOCOL] == Range::any(8);
        // Of rules with wildcards some more were left out, since they were there already.
        assert!(
            close(share(&rules, has_wildcard), properties.wildcards),
            "{style}"
        );
        assert!(
            close(share(&rules, any_protocol), properties.any_protocol),
            "{style}"
        );
        assert!(
            close(share(&rules, has_arbitrary_ports), properties.port_ranges),
            "{style}"
        );
    }
    let acl = made(Style::AccessList, COUNT, |_| {});
    assert!(share(&acl, |ranges| ranges[dimension::PROTOCOL] == Range::exact(6)) > 0.8);
    assert!(share(&acl, |ranges| ranges[dimension::SOURCE_PORT] == Range::any(16)) > 0.99);
    assert!(distinct(&acl, dimension::DESTINATION_ADDRESS) * 2 < distinct(&acl, dimension::SOURCE_ADDRESS));
    let fw = made(Style::Firewall, COUNT, |_| {});
    assert!(share(&fw, |ranges| bits(&ranges[0]) < 4) > 0.5);
    assert!(share(&fw, |ranges| ranges[dimension::SOURCE_PORT] != Range::any(16)) > 0.15);
}

#[test]
fn each_share_reaches_its_extremes() {
    for style in Style::ALL {
        for extreme in [0.0, 1.0] {
            let rules = made(style, COUNT, |all| all.wildcards = extreme);
            assert_eq!(share(&rules, has_wildcard), extreme, "{style}");
            let rules = made(style, COUNT, |all| all.port_ranges = extreme);
            assert_eq!(share(&rules, has_arbitrary_ports), extreme, "{style}");
            let rules = made(style, COUNT, |all| all.any_protocol = extreme);
            let any = |ranges: &[Range<u32>; 5]| ranges[dimension::PROTOCOL] == Range::any(8);
            assert_eq!(share(&rules, any), extreme, "{style}");
        }
    }
}

#[test]
fn addresses_and_ports_are_as_few_as_asked_for() {
    let few = made(Style::AccessList, COUNT, |all| {
        all.source_addresses = 40;
        all.destination_addresses = 7;
        all.smoothness = 0;
        all.port_values = 20;
    });
    // Each address is cut to a few lengths only.
    assert!(distinct(&few, dimension::SOURCE_ADDRESS) <= 40 * 7);
    assert!(distinct(&few, dimension::DESTINATION_ADDRESS) <= 7 * 11);
    // So many ports, half as many ranges, and all ports.
    assert!(distinct(&few, dimension::DESTINATION_PORT) <= 20 + 10 + 1);
}

#[test]
fn the_other_properties_do_what_they_say() {
    // How many lengths of source prefixes there are.
    let lengths = |change: &dyn Fn(&mut Properties)| {
        let rules = made(Style::IpChain, COUNT, change);
        let lengths: HashSet<_> = rules.iter().map(|rule| bits(&rule.ranges[0])).collect();
        lengths.len()
    };
    let fixed = lengths(&|all| all.smoothness = 0);
    assert!(fixed <= 7, "{fixed}");
    assert!(lengths(&|all| all.smoothness = 8) > 15);
    assert!(lengths(&|all| all.random_lengths = 1.0) > 25);
    // The share of source prefixes, but for wildcards, that lie in another one.
    let nested = |nesting| {
        let rules = made(Style::IpChain, COUNT, |all| all.nesting = nesting);
        let mut all: Vec<_> = rules
            .iter()
            .map(|rule| rule.ranges[0])
            .filter(|range| bits(range) >= 4)
            .collect();
        all.sort_by_key(|range| (range.low(), std::cmp::Reverse(range.high())));
        all.dedup();
        let mut last = 0;
        let inner = all.iter().filter(|range| {
            let inside = range.high() <= last;
            last = last.max(range.high());
            inside
        });
        inner.count() as f64 / all.len() as f64
    };
    assert!(nested(0.0) < 0.1, "{}", nested(0.0));
    assert!(nested(1.0) > 0.7, "{}", nested(1.0));
    // Pairs of rules of which the more specific one stands behind.
    let inverted = |disorder| {
        let rules = made(Style::IpChain, COUNT, |all| all.disorder = disorder);
        let fixed: Vec<u32> = rules
            .iter()
            .map(|rule| bits(&rule.ranges[0]) + bits(&rule.ranges[1]))
            .collect();
        let (front, back) = fixed.split_at(fixed.len() / 2);
        front
            .iter()
            .zip(back)
            .filter(|(front, back)| front < back)
            .count() as f64
            / front.len() as f64
    };
    assert_eq!(inverted(0.0), 0.0);
    assert!(inverted(1.0) > 0.4, "{}", inverted(1.0));
    // Port ranges of more than 101 ports.
    let wide = |wide| {
        let rules = made(Style::AccessList, COUNT, |all| {
            all.port_ranges = 1.0;
            all.port_values = 1_000;
            all.wide_port_ranges = wide;
        });
        share(&rules, |ranges| ranges[3].high() - ranges[3].low() > 100)
    };
    assert_eq!(wide(0.0), 0.0);
    assert!(wide(1.0) > 0.95);
}

#[test]
fn what_can_not_be_made_is_refused() {
    let usual = Style::AccessList.properties(1_000);
    let refused =
        |count, properties: &Properties| rules(Style::AccessList, count, 1, properties).unwrap_err();
    assert!(matches!(
        refused(0, &usual),
        GenerateError::OutOfRange(OutOfRange {
            property: "rules",
            ..
        })
    ));
    assert!(matches!(
        refused(MAX_RULES + 1, &usual),
        GenerateError::OutOfRange(_)
    ));
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let properties = Properties {
            nesting: wrong,
            ..usual.clone()
        };
        let error = refused(10, &properties);
        assert!(error.to_string().starts_with("nesting: found "), "{error}");
        assert!(error.to_string().ends_with(", expected 0 to 1"), "{error}");
    }
    let properties = Properties {
        port_values: 65_537,
        ..usual.clone()
    };
    assert_eq!(
        refused(10, &properties).to_string(),
        "port-values: found 65537, expected 1 to 65536"
    );
    let properties = Properties {
        source_addresses: 1,
        destination_addresses: 1,
        smoothness: 0,
        port_values: 1,
        ..usual
    };
    assert!(
        matches!(refused(10_000, &properties), GenerateError::TooFew { wanted: 10_000, found } if found < 1_000)
    );
}

#[test]
fn winners_are_the_first_rules_that_match() {
    for style in Style::ALL {
        let rules = made(style, 500, |all| all.disorder = 0.5);
        for distribution in Distribution::ALL {
            let options = TraceOptions {
                headers: 1_000,
                distribution,
                seed: 3,
            };
            let headers = trace(&rules, &options).unwrap();
            assert_eq!(headers.len(), 1_000);
            for header in &headers {
                let first = rules.iter().position(|rule| rule.matches(&header.key));
                // Each header is a point of some rule.
                assert_eq!(header.winner, first.map(|place| Winner::Rule(place as u32)));
                assert!(first.is_some());
            }
            assert_eq!(headers, trace(&rules, &options).unwrap());
        }
    }
}

#[test]
fn zipf_draws_few_rules_often() {
    // Rules that don't overlap, so that winners are the rules that were drawn.
    let rules: Vec<_> = (0..1_000)
        .map(|place| {
            let mut rule = Ipv4Rule::any::<classifier::Ipv4FiveTuple>(place, place + 1);
            rule.ranges[dimension::SOURCE_ADDRESS] = Range::exact(place);
            rule
        })
        .collect();
    let most = |distribution| {
        let options = TraceOptions {
            headers: 20_000,
            distribution,
            seed: 5,
        };
        let mut counts = vec![0; rules.len()];
        for header in trace(&rules, &options).unwrap() {
            let Some(Winner::Rule(rule)) = header.winner else {
                panic!("{header:?}")
            };
            counts[rule as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        [counts[0], counts[1]]
    };
    let uniform = most(Distribution::Uniform);
    assert!(uniform[0] < 60, "{uniform:?}");
    // The harmonic number of 1,000 is 7.49.
    let [first, second] = most(Distribution::Zipf);
    assert!(
        (2_400..2_950).contains(&first) && (1_150..1_550).contains(&second),
        "{first} {second}"
    );
}

#[test]
fn a_trace_needs_rules() {
    let options = TraceOptions {
        headers: 1,
        distribution: Distribution::Uniform,
        seed: 1,
    };
    assert!(matches!(trace(&[], &options), Err(GenerateError::NoRules)));
}
