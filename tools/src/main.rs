//! The `netchannel` command: arguments in, library calls, text or JSON out.

mod arguments;
mod bench;
mod capture;
mod check;
mod color;
mod doctor;
mod failure;
mod logging;
mod monitor;
mod nat;
mod pages;
mod replay;
mod rules;
mod run;
mod show;
mod signals;
mod table;
mod top;
mod trace;
mod units;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    logging::start(arguments.log);
    color::choose(arguments.color);
    let result = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Check(check) => check::check(&check),
        Command::Show(show) => show::show(&show),
        Command::Top(top) => top::top(&top),
        Command::Monitor(monitor) => monitor::monitor(&monitor),
        Command::Trace(trace) => trace::trace(&trace),
        Command::Capture(capture) => capture::capture(&capture),
        Command::Nat(nat) => nat::nat(&nat),
        Command::Replay(replay) => replay::replay(&replay),
        Command::Rules(rules) => rules::rules(&rules),
        Command::Bench(bench) => bench::bench(&bench),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Config(config) => check::config(&config),
        Command::Man(man) => pages::man(&man),
        Command::Completions(completions) => pages::completions(&completions),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the output has seen enough, as `head` does.
        Err(Failure::General(error)) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
