//! Arguments of the live view.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use netchannel::control::DEFAULT_SOCKET;

use super::monitor::interval;

pub(super) const EXAMPLES: &str = "\
Panes: 1 overview, 2 ports, 3 flows that move most, 4 subscribers (inside hosts of translators), 5 channels, 6 drops by reason.
Keys: q quits, a number or Tab opens a pane, s and the arrows left and right choose the column to sort by, r reverses the order, \
p pauses, ? helps. If the netchannel is stopped, it waits for the next one. Without colours if NO_COLOR is set.

Examples:
  sudo netchannel top
  sudo netchannel top --interval 5 --socket /run/netchannel/second.sock";

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Seconds between two looks, 0.1 to 86400.
    #[arg(long, short = 'n', value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,

    /// The control socket of the netchannel to look at.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}
