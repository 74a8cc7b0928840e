//! The daemon as a service: configurations that change, users and capabilities, the service manager, and who may change things.

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::scratch_directory;
use netchannel_benches::topology::{INSIDE, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::site::{Site, TRANSLATE_ALL, TRANSLATOR, at, check_traffic, eventually, lab, launch, reaches};

/// Whoever is nobody here.
const NOBODY: u32 = 65_534;
/// A group that exists on every Debian, and that nobody is in.
const GROUP: &str = "games";
/// Bits of NET_ADMIN, NET_RAW, IPC_LOCK, PERFMON and BPF (capability.h).
const NEEDED: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 38 | 1 << 39;
const BINARY: &str = env!("CARGO_BIN_EXE_netchannel");

/// A directory that every user may look into, and where this one may write.
fn directory_of(user: u32) -> (TempDir, PathBuf) {
    let scratch = scratch_directory().expect("a directory");
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).expect("a mode");
    let own = scratch.path().join("own");
    fs::create_dir(&own).expect("a directory");
    chown(&own, Some(user), Some(user)).expect("root");
    (scratch, own)
}

/// A program that sets something up before it runs the daemon, and runs other commands as they are.
fn wrapper(directory: &Path, before: &str, with: &str) -> PathBuf {
    let path = directory.join("wrapper");
    let binary = directory.join("netchannel");
    // Where the tests were built may be for root alone.
    fs::copy(BINARY, &binary).expect("a copy");
    let binary = binary.display();
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = run ] || exec {binary} \"$@\"\n{before}\nexec {with} {binary} \"$@\"\n"
    );
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a mode");
    path
}

fn write_configuration(site: &Site, configuration: &str) {
    let socket = site.daemon.socket().display().to_string();
    let file = site.daemon.directory().join("netchannel.toml");
    fs::write(file, configuration.replace("{socket}", &socket)).expect("a file");
}

fn hang_up(site: &mut Site) {
    site.daemon.process().signal(Signal::SIGHUP).expect("it runs");
}

/// A line of the daemon's `/proc/PID/status`.
fn status_of(site: &mut Site, key: &str) -> String {
    let pid = site.daemon.process().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.expect("a line of the status").trim().to_owned()
}

fn capabilities(site: &mut Site, set: &str) -> u64 {
    u64::from_str_radix(&status_of(site, set), 16).expect("a number")
}

#[test]
fn sighup_takes_up_rules_and_leaves_everything_as_it_was_if_something_is_wrong() {
    let mut site = Site::new();
    check_traffic(&site.lab);
    let drop_all = "[[rule]]\nfrom = \"10.77.0.0/24\"\nchannel = \"drop\"\n";
    write_configuration(
        &site,
        &[TRANSLATOR, drop_all, "[memory]\nframes = 32768\n"].concat(),
    );
    hang_up(&mut site);
    eventually("the reload", || {
        site.daemon.log().contains("needs a restart: [memory] frames")
    });
    let log = site.daemon.log();
    assert!(
        log.contains("netchannel.toml: taken up: 1 rule in force"),
        "{log}"
    );
    assert!(!reaches(&site.lab.inside, SERVER));
    assert!(site.dropped("rule") > 0);

    // The former rules stay.
    write_configuration(
        &site,
        &[TRANSLATOR, "\n[[rule]]\nchanel = \"internet\"\n"].concat(),
    );
    hang_up(&mut site);
    eventually("a refusal", || {
        site.daemon.log().contains("everything stays as it was")
    });
    let log = site.daemon.log();
    assert!(
        log.contains("netchannel.toml:19:1: unknown key `chanel` in [[rule]], did you mean `channel`?"),
        "{log}"
    );
    assert!(!reaches(&site.lab.inside, SERVER));

    let other =
        TRANSLATOR.replace("\"internet\"", "\"other\"") + &TRANSLATE_ALL.replace("\"internet\"", "\"other\"");
    write_configuration(&site, &other);
    hang_up(&mut site);
    eventually("a refusal", || {
        site.daemon
            .log()
            .contains("the rules are refused, and the former ones stay")
    });
    let log = site.daemon.log();
    assert!(log.contains("[[channel]] internet, [[channel]] other"), "{log}");
    assert!(!reaches(&site.lab.inside, SERVER));

    write_configuration(&site, &[TRANSLATOR, TRANSLATE_ALL].concat());
    hang_up(&mut site);
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    fs::remove_file(site.daemon.directory().join("netchannel.toml")).expect("a file");
    hang_up(&mut site);
    eventually("a refusal", || {
        site.daemon
            .log()
            .contains("can not be read: there is no such file")
    });
    check_traffic(&site.lab);
    site.finish();
}

