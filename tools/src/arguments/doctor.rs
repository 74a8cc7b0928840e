//! `netchannel doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Looks at kernel, processors and the configuration's interfaces, changes nothing, and says for each thing: ok; advice, could be \
faster; warning, slower or less reliable than it seems; problem, does not work. Below each: why it matters, and the commands that \
mend it until the next start of the machine. Without a configuration it looks at kernel and processors alone. For a second it \
watches the processors that workers run on (or may): what else had them, and for how long. That takes these processors whole, so \
it is left out while a netchannel runs there, unless --seconds is given.

Exit codes: 0 if there are no warnings and no problems, 1 if there are any.

Examples:
  sudo netchannel doctor /etc/netchannel.toml
  sudo netchannel doctor /etc/netchannel.toml --quiet
  sudo netchannel doctor --seconds 10
  sudo netchannel doctor netchannel.toml --no-jitter -j | jq -r '.findings[].commands[]?'";

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The configuration that is to run: a file, or a directory whose files *.toml are one configuration.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Only what can be changed.
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Watch processors for so long, 0.1 to 3600. Default: 1.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,

    /// Do not watch processors.
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) no_jitter: bool,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number of seconds from 0.1 to 3600".to_owned())
}
