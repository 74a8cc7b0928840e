//! `netchannel bench generate`.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use netchannel::workload::generate::{self, TraceOptions};
use netchannel::workload::{WriteError, classbench, trace, write_file};

use crate::arguments::Generate;
use crate::failure::Failure;

/// Makes a rule set and, if it is asked for, a trace.
pub(crate) fn generate(arguments: &Generate) -> Result<(), Failure> {
    if arguments.trace.as_ref() == Some(&arguments.output) {
        return Err(Failure::Usage(format!(
            "rules and trace would both go to {}; expected two files",
            arguments.output.display()
        )));
    }
    let properties = arguments.shape.properties(arguments.style, arguments.rules);
    let rules = generate::rules(arguments.style, arguments.rules, arguments.seed, &properties)?;
    // First the trace, so that no rules are written that none can be made for.
    if let Some(file) = &arguments.trace {
        log::info!("looking for the winners of {} headers", arguments.headers);
        let options = TraceOptions {
            headers: arguments.headers,
            distribution: arguments.distribution,
            seed: arguments.seed,
        };
        let headers = generate::trace(&rules, &options)?;
        write(file, |out| trace::write(&headers, out))?;
    }
    write(&arguments.output, |out| classbench::write(&rules, out))
}

/// Writes a file, or to standard output if it is named `-`.
fn write(file: &Path, content: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>) -> Result<(), Failure> {
    if file != Path::new("-") {
        return Ok(write_file(file, content)?);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match content(&mut out) {
        Ok(()) => Ok(out.flush()?),
        // As the system said it: a reader that is gone is no failure.
        Err(WriteError::Output(error)) => Err(error.into()),
        Err(other) => Err(other.into()),
    }
}
