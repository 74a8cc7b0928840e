//! `netchannel rules load`, `add`, `del` and the others that ask a running netchannel.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use netchannel::control::report::{Load as Begun, RulesChanged, RulesState};
use netchannel::control::{Client, RulesRequest};
use netchannel::rules::text;

use super::progress::Progress;
use crate::arguments::{Add, Changing, Del, Load, Replace, Running, RunningRules};
use crate::failure::Failure;
use crate::table::{Side, Table};
use crate::units::{count, percent, seconds};

/// The most bytes that a part of a text takes in a request's line.
const PART: usize = 60_000;

pub(crate) fn running(command: &RunningRules) -> Result<(), Failure> {
    match command {
        RunningRules::Load(arguments) => load(arguments),
        RunningRules::Add(arguments) => add(arguments),
        RunningRules::Del(arguments) => delete(arguments),
        RunningRules::Replace(arguments) => replace(arguments),
        RunningRules::List(arguments) => list(arguments),
        RunningRules::Confirm(arguments) => state(arguments, RulesRequest::Confirm {}),
        RunningRules::Undo(arguments) => {
            let mut client = Client::connect(&arguments.socket)?;
            let changed = client.rules(RulesRequest::Undo {})?;
            tell(&changed, arguments.json)
        }
        RunningRules::Status(arguments) => state(arguments, RulesRequest::State {}),
    }
}

fn load(arguments: &Load) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let mut progress = Progress::new();
    progress.tell(format_args!("reading {}", arguments.file.display()));
    let (source, text) = text_of(&arguments.file)?;
    let mut client = Client::connect(&running.socket)?;
    let Begun { load } = client.rules(RulesRequest::Begin {})?;
    let mut sent = 0;
    for part in parts(&text) {
        sent += part.len();
        let text_of_part = part.to_owned();
        let request = RulesRequest::Part {
            load,
            text: text_of_part,
        };
        let _: Begun = client.rules(request)?;
        progress.tell(format_args!(
            "sending, {}",
            percent(sent as u64, text.len() as u64)
        ));
    }
    progress.tell(format_args!("sent; they are made ready"));
    let changed = client.rules(RulesRequest::Commit {
        load,
        source,
        confirm_within: *confirm_within,
    })?;
    progress.end();
    tell(&changed, running.json)
}

/// The rules of a file as text that stands alone, and what to call it. They are checked here first: what is wrong is told with its
/// place in the files that it is in.
fn text_of(file: &Path) -> Result<(String, String), Failure> {
    let refused = |error| Failure::Refused(vec![error]);
    let read = text::read(file).map_err(refused)?;
    for warning in &read.warnings {
        log::warn!("{warning}");
    }
    let name = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let name = name.display().to_string();
    if let Some(text) = as_it_is(file) {
        return Ok((name, text));
    }
    let mut text = Vec::new();
    text::write(&read.rules, &mut text)?;
    Ok((format!("{name} and what it includes"), String::from_utf8(text)?))
}

/// The text of a file that includes no other: then the places of rules are places in it.
fn as_it_is(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let includes = text.lines().any(|line| line.trim_start().starts_with("include"));
    (!includes).then_some(text)
}

/// A text in parts that fit the lines of requests.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut length = 0;
        let end = rest.char_indices().find(|(_, character)| {
            length += in_json(*character);
            length > PART
        });
        let (part, more) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = more;
        Some(part)
    })
}

/// Bytes of a character in a JSON string.
fn in_json(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        control if control.is_control() => 6,
        other => other.len_utf8(),
    }
}

fn add(arguments: &Add) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let mut client = Client::connect(&running.socket)?;
    let changed = client.rules(RulesRequest::Add {
        text: arguments.rules.join("\n"),
        confirm_within: *confirm_within,
    })?;
    tell(&changed, running.json)
}

fn delete(arguments: &Del) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let mut client = Client::connect(&running.socket)?;
    let changed = client.rules(RulesRequest::Delete {
        numbers: arguments.numbers.clone(),
        version: None,
        confirm_within: *confirm_within,
    })?;
    tell(&changed, running.json)
}

fn replace(arguments: &Replace) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let mut client = Client::connect(&running.socket)?;
    let changed = client.rules(RulesRequest::Replace {
        number: arguments.number,
        text: arguments.rule.clone(),
        version: None,
        confirm_within: *confirm_within,
    })?;
    tell(&changed, running.json)
}

/// Prints what a change did.
fn tell(changed: &RulesChanged, as_json: bool) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    if as_json {
        writeln!(out, "{}", serde_json::to_string(changed)?)?;
        return Ok(out.flush()?);
    }
    for rule in &changed.touched {
        writeln!(out, "{}: {}", rule.number, rule.text)?;
    }
    let time = Duration::from_micros(changed.microseconds);
    writeln!(
        out,
        "{} in force, version {}: {} new, {} gone; ready in {}",
        rules(changed.rules),
        changed.version,
        count(changed.added),
        count(changed.removed),
        short(time)
    )?;
    if let Some(time) = changed.confirm_within {
        writeln!(
            out,
            "the former rules come back in {} unless `netchannel rules confirm` comes first",
            seconds(time)
        )?;
    }
    out.flush()?;
    Ok(())
}

fn rules(number: u64) -> String {
    format!("{} rule{}", count(number), if number == 1 { "" } else { "s" })
}

fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        time if time < 1.0 => format!("{:.0} ms", time * 1e3),
        time => format!("{time:.1} s"),
    }
}

fn list(arguments: &Running) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.socket)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.json {
        let mut separator = "{\"rules\":[";
        for page in client.rules_pages() {
            for rule in &page?.rules {
                write!(out, "{separator}{}", serde_json::to_string(rule)?)?;
                separator = ",";
            }
        }
        let end = if separator == "," { "]}" } else { "{\"rules\":[]}" };
        writeln!(out, "{end}")?;
        return Ok(out.flush()?);
    }
    let mut table = Table::new(&[("NUMBER", Side::Right), ("RULE", Side::Left)]);
    for page in client.rules_pages() {
        let page = page?;
        write!(out, "{}", page.sets)?;
        let row =
            |rule: &netchannel::control::report::RuleEntry| vec![rule.number.to_string(), rule.text.clone()];
        let rows: Vec<Vec<String>> = page.rules.iter().map(row).collect();
        table.write(&rows, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn state(arguments: &Running, request: RulesRequest) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.socket)?;
    let state: RulesState = client.rules(request)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&state)?)?;
        return Ok(());
    }
    let trial = if state.is_on_trial {
        ", not confirmed yet"
    } else {
        ""
    };
    writeln!(
        out,
        "{} of {}, version {}{trial}; {} to undo",
        rules(state.rules),
        state.source,
        state.version,
        crate::check::counted(state.former as usize, "change"),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_their_lines_and_are_the_whole() {
        for piece in ["tcp from 10.0.0.0/8 drop\n", "\u{1}", "ü\"\\", "€"] {
            let text = piece.repeat(200_000 / piece.len());
            let cut: Vec<&str> = parts(&text).collect();
            assert_eq!(cut.concat(), text);
            assert!(cut.len() > 2);
            for part in cut {
                let line = serde_json::to_vec(part).unwrap();
                assert!(line.len() <= PART + 2, "{}", line.len());
            }
        }
        assert_eq!(parts("").count(), 0);
    }
}
