//! A network namespace for one test.
#![allow(unsafe_code)] // for opening an AF_XDP socket

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use netchannel::xdp::XdpProgram;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

/// Runs the test in a thread with a network namespace of its own; with the thread the namespace goes away, and
/// all interfaces in it. Processes and sockets made in the thread are in the namespace.
pub(crate) fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (these tests need root)");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with words separated by blanks.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip, of iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Waits until no XDP program is on an interface. A process that another test starts has a copy of all descriptors for a moment, and with
/// them of those that keep a program attached.
pub(crate) fn wait_until_detached(interface: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while XdpProgram::attached_to(interface).expect("asking").is_some() {
        assert!(Instant::now() < deadline, "the program is still there");
        std::thread::yield_now();
    }
}

pub(crate) fn index(interface: &str) -> u32 {
    if_nametoindex(interface).expect("an interface")
}

/// An AF_XDP socket, bound to nothing: enough for the program to redirect to it in a test run.
pub(crate) fn af_xdp_socket() -> OwnedFd {
    // SAFETY: the call takes no pointers, and the descriptor that it returns is owned by nobody else.
    unsafe {
        let socket = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(socket >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(socket)
    }
}
