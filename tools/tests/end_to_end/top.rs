//! `netchannel top` on a terminal: keys in, screen out. The terminal is tmux's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::scratch_directory;
use netchannel_benches::topology::{Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, eventually, exchange_udp, lab, launch};

/// A terminal of 80 columns and 24 rows with a shell that runs one command and says how it ended. Gone when dropped.
struct Terminal {
    /// Where tmux has its socket.
    directory: TempDir,
}

impl Terminal {
    fn run(command: &str) -> Self {
        let terminal = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        let shell = format!("{command}; echo ended with $?; exec sleep 1000");
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            &shell,
        ]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(self.directory.path().join("tmux"))
            .args(arguments)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("tmux; tools/install-dependencies installs it");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is like that, and gives it.
    fn wait_for(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let mut looks = 0;
        eventually(what, || {
            screen = self.screen();
            looks += 1;
            if looks == 1000 {
                eprintln!("waiting for {what}, with this on the screen:\n{screen}");
            }
            is_it(&screen)
        });
        screen
    }

    /// That the command ended, and left the terminal as it was.
    fn check_end(&self, code: i32) {
        let end = format!("ended with {code}\n");
        let screen = self.wait_for("the end", |screen| screen.contains("ended with"));
        assert!(
            screen.starts_with(&end),
            "nothing of it is left on the screen:\n{screen}"
        );
        let state = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(state.trim(), "0 1", "the ordinary screen, with a cursor");
        // Raw mode is over, too: what is typed is shown.
        self.tmux(&["send-keys", "-l", "typed"]);
        self.wait_for("an echo", |screen| screen.contains("typed"));
    }

    /// The process that the shell runs.
    fn child(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).expect("a process");
        Pid::from_raw(children.trim().parse().expect("one child"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.directory.path().join("tmux"))
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}

fn top(socket: &Path) -> String {
    let binary = env!("CARGO_BIN_EXE_netchannel");
    format!("{binary} top --interval 0.2 --socket {}", socket.display())
}

/// The first words of the lines behind the header that starts with this one.
fn rows<'s>(screen: &'s str, header: &str) -> Vec<Vec<&'s str>> {
    let lines = screen
        .lines()
        .skip_while(|line| !line.starts_with(header))
        .skip(1);
    let lines = lines.take_while(|line| !line.is_empty() && !line.starts_with("q quit"));
    lines.map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn panes_sorting_help_and_quitting() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                exchange_udp(&site.lab, echo.address(), 4, 5_000);
            }
        });
        let stop = StopWhenDropped(&is_over);
        let terminal = Terminal::run(&top(&site.daemon.socket()));
        let overview = terminal.wait_for("rates", |screen| {
            let rows = rows(screen, "INTERFACE*");
            rows.first()
                .is_some_and(|lan| lan[0] == "lan" && lan[1] == "up" && lan[2] != "0" && lan[2] != "-")
        });
        for part in [
            "worker packets",
            "flow table ipv4",
            "internet mappings",
            "1 Overview",
            "PACKETS/S, RX AND TX",
        ] {
            assert!(overview.contains(part), "{part}\n{overview}");
        }
        let lines: Vec<&str> = overview.lines().collect();
        assert_eq!(lines.len(), 24, "{overview}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{overview}");
        assert!(lines[23].starts_with("q quit"), "{overview}");

        terminal.press("3");
        let is_fast = |row: &Vec<&str>| matches!(row.last(), Some(&"k" | &"M"));
        let flows = terminal.wait_for("flows with rates", |screen| {
            rows(screen, "PROTO").iter().filter(|row| is_fast(row)).count() >= 2
        });
        assert!(
            flows.contains("10.77.0.2:") && flows.contains("198.51.100.2:53"),
            "{flows}"
        );
        assert!(flows.contains("BIT/S*"), "{flows}");
        terminal.press("s");
        terminal.wait_for("another column", |screen| screen.contains("PROTO*"));
        terminal.press("Right");
        terminal.wait_for("the next column", |screen| screen.contains("SOURCE*"));
        let in_order = |screen: &str, is_reversed: bool| {
            let mut sources: Vec<String> = rows(screen, "PROTO")
                .iter()
                .map(|row| row[1].to_owned())
                .collect();
            let found = sources.clone();
            sources.sort();
            if is_reversed {
                sources.reverse();
            }
            sources.len() >= 2 && sources == found
        };
        terminal.wait_for("sources in order", |screen| in_order(screen, false));
        terminal.press("r");
        terminal.wait_for("the reverse", |screen| {
            screen.contains("SOURCE^") && in_order(screen, true)
        });
        terminal.press("Left");
        terminal.wait_for("the column before", |screen| screen.contains("PROTO"));

        terminal.press("4");
        terminal.wait_for("the inside host", |screen| {
            rows(screen, "INSIDE HOST")
                .first()
                .is_some_and(|row| row[0] == "10.77.0.2" && row[2] != "0")
        });
        terminal.press("6");
        terminal.wait_for("drops", |screen| {
            screen.contains("no drops") || screen.contains("REASON")
        });
        terminal.press("5");
        terminal.wait_for("channels", |screen| screen.contains("NEW FLOWS/S"));

        terminal.press("?");
        terminal.wait_for("help", |screen| {
            screen.contains("Help") && screen.contains("reverse the order")
        });
        terminal.press("x");
        terminal.wait_for("no help", |screen| !screen.contains("reverse the order"));
        terminal.press("p");
        terminal.wait_for("a pause", |screen| screen.contains("PAUSED"));
        terminal.press("p");

        terminal.tmux(&["resize-window", "-x", "120", "-y", "40"]);
        terminal.press("1");
        terminal.wait_for("a larger screen", |screen| {
            let lines: Vec<&str> = screen.lines().collect();
            lines.len() == 40 && lines[39].starts_with("q quit") && screen.contains("worker packets")
        });
        terminal.press("q");
        terminal.check_end(0);
        drop(stop);
    });
    site.finish();
}

