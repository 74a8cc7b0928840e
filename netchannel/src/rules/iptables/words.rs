//! The words of a line.

use std::ops::Range;

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

/// The words of a line: separated by blanks, in double quotes where they hold some, with a backslash before what would end them.
pub(super) fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut letters = line.char_indices().peekable();
    while let Some(&(start, letter)) = letters.peek() {
        if letter.is_whitespace() {
            letters.next();
            continue;
        }
        let mut text = String::new();
        let mut quoted = false;
        let mut end = start;
        while let Some((at, letter)) = letters.next_if(|(_, letter)| quoted || !letter.is_whitespace()) {
            end = at + letter.len_utf8();
            match letter {
                '"' => quoted = !quoted,
                '\\' => match letters.next() {
                    Some((at, next)) => {
                        text.push(next);
                        end = at + next.len_utf8();
                    }
                    None => {
                        return Err("the line ends with a backslash; expected a letter behind it".to_owned());
                    }
                },
                letter => text.push(letter),
            }
        }
        if quoted {
            return Err("the quotes do not close; expected \" at the end of the text".to_owned());
        }
        words.push(Word { text, at: start..end });
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_blanks() {
        let line = r#"-A X -m comment --comment "it's \"a\" b" -j Y"#;
        let found = words(line).unwrap();
        let texts: Vec<&str> = found.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(
            texts,
            ["-A", "X", "-m", "comment", "--comment", "it's \"a\" b", "-j", "Y"]
        );
        assert_eq!(&line[found[5].at.clone()], "\"it's \\\"a\\\" b\"");
        assert!(words("a \"b").is_err() && words("a \\").is_err());
        assert_eq!(words(" \t").unwrap(), []);
    }
}
