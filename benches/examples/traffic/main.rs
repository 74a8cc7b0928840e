//! The traffic benchmark: packets, TCP streams, round trips and new flows through this NAT and through its peers, in
//! network namespaces made for it, in one run and in turn.
//!
//! ```text
//! make bench-traffic ARGS=--help
//! ```

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use netchannel_benches::conntrack::ConntrackRoom;
use netchannel_benches::namespace::sweep;
use netchannel_benches::screen::Screen;
use netchannel_benches::{Error, stop};

mod columns;
mod expected;
mod figures;
mod measure;
mod plan;
mod report;

use figures::Run;
use plan::{Arguments, Plan};

/// Connections that the kernel has room for.
const MOST_SESSIONS: u32 = 4_194_304;

fn main() -> ExitCode {
    match benchmark(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Interrupted)) => {
            eprintln!("interrupted; everything that was made is removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("traffic: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn benchmark(arguments: &Arguments) -> Result<()> {
    if let Some(directory) = arguments.output.as_ref().filter(|directory| !directory.is_dir()) {
        bail!("--output: there is no directory {}", directory.display());
    }
    let run = match &arguments.figures {
        Some(file) => Run::read(file)?,
        None => measure_all(arguments)?,
    };
    print!("{}", report::terminal(&run));
    if let Some(directory) = &arguments.output {
        report::write(&run, directory)?;
    }
    Ok(())
}

/// Goes through all subjects with each kind of measurement, again and again. The figures are written after every round,
/// so that a run that is ended early leaves some.
fn measure_all(arguments: &Arguments) -> Result<Run> {
    let plan = Plan::new(arguments)?;
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces and AF_XDP need root: run it with sudo");
    }
    stop::on_signals()?;
    sweep()?;
    let _room = ConntrackRoom::new(MOST_SESSIONS)?;
    let screen = Screen::new();
    let mut run = Run::new(&plan);
    run.write(&arguments.json)?;
    for round in 1..=plan.rounds {
        for &group in &plan.columns {
            for (subject, figures) in plan.subjects.iter().zip(&mut run.subjects) {
                if figures.unavailable.is_none() {
                    screen.change(&format!(
                        "  round {round} of {}: {group}: {}",
                        plan.rounds, figures.name
                    ));
                    measure::group(&plan, group, &subject.subject, figures)?;
                }
            }
        }
        run.write(&arguments.json)?;
    }
    screen.change("");
    eprintln!("traffic: the figures are in {}", arguments.json.display());
    Ok(run)
}
