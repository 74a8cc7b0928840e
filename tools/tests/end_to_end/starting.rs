//! Starts that must fail, and what is said then.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::scratch_directory;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::topology::{Lab, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::ping::{Ping, ping};

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, check_traffic, has_program, lab, launch};

/// Starts a daemon that must end by itself with this exit code, and gives what it wrote.
fn refused(lab: &Lab, launch: &Launch, code: i32) -> String {
    let mut daemon = Daemon::spawn(&lab.middle, launch).expect("a program");
    let status = daemon.process().wait(PATIENCE).expect("it ends");
    let log = daemon.log();
    assert_eq!(status.code(), Some(code), "{log}");
    assert!(
        !log.contains("panicked") && !log.lines().any(|line| line == "ready"),
        "{log}"
    );
    log
}

/// The line that says why.
fn reason(log: &str) -> &str {
    let last = log.lines().last().unwrap_or_default();
    last.strip_prefix("netchannel: ")
        .unwrap_or_else(|| panic!("no reason in the end: {log}"))
}

#[test]
fn a_second_one_on_the_same_interfaces_is_refused_and_the_first_goes_on() {
    let site = Site::new();
    let second = launch(&[TRANSLATOR, TRANSLATE_ALL].concat());
    let log = refused(&site.lab, &second, 1);
    let reason = reason(&log);
    assert!(reason.starts_with("lan has an XDP program already"), "{reason}");
    assert!(reason.contains("another netchannel"), "{reason}");
    assert!(has_program(&site.lab, "lan") && has_program(&site.lab, "wan"));
    check_traffic(&site.lab);

    // One interface in common is enough.
    let outside_only = "[control]\nsocket = \"{socket}\"\n[[interface]]\nname = \"wan\"\nrole = \"inside\"\n";
    let log = refused(&site.lab, &launch(outside_only), 1);
    assert!(log.contains("wan has an XDP program already"), "{log}");
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn a_second_one_on_the_same_control_socket_is_refused_and_the_first_goes_on() {
    let site = Site::new();
    let other = lab(&Options::default());
    let socket = site.daemon.socket().display().to_string();
    let configuration = [TRANSLATOR, TRANSLATE_ALL].concat().replace("{socket}", &socket);
    let log = refused(&other, &launch(&configuration), 1);
    assert!(reason(&log).contains(&socket), "{log}");
    assert!(!has_program(&other, "lan") && !has_program(&other, "wan"));
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let lab = lab(&Options::default());
    let configuration = [TRANSLATOR, TRANSLATE_ALL]
        .concat()
        .replace("\"wan\"", "\"wan7\"");
    let log = refused(&lab, &launch(&configuration), 1);
    let reason = reason(&log);
    assert!(
        reason.starts_with("there is no interface `wan7` here"),
        "{reason}"
    );
    assert!(reason.contains("lan") && reason.contains("wan"), "{reason}");
    assert!(!has_program(&lab, "lan"));
}

/// Larger packets would be lost one by one.
#[test]
fn an_mtu_that_is_too_large_is_told() {
    let lab = lab(&Options {
        mtu: 65_535,
        ..Options::default()
    });
    let launch = launch(&[TRANSLATOR, TRANSLATE_ALL].concat());
    let log = refused(&lab, &launch, 1);
    let said = "interface `lan` has an MTU of 65535 bytes, more than the 61418 that are served";
    assert!(reason(&log).starts_with(said), "{log}");
    assert!(!has_program(&lab, "lan") && !has_program(&lab, "wan"));

    let ends = [
        (&lab.inside, "eth0"),
        (&lab.middle, "lan"),
        (&lab.middle, "wan"),
        (&lab.server, "eth0"),
    ];
    for (namespace, interface) in ends {
        namespace
            .ip(&format!("link set dev {interface} mtu 3818"))
            .expect("an MTU");
    }
    let site = Site::on(lab, &launch.configuration);
    check_traffic(&site.lab);
    let large = Ping {
        count: 3,
        payload: 3818 - 28,
        ..Ping::default()
    };
    let answers = site.lab.inside.run(|| ping(SERVER, &large, &Live::default()));
    let outcome = answers.expect("a raw socket").outcome;
    assert!(outcome.intact(), "{outcome:?}");
    site.finish();
}

#[test]
fn a_configuration_that_is_refused_has_its_own_exit_code() {
    let lab = lab(&Options::default());
    let log = refused(&lab, &launch(&TRANSLATOR.replace("\"nat\"", "\"gnat\"")), 3);
    assert!(
        log.contains("netchannel.toml:15:8: type: found \"gnat\""),
        "{log}"
    );
}

/// Root is asked for by name, not by a number of an error.
#[test]
fn who_is_not_root_is_told() {
    let lab = lab(&Options::default());
    let scratch = scratch_directory().expect("a directory");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
    // Where the binary was built, others may not look.
    let binary = scratch.path().join("netchannel");
    fs::copy(env!("CARGO_BIN_EXE_netchannel"), &binary).expect("a copy");
    let configuration = scratch.path().join("netchannel.toml");
    let text = [TRANSLATOR, TRANSLATE_ALL].concat();
    let socket = scratch.path().join("control.sock").display().to_string();
    fs::write(&configuration, text.replace("{socket}", &socket)).expect("a file");
    let log = scratch.path().join("log");
    let output = fs::File::create(&log).expect("a file");

    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", "-all", "--"]);
    command.arg(&binary).args(["run", "--config"]).arg(&configuration);
    command.stderr(output);
    let mut process = lab.middle.spawn(command).expect("setpriv");
    let status = process.wait(PATIENCE).expect("it ends");
    let log = fs::read_to_string(&log).expect("its log");
    assert_eq!(status.code(), Some(1), "{log}");
    let reason = reason(&log);
    assert!(
        reason.contains("root") && reason.ends_with("Operation not permitted (os error 1)"),
        "{reason}"
    );
    assert_eq!(reason.matches("failed to create map").count(), 1, "{reason}");
    assert!(!has_program(&lab, "lan") && !has_program(&lab, "wan"));
}
