//! A short run of the fuzzing targets with nothing but stable Rust: each input of the corpus, and a fixed number of changed copies. The long run
//! is `make fuzz`.

use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// SplitMix64: small, fast, and the same on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// Runs a target on its corpus and on `changed` inputs made of it.
fn run(target: fn(&[u8]), name: &str, changed: usize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).expect("an input"))
        .collect();
    assert!(corpus.len() >= 5, "{name} has no corpus");
    for input in &corpus {
        target(input);
    }
    let mut random = Random(0xf022);
    for number in 0..changed {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(6) {
            let place = random.below(input.len());
            match random.below(8) {
                0 => input.truncate(place),
                1 => input.insert(place.min(input.len()), random.below(256) as u8),
                2 => {
                    let other = &corpus[random.below(corpus.len())];
                    input.extend_from_slice(&other[random.below(other.len())..]);
                }
                3 if place < input.len() => input[place] ^= 1 << random.below(8),
                _ if place < input.len() => input[place] = random.below(256) as u8,
                _ => {}
            }
        }
        let input = std::panic::AssertUnwindSafe(&input[..]);
        if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
            eprintln!("{name}, changed input {number}: {:x?}", &input[..]);
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn parser() {
    run(targets::parser, "parser", 300_000);
}

#[test]
fn translator() {
    run(targets::translator, "translator", 4_000);
}

#[test]
fn nat_state() {
    run(targets::nat_state, "nat_state", 3_000);
}

#[test]
fn rules_iptables() {
    run(targets::rules_iptables, "rules_iptables", 1_000);
}

#[test]
fn rules_nftables() {
    run(targets::rules_nftables, "rules_nftables", 1_000);
}

#[test]
fn control() {
    run(targets::control, "control", 20_000);
}

#[test]
fn icmp_errors() {
    run(targets::icmp_errors, "icmp_errors", 10_000);
}

#[test]
fn rules_text() {
    run(targets::rules_text, "rules_text", 20_000);
}

#[test]
fn rules_json() {
    run(targets::rules_json, "rules_json", 20_000);
}