/// A packet is decided by the old rules or by the new ones, and none is lost by the change.
#[test]
fn reloads_lose_no_packets() {
    let mut site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    let socket = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    for round in 0..20 {
        let more = format!("[[rule]]\nfrom = \"10.99.0.{round}\"\nchannel = \"drop\"\n");
        write_configuration(&site, &[TRANSLATOR, TRANSLATE_ALL, &more].concat());
        hang_up(&mut site);
        for packet in 0..50u8 {
            socket.send_to(&[round, packet], echo.address()).expect("sent");
            let mut answer = [0; 9];
            let length = socket.recv(&mut answer).expect("an answer");
            assert_eq!(answer[..length], [round, packet]);
        }
    }
    assert_eq!(site.drops().dropped(), 0, "{:?}", site.drops());
    site.finish();
}

/// Traffic, a reload, and an interface that goes and comes back.
fn check_life(site: &mut Site) {
    check_traffic(&site.lab);
    hang_up(site);
    eventually("the reload", || site.daemon.log().contains("taken up"));
    site.lab.middle.ip("link del lan").expect("removed");
    eventually("the loss", || site.daemon.log().contains("lan is gone"));
    site.lab.restore_inside(1).expect("a link");
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_traffic(&site.lab);
    let log = site.daemon.log();
    assert!(!log.contains("error:"), "{log}");
}

#[test]
fn it_becomes_another_user_with_the_capabilities_that_it_needs() {
    let (_scratch, directory) = directory_of(NOBODY);
    let state = directory.join("state");
    let service = format!(
        "[service]\nuser = {NOBODY}\n[state]\ndirectory = \"{}\"\n",
        state.display()
    );
    let launch = Launch {
        directory: Some(directory.clone()),
        ..launch(&[TRANSLATOR, &service, TRANSLATE_ALL].concat())
    };
    let lab = lab(&Options::default());
    let daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
    let mut site = Site { daemon, lab };
    assert_eq!(
        status_of(&mut site, "Uid"),
        format!("{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}")
    );
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(capabilities(&mut site, set), NEEDED, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(capabilities(&mut site, set), 0, "{set}");
    }
    assert_eq!(status_of(&mut site, "NoNewPrivs"), "1");
    // All threads are the same.
    let pid = site.daemon.process().pid();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("threads") {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("a status");
        assert!(status.contains(&format!("CapEff:\t{NEEDED:016x}")), "{status}");
        assert!(status.contains(&format!("Uid:\t{NOBODY}")), "{status}");
    }
    assert_eq!(fs::metadata(&state).expect("a directory").uid(), NOBODY);
    check_life(&mut site);
    site.finish();
    assert!(state.join("internet.nat-state").exists());
}

#[test]
fn it_starts_as_another_user_with_ambient_capabilities() {
    let (scratch, directory) = directory_of(NOBODY);
    let names = "+net_admin,+net_raw,+bpf,+perfmon,+ipc_lock";
    let with = format!(
        "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps {names} --ambient-caps {names} \
         --bounding-set -all,{names} --no-new-privs"
    );
    let launch = Launch {
        binary: wrapper(scratch.path(), "", &with),
        directory: Some(directory),
        ..launch(&[TRANSLATOR, TRANSLATE_ALL].concat())
    };
    let lab = lab(&Options::default());
    let daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
    let mut site = Site { daemon, lab };
    assert_eq!(capabilities(&mut site, "CapEff"), NEEDED);
    check_life(&mut site);
    site.finish();
}

#[test]
fn users_that_it_cannot_become_are_told() {
    let lab = lab(&Options::default());
    let log = |launch: &Launch| {
        let mut daemon = Daemon::spawn(&lab.middle, launch).expect("started");
        let status = daemon.process().wait(Duration::from_secs(30)).expect("it ends");
        assert_eq!(status.code(), Some(1), "{}", daemon.log());
        daemon.log()
    };
    let with = |text: &str| launch(&[TRANSLATOR, text, TRANSLATE_ALL].concat());
    let told = log(&with("[service]\nuser = \"no-such-user\"\n"));
    assert!(
        told.contains("there is no user `no-such-user`; make it (`useradd --system"),
        "{told}"
    );
    let grouped = TRANSLATOR.replace("[control]", "[control]\ngroup = \"no-such-group\"");
    let told = log(&launch(&[&grouped, TRANSLATE_ALL].concat()));
    assert!(told.contains("there is no group `no-such-group`"), "{told}");
    let (scratch, directory) = directory_of(NOBODY);
    let with_root = Launch {
        binary: wrapper(
            scratch.path(),
            "",
            &format!("setpriv --reuid {NOBODY} --clear-groups"),
        ),
        directory: Some(directory),
        ..with("[service]\nuser = \"root\"\n")
    };
    let told = log(&with_root);
    assert!(
        told.contains(&format!("started as user {NOBODY}, who can't become `root`")),
        "{told}"
    );
}

