//! Rules in the text format of ClassBench; see [the format itself](crate::workload::classbench).
//!
//! It has no channels, so those that are read all have one that is given, and no priorities: the first line is tried first. Its TCP flags
//! are passed over. A line for any protocol that asks for ports becomes a rule for [all protocols that have ports](super::WITH_PORTS).

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use classifier::{Ipv4FiveTuple, Range, Schema, dimension};

use super::{
    AddressRange, Loaded, MAX_RULES, Name, Place, PortRange, Rule, RuleList, Values, WITH_PORTS, WriteError,
    check, notation,
};
use crate::config::{ConfigError, MAX_PROBLEMS, Position, Problem};
use crate::workload::classbench::{Row, rows};
use crate::workload::{self, ReadError};

/// Reads the rules of a text: of the channel, and of priorities 1, 2 and so on.
///
/// What rules can't say is refused; if `lenient`, it is left out and told.
///
/// # Errors
/// Everything that is wrong with the text, with its line.
pub fn parse(file: &Path, input: impl BufRead, channel: &Name, lenient: bool) -> Result<Loaded, ConfigError> {
    let shared: Arc<Path> = file.into();
    let mut loaded = Loaded::default();
    let (mut refused, mut more) = (Vec::new(), 0);
    let mut flags: Option<(u32, usize)> = None;
    let mut priority = 0;
    let outcome = rows(file, input, |row| {
        priority += 1;
        if row.has_flags {
            flags.get_or_insert((row.line, 0)).1 += 1;
        }
        let position = Position {
            line: row.line,
            column: 1,
        };
        let mut rule = rule(&row, channel);
        rule.priority = priority;
        rule.place = Place {
            file: Some(shared.clone()),
            position: Some(position),
        };
        let fault = check(&rule).into_iter().next().map(|fault| fault.message);
        let too_many = loaded.rules.rules.len() == MAX_RULES;
        let fault = fault.or_else(|| too_many.then(|| format!("there are more than {MAX_RULES} rules")));
        match fault {
            None => loaded.rules.rules.push(rule),
            Some(message) if refused.len() < MAX_PROBLEMS || lenient => {
                refused.push(Problem::at(file, Some(position), message));
            }
            Some(_) => more += 1,
        }
    });
    outcome.map_err(|error| refusal(file, error))?;
    if let Some((line, count)) = flags {
        let position = Position { line, column: 1 };
        let message =
            format!("rules that ask for TCP flags, {count} from here on, match whatever the flags are");
        loaded.warnings.push(Problem::at(file, Some(position), message));
    }
    if lenient {
        loaded.left_out = refused;
    } else if !refused.is_empty() {
        return Err(ConfigError {
            file: file.to_owned(),
            problems: refused,
            more,
        });
    }
    Ok(loaded)
}

/// As other notations tell what is wrong.
pub(super) fn refusal(file: &Path, error: ReadError) -> ConfigError {
    match error {
        ReadError::Unreadable { source, .. } => {
            let reason = crate::config::reason(&source);
            ConfigError::unreadable(file, format!("can not be read: {reason}"))
        }
        ReadError::Refused(workload::Refused { file, problems, more }) => {
            let problem =
                |problem: workload::Problem| Problem::at(&file, Some(problem.position), problem.message);
            ConfigError {
                problems: problems.into_iter().map(problem).collect(),
                more,
                file,
            }
        }
    }
}

fn rule(row: &Row, channel: &Name) -> Rule {
    let [source, destination, source_ports, destination_ports, protocol] = &row.ranges;
    let mut rule = Rule::any(channel.clone());
    rule.from = addresses(source);
    rule.to = addresses(destination);
    if rule.from.is_any() && rule.to.is_any() {
        // No addresses at all would be those of IPv6 too.
        rule.from = vec![every_address()].into();
    }
    rule.source_ports = ports(source_ports);
    rule.destination_ports = ports(destination_ports);
    if *protocol != Range::any(Ipv4FiveTuple::WIDTHS[dimension::PROTOCOL]) {
        rule.protocols.push(narrow(protocol.low()) as u8);
    } else if !rule.source_ports.is_any() || !rule.destination_ports.is_any() {
        rule.protocols.extend(WITH_PORTS);
    }
    rule
}

fn every_address() -> AddressRange {
    AddressRange::V4(0.into(), u32::MAX.into())
}

