//! Namespaces without names, so that nothing is left behind however a test ends, and pairs of interfaces in them.

use std::fs;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;

/// Runs `test` in a network namespace of its own, which ends with it.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    assert!(
        Uid::effective().is_root(),
        "AF_XDP sockets and network namespaces need root: run the tests with `make test`"
    );
    let result = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        // Without addresses of its own an interface says nothing by itself.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        test();
    })
    .join();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Runs `ip` with these arguments in the thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("ip runs");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a pair of interfaces with this many queues each, both up.
pub(crate) fn pair(one: &str, other: &str, queues: u32) {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    ip(&format!(
        "link add {one} {queues} type veth peer name {other} {queues}"
    ));
    for name in [one, other] {
        ip(&format!("link set {name} up"));
    }
}

/// Repeats `step` until it gives a value; fails the test after half a minute.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = step() {
            return value;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waited in vain for {what}"
        );
    }
}
