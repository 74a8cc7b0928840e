//! Whether text is coloured.

use std::env;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::ValueEnum;

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

static CHOICE: OnceLock<Color> = OnceLock::new();

/// Keeps what the command line says.
pub(crate) fn choose(color: Color) {
    // There is one command line.
    let _ = CHOICE.set(color);
}

/// Whether standard output is coloured (<https://no-color.org>).
pub(crate) fn is_wanted() -> bool {
    match CHOICE.get().copied().unwrap_or_default() {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            !forbidden && io::stdout().is_terminal()
        }
    }
}
