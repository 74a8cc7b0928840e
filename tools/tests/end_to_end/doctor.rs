//! `netchannel doctor` on interfaces that are set wrong: it finds what is wrong, and what it says to run mends it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use netchannel::doctor::{Finding, Level, Report};
use netchannel_benches::namespace::{Namespace, scratch_directory};
use netchannel_benches::topology::{Lab, Options};
use tempfile::TempDir;

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, check_traffic, eventually, lab};

/// A configuration in a file, and the command on it in the box.
struct Doctor<'lab> {
    lab: &'lab Lab,
    config: PathBuf,
    _directory: TempDir,
}

impl<'lab> Doctor<'lab> {
    fn of(lab: &'lab Lab, configuration: &str) -> Self {
        let directory = scratch_directory().expect("a directory");
        let config = directory.path().join("netchannel.toml");
        let socket = directory.path().join("control.sock");
        let text = configuration.replace("{socket}", &socket.to_string_lossy());
        fs::write(&config, text).expect("a file");
        Self {
            lab,
            config,
            _directory: directory,
        }
    }

    fn run(&self, more: &[&str]) -> Output {
        let mut command = in_namespace(&self.lab.middle, env!("CARGO_BIN_EXE_netchannel"));
        command.arg("doctor").arg(&self.config).args(more);
        command.output().expect("it runs")
    }

    fn report(&self) -> Report {
        let output = self.run(&["-j", "--no-jitter"]);
        let report: Report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let expected = i32::from(report.level() >= Level::Warning);
        assert_eq!(output.status.code(), Some(expected), "{report:?}");
        report
    }

    /// The only finding of a check, about an interface if it is about one.
    fn finding(&self, check: &str, subject: Option<&str>) -> Finding {
        let report = self.report();
        let is_it = |finding: &&Finding| finding.check == check && finding.subject.as_deref() == subject;
        let found: Vec<&Finding> = report.findings.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{check} {subject:?}: {report:#?}");
        found[0].clone()
    }

    /// What is wrong is found, with a reason; the commands mend it.
    fn mends(&self, check: &str, subject: Option<&str>, level: Level) {
        let found = self.finding(check, subject);
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.why.is_some() && !found.commands.is_empty(), "{found:?}");
        for line in &found.commands {
            let mut command = in_namespace(&self.lab.middle, "sh");
            let output = command.args(["-c", line]).output().expect("a shell");
            assert!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let mended = self.finding(check, subject);
        assert_eq!(
            (mended.level, mended.commands.len()),
            (Level::Ok, 0),
            "{mended:?}"
        );
    }
}

/// A veth whose peer can't take redirected frames, both in the box: the commands for the peer can be run there too.
#[test]
fn what_keeps_flows_from_being_offloaded_is_mended() {
    let lab = lab(&Options::default());
    for line in [
        "link add near type veth peer name nearpeer",
        "link set near up",
        "link set nearpeer up",
    ] {
        lab.middle.ip(line).expect("a pair");
    }
    lab.middle
        .command("ethtool -K nearpeer gro off tx on")
        .expect("offloads");
    let doctor = Doctor::of(&lab, &standard().replace("\"wan\"", "\"near\""));
    doctor.mends("redirect-target", Some("near"), Level::Warning);
    doctor.mends("peer-checksums", Some("near"), Level::Advice);
    assert_eq!(doctor.finding("xdp-mode", Some("near")).level, Level::Ok);
    assert_eq!(doctor.finding("zero-copy", Some("near")).level, Level::Ok);
}

/// A program with a /sys that shows the namespace.
fn in_namespace(namespace: &Namespace, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name(), program]);
    command
}

fn standard() -> String {
    [TRANSLATOR, TRANSLATE_ALL].concat()
}

#[test]
fn what_keeps_it_from_starting_is_mended() {
    let lab = lab(&Options {
        mtu: 65_535,
        queues: 2,
        ..Options::default()
    });
    let workers = "[workers]\ncount = 2\n";
    let doctor = Doctor::of(&lab, &[workers, &standard()].concat());
    lab.middle.command("ethtool -L lan rx 1 tx 1").expect("one queue");
    lab.middle.ip("link set wan down").expect("down");
    doctor.mends("mtu", Some("lan"), Level::Problem);
    doctor.mends("mtu", Some("wan"), Level::Problem);
    doctor.mends("queues", Some("lan"), Level::Problem);
    doctor.mends("link", Some("wan"), Level::Warning);
    for interface in ["lan", "wan"] {
        doctor.mends("offloads", Some(interface), Level::Advice);
        for check in ["link", "mtu", "queues", "offloads", "xdp-program"] {
            let found = doctor.finding(check, Some(interface));
            assert_eq!(found.level, Level::Ok, "{found:?}");
        }
    }
}

