//! The time between two processes.

use std::time::Duration;

use netchannel::xdp::{AttachedMode, ModeChoice, OffloadSizes, Pins, Verdict, XdpProgram};

use crate::bench::{Bench, MAX_FRAME_LENGTH};
use crate::frames::udp4;
use crate::namespace::{in_new_namespace, ip, wait_until_detached};

const LONG: Duration = Duration::from_secs(600);

fn load() -> XdpProgram {
    XdpProgram::load(MAX_FRAME_LENGTH, OffloadSizes::OFF).expect("loading")
}

fn attached() -> Option<u32> {
    let program = XdpProgram::attached_to("outside").expect("asking");
    program.map(|program| program.id.expect("its number"))
}

fn is_held() -> bool {
    Pins::default().hold("outside").expect("asking")
}

#[test]
fn what_no_socket_takes_is_dropped_until_the_time_is_over() {
    in_new_namespace(|| {
        let mut bench = Bench::new();
        let (asked, other) = (udp4("10.1.2.3", "198.51.100.1"), udp4("11.1.2.3", "198.51.100.1"));
        let ifindex = bench.ifindex;
        assert_eq!(bench.verdict_on(ifindex, 1, &asked), Verdict::NoSocket);
        bench.program.hold(LONG).expect("a map");
        assert_eq!(bench.verdict_on(ifindex, 1, &asked), Verdict::Held);
        assert_eq!(bench.verdict_on(ifindex, 0, &asked), Verdict::Redirected);
        assert_eq!(bench.verdict_on(ifindex, 1, &other), Verdict::NotAsked);
        bench.program.hold(Duration::ZERO).expect("a map");
        assert_eq!(bench.verdict_on(ifindex, 1, &asked), Verdict::NoSocket);
    });
}

#[test]
fn a_held_program_stays_until_another_takes_its_place() {
    in_new_namespace(|| {
        ip("link add outside type veth peer name outside-peer");
        for (first, second) in [
            (ModeChoice::Native, ModeChoice::Auto),
            (ModeChoice::Generic, ModeChoice::Auto),
            (ModeChoice::Native, ModeChoice::Generic),
            (ModeChoice::Generic, ModeChoice::Native),
        ] {
            let mut program = load();
            let mode = program.attach("outside", first).expect("attaching");
            assert!(!is_held());
            program.hold(LONG).expect("a BPF file system");
            program.hold(LONG).expect("once more");
            drop(program);
            let left = attached();
            assert!(left.is_some() && is_held());

            let mut program = load();
            let taken_over = program.attach("outside", second).expect("attaching");
            assert!(attached().is_some() && attached() != left && !is_held());
            match second {
                ModeChoice::Native => assert_eq!(taken_over, AttachedMode::Native),
                ModeChoice::Generic => assert!(matches!(taken_over, AttachedMode::Generic { .. })),
                ModeChoice::Auto => {
                    let same =
                        matches!(mode, AttachedMode::Native) == matches!(taken_over, AttachedMode::Native);
                    assert!(same, "{mode:?}, {taken_over:?}");
                }
            }
            drop(program);
            wait_until_detached("outside");
        }
    });
}

#[test]
fn a_held_program_that_is_detached_is_gone() {
    in_new_namespace(|| {
        ip("link add outside type veth peer name outside-peer");
        let mut program = load();
        program.attach("outside", ModeChoice::Auto).expect("attaching");
        program.hold(LONG).expect("a BPF file system");
        program.detach("outside").expect("detaching");
        wait_until_detached("outside");
    });
}

/// Another device may have the number of one that is gone.
#[test]
fn what_was_left_on_a_device_that_is_gone_is_not_taken_over() {
    in_new_namespace(|| {
        let add = || ip("link add outside index 77 type veth peer name outside-peer");
        add();
        let mut program = load();
        program.attach("outside", ModeChoice::Auto).expect("attaching");
        program.hold(LONG).expect("a BPF file system");
        drop(program);
        ip("link delete outside");
        add();
        assert!(attached().is_none() && !is_held());
        let mut program = load();
        program.attach("outside", ModeChoice::Auto).expect("attaching");
        assert!(attached().is_some() && !is_held());
        drop(program);
        wait_until_detached("outside");
    });
}
