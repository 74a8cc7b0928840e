//! Rules as JSON.

use netchannel::rules::json;

/// Takes the input as a file of rules: what is taken is the same when it was written and read again.
pub fn rules_json(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    match json::parse(input, "fuzz") {
        Ok(read) => {
            let mut written = Vec::new();
            json::write(&read.rules, &mut written).expect("memory");
            let written = String::from_utf8(written).expect("text");
            match json::parse(&written, "again") {
                Ok(again) => assert_eq!(again.rules, read.rules, "{written}"),
                Err(error) => panic!("{error}\n{written}"),
            }
        }
        Err(error) => assert!(!error.problems.is_empty() && !error.to_string().is_empty()),
    }
}
