//! To which devices frames may be redirected, on a veth pair whose peer changes.

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Instant;

use netchannel::network::xdp_features::{NDO_XMIT, RedirectMonitor, xdp_features};
use nix::net::if_::if_nametoindex;

use crate::support::{DEADLINE, Namespace};

fn set_gro(namespace: &Namespace, interface: &'static str, value: &'static str) {
    namespace.run(move || {
        let outcome = Command::new("ethtool")
            .args(["-K", interface, "gro", value])
            .status()
            .expect("these tests need ethtool");
        assert!(outcome.success());
    });
}

#[test]
fn a_veth_takes_frames_as_long_as_its_peer_has_gro() {
    let namespace = Namespace::new();
    namespace.ethernet("wan");
    let index = namespace.run(|| if_nametoindex("wan").expect("an interface"));
    let features = |namespace: &Namespace| {
        namespace
            .run(move || xdp_features(index))
            .expect("the kernel answers")
            .expect("it can tell (Linux 6.3)")
    };
    set_gro(&namespace, "wan-far", "off");
    assert_eq!(features(&namespace) & NDO_XMIT, 0);

    let (changed, changes) = channel();
    let on_change = move || {
        // Without a receiver the test is over.
        let _ = changed.send(());
    };
    let monitor = namespace
        .run(move || RedirectMonitor::start(vec![Box::new(on_change)]))
        .expect("following");
    let targets = monitor.targets();
    assert_eq!(targets.load().allow(index), Some(false));
    let wait_until = |expected: bool| {
        let deadline = Instant::now() + DEADLINE;
        while targets.load().allow(index) != Some(expected) {
            let left = deadline.saturating_duration_since(Instant::now());
            changes.recv_timeout(left).expect("a change");
        }
    };
    let version = targets.version();
    set_gro(&namespace, "wan-far", "on");
    wait_until(true);
    assert!(targets.version() > version);
    assert_eq!(features(&namespace) & NDO_XMIT, NDO_XMIT);
    set_gro(&namespace, "wan-far", "off");
    wait_until(false);
    set_gro(&namespace, "wan-far", "on");
    wait_until(true);
    // A device that is gone takes none.
    namespace.ip("link del wan");
    wait_until(false);
    assert_eq!(
        namespace
            .run(move || xdp_features(index))
            .expect("the kernel answers"),
        None
    );
}
