//! Arguments of what runs until it is stopped.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use netchannel::control::DEFAULT_SOCKET;
use netchannel::events::Kind;

pub(super) const EXAMPLES: &str = "\
Kinds of events:
  flows        flows that open, or that the flow table forgets
  mappings     mappings and blocks of ports of translators that come and go
  limits       limits of translators that are reached
  rules        rules that are loaded
  links        interfaces that come, go, change, and their addresses
  routes       routes that come and go
  neighbours   what becomes known of neighbours
  daemon       that the daemon stops
Without any, all are told. A line is a time (UTC), what happened, and to what; with -j a JSON object. If more happens than can be \
told, it says how much is missing. Ends with success when the daemon stops, or by Ctrl-C.

Examples:
  sudo netchannel monitor
  sudo netchannel monitor links routes neighbours
  sudo netchannel monitor mappings -j | jq 'select(.inside | startswith(\"10.0.0.2:\"))'";

#[derive(Debug, Args)]
pub(crate) struct Monitor {
    /// Kinds of events to tell; without any, all.
    #[arg(value_name = "KINDS", hide_possible_values = true)]
    pub(crate) kinds: Vec<Kind>,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// The control socket of the netchannel to watch.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// A number of seconds between two looks.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number of seconds from 0.1 to 86400".to_owned())
}
