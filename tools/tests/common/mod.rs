//! Running the command.

use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netchannel"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    command
}

pub(crate) fn netchannel(arguments: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command(arguments).output().unwrap();
    Ran {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