/// Lets the traffic end when a check fails, too.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn signals_and_control_c_leave_a_clean_terminal() {
    let site = Site::new();
    let started = || {
        let terminal = Terminal::run(&top(&site.daemon.socket()));
        terminal.wait_for("the view", |screen| screen.contains("worker packets"));
        terminal
    };
    for key in ["C-c", "Escape"] {
        let terminal = started();
        terminal.press(key);
        terminal.check_end(0);
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let terminal = started();
        kill(terminal.child(), signal).expect("it runs");
        terminal.check_end(0);
    }
    site.finish();
}

/// The window is closed, or the connection to it lost: nobody is left to quit.
#[test]
fn it_ends_with_its_terminal() {
    let site = Site::new();
    let terminal = Terminal::run(&top(&site.daemon.socket()));
    terminal.wait_for("the view", |screen| screen.contains("worker packets"));
    let process = format!("/proc/{}/status", terminal.child());
    drop(terminal);
    let is_over = || {
        let status = fs::read_to_string(&process).unwrap_or_default();
        // One that nobody waits for stays as a zombie.
        status.is_empty() || status.lines().any(|line| line.starts_with("State:\tZ"))
    };
    eventually("its end", is_over);
    site.finish();
}

#[test]
fn a_daemon_that_restarts_is_waited_for() {
    let lab = lab(&Options::default());
    let scratch = scratch_directory().expect("a directory");
    let launch = Launch {
        directory: Some(scratch.path().to_owned()),
        ..launch(&[TRANSLATOR, TRANSLATE_ALL].concat())
    };
    let terminal = Terminal::run(&top(&scratch.path().join("control.sock")));
    terminal.wait_for("that it waits", |screen| {
        screen.contains("Waiting for the netchannel at") && screen.contains("no netchannel")
    });
    for _ in 0..2 {
        let daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
        terminal.wait_for("the view", |screen| screen.contains("worker packets"));
        daemon.stop().expect("it ends");
        terminal.wait_for("that it waits again", |screen| {
            screen.contains("Waiting for the netchannel at")
        });
    }
    terminal.press("q");
    terminal.check_end(0);
}

#[test]
fn without_a_terminal_it_says_what_to_do_and_without_colours_it_works() {
    let site = Site::new();
    let output = site
        .command("top")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(
        error.contains("top needs a terminal") && error.contains("--watch"),
        "{error}"
    );

    for (variable, has_colours) in [("NO_COLOR=1", false), ("NO_COLOR=", true)] {
        let terminal = Terminal::run(&format!("{variable} {}", top(&site.daemon.socket())));
        terminal.wait_for("the view", |screen| screen.contains("worker packets"));
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
        let is_colour = |code: &str| matches!(code.parse::<u8>(), Ok(30..=37 | 90..=97 | 38));
        let sequences = screen
            .split("\x1b[")
            .skip(1)
            .filter_map(|rest| rest.split_once('m'));
        let found = sequences
            .into_iter()
            .any(|(codes, _)| codes.split(';').any(is_colour));
        assert_eq!(found, has_colours, "{variable}: {screen:?}");
        terminal.press("q");
        terminal.check_end(0);
    }
    site.finish();
}
