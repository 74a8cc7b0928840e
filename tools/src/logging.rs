//! The log: lines on standard error, each with its level.

use std::io::Write;

use log::{Level, LevelFilter};

/// Starts logging at this level. No times: who keeps logs (journald, a pipe to `ts`) adds them.
pub(crate) fn start(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // Of the libraries below only what is amiss: the loader of the XDP program tells each of its steps.
    builder.filter_level(level.min(LevelFilter::Warn));
    builder.filter_module("netchannel", level);
    builder.format(|out, record| {
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        writeln!(out, "netchannel: {level}: {}", record.args())
    });
    builder.init();
}
