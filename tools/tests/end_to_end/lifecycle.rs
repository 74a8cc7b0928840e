//! Ends, expected and not, and what the kernel does with the traffic afterwards.

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use netchannel_benches::daemon::{Daemon, Launch};
use netchannel_benches::namespace::scratch_directory;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::stream::{Sink, throughput};
use netchannel_benches::traffic::udp::EchoServer;
use nix::sys::signal::Signal;

use crate::site::{
    Site, TRANSLATE_ALL, TRANSLATOR, check_echo, check_traffic, eventually, exchange_udp, has_program, lab,
    launch, let_the_kernel_forward, reaches,
};

/// What the box's interfaces do for the kernel.
fn offloads(lab: &Lab) -> [String; 2] {
    ["lan", "wan"].map(|interface| {
        let list = lab.middle.command(&format!("ethtool -k {interface}"));
        list.expect("ethtool")
    })
}

#[test]
fn sigterm_and_sigint_stop_it_cleanly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let lab = lab(&Options::default());
        let before = offloads(&lab);
        let mut site = Site::on(lab, &[TRANSLATOR, TRANSLATE_ALL].concat());
        assert!(has_program(&site.lab, "lan") && has_program(&site.lab, "wan"));
        check_traffic(&site.lab);
        site.stop(signal);
        assert!(
            site.daemon.log().contains(signal.as_str()),
            "{}",
            site.daemon.log()
        );
        assert_eq!(offloads(&site.lab), before);
        // The box does not forward by itself: nothing crosses any more, and the box is still there.
        assert!(!reaches(&site.lab.inside, SERVER));
        check_echo(&site.lab.inside, BOX_INSIDE);
        check_echo(&site.lab.server, BOX_OUTSIDE);
    }
}

#[test]
fn after_kill_9_the_kernel_has_its_traffic_and_a_new_start_works() {
    let lab = lab(&Options::default());
    let_the_kernel_forward(&lab);
    let echo = EchoServer::start(&lab.server, (SERVER, 0).into()).expect("a port");
    let seen_by_server = || echo.peers().iter().map(|peer| peer.ip()).collect::<Vec<_>>();
    let scratch = scratch_directory().expect("a directory");
    let launch = Launch {
        directory: Some(scratch.path().to_owned()),
        ..launch(&[TRANSLATOR, TRANSLATE_ALL].concat())
    };

    let mut daemon = Daemon::start(&lab.middle, &launch).expect("it gets ready");
    assert!(exchange_udp(&lab, echo.address(), 1, 1).intact());
    assert_eq!(seen_by_server(), [BOX_OUTSIDE]);
    let socket = daemon.socket();
    daemon.process().kill();
    let status = daemon.process().ended().expect("a child").expect("it has ended");
    assert_eq!(status.signal(), Some(9));
    for interface in ["lan", "wan"] {
        eventually("the XDP program is gone", || !has_program(&lab, interface));
    }
    assert!(exchange_udp(&lab, echo.address(), 1, 1).intact());
    assert!(
        seen_by_server().contains(&INSIDE.into()),
        "the kernel forwards as it is"
    );
    check_echo(&lab.inside, BOX_INSIDE);
    check_echo(&lab.server, BOX_OUTSIDE);
    drop(daemon);

    assert!(socket.exists(), "nobody removed it");
    let again = Daemon::start(&lab.middle, &launch).expect("what was left is no obstacle");
    // A server of its own: the first one may have seen the same ports before.
    let echo = EchoServer::start(&lab.server, (SERVER, 0).into()).expect("a port");
    assert!(exchange_udp(&lab, echo.address(), 3, 1).intact());
    let peers = echo.peers();
    assert!(
        peers.len() == 3 && peers.iter().all(|peer| peer.ip() == BOX_OUTSIDE),
        "{peers:?}"
    );
    let site = Site { daemon: again, lab };
    check_traffic(&site.lab);
    site.finish();
}

/// The same with streams under way: the end does not wait for theirs.
#[test]
fn it_ends_in_the_middle_of_traffic() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut site = Site::new();
        let Site { daemon, lab } = &mut site;
        let sink = Sink::start(&lab.server, (SERVER, 0).into()).expect("a port");
        thread::scope(|scope| {
            let streams = scope.spawn(|| lab.inside.run(|| throughput(&sink, 4, Duration::from_secs(2))));
            eventually("bytes", || sink.bytes() > 5_000_000);
            let process = daemon.process();
            process.signal(signal).expect("it runs");
            let status = process.wait(PATIENCE).expect("it ends");
            let expected = (signal == Signal::SIGTERM).then_some(0);
            assert_eq!(status.code(), expected, "{}", daemon.log());
            for interface in ["lan", "wan"] {
                eventually("the XDP program is gone", || !has_program(lab, interface));
            }
            check_echo(&lab.inside, BOX_INSIDE);
            check_echo(&lab.server, BOX_OUTSIDE);
            streams
                .join()
                .expect("sockets")
                .expect("no more bytes are no error");
        });
    }
}
