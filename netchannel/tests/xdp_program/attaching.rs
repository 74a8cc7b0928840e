//! Attaching, detaching, and the end of the process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use netchannel::xdp::{AttachedMode, ModeChoice, OffloadSizes, XdpError, XdpProgram};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::MAX_FRAME_LENGTH;
use crate::namespace::{in_new_namespace, ip, wait_until_detached};

fn load() -> XdpProgram {
    XdpProgram::load(MAX_FRAME_LENGTH, OffloadSizes::OFF).expect("loading")
}

#[test]
fn a_driver_with_native_mode_gets_it() {
    in_new_namespace(|| {
        ip("link add outside type veth peer name outside-peer");
        assert_eq!(XdpProgram::attached_to("outside").expect("asking"), None);
        let mut program = load();
        let mode = program.attach("outside", ModeChoice::Auto).expect("attaching");
        assert_eq!(mode, AttachedMode::Native);
        let attached = XdpProgram::attached_to("outside")
            .expect("asking")
            .expect("a program");
        assert!(attached.id.is_some());
        assert_eq!(attached.name.as_deref(), Some("netchannel"));

        program.detach("outside").expect("detaching");
        wait_until_detached("outside");
        assert!(matches!(
            program.detach("outside"),
            Err(XdpError::NotAttached { .. })
        ));

        program
            .attach("outside", ModeChoice::Native)
            .expect("attaching again");
        drop(program);
        wait_until_detached("outside");
    });
}

#[test]
fn a_driver_without_native_mode_falls_back_and_says_so() {
    in_new_namespace(|| {
        let mut program = load();
        let error = program
            .attach("lo", ModeChoice::Native)
            .expect_err("no native mode");
        assert!(matches!(error, XdpError::Attach { .. }), "{error}");
        let AttachedMode::Generic { why_not_native } =
            program.attach("lo", ModeChoice::Auto).expect("attaching")
        else {
            panic!("the loopback interface has no native XDP");
        };
        assert!(why_not_native.contains("driver"), "{why_not_native}");
        program.detach("lo").expect("detaching");
        wait_until_detached("lo");
    });
}

#[test]
fn jumbo_frames_do_not_stand_in_the_way_of_native_mode() {
    in_new_namespace(|| {
        ip("link add outside mtu 9000 type veth peer name outside-peer mtu 9000");
        let mode = load().attach("outside", ModeChoice::Auto).expect("attaching");
        assert_eq!(mode, AttachedMode::Native);
    });
}

#[test]
fn a_second_instance_is_refused_in_every_mode() {
    in_new_namespace(|| {
        ip("link add outside type veth peer name outside-peer");
        for first in [ModeChoice::Native, ModeChoice::Generic] {
            let mut program = load();
            program.attach("outside", first).expect("attaching");
            let there = XdpProgram::attached_to("outside")
                .expect("asking")
                .expect("a program");
            for second in [ModeChoice::Auto, ModeChoice::Native, ModeChoice::Generic] {
                let error = load().attach("outside", second).expect_err("refused");
                let text = error.to_string();
                let XdpError::AlreadyAttached { interface, program } = error else {
                    panic!("{first:?} then {second:?}: {text}");
                };
                assert_eq!((interface.as_str(), &program), ("outside", &there));
                assert!(text.contains("netchannel") && text.contains("stop it"), "{text}");
            }
            assert!(matches!(
                program.attach("outside", ModeChoice::Auto),
                Err(XdpError::AlreadyAttached { .. })
            ));
            assert_eq!(XdpProgram::attached_to("outside").expect("asking"), Some(there));
        }
    });
}

#[test]
fn an_interface_may_go_away_and_come_back() {
    in_new_namespace(|| {
        let mut program = load();
        let error = program
            .attach("outside", ModeChoice::Auto)
            .expect_err("no interface");
        assert!(matches!(error, XdpError::NoSuchInterface { .. }));
        ip("link add outside type veth peer name outside-peer");
        program.attach("outside", ModeChoice::Auto).expect("attaching");
        ip("link delete outside");
        ip("link add outside type veth peer name outside-peer");
        wait_until_detached("outside");
        program
            .attach("outside", ModeChoice::Auto)
            .expect("attaching to the new one");
        assert!(XdpProgram::attached_to("outside").expect("asking").is_some());
        ip("link delete outside");
        program.detach("outside").expect("an interface that is gone");
    });
}

/// The test runs itself a second time as the process that is killed.
#[test]
fn a_killed_process_leaves_no_program_behind() {
    const CHILD: &str = "NETCHANNEL_TEST_ATTACH_AND_WAIT";
    if std::env::var_os(CHILD).is_some() {
        let mut program = load();
        program.attach("outside", ModeChoice::Auto).expect("attaching");
        let mut out = std::io::stdout();
        out.write_all(b"\nattached\n")
            .and_then(|()| out.flush())
            .expect("telling the parent");
        loop {
            std::thread::park();
        }
    }
    in_new_namespace(|| {
        ip("link add outside type veth peer name outside-peer");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "attaching::a_killed_process_leaves_no_program_behind"])
            .env(CHILD, "")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting this test again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(
            lines.map_while(Result::ok).any(|line| line == "attached"),
            "the child attaches and says so"
        );
        let attached = XdpProgram::attached_to("outside")
            .expect("asking")
            .expect("the child's program");
        assert_eq!(attached.name.as_deref(), Some("netchannel"));

        kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("killing the child");
        child.wait().expect("waiting for the child");
        // The kernel closes a dead process's files before it can be waited for; links may take a moment more.
        wait_until_detached("outside");
        load()
            .attach("outside", ModeChoice::Native)
            .expect("the interface is free again");
    });
}
