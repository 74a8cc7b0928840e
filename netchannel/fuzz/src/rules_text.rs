//! Rules as text, and lines of ClassBench.

use std::path::Path;

use netchannel::rules::{Loaded, RuleList, classbench, text};

/// Takes the input as a file of rules, as a filter and as ClassBench's lines: what is taken is the same when it was written and read again,
/// what is refused has a place.
pub fn rules_text(input: &[u8]) {
    let name = Path::new("fuzz");
    if let Ok(loaded) = classbench::parse(name, input, &"web".into(), true) {
        let mut lines = Vec::new();
        let left_out = classbench::write(&loaded.rules, false, &mut lines);
        assert!(left_out.expect("what was read can be written").is_empty());
        let again = classbench::parse(name, &lines[..], &"web".into(), false);
        let mut again = again.expect("what was written can be read").rules;
        // Those that were left out count among the priorities.
        for (rule, former) in again.rules.iter_mut().zip(&loaded.rules.rules) {
            rule.priority = former.priority;
        }
        assert_eq!(again, loaded.rules);
        read_again(&loaded.rules);
    }
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    match text::parse(input, name) {
        Ok(Loaded { rules, .. }) => read_again(&rules),
        Err(error) => {
            assert!(!error.problems.is_empty());
            let lines: Vec<&str> = input.split('\n').collect();
            for problem in &error.problems {
                let position = problem.position.expect("a place");
                let columns = lines[position.line as usize - 1].chars().count() + 1;
                assert!((1..=columns).contains(&(position.column as usize)), "{problem}");
            }
        }
    }
    if let Ok(rule) = text::parse_match(input, &RuleList::default()) {
        let again = text::parse_match(&text::match_text(&rule), &RuleList::default());
        assert_eq!(again.expect("what was written can be read"), rule);
    }
}

fn read_again(rules: &RuleList) {
    let mut written = Vec::new();
    text::write(rules, &mut written).expect("memory");
    let written = String::from_utf8(written).expect("text");
    match text::parse(&written, "again") {
        Ok(again) => assert_eq!(again.rules, *rules, "{written}"),
        Err(error) => panic!("{error}\n{written}"),
    }
}
