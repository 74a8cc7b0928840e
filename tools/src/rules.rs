//! `netchannel rules`.

mod check;
mod diff;
mod files;
mod progress;
mod running;

use std::io::{BufWriter, Write};

use netchannel::measure;
use netchannel::workload::classbench;
use netchannel::workload::trace::{self, Header};

use crate::arguments::{Format, Input, Match, RuleFiles, Rules, RulesCommand};
use crate::failure::Failure;

pub(crate) fn rules(arguments: &Rules) -> Result<(), Failure> {
    match &arguments.command {
        RulesCommand::Match(arguments) => matching(arguments),
        RulesCommand::Running(command) => running::running(command),
        RulesCommand::Files(RuleFiles::Check(arguments)) => check::check(arguments),
        RulesCommand::Files(RuleFiles::Convert(arguments)) => check::convert(arguments),
        RulesCommand::Files(RuleFiles::Export(arguments)) => check::export(arguments),
        RulesCommand::Files(RuleFiles::Diff(arguments)) => diff::diff(arguments),
    }
}

/// Prints the winner of each header.
fn matching(arguments: &Match) -> Result<(), Failure> {
    let (rules, headers) = read(&arguments.input)?;
    let winners = measure::best_rules(arguments.structure, &rules, &headers)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for winner in winners {
        match winner {
            Some(line) => writeln!(out, "{line}")?,
            None => writeln!(out, "-")?,
        }
    }
    out.flush()?;
    Ok(())
}

/// Reads a rule set and a trace.
pub(crate) fn read(input: &Input) -> Result<(classbench::Rules, Vec<Header>), Failure> {
    let rules = match input.format {
        Format::Classbench => classbench::read(&input.rules),
    };
    let rules = rules.map_err(Failure::of_reading)?;
    let headers = trace::read(&input.trace).map_err(Failure::of_reading)?;
    Ok((rules, headers))
}
