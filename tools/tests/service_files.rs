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

/// Pages of all commands, in a directory.
fn pages() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_netchannel"))
        .args(["man", "--output"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    directory
}

#[test]
fn manual_pages_are_there_for_all_commands_and_have_no_faults() {
    let directory = pages();
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|page| page.unwrap().file_name())
        .collect();
    names.sort_unstable();
    for page in [
        "netchannel.1",
        "netchannel-run.1",
        "netchannel-show-ports.1",
        "netchannel-config-schema.1",
    ] {
        assert!(names.iter().any(|name| name == page), "{page}: {names:?}");
    }
    for name in names {
        let page = directory.path().join(name);
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww"])
            .arg(&page)
            .output()
            .expect("groff");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{page:?}: {output:?}"
        );
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.contains(".SH EXAMPLES") || text.contains(".SH COMMANDS"),
            "{page:?} has no examples"
        );
    }
    let first = Command::new(env!("CARGO_BIN_EXE_netchannel"))
        .arg("man")
        .output()
        .unwrap();
    assert_eq!(
        first.stdout,
        fs::read(directory.path().join("netchannel.1")).unwrap()
    );
}

#[test]
fn completions_work_in_bash() {
    let binary = env!("CARGO_BIN_EXE_netchannel");
    // What bash does when the tab key is pressed.
    let complete = |words: &str| {
        let count = words.split(' ').count() - 1;
        let script = format!(
            "source <({binary} completions bash)\nCOMP_WORDS=({words} '')\nCOMP_CWORD={}\n\
             _netchannel netchannel '' \"${{COMP_WORDS[{count}]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            count + 1
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .output()
            .expect("bash");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = complete("netchannel");
    assert!(
        ["run", "show", "completions"]
            .iter()
            .all(|word| commands.lines().any(|line| line == *word)),
        "{commands}"
    );
    let shown = complete("netchannel show");
    assert!(shown.lines().any(|line| line == "mappings"), "{shown}");
    for shell in ["zsh", "fish"] {
        let output = Command::new(binary)
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn install_puts_everything_where_it_belongs() {
    let root = tempfile::tempdir().unwrap();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("make")
        .arg("--directory")
        .arg(&tree)
        .args(["install", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", root.path().display()))
        .arg(format!("BINARY={}", env!("CARGO_BIN_EXE_netchannel")))
        .output()
        .expect("make");
    assert!(output.status.success(), "{output:?}");
    for file in [
        "usr/sbin/netchannel",
        "usr/lib/systemd/system/netchannel.service",
        "usr/share/man/man1/netchannel.1",
        "usr/share/man/man1/netchannel-rules-load.1",
        "usr/share/bash-completion/completions/netchannel",
        "usr/share/zsh/site-functions/_netchannel",
        "usr/share/fish/vendor_completions.d/netchannel.fish",
        "usr/share/doc/netchannel/netchannel.toml",
        "etc/netchannel",
    ] {
        assert!(root.path().join(file).exists(), "{file}");
    }
    let unit = fs::read_to_string(root.path().join("usr/lib/systemd/system/netchannel.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/sbin/netchannel run --config /etc/netchannel\n"));
}
