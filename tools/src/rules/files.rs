//! Reading files of rules, and writing them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use netchannel::config::{ConfigError, Problem};
use netchannel::rules::{self, Format, Loaded, Options, RuleList, WriteError};

use super::progress::Progress;
use crate::failure::Failure;

/// Files of this many bytes are worth telling that they are being read.
const LARGE: u64 = 4 << 20;

/// Reads a file, and tells its warnings and what was left out.
pub(super) fn read(file: &Path, options: &Options) -> Result<RuleList, ConfigError> {
    read_with_channels(file, options).map(|(rules, _)| rules)
}

/// The same, and the text of the channels that the rules need.
pub(super) fn read_with_channels(file: &Path, options: &Options) -> Result<(RuleList, String), ConfigError> {
    let mut progress = Progress::new();
    if let Ok(metadata) = fs::metadata(file)
        && metadata.len() >= LARGE
    {
        progress.tell(format_args!(
            "reading {}, {} MB",
            file.display(),
            metadata.len() / 1_000_000
        ));
    }
    let loaded = rules::read(file, options);
    progress.end();
    let Loaded {
        rules,
        warnings,
        left_out,
        channels,
    } = loaded?;
    for warning in &warnings {
        log::warn!("{warning}");
    }
    tell_left_out(&left_out);
    Ok((rules, channels))
}

/// Tells what rules or a format could not say.
fn tell_left_out(left_out: &[Problem]) {
    for problem in left_out {
        log::warn!("left out: {problem}");
    }
}

/// Writes rules into a file, or to standard output for `-`. An existing file is replaced when all is written, or stays as it is.
pub(super) fn write(list: &RuleList, format: Format, lenient: bool, output: &Path) -> Result<(), Failure> {
    let mut progress = Progress::new();
    if list.len() >= 100_000 {
        progress.tell(format_args!("writing {} rules", list.len()));
    }
    let content = |out: &mut dyn Write| -> Result<(), Failure> {
        let left_out = rules::write(list, format, lenient, out).map_err(|error| match error {
            WriteError::Refused(error) => Failure::Refused(vec![error]),
            WriteError::NotWritten(_) => Failure::Usage(format!("--to: {error}")),
            WriteError::Output(error) => error.into(),
        })?;
        tell_left_out(&left_out);
        Ok(out.flush()?)
    };
    if output == Path::new("-") {
        return content(&mut BufWriter::new(io::stdout().lock()));
    }
    let failed = || format!("{}: can not be written", output.display());
    // What is no ordinary file, such as a pipe, can't be replaced.
    if fs::metadata(output).is_ok_and(|metadata| !metadata.is_file()) {
        return content(&mut BufWriter::new(File::create(output).with_context(failed)?));
    }
    let new = New::beside(output);
    let outcome = content(&mut BufWriter::new(File::create(&new.0).with_context(failed)?));
    outcome?;
    fs::rename(&new.0, output).with_context(failed)?;
    Ok(())
}

/// A file that is gone afterwards, unless it has got another name.
struct New(PathBuf);

impl New {
    fn beside(output: &Path) -> Self {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        Self(output.with_file_name(name))
    }
}

impl Drop for New {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