#[test]
fn what_slows_it_down_is_mended() {
    let lab = lab(&Options::default());
    let workers = "[workers]\nwait = \"busy-poll\"\ncpus = 0\n";
    let doctor = Doctor::of(&lab, &[workers, &standard()].concat());
    let set = |attribute, value| lab.middle.set_device_attribute("lan", attribute, value);
    set("queues/rx-0/rps_cpus", "1").expect("RPS");
    doctor.mends("rps", Some("lan"), Level::Advice);
    doctor.mends("interrupt-deferral", Some("lan"), Level::Warning);
    doctor.mends("interrupt-deferral", Some("wan"), Level::Warning);
    // The same settings are wrong for a worker that sleeps.
    let sleeping = Doctor::of(&lab, &standard());
    sleeping.mends("interrupt-deferral", Some("lan"), Level::Advice);
    sleeping.mends("interrupt-deferral", Some("wan"), Level::Advice);
}

#[test]
fn what_the_kernel_does_besides_is_mended() {
    let lab = lab(&Options::default());
    let doctor = Doctor::of(&lab, &standard());
    lab.middle
        .set_parameter("ipv4/ip_forward", "1")
        .expect("a parameter");
    lab.middle
        .set_parameter("ipv4/conf/wan/rp_filter", "1")
        .expect("a parameter");
    for line in [
        "nft add table ip lab",
        "nft add chain ip lab out { type nat hook postrouting priority srcnat ; }",
        "nft add rule ip lab out oifname other masquerade",
    ] {
        lab.middle.command(line).expect("a rule");
    }
    assert_eq!(
        doctor.finding("kernel-nat", None).level,
        Level::Ok,
        "on another interface"
    );
    lab.middle
        .command("nft add rule ip lab out oifname wan ip saddr 10.77.0.0/24 masquerade")
        .expect("a rule");
    let found = doctor.finding("kernel-nat", None);
    assert_eq!(
        found.seen,
        "the kernel translates on wan: masquerade in ip lab out"
    );
    doctor.mends("kernel-nat", None, Level::Warning);
    doctor.mends("ip-forward", None, Level::Advice);
    doctor.mends("rp-filter", Some("wan"), Level::Advice);
    let rules = lab.middle.command("nft list ruleset").expect("rules");
    assert!(rules.contains("other") && !rules.contains("wan"), "{rules}");
}

#[test]
fn beside_a_netchannel_that_runs_nothing_is_disturbed() {
    let site = Site::new();
    let doctor = Doctor::of(&site.lab, &standard());
    for interface in ["lan", "wan"] {
        let found = doctor.finding("xdp-program", Some(interface));
        assert_eq!(
            (found.level, found.seen.as_str()),
            (Level::Ok, "netchannel's own XDP program is on it")
        );
    }
    let text = doctor.run(&[]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(
        text.contains("Processors were not watched: a netchannel runs"),
        "{text}"
    );
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn processors_are_watched_if_nobody_forbids_it() {
    let lab = lab(&Options::default());
    let doctor = Doctor::of(&lab, &["[workers]\ncpus = 0\n", &standard()].concat());
    let output = doctor.run(&["-j", "--seconds", "0.1"]);
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report.jitter.len(), 1);
    assert!(
        report.jitter[0].processor == 0 && report.jitter[0].seconds >= 0.1,
        "{report:?}"
    );
    let said = report.findings.iter().filter(|finding| finding.check == "jitter");
    assert_eq!(said.count(), 1);
    assert_eq!(doctor.report().jitter, []);

    let text = doctor.run(&["--no-jitter", "--quiet", "--color", "never"]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(!text.lines().any(|line| line.starts_with("ok ")), "{text}");
    assert!(
        text.lines()
            .last()
            .is_some_and(|line| line.contains("problems, ")),
        "{text}"
    );
}

#[test]
fn wrong_use_is_told() {
    let lab = lab(&Options::default());
    let absent = Doctor::of(&lab, &standard().replace("\"wan\"", "\"nowhere0\""));
    let found = absent.finding("link", Some("nowhere0"));
    assert_eq!(found.level, Level::Problem, "{found:?}");
    let broken = Doctor::of(&lab, "[[interface]]\nnmae = \"x\"\n");
    for (doctor, more, code, said) in [
        (&broken, &["--no-jitter"][..], 3, "did you mean"),
        (&absent, &["--seconds", "0"], 2, "from 0.1 to 3600"),
        (
            &absent,
            &["--seconds", "1", "--no-jitter"],
            2,
            "cannot be used with",
        ),
        (&absent, &["another.toml"], 2, "unexpected argument"),
    ] {
        let output = doctor.run(more);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {error}");
        assert!(error.contains(said), "{more:?}: {error}");
    }
    // Without a configuration: kernel and processors alone.
    let mut command = in_namespace(&lab.middle, env!("CARGO_BIN_EXE_netchannel"));
    let output = command
        .args(["doctor", "--no-jitter", "-j"])
        .output()
        .expect("it runs");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(report.findings.iter().any(|finding| finding.check == "kernel"));
    assert!(
        report.findings.iter().all(|finding| finding.subject.is_none()),
        "{report:?}"
    );
    eventually("nothing is left behind", || {
        !crate::site::has_program(&lab, "lan")
    });
}
