//! Rule sets in the text format of ClassBench.
//!
//! One rule a line, the first with the highest priority:
//!
//! ```text
//! @192.0.2.0/24  198.51.100.7/32  0 : 65535  443 : 443  0x06/0xFF  0x0000/0x0000
//! ```
//!
//! Source and destination prefix, the lowest and highest source port, the same of the destination port,
//! protocol and its mask (0xFF: this one, 0x00: any), TCP flags and their mask. The flags are no dimension
//! of the rules: they may be left out, and are ignored. Columns are separated by spaces or tabs; blank lines
//! and lines that start with `#` are passed over.
//!
//! Format: Taylor and Turner, *ClassBench: A Packet Classification Benchmark*, IEEE/ACM Transactions on
//! Networking 15(3), 2007.

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use classifier::{Ipv4FiveTuple, Ipv4Rule, Range, Schema, dimension};

use super::input::{self, Cursor, Fault, ReadError};
use super::output::{Unprintable, WriteError};

/// The rules of a file: in the order of their priorities, each with its line as its action.
pub type Rules = Vec<Ipv4Rule<u32>>;

/// Reads a file, compressed or not; see [`parse`].
///
/// # Errors
///
/// See [`ReadError`].
pub fn read(file: &Path) -> Result<Rules, ReadError> {
    parse(file, input::open(file)?)
}

/// Reads the rules of a text. A rule's priority is its place among the rules, from 0; its action is its
/// line in the file, from 1. Bits of an address behind its prefix are ignored.
///
/// `file` names the text in errors.
///
/// # Errors
///
/// [`ReadError::Refused`] with the places of all lines that are wrong; [`ReadError::Unreadable`] if the
/// input fails.
pub fn parse(file: &Path, input: impl BufRead) -> Result<Rules, ReadError> {
    let mut rules = Vec::new();
    rows(file, input, |row| {
        // There are no more rules than lines, which are numbered in 32 bits.
        let priority = u32::try_from(rules.len()).unwrap_or(u32::MAX);
        rules.push(Ipv4Rule::new(row.ranges, priority, row.line));
    })?;
    Ok(rules)
}

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its number, from 1.
    pub(crate) line: u32,
    pub(crate) ranges: [Range<u32>; 5],
    /// Whether it asks for TCP flags.
    pub(crate) has_flags: bool,
}

/// Reads a text line by line; what `each` was given counts for nothing if something is wrong.
///
/// # Errors
///
/// As [`parse`] has them.
pub(crate) fn rows(file: &Path, input: impl BufRead, mut each: impl FnMut(Row)) -> Result<(), ReadError> {
    input::lines(file, input, |line, cursor| {
        let (ranges, has_flags) = columns(cursor)?;
        each(Row {
            line,
            ranges,
            has_flags,
        });
        Ok(())
    })
}

fn columns(cursor: &mut Cursor<'_>) -> Result<([Range<u32>; 5], bool), Fault> {
    cursor.character(b'@', "`@` and the source address")?;
    let source_address = prefix(cursor, "the source address, such as 192.0.2.0/24")?;
    cursor.blanks("a blank before the destination address")?;
    let destination_address = prefix(cursor, "the destination address, such as 192.0.2.0/24")?;
    cursor.blanks("a blank before the source ports")?;
    let source_port = ports(cursor, "the source ports, such as 0 : 65535")?;
    cursor.blanks("a blank before the destination ports")?;
    let destination_port = ports(cursor, "the destination ports, such as 0 : 65535")?;
    cursor.blanks("a blank before the protocol")?;
    let protocol = protocol(cursor)?;
    let mut has_flags = false;
    if cursor.another_column("a blank or the end of the rule")? {
        has_flags = flags(cursor)? != 0;
    }
    cursor.end("the end of the rule: it has six columns at most")?;
    let ranges = [
        source_address,
        destination_address,
        source_port,
        destination_port,
        protocol,
    ];
    Ok((ranges, has_flags))
}