fn addresses(range: &Range<u32>) -> Values<AddressRange> {
    if *range == Range::any(u32::BITS) {
        return Values::any();
    }
    vec![AddressRange::V4(range.low().into(), range.high().into())].into()
}

fn ports(range: &Range<u32>) -> Values<PortRange> {
    let ports = PortRange {
        first: narrow(range.low()),
        last: narrow(range.high()),
    };
    if ports == PortRange::ANY {
        Values::any()
    } else {
        vec![ports].into()
    }
}

/// A number of 16 bits at most, as the reader of lines checks.
fn narrow(number: u32) -> u16 {
    number as u16
}

/// Writes rules, one a line in the order in which they are tried: what they match, without channels and comments. Rules that the format
/// has no words for are refused; if `lenient`, they are left out and returned.
///
/// # Errors
/// [`WriteError::Refused`], and then nothing is written; [`WriteError::Output`].
pub fn write(
    list: &RuleList,
    lenient: bool,
    out: &mut (impl Write + ?Sized),
) -> Result<Vec<Problem>, WriteError> {
    let mut order: Vec<&Rule> = list.rules.iter().collect();
    order.sort_by_key(|rule| rule.priority);
    let mut text = String::new();
    let mut left_out = Vec::new();
    let problem = |number: usize, rule: &Rule, what: &str| {
        let file = rule.place.file.as_deref().unwrap_or(Path::new("rules"));
        let named = match rule.place.position {
            Some(_) => "the rule".to_owned(),
            None => format!("rule {}", number + 1),
        };
        let message = format!("{named} {what}, for which ClassBench's format has no words");
        Problem::at(file, rule.place.position, message)
    };
    if !lenient {
        let wrong = order.iter().enumerate().filter_map(|(number, rule)| {
            let what = line(rule, &mut text).err()?;
            text.clear();
            Some(problem(number, rule, what))
        });
        let refused: Vec<Problem> = wrong.collect();
        if !refused.is_empty() {
            return Err(WriteError::refused(refused));
        }
        text.clear();
    }
    for (number, rule) in order.into_iter().enumerate() {
        let start = text.len();
        if let Err(what) = line(rule, &mut text) {
            text.truncate(start);
            left_out.push(problem(number, rule, what));
        }
        if text.len() >= 1 << 16 {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    out.write_all(text.as_bytes())?;
    Ok(left_out)
}

/// The line of a rule; else what can't be said.
fn line(rule: &Rule, text: &mut String) -> Result<(), &'static str> {
    if !rule.interfaces.is_empty() || !rule.tcp_flags.is_empty() || !rule.fields.is_empty() {
        return Err("asks for more than addresses, ports and protocol");
    }
    let families = rule.families();
    if families.ipv6 {
        return Err(match families.ipv4 {
            true => "takes IPv6 packets too (one from 0.0.0.0/0 doesn't)",
            false => "takes IPv6 packets",
        });
    }
    text.push('@');
    prefix(&rule.from, text)?;
    text.push('\t');
    prefix(&rule.to, text)?;
    text.push('\t');
    range(&rule.source_ports, text)?;
    text.push('\t');
    range(&rule.destination_ports, text)?;
    text.push('\t');
    let has_ports = !rule.source_ports.is_any() || !rule.destination_ports.is_any();
    match rule.protocols[..] {
        [] => text.push_str("0x00/0x00\n"),
        [protocol] => text.push_str(&format!("0x{protocol:02X}/0xFF\n")),
        _ if has_ports && is_every_protocol_with_ports(&rule.protocols) => text.push_str("0x00/0x00\n"),
        _ => return Err("names several protocols"),
    }
    Ok(())
}

fn is_every_protocol_with_ports(protocols: &[u8]) -> bool {
    protocols.len() == WITH_PORTS.len() && WITH_PORTS.iter().all(|protocol| protocols.contains(protocol))
}

fn prefix(values: &Values<AddressRange>, text: &mut String) -> Result<(), &'static str> {
    let mut all = values.iter();
    let range = match (all.next(), all.next()) {
        (None, _) => every_address(),
        (Some(only), None) => *only,
        (Some(_), Some(_)) => return Err("names several ranges of addresses"),
    };
    let AddressRange::V4(first, last) = range else {
        return Err("takes IPv6 packets");
    };
    let start = text.len();
    notation::write_addresses(&range, text);
    if first == last {
        text.push_str("/32");
    } else if text[start..].contains('-') {
        return Err("names addresses that are no prefix");
    }
    Ok(())
}

