//! Whatever stands in a file: it is taken, or refused with a place that exists.

use std::path::Path;

use proptest::prelude::*;

use super::tests::{SAMPLE, parse, uncommented};
use super::{Config, MAX_PROBLEMS};

/// Every problem has a place that exists in the text.
fn check_positions(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = parse(text) else { return Ok(()) };
    prop_assert!(!error.problems.is_empty() && error.problems.len() <= MAX_PROBLEMS);
    prop_assert!(!error.to_string().is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &error.problems {
        let position = problem
            .position
            .ok_or_else(|| TestCaseError::fail("no position"))?;
        let line = lines.get(position.line as usize - 1);
        let line = line.ok_or_else(|| TestCaseError::fail(format!("line {}", position.line)))?;
        let columns = line.chars().count() as u32 + 1;
        prop_assert!(
            (1..=columns).contains(&position.column),
            "{position} of {columns} columns"
        );
    }
    Ok(())
}

/// Pieces that reach deep into the reader when put at random places.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(
            &[
                "=",
                "[",
                "]",
                "[[rule]]",
                "[[channel]]",
                "[channel.timeouts]",
                "[replay]",
                "\"",
                "'''",
                "\n",
                ",",
                "{}",
                "{ name = 1 }",
                "[]",
                "-1",
                "0",
                "1e9",
                "nan",
                "99999999999999999999",
                "0x7fffffffffffffff",
                "true",
                "1979-05-27",
                "\u{feff}",
                "ü",
                "\r",
                "name = \"x\"",
                "prefixes = [[\"10.0.0.0/8\"]]",
                ".",
                "a.b.c = 1",
                "\"10.0.0.0/8\"",
                "\"::/0\"",
                "\"0-65535\"",
                "\\u0000",
            ][..]
        )
        .prop_map(str::to_owned),
        "[ -~]{0,12}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_refused_or_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        match std::str::from_utf8(&bytes) {
            Ok(text) => check_positions(text)?,
            Err(_) => prop_assert!(Config::parse_bytes(&bytes, Path::new("x")).unwrap_err().problems[0].position.is_some()),
        }
    }

    #[test]
    fn any_text_is_refused_or_taken(pieces in proptest::collection::vec(piece(), 0..40)) {
        check_positions(&pieces.concat())?;
        check_positions(&pieces.join("\n"))?;
    }

    #[test]
    fn a_mutated_sample_is_refused_or_taken(
        whole in any::<bool>(),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0..20_usize, piece()), 1..8),
    ) {
        let mut text = if whole { uncommented() } else { SAMPLE.to_owned() };
        for (at, length, piece) in edits {
            let boundary = |mut at: usize| {
                while !text.is_char_boundary(at) { at += 1 }
                at
            };
            let start = boundary(at.index(text.len() + 1));
            let end = boundary((start + length).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        check_positions(&text)?;
    }
}