/// `192.0.2.0/24`
fn prefix(cursor: &mut Cursor<'_>, expected: &str) -> Result<Range<u32>, Fault> {
    let mut octets = [0; 4];
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            cursor.character(b'.', expected)?;
        }
        let value = cursor.decimal(255, &format!("{expected}: four numbers from 0 to 255"))?;
        *octet = u8::try_from(value).unwrap_or(u8::MAX);
    }
    cursor.character(b'/', "`/` and the length of the prefix")?;
    let at = cursor.position();
    let length = cursor.decimal(32, "the length of the prefix, from 0 to 32")?;
    Range::prefix(Ipv4Addr::from(octets).to_bits(), length, 32)
        .map_err(|error| cursor.wrong(at, &error.to_string(), "the length of the prefix, from 0 to 32"))
}

/// `0 : 65535`
fn ports(cursor: &mut Cursor<'_>, expected: &str) -> Result<Range<u32>, Fault> {
    let at = cursor.position();
    let expected = format!("{expected}: decimal numbers from 0 to 65535");
    let low = cursor.decimal(65_535, &expected)?;
    cursor.separator(b':', "`:` between the lowest and the highest port")?;
    let high = cursor.decimal(65_535, &expected)?;
    Range::new(low, high).map_err(|_| {
        cursor.wrong(
            at,
            &format!("{low} : {high}"),
            "the lower port before the higher one",
        )
    })
}

/// `0x06/0xFF`
fn protocol(cursor: &mut Cursor<'_>) -> Result<Range<u32>, Fault> {
    let value = cursor.hexadecimal(0xff, "the protocol, from 0x00 to 0xFF")?;
    cursor.character(b'/', "`/` and the protocol's mask")?;
    let at = cursor.position();
    match cursor.hexadecimal(0xff, "the protocol's mask, 0xFF or 0x00")? {
        0xff => Ok(Range::exact(value)),
        0x00 => Ok(Range::any(8)),
        mask => Err(cursor.wrong(
            at,
            &format!("the mask 0x{mask:02X}"),
            "0xFF (this protocol) or 0x00 (any)",
        )),
    }
}

/// The mask of `0x0000/0x0200`.
fn flags(cursor: &mut Cursor<'_>) -> Result<u32, Fault> {
    cursor.hexadecimal(
        0xffff,
        "the TCP flags, from 0x0000 to 0xFFFF, or the end of the rule",
    )?;
    cursor.character(b'/', "`/` and the mask of the TCP flags")?;
    cursor.hexadecimal(0xffff, "the mask of the TCP flags, from 0x0000 to 0xFFFF")
}

/// Writes rules, one a line in the order of the slice, without looking at their priorities.
///
/// # Errors
///
/// [`WriteError::Unprintable`] if a rule can't be told in this format: addresses must be prefixes, the
/// protocol one or any. [`WriteError::Output`] if writing fails.
pub fn write<A>(rules: &[Ipv4Rule<A>], out: &mut (impl Write + ?Sized)) -> Result<(), WriteError> {
    for (place, rule) in rules.iter().enumerate() {
        let unprintable = |what| Unprintable { rule: place, what };
        let [source, destination, source_port, destination_port, protocol] = &rule.ranges;
        let (source, source_length) =
            as_prefix(source).ok_or_else(|| unprintable("source addresses are no prefix"))?;
        let (destination, destination_length) =
            as_prefix(destination).ok_or_else(|| unprintable("destination addresses are no prefix"))?;
        let mask = match protocol {
            any if *any == Range::any(Ipv4FiveTuple::WIDTHS[dimension::PROTOCOL]) => 0x00,
            one if one.low() == one.high() => 0xff,
            _ => return Err(unprintable("protocols are neither one nor all").into()),
        };
        writeln!(
            out,
            "@{source}/{source_length}\t{destination}/{destination_length}\t{} : {}\t{} : {}\t0x{:02X}/0x{mask:02X}",
            source_port.low(),
            source_port.high(),
            destination_port.low(),
            destination_port.high(),
            protocol.low(),
        )?;
    }
    Ok(())
}

