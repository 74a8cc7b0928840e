//! The systemd unit, looked at by systemd's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const UNIT: &str = include_str!("../../docs/systemd/netchannel.service");

/// A copy of the unit whose program exists.
fn unit() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netchannel.service");
    let installed = "/usr/local/sbin/netchannel";
    assert!(UNIT.contains(installed));
    fs::write(&path, UNIT.replace(installed, env!("CARGO_BIN_EXE_netchannel"))).unwrap();
    (directory, path)
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(unit);
    command.output().expect("systemd-analyze, of systemd")
}

#[test]
fn systemd_understands_the_unit() {
    let (_directory, unit) = unit();
    let output = analyze(&["verify", "--man=no"], &unit);
    let said = String::from_utf8(output.stderr).unwrap();
    // Before systemd 253 there is no such type, and the line before it counts.
    let amiss: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("netchannel.service"))
        .filter(|line| !line.ends_with("Failed to parse service type, ignoring: notify-reload"))
        .collect();
    assert_eq!(amiss, [""; 0]);
    assert!(UNIT.contains("\nType=notify-reload\n"));
}

#[test]
fn the_unit_exposes_little() {
    let (_directory, unit) = unit();
    let output = analyze(&["security", "--offline=true", "--threshold=30"], &unit);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
}

/// The capabilities that the unit gives are those that the daemon keeps when it becomes another user.
#[test]
fn the_unit_gives_what_the_daemon_needs() {
    let names = |key: &str| -> Vec<String> {
        let line = UNIT.lines().find_map(|line| line.strip_prefix(key)).expect(key);
        let mut names: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    let mut needed = netchannel::service::NEEDED
        .map(|capability| capability.to_string())
        .to_vec();
    needed.sort_unstable();
    assert_eq!(names("AmbientCapabilities="), needed);
    assert_eq!(names("CapabilityBoundingSet="), needed);
}
