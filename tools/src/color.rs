//! Whether text is coloured.

use std::env;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::ValueEnum;
use netchannel::doctor::Level;

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

/// Text in the colour of a level: green, cyan, yellow, red.
pub(crate) fn level(level: Level, text: &str) -> String {
    let code = match level {
        Level::Ok => 32,
        Level::Advice => 36,
        Level::Warning => 33,
        Level::Problem => 31,
    };
    match is_wanted() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
