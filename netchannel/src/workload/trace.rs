//! Traces: headers to look up, one a line.
//!
//! ```text
//! 3221225985 3325256711 51234 443 6 17
//! ```
//!
//! Source and destination address, source and destination port and protocol, all decimal, then, if known,
//! the winner: the first rule that matches, counted from 0 without comments and blank lines, or -1 if none
//! does. Columns are separated by spaces or tabs; blank lines and lines that start with `#` are passed over.

use std::io::{BufRead, Write};
use std::path::Path;

use classifier::{Ipv4Key, Key};

use super::input::{self, Cursor, Fault, ReadError};
use super::output::WriteError;

/// One line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What to look up.
    pub key: Ipv4Key,
    /// What the lookup has to find, if the trace says so.
    pub winner: Option<Winner>,
}

/// What a lookup has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// No rule matches.
    NoRule,
    /// The rule of this number, from 0.
    Rule(u32),
}

impl From<Option<u32>> for Winner {
    fn from(rule: Option<u32>) -> Self {
        rule.map_or(Self::NoRule, Self::Rule)
    }
}

/// Reads a file, compressed or not; see [`parse`].
///
/// # Errors
///
/// See [`ReadError`].
pub fn read(file: &Path) -> Result<Vec<Header>, ReadError> {
    parse(file, input::open(file)?)
}

/// Reads the headers of a text. `file` names it in errors.
///
/// # Errors
///
/// [`ReadError::Refused`] with the places of all lines that are wrong; [`ReadError::Unreadable`] if the
/// input fails.
pub fn parse(file: &Path, input: impl BufRead) -> Result<Vec<Header>, ReadError> {
    let mut headers = Vec::new();
    input::lines(file, input, |_, cursor| {
        headers.push(header(cursor)?);
        Ok(())
    })?;
    Ok(headers)
}

fn header(cursor: &mut Cursor<'_>) -> Result<Header, Fault> {
    let columns = [
        (
            u32::MAX,
            "the source address, a decimal number from 0 to 4294967295",
        ),
        (
            u32::MAX,
            "the destination address, a decimal number from 0 to 4294967295",
        ),
        (65_535, "the source port, from 0 to 65535"),
        (65_535, "the destination port, from 0 to 65535"),
        (255, "the protocol, a decimal number from 0 to 255"),
    ];
    let mut values = [0; 5];
    for (place, (value, (most, expected))) in values.iter_mut().zip(columns).enumerate() {
        if place > 0 {
            cursor.blanks(&format!("a blank, then {expected}"))?;
        }
        *value = cursor.decimal(most, expected)?;
    }
    let mut winner = None;
    if cursor.another_column("a blank or the end of the line")? {
        let at = cursor.position();
        let expected = "the winning rule, from 0, or -1 if there is none";
        winner = Some(if cursor.character(b'-', expected).is_ok() {
            let one = cursor.decimal(1, expected)?;
            if one != 1 {
                return Err(cursor.wrong(at, "-0", expected));
            }
            Winner::NoRule
        } else {
            Winner::Rule(cursor.decimal(u32::MAX - 1, expected)?)
        });
        cursor.end("the end of the line: a header has six columns at most")?;
    }
    Ok(Header {
        key: Key::new(values),
        winner,
    })
}

/// Writes headers, with the winner where there is one.
///
/// # Errors
///
/// [`WriteError::Output`] if writing fails.
pub fn write(headers: &[Header], out: &mut (impl Write + ?Sized)) -> Result<(), WriteError> {
    for Header { key, winner } in headers {
        let [source, destination, source_port, destination_port, protocol] = key.values();
        write!(
            out,
            "{source}\t{destination}\t{source_port}\t{destination_port}\t{protocol}"
        )?;
        match winner {
            Some(Winner::Rule(rule)) => write!(out, "\t{rule}")?,
            Some(Winner::NoRule) => write!(out, "\t-1")?,
            None => {}
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use classifier::Key;
    use proptest::prelude::*;

    use super::{Header, Winner, parse, write};
    use crate::workload::ReadError;

    fn told(text: &str) -> String {
        match parse(Path::new("trace"), text.as_bytes()) {
            Err(ReadError::Refused(refused)) => refused.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_has_five_or_six_columns() {
        let text = b"# comment\n1 2 3 4 5\n4294967295\t0\t65535\t0\t255\t17\n\n 1 2 3 4 5 -1 \r\n";
        let header = |values, winner| Header {
            key: Key::new(values),
            winner,
        };
        assert_eq!(
            parse(Path::new("trace"), &text[..]).unwrap(),
            [
                header([1, 2, 3, 4, 5], None),
                header([u32::MAX, 0, 65_535, 0, 255], Some(Winner::Rule(17))),
                header([1, 2, 3, 4, 5], Some(Winner::NoRule)),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            (
                "10.0.0.1 2 3 4 5",
                "1:3: found `.0.0.1`, expected a blank, then the destination address, a decimal number from 0 to 4294967295",
            ),
            (
                "1 2 3 4",
                "1:8: found the end of the line, expected a blank, then the protocol, a decimal number from 0 to 255",
            ),
            (
                "4294967296 2 3 4 5",
                "1:1: found `4294967296`, expected the source address, a decimal number from 0 to 4294967295",
            ),
            (
                "1 2 65536 4 5",
                "1:5: found `65536`, expected the source port, from 0 to 65535",
            ),
            (
                "1 2 3 4 256",
                "1:9: found `256`, expected the protocol, a decimal number from 0 to 255",
            ),
            (
                "1 2 3 4 5-1",
                "1:10: found `-1`, expected a blank or the end of the line",
            ),
            (
                "1 2 3 4 5 -2",
                "1:12: found `2`, expected the winning rule, from 0, or -1 if there is none",
            ),
            (
                "1 2 3 4 5 -0",
                "1:11: found -0, expected the winning rule, from 0, or -1 if there is none",
            ),
            (
                "1 2 3 4 5 x",
                "1:11: found `x`, expected the winning rule, from 0, or -1 if there is none",
            ),
            (
                "1 2 3 4 5 6 7",
                "1:13: found `7`, expected the end of the line: a header has six columns at most",
            ),
            (
                "1 2 3 4 5\n1 2 3 4 x",
                "2:9: found `x`, expected the protocol, a decimal number from 0 to 255",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text), format!("trace:{expected}"), "{text}");
        }
    }

    fn header() -> impl Strategy<Value = Header> {
        let values = (
            any::<u32>(),
            any::<u32>(),
            any::<u16>(),
            any::<u16>(),
            any::<u8>(),
        );
        let winner = prop::option::of(prop::option::of(0..u32::MAX));
        (values, winner).prop_map(|((a, b, c, d, e), winner)| Header {
            key: Key::new([a, b, c.into(), d.into(), e.into()]),
            winner: winner.map(Winner::from),
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(headers in prop::collection::vec(header(), 0..20)) {
            let mut text = Vec::new();
            write(&headers, &mut text).unwrap();
            prop_assert_eq!(parse(Path::new("trace"), &text[..]).unwrap(), headers);
        }

        #[test]
        fn bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(Path::new("bytes"), &bytes[..]);
        }

        #[test]
        fn digits_and_blanks_are_read_or_refused(text in "[-0-9 \t\n#]{0,80}") {
            let _ = parse(Path::new("text"), text.as_bytes());
        }
    }
}
