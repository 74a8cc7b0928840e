//! `netchannel rules`.

mod check;
mod diff;
mod explain;
mod files;
mod lint;
mod matching;
mod progress;
mod running;

use std::path::Path;

use netchannel::workload::classbench;
use netchannel::workload::trace::{self, Header};

use crate::arguments::{Format, Input, RuleFiles, Rules, RulesCommand};
use crate::failure::Failure;

pub(crate) fn rules(arguments: &Rules) -> Result<(), Failure> {
    match &arguments.command {
        RulesCommand::Match(arguments) => matching::run(arguments),
        RulesCommand::Lint(arguments) => lint::run(arguments),
        RulesCommand::Explain(arguments) => explain::run(arguments),
        RulesCommand::Running(command) => running::running(command),
        RulesCommand::Files(RuleFiles::Check(arguments)) => check::check(arguments),
        RulesCommand::Files(RuleFiles::Convert(arguments)) => check::convert(arguments),
        RulesCommand::Files(RuleFiles::Export(arguments)) => check::export(arguments),
        RulesCommand::Files(RuleFiles::Diff(arguments)) => diff::diff(arguments),
    }
}

/// Reads a rule set and a trace.
pub(crate) fn read(input: &Input) -> Result<(classbench::Rules, Vec<Header>), Failure> {
    match input.format {
        Format::Classbench => read_classbench(&input.rules, &input.trace),
    }
}

fn read_classbench(rules: &Path, trace: &Path) -> Result<(classbench::Rules, Vec<Header>), Failure> {
    let rules = classbench::read(rules).map_err(Failure::of_reading)?;
    let headers = trace::read(trace).map_err(Failure::of_reading)?;
    Ok((rules, headers))
}
