//! `netchannel rules load`, `add`, `del` and the others that ask a running netchannel.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use netchannel::control::report::{Load as Begun, RulesChanged, RulesState};
use netchannel::control::{Client, RulesRequest};
use netchannel::rules::{Format, Options, RuleList, text};

use super::files;
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
        RunningRules::Undo(arguments) => change(arguments, RulesRequest::Undo {}),
        RunningRules::Status(arguments) => state(arguments, RulesRequest::State {}),
    }
}

fn load(arguments: &Load) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let options = Options {
        format: arguments.format,
        lenient: arguments.lenient,
        channel: Some(arguments.channel.as_str().into()),
        import: arguments.import.options(),
    };
    let file = &arguments.file;
    let name = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let name = name.display().to_string();
    let mut client;
    let (load, source) = if let Some(text) = as_it_is(file, arguments.format) {
        client = Client::connect(&running.socket)?;
        // What is wrong is told from here, with its place; meanwhile the text is on its way.
        let (checked, load) = thread::scope(|scope| {
            let check = scope.spawn(|| files::read(file, &options));
            let load = send(&mut client, &text);
            (check.join(), load)
        });
        let load = load?;
        if let Ok(Err(error)) = checked {
            let _: Begun = client.rules(RulesRequest::Abort { load })?;
            return Err(Failure::Refused(vec![error]));
        }
        (load, name)
    } else {
        let list = files::read(file, &options).map_err(|error| Failure::Refused(vec![error]))?;
        let mut text = Vec::new();
        text::write(&list, &mut text)?;
        client = Client::connect(&running.socket)?;
        (
            send(&mut client, &String::from_utf8(text)?)?,
            format!("{name}, as native text"),
        )
    };
    let mut progress = Progress::new();
    progress.tell(format_args!("the rules are made ready"));
    let changed = client.rules(RulesRequest::Commit {
        load,
        source,
        confirm_within: *confirm_within,
    })?;
    progress.end();
    tell(&changed, running.json)
}

/// The text of a native file that includes no other: then the places of rules are places in it.
fn as_it_is(file: &Path, format: Option<Format>) -> Option<String> {
    let is_native = file.extension().is_some_and(|ending| ending == "rules");
    if !is_native || !matches!(format, None | Some(Format::Native)) {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let includes = text.lines().any(|line| line.trim_start().starts_with("include"));
    // Other formats may have that name too.
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_other = lines.next().is_some_and(|line| line.starts_with(['*', '@']));
    (!includes && !is_other).then_some(text)
}

/// Sends a text; the number of the load that it is now.
fn send(client: &mut Client, text: &str) -> Result<u64, Failure> {
    let mut progress = Progress::new();
    let Begun { load } = client.rules(RulesRequest::Begin {})?;
    let mut sent = 0;
    for part in parts(text) {
        sent += part.len();
        let request = RulesRequest::Part {
            load,
            text: part.to_owned(),
        };
        let _: Begun = client.rules(request)?;
        progress.tell(format_args!(
            "sending the rules, {}",
            percent(sent as u64, text.len() as u64)
        ));
    }
    Ok(load)
}

/// The rules in force, as if they were a file's.
pub(super) fn in_force(socket: &Path) -> Result<RuleList, Failure> {
    let mut client = Client::connect(socket)?;
    let mut text = String::new();
    for page in client.rules_pages() {
        let page = page?;
        text.push_str(&page.sets);
        for rule in &page.rules {
            text.push_str(&rule.text);
            text.push('\n');
        }
    }
    let read = text::parse(&text, "rules in force").map_err(|error| Failure::Refused(vec![error]))?;
    Ok(read.rules)
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
    let request = RulesRequest::Add {
        text: arguments.rules.join("\n"),
        confirm_within: *confirm_within,
    };
    change(running, request)
}

fn delete(arguments: &Del) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let request = RulesRequest::Delete {
        numbers: arguments.numbers.clone(),
        version: None,
        confirm_within: *confirm_within,
    };
    change(running, request)
}

fn replace(arguments: &Replace) -> Result<(), Failure> {
    let Changing {
        confirm_within,
        running,
    } = &arguments.changing;
    let request = RulesRequest::Replace {
        number: arguments.number,
        text: arguments.rule.clone(),
        version: None,
        confirm_within: *confirm_within,
    };
    change(running, request)
}

/// Has the rules changed, and prints what that did.
fn change(running: &Running, request: RulesRequest) -> Result<(), Failure> {
    let mut client = Client::connect(&running.socket)?;
    tell(&client.rules(request)?, running.json)
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
