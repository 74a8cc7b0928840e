use std::time::Duration;

use classifier::Key;

use super::{Figures, MeasureError, Structure, Workload, best_rules, classify};
use crate::workload::generate::{Distribution, Style, TraceOptions, rules, trace};
use crate::workload::trace::{Header, Winner};

const TIME: Duration = Duration::from_millis(20);

fn measured(structure: Structure, workload: &Workload<'_>) -> (Figures, Vec<String>) {
    let mut told = Vec::new();
    let figures = classify(structure, workload, TIME, &mut |what| told.push(what.to_owned())).unwrap();
    (figures, told)
}

#[test]
fn every_structure_is_measured_and_right() {
    for style in Style::ALL {
        let rules = rules(style, 300, 1, &style.properties(300)).unwrap();
        let options = TraceOptions {
            headers: 3_000,
            distribution: Distribution::Uniform,
            seed: 2,
        };
        let mut headers = trace(&rules, &options).unwrap();
        headers.push(Header {
            key: Key::new([0; 5]),
            winner: None,
        });
        let workload = Workload::new(&rules, &headers).unwrap();
        for structure in Structure::ALL {
            let (figures, told) = measured(structure, &workload);
            assert_eq!((figures.rules, figures.headers), (300, 3_001));
            assert_eq!(figures.mismatches, 0, "{structure}");
            for figure in [
                figures.build_seconds,
                figures.bytes_per_rule,
                figures.ns_per_lookup,
                figures.ns_per_lookup_burst,
                figures.inserts_per_second,
                figures.removes_per_second,
                figures.ns_per_lookup_burst_while_writing,
            ] {
                assert!(figure > 0.0 && figure.is_finite(), "{figures:?}");
            }
            assert_eq!(told[0], format!("{structure}: building of 300 rules"));

            let expected: Vec<_> = headers
                .iter()
                .map(|header| rules.iter().find(|rule| rule.matches(&header.key)))
                .map(|rule| rule.map(|rule| rule.action))
                .collect();
            assert_eq!(
                best_rules(structure, &rules, &headers).unwrap(),
                expected,
                "{structure}"
            );
        }
    }
}

#[test]
fn wrong_answers_are_counted() {
    let rules = rules(Style::AccessList, 50, 1, &Style::AccessList.properties(50)).unwrap();
    let options = TraceOptions {
        headers: 200,
        distribution: Distribution::Zipf,
        seed: 2,
    };
    let mut headers = trace(&rules, &options).unwrap();
    headers[17].winner = Some(Winner::NoRule);
    headers[150].winner = Some(Winner::Rule(50));
    let workload = Workload::new(&rules, &headers).unwrap();
    // Before the changes, and after them.
    assert_eq!(measured(Structure::Trie, &workload).0.mismatches, 2 + 2);
}

#[test]
fn one_rule_and_one_header_are_enough() {
    let rules = rules(Style::Firewall, 1, 1, &Style::Firewall.properties(1)).unwrap();
    let headers = [Header {
        key: Key::new([1; 5]),
        winner: None,
    }];
    let workload = Workload::new(&rules, &headers).unwrap();
    for structure in Structure::ALL {
        assert_eq!(measured(structure, &workload).0.mismatches, 0);
    }
    assert!(matches!(Workload::new(&[], &headers), Err(MeasureError::NoRules)));
    assert!(matches!(Workload::new(&rules, &[]), Err(MeasureError::NoHeaders)));
}

#[test]
fn structures_have_names() {
    for structure in Structure::ALL {
        assert_eq!(structure.name().parse(), Ok(structure));
    }
    let unknown = "trei".parse::<Structure>().unwrap_err().to_string();
    assert!(unknown.starts_with("found `trei`, expected linear"), "{unknown}");
}
