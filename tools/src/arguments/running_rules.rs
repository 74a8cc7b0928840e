//! The command line of what is done with the rules in force.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use netchannel::control::DEFAULT_SOCKET;
use netchannel::rules::Format;

use super::import::ImportArguments;

const LOAD_EXAMPLES: &str = "\
All rules of the file take the place of all rules in force at one instant, or nothing changes: a packet meets the rules \
of before or those of after, and every flow is decided anew. Rules that stay keep their numbers and counters. What is \
wrong is told with file, line and column, and exits with 3. The rules are in force until the daemon ends or reads its \
configuration again.

Examples:
  sudo netchannel rules load site.rules
  sudo netchannel rules load site.rules --confirm-within 60     comes undone unless `netchannel rules confirm` follows
  sudo netchannel rules load -j site.rules | jq .added";

const ADD_EXAMPLES: &str = "\
A rule is written as in a file (docs/rules.md), in one argument. It is tried behind those of its priority. It may name \
sets that are in force. Several rules are added at one instant, or none.

Examples:
  sudo netchannel rules add 'priority 10 tcp from any to 192.0.2.0/24 port 25 drop'
  sudo netchannel rules add --confirm-within 60 'from @guests use internet'";

const DEL_EXAMPLES: &str = "\
Numbers are those of `netchannel rules list`. The rules that were deleted are printed; `netchannel rules undo` brings \
them back.

Examples:
  sudo netchannel rules del 17
  sudo netchannel rules del 4 5 6";

const REPLACE_EXAMPLES: &str = "\
The rule gets another number, and its place among those of its priority.

Examples:
  sudo netchannel rules replace 17 'priority 10 tcp from any to 192.0.2.0/24 port {25, 465} drop'";

const LIST_EXAMPLES: &str = "\
Rules in the order in which they are tried: by priority, then as they were written or added.

Examples:
  sudo netchannel rules list
  sudo netchannel rules list -j | jq -r '.rules[] | select(.channel == \"drop\") | .number'";

const CONFIRM_EXAMPLES: &str = "\
Examples:
  sudo netchannel rules load site.rules --confirm-within 60 && ping -c 3 192.0.2.1 && sudo netchannel rules confirm";

const STATUS_EXAMPLES: &str = "\
Examples:
  sudo netchannel rules status
  sudo netchannel rules status -j";

const UNDO_EXAMPLES: &str = "\
Takes back the last change: a load, rules that were added, deleted or replaced, or a configuration that was read again. \
Called again, it takes back the one before; 16 changes are remembered.

Examples:
  sudo netchannel rules undo";

/// What is done with the rules in force.
#[derive(Debug, Subcommand)]
pub(crate) enum RunningRules {
    /// Put the rules of a file in the place of those in force.
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Load),
    /// Add rules to those in force.
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Delete rules by their numbers.
    #[command(after_help = DEL_EXAMPLES)]
    Del(Del),
    /// Put a rule in the place of another one.
    #[command(after_help = REPLACE_EXAMPLES)]
    Replace(Replace),
    /// List the rules in force, with their numbers.
    #[command(after_help = LIST_EXAMPLES)]
    List(Running),
    /// Keep rules that wait for confirmation.
    #[command(after_help = CONFIRM_EXAMPLES)]
    Confirm(Running),
    /// Go back to the rules before the last change.
    #[command(after_help = UNDO_EXAMPLES)]
    Undo(Running),
    /// Say how many rules are in force, since when, and from where.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Running),
}

/// Whom to ask, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct Running {
    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// The control socket of the netchannel to ask.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// What may come undone.
#[derive(Debug, Args)]
pub(crate) struct Changing {
    /// Go back to the former rules after this many seconds, unless `netchannel rules confirm` comes first.
    #[arg(long, alias = "timeout", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) confirm_within: Option<u64>,

    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The rules; - is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The format of the file [default: what it looks like]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// The channel of the rules, where their format has no channels.
    #[arg(long, value_name = "NAME", default_value = "drop")]
    pub(crate) channel: String,

    /// Leave out what rules can't say, and list it.
    #[arg(long)]
    pub(crate) lenient: bool,

    #[command(flatten)]
    pub(crate) import: ImportArguments,

    #[command(flatten)]
    pub(crate) changing: Changing,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The rules, each in one argument.
    #[arg(value_name = "RULE", required = true)]
    pub(crate) rules: Vec<String>,

    #[command(flatten)]
    pub(crate) changing: Changing,
}

#[derive(Debug, Args)]
pub(crate) struct Del {
    /// The rules' numbers.
    #[arg(value_name = "NUMBER", required = true)]
    pub(crate) numbers: Vec<u32>,

    #[command(flatten)]
    pub(crate) changing: Changing,
}

#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// The number of the rule that goes.
    #[arg(value_name = "NUMBER")]
    pub(crate) number: u32,

    /// The rule that comes.
    #[arg(value_name = "RULE")]
    pub(crate) rule: String,

    #[command(flatten)]
    pub(crate) changing: Changing,
}
