//! The library's entry points for `run` and `replay`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use netchannel::config::Config;

/// One capture to replay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReplayInput {
    /// The interface it was captured on; `None`: the capture tells.
    pub(crate) interface: Option<String>,
    /// The file.
    pub(crate) path: PathBuf,
}

/// Forwards packets until `on_stop`'s function is called; calls `ready` when it does.
pub(crate) fn run(
    _config: Config,
    _on_stop: impl FnOnce(Box<dyn Fn() + Send>) -> std::io::Result<()>,
    _ready: impl FnOnce(),
) -> anyhow::Result<()> {
    bail!("packets can not be forwarded by this build yet")
}

/// Sends the packets of captures through a configuration; gives the summary to print.
pub(crate) fn replay(_config: &Config, _inputs: &[ReplayInput], _output: &Path) -> anyhow::Result<String> {
    bail!("captures can not be replayed by this build yet")
}
