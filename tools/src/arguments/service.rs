//! Arguments of what installing takes, and of looking at configurations.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  netchannel man | man -l -                        this command's page
  netchannel man --output /usr/local/share/man/man1    one for each command";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  netchannel completions bash > /usr/share/bash-completion/completions/netchannel
  netchannel completions zsh > /usr/share/zsh/site-functions/_netchannel
  netchannel completions fish > /usr/share/fish/vendor_completions.d/netchannel.fish
  source <(netchannel completions bash)            for this shell only";

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for each command into this directory, in place of this command's page to standard output.
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) const CONFIG_EXAMPLES: &str = "\
Examples:
  netchannel config check /etc/netchannel          as `netchannel check`
  netchannel config schema > netchannel.schema.json";

const SCHEMA_EXAMPLES: &str = "\
JSON Schema, draft 2020-12, of a configuration: its tables and keys with descriptions, defaults and limits, for editors \
and programs that write configurations. What depends on several keys is told by `check` only.

Examples:
  netchannel config schema > netchannel.schema.json
  netchannel config schema | jq '.\"$defs\".memory.properties.frames'";

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with configurations, or that nothing is.
    #[command(after_help = super::CHECK_EXAMPLES)]
    Check(super::Check),
    /// Print a JSON schema of configurations.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
}
