//! The rules of the kernel's packet filters.

use std::path::Path;

use netchannel::config::ConfigError;
use netchannel::rules::{ImportOptions, Loaded, check, iptables, nftables, text};

type Read = fn(&Path, &str, &ImportOptions, bool) -> Result<Loaded, ConfigError>;

/// Takes the input as what `iptables-save` prints.
pub fn rules_iptables(input: &[u8]) {
    import(iptables::read, input);
}

/// Takes the input as what `nft -j list ruleset` prints.
pub fn rules_nftables(input: &[u8]) {
    import(nftables::read, input);
}

/// What is imported are good rules, and they read as they are written. What is refused is told, and left out if that is wanted.
fn import(read: Read, input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    let options = ImportOptions {
        ways_out: ["default=eth1", "10.0.0.0/8=eth0", "172.17.0.0/16=docker0"]
            .iter()
            .flat_map(|way| way.parse())
            .collect(),
        ..ImportOptions::default()
    };
    let file = Path::new("input");
    let strict = read(file, input, &options, false);
    let lenient = read(file, input, &options, true);
    if let Err(error) = &strict {
        assert!(!error.problems.is_empty() && !error.to_string().is_empty());
    }
    let Ok(lenient) = lenient else {
        assert!(strict.is_err());
        return;
    };
    for rule in &lenient.rules.rules {
        assert_eq!(check(rule), [], "{rule:?}");
    }
    match strict {
        Ok(strict) => assert_eq!((strict.rules, 0), (lenient.rules.clone(), lenient.left_out.len())),
        Err(error) => assert_eq!(error.count(), lenient.left_out.len()),
    }
    let mut written = Vec::new();
    text::write(&lenient.rules, &mut written).expect("memory");
    let written = String::from_utf8(written).expect("text");
    match text::parse(&written, "written") {
        Ok(again) => assert_eq!(again.rules.rules, lenient.rules.rules, "{written}"),
        Err(error) => panic!("{error}\n{written}"),
    }
}
