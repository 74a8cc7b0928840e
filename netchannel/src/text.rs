//! How messages show text, and what was meant by a word that is none of those expected.

use std::fmt::Display;

/// Text in quotes, cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("\"{}...\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    let mut words: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match (words.pop(), words.is_empty()) {
        (None, _) => "nothing".to_owned(),
        (Some(last), true) => last,
        (Some(last), false) => format!("{} or {last}", words.join(", ")),
    }
}

/// The candidate that differs least from `word`, if one is near enough to have been meant.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // The distance is quadratic in the length, and nothing that we know is that long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.replace('-', "_"));
    let near = candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = near.min_by_key(|(distance, _)| *distance)?;
    // A third of the word may differ, rounded up.
    (distance <= word.chars().count().div_ceil(3)).then_some(candidate)
}
