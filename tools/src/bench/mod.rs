//! `netchannel bench`.

mod classify;
mod generate;

use crate::arguments::{Bench, BenchCommand};
use crate::failure::Failure;

pub(crate) fn bench(arguments: &Bench) -> Result<(), Failure> {
    match &arguments.command {
        BenchCommand::Classify(arguments) => classify::classify(arguments),
        BenchCommand::Generate(arguments) => generate::generate(arguments),
    }
}