fn range(values: &Values<PortRange>, text: &mut String) -> Result<(), &'static str> {
    let mut all = values.iter();
    let range = match (all.next(), all.next()) {
        (None, _) => PortRange::ANY,
        (Some(only), None) => *only,
        (Some(_), Some(_)) => return Err("names several ranges of ports"),
    };
    notation::write_number(range.first.into(), text);
    text.push_str(" : ");
    notation::write_number(range.last.into(), text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::text;

    fn read(text: &str, lenient: bool) -> Result<Loaded, ConfigError> {
        parse("t".as_ref(), text.as_bytes(), &"web".into(), lenient)
    }

    fn written(list: &RuleList, lenient: bool) -> Result<(String, usize), WriteError> {
        let mut out = Vec::new();
        let left_out = write(list, lenient, &mut out)?;
        Ok((String::from_utf8(out).unwrap(), left_out.len()))
    }

    const LINES: &str = "\
@10.0.0.0/8\t192.0.2.1/32\t0 : 65535\t443 : 443\t0x06/0xFF
@0.0.0.0/0\t0.0.0.0/0\t1 : 2\t0 : 65535\t0x00/0x00
@0.0.0.0/0\t10.0.0.0/31\t0 : 65535\t0 : 65535\t0x2F/0xFF
@0.0.0.0/0\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00
";

    #[test]
    fn lines_become_rules_and_rules_lines() {
        let loaded = read(LINES, false).unwrap();
        let texts: Vec<String> = loaded.rules.iter().map(text::rule_text).collect();
        assert_eq!(
            texts,
            [
                "priority 1 tcp from 10.0.0.0/8 to 192.0.2.1 port 443 use web",
                "priority 2 {tcp, udp, dccp, sctp, udplite} from 0.0.0.0/0 port 1-2 use web",
                "priority 3 gre to 10.0.0.0/31 use web",
                "priority 4 from 0.0.0.0/0 use web",
            ]
        );
        assert_eq!(written(&loaded.rules, false).unwrap(), (LINES.to_owned(), 0));
        assert_eq!(loaded.rules.rules[2].place.to_string(), "t:3:1");
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn what_rules_can_not_say_is_refused_by_line() {
        let text = format!("# comment\n@0.0.0.0/0 0.0.0.0/0 0 : 65535 7 : 7 0x01/0xFF\n{LINES}");
        let error = read(&text, false).unwrap_err();
        assert!(
            error.to_string().starts_with("t:2:1: protocol icmp has no ports"),
            "{error}"
        );
        let loaded = read(&text, true).unwrap();
        assert_eq!((loaded.rules.len(), loaded.left_out.len()), (4, 1));
        assert_eq!(loaded.rules.rules[0].priority, 2);
        let error = read("@1.2.3.4", true).unwrap_err();
        assert!(
            error.to_string().starts_with("t:1:9: found the end of the line"),
            "{error}"
        );
        let flags = read("@1.2.3.4/32 0.0.0.0/0 0 : 1 0 : 1 0x06/0xFF 0x0200/0x0200", false).unwrap();
        assert!(
            flags.warnings[0]
                .to_string()
                .starts_with("t:1:1: rules that ask for TCP flags, 1 ")
        );
    }

    #[test]
    fn what_has_no_words_is_refused_or_left_out() {
        for (rule, expected) in [
            ("from ::/0 drop", "takes IPv6 packets,"),
            ("pass", "takes IPv6 packets too"),
            ("from 10.0.0.1-10.0.0.9 drop", "no prefix"),
            ("from {10.0.0.1, 10.0.0.9} drop", "several ranges of addresses"),
            ("tcp from 10.0.0.1 port {1, 3} drop", "several ranges of ports"),
            ("{tcp, udp} from 10.0.0.1 drop", "several protocols"),
            ("from 10.0.0.1 on lan0 drop", "more than addresses"),
            ("from 10.0.0.1 vlan 7 drop", "more than addresses"),
        ] {
            let list = text::parse(&format!("priority 7 {rule}\nfrom 10.0.0.1 drop"), "t")
                .unwrap()
                .rules;
            let error = written(&list, false).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("t:1:1: the rule "),
                "{rule}: {error}"
            );
            let (text, left_out) = written(&list, true).unwrap();
            assert_eq!(left_out, 1);
            assert_eq!(text, "@10.0.0.1/32\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\n");
        }
    }
}
