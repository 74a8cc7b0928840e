//! `netchannel doctor`: whether this machine suits a configuration.

use std::io::{self, Write};
use std::time::Duration;

use netchannel::doctor::{self, Finding, Level, Report, Root};

use crate::arguments::Doctor;
use crate::check::{counted, load};
use crate::color;
use crate::failure::Failure;

/// How long processors are watched if nothing else is said.
const WATCHED: Duration = Duration::from_secs(1);

pub(crate) fn doctor(arguments: &Doctor) -> Result<(), Failure> {
    let config = match &arguments.config {
        Some(file) => Some(load(file).map_err(|error| Failure::Refused(vec![error]))?),
        None => None,
    };
    let mut examination = doctor::examine(&Root::host(), config.as_ref())?;
    let is_left_out = arguments.no_jitter || (examination.is_running && arguments.seconds.is_none());
    if !is_left_out {
        let time = arguments.seconds.unwrap_or(WATCHED);
        match doctor::measure(&examination.processors, time) {
            Ok(jitter) => examination.report.add_jitter(jitter),
            Err(error) => log::warn!("processors could not be watched: {error}"),
        }
    }
    let mut report = examination.report;
    let level = report.level();
    if arguments.quiet {
        report.findings.retain(|finding| finding.level > Level::Ok);
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        text(&report, &mut out)?;
        if is_left_out && !arguments.no_jitter {
            writeln!(
                out,
                "Processors were not watched: a netchannel runs on them; --seconds 1 does it all the same."
            )?;
        }
    }
    out.flush()?;
    match level {
        Level::Ok | Level::Advice => Ok(()),
        Level::Warning | Level::Problem => Err(Failure::Told),
    }
}

/// Each finding in a line, and below it why and what to do.
fn text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let width = |of: fn(&Finding) -> usize| report.findings.iter().map(of).max().unwrap_or(0);
    let checks = width(|finding| finding.check.len());
    let subjects = width(|finding| finding.subject.as_ref().map_or(0, String::len));
    for finding in &report.findings {
        let level = color::level(finding.level, &format!("{:<7}", finding.level));
        let subject = finding.subject.as_deref().unwrap_or_default();
        writeln!(
            out,
            "{level}  {:<checks$}  {subject:<subjects$}  {}",
            finding.check, finding.seen
        )?;
        let indent = " ".repeat(9);
        if let Some(why) = &finding.why {
            writeln!(out, "{indent}why: {why}")?;
        }
        for command in &finding.commands {
            writeln!(out, "{indent}run: {command}")?;
        }
        if let Some(advice) = &finding.advice {
            writeln!(out, "{indent}do:  {advice}")?;
        }
    }
    let number = |level| {
        report
            .findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (problems, warnings, advice) = (
        number(Level::Problem),
        number(Level::Warning),
        number(Level::Advice),
    );
    writeln!(
        out,
        "{}{}, {}, {}",
        if report.findings.is_empty() { "" } else { "\n" },
        counted(problems, "problem"),
        counted(warnings, "warning"),
        counted(advice, "piece") + " of advice"
    )
}