/// First address and length of the prefix that the range is.
pub(super) fn as_prefix(range: &Range<u32>) -> Option<(Ipv4Addr, u32)> {
    let free = range.high() ^ range.low();
    let is_prefix = free & free.wrapping_add(1) == 0 && range.low() & free == 0;
    is_prefix.then(|| (Ipv4Addr::from_bits(range.low()), free.leading_zeros()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use classifier::{Ipv4FiveTuple, Ipv4Rule, Range, dimension};
    use proptest::prelude::*;

    use super::{parse, write};
    use crate::workload::{MAX_LINE, MAX_PROBLEMS, ReadError, Refused, Unprintable, WriteError};

    const RULE: &str = "@10.0.0.0/8 192.0.2.1/32 0 : 65535 443 : 443 0x06/0xFF";

    fn parsed(text: &[u8]) -> Vec<Ipv4Rule<u32>> {
        parse(Path::new("rules"), text).unwrap()
    }

    fn refused(text: &[u8]) -> Refused {
        match parse(Path::new("rules"), text) {
            Err(ReadError::Refused(refused)) => refused,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rule_is_five_ranges() {
        let rules = parsed(
            b"# a comment\n\
              @10.1.2.3/8\t192.0.2.1/32\t0 : 65535\t443 : 443\t0x06/0xFF\t0x0000/0x0200\t\n\
              \r\n\
              \t @0.0.0.0/0   255.255.255.255/1  7:9 1024 :65535   0x11/0x00\r\n",
        );
        let expected = [
            Ipv4Rule::new(
                [
                    Range::new(0x0a00_0000, 0x0aff_ffff).unwrap(),
                    Range::exact(0xc000_0201),
                    Range::any(16),
                    Range::exact(443),
                    Range::exact(6),
                ],
                0,
                2,
            ),
            Ipv4Rule::new(
                [
                    Range::any(32),
                    Range::new(0x8000_0000, u32::MAX).unwrap(),
                    Range::new(7, 9).unwrap(),
                    Range::new(1024, 65_535).unwrap(),
                    Range::any(8),
                ],
                1,
                4,
            ),
        ];
        assert_eq!(rules, expected);
        assert_eq!(parsed(b""), []);
        assert_eq!(parsed(RULE.as_bytes()).len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            (
                "10.0.0.0/8",
                "1:1: found `10.0.0.0/8`, expected `@` and the source address",
            ),
            (
                "@10.0.0",
                "1:8: found the end of the line, expected the source address, such as 192.0.2.0/24",
            ),
            (
                "@10.0.0.256/8",
                "1:9: found `256/8`, expected the source address, such as 192.0.2.0/24: four numbers from 0 to 255",
            ),
            (
                "@10.0.0.0 ",
                "1:10: found a blank, expected `/` and the length of the prefix",
            ),
            (
                "@10.0.0.0/33 ",
                "1:11: found `33`, expected the length of the prefix, from 0 to 32",
            ),
            (
                "@10.0.0.0/8,",
                "1:12: found `,`, expected a blank before the destination address",
            ),
            (
                "@10.0.0.0/8 \u{e9}1.2.3.4/5",
                "1:13: found `\u{e9}1.2.3.4/5`, expected the destination address, such as 192.0.2.0/24: four numbers from 0 to 255",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 - 1",
                "1:25: found `-`, expected `:` between the lowest and the highest port",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 65536",
                "1:27: found `65536`, expected the source ports, such as 0 : 65535: decimal numbers from 0 to 65535",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 9 : 8 0x06/0xFF",
                "1:29: found 9 : 8, expected the lower port before the higher one",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 8 : 9 6/0xFF",
                "1:35: found `6/0xFF`, expected the protocol, from 0x00 to 0xFF",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 8 : 9 0x100/0xFF",
                "1:35: found `0x100/0xFF`, expected the protocol, from 0x00 to 0xFF",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 8 : 9 0x06/0x0f",
                "1:40: found the mask 0x0F, expected 0xFF (this protocol) or 0x00 (any)",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 8 : 9 0x06/0xFFx",
                "1:44: found `x`, expected a blank or the end of the rule",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 8 : 9 0x06/0xFF permit",
                "1:45: found `permit`, expected the TCP flags, from 0x0000 to 0xFFFF, or the end of the rule",
            ),
            (
                "@10.0.0.0/8 1.2.3.4/5 0 : 1 8 : 9 0x06/0xFF 0x0000/0x0200 7",
                "1:59: found `7`, expected the end of the rule: it has six columns at most",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                refused(text.as_bytes()).to_string(),
                format!("rules:{expected}"),
                "{text}"
            );
        }
        assert_eq!(
            refused(b"@\xff\x00\x1b[2J").to_string(),
            "rules:1:2: found `\u{fffd}\\0\\u{1b}[2J`, expected the source address, such as 192.0.2.0/24: four numbers from 0 to 255"
        );
    }

    #[test]
    fn a_file_is_refused_as_a_whole_with_all_its_problems() {
        let refused_file = refused(format!("{RULE}\nx\n{RULE}\n@1.2.3.4/5\n").as_bytes());
        let lines: Vec<u32> = refused_file
            .problems
            .iter()
            .map(|problem| problem.position.line)
            .collect();
        assert_eq!((lines, refused_file.count()), (vec![2, 4], 2));
        let refused_file = refused("x\n".repeat(MAX_PROBLEMS + 5).as_bytes());
        assert_eq!(
            (refused_file.problems.len(), refused_file.more),
            (MAX_PROBLEMS, 5)
        );
        assert!(refused_file.to_string().ends_with("\n... and 5 more"));
    }

    #[test]
    fn endless_lines_are_refused() {
        let blanks = " ".repeat(MAX_LINE - RULE.len());
        assert_eq!(parsed(format!("{RULE}{blanks}\r\n").as_bytes()).len(), 1);
        let refused_file = refused(format!("{RULE}{blanks} \n{RULE}\n").as_bytes());
        assert_eq!(
            refused_file.to_string(),
            "rules:1:1025: found a longer line, expected at most 1024 bytes"
        );
        let zeros = std::io::BufReader::new(std::io::repeat(0));
        assert!(matches!(
            parse(Path::new("zeros"), zeros),
            Err(ReadError::Refused(_))
        ));
    }

    #[test]
    fn what_has_no_words_is_not_written() {
        let mut rules = vec![Ipv4Rule::any::<Ipv4FiveTuple>(0, ()); 2];
        rules[1].ranges[dimension::SOURCE_ADDRESS] = Range::new(1, 2).unwrap();
        let error = write(&rules, &mut Vec::new()).unwrap_err();
        assert!(matches!(
            error,
            WriteError::Unprintable(Unprintable { rule: 1, .. })
        ));
        assert_eq!(
            error.to_string(),
            "rule 2 can not be written in this format: its source addresses are no prefix"
        );
        rules[1] = Ipv4Rule::any::<Ipv4FiveTuple>(0, ());
        rules[1].ranges[dimension::PROTOCOL] = Range::new(6, 7).unwrap();
        assert!(write(&rules, &mut Vec::new()).is_err());
    }

    fn rule() -> impl Strategy<Value = [Range<u32>; 5]> {
        let prefix = || {
            (any::<u32>(), 0..=32_u32).prop_map(|(value, length)| Range::prefix(value, length, 32).unwrap())
        };
        let ports =
            || (0..=65_535_u32, 0..=65_535_u32).prop_map(|(a, b)| Range::new(a.min(b), a.max(b)).unwrap());
        let protocol = prop_oneof![Just(Range::any(8)), (0..=255_u32).prop_map(Range::exact)];
        (prefix(), prefix(), ports(), ports(), protocol).prop_map(|(a, b, c, d, e)| [a, b, c, d, e])
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ranges in prop::collection::vec(rule(), 0..20)) {
            let rules: Vec<_> = (0..).zip(ranges).map(|(place, ranges)| Ipv4Rule::new(ranges, place, place + 1)).collect();
            let mut text = Vec::new();
            write(&rules, &mut text).unwrap();
            prop_assert_eq!(parsed(&text), rules);
        }

        #[test]
        fn bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(Path::new("bytes"), &bytes[..]);
        }

        #[test]
        fn damaged_rules_are_read_or_refused(at in 0..RULE.len(), byte: u8, cut in 0..RULE.len()) {
            let mut text = RULE.as_bytes().to_vec();
            text[at] = byte;
            for text in [&text[..], &text[..cut], &text[cut..]] {
                if let Err(ReadError::Refused(refused)) = parse(Path::new("damaged"), text) {
                    for problem in refused.problems {
                        prop_assert!(problem.position.column as usize <= text.len() + 1);
                    }
                }
            }
        }
    }
}