/// Messages of the daemon to its service manager, so far.
fn messages(socket: &UnixDatagram, all: &mut Vec<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        all.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
}

#[test]
fn the_service_manager_is_told_of_start_reload_life_and_end() {
    let (scratch, directory) = directory_of(0);
    let path = scratch.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("a mode");
    let before = format!(
        "export NOTIFY_SOCKET={} WATCHDOG_USEC=200000 WATCHDOG_PID=$$",
        path.display()
    );
    let launch = Launch {
        binary: wrapper(scratch.path(), &before, ""),
        directory: Some(directory),
        ..launch(&[TRANSLATOR, TRANSLATE_ALL].concat())
    };
    let lab = lab(&Options::default());
    let daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
    let mut site = Site { daemon, lab };
    let mut told = Vec::new();
    // The first message that has it, and those before it are done with.
    let mut wait_for = |what: &str| {
        eventually(what, || {
            messages(&socket, &mut told);
            told.iter().any(|message| message.contains(what))
        });
        let at = told
            .iter()
            .position(|message| message.contains(what))
            .expect("it was told");
        told.drain(..=at).next_back().expect("a message")
    };
    let start = wait_for("READY=1");
    assert!(
        start.contains("STATUS=2 interfaces, 1 channel, 1 rule"),
        "{start}"
    );
    wait_for("WATCHDOG=1");
    hang_up(&mut site);
    let reloading = wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    wait_for("READY=1");
    write_configuration(&site, "wrong");
    hang_up(&mut site);
    wait_for("RELOADING=1");
    let refused = wait_for("STATUS=the last reload was refused");
    assert!(refused.contains("READY=1"), "{refused}");
    site.stop(Signal::SIGTERM);
    wait_for("STOPPING=1");
}

/// What a command says as somebody else.
fn as_other(site: &Site, group: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args([
        &format!("--reuid={NOBODY}"),
        &format!("--regid={group}"),
        "--clear-groups",
    ]);
    let binary = site.daemon.directory().join("netchannel");
    if !binary.exists() {
        fs::copy(BINARY, &binary).expect("a copy");
    }
    command
        .arg(binary)
        .args(arguments)
        .arg("--socket")
        .arg(site.daemon.socket());
    command.output().expect("setpriv")
}

#[test]
fn changes_are_for_root_and_the_group() {
    let (_scratch, directory) = directory_of(0);
    let configuration = TRANSLATOR.replace("[control]", &format!("[control]\ngroup = \"{GROUP}\""));
    let launch = Launch {
        directory: Some(directory),
        ..launch(&[&configuration, TRANSLATE_ALL].concat())
    };
    let lab = lab(&Options::default());
    let daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
    let site = Site { daemon, lab };
    let group = nix::unistd::Group::from_name(GROUP)
        .expect("groups")
        .expect("a group")
        .gid
        .as_raw();
    let metadata = fs::metadata(site.daemon.socket()).expect("a socket");
    assert_eq!(
        (metadata.mode() & 0o777, metadata.uid(), metadata.gid()),
        (0o660, 0, group)
    );
    let delete = ["nat", "delete", "--inside", "10.77.0.2"];
    let rules = ["rules", "undo"];
    // Others can't even connect.
    for arguments in [&["show", "ports"][..], &delete] {
        let refused = as_other(&site, NOBODY, arguments);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("may not be opened by this user"),
            "{refused:?}"
        );
    }
    let done = as_other(&site, group, &delete);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    // If they can, they may look.
    fs::set_permissions(site.daemon.socket(), Permissions::from_mode(0o666)).expect("a mode");
    assert!(as_other(&site, NOBODY, &["show", "ports"]).status.success());
    assert!(as_other(&site, NOBODY, &["rules", "list"]).status.success());
    for arguments in [&delete[..], &rules] {
        let refused = as_other(&site, NOBODY, arguments);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(
            said.contains(&format!("this is for root and members of the group {GROUP} only")),
            "{said}"
        );
    }
    let done = as_other(&site, group, &delete);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    site.finish();
}
