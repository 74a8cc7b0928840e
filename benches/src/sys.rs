//! The system calls that have no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{mem, ptr};

/// How long a child process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Killed by the kernel when the thread that forked it ends.
    Bound,
    /// Its own.
    Free,
}

/// Makes `command` start in the network namespace of `namespace`, with a `/sys` that shows that namespace,
/// as `ip netns exec` does. The descriptor must stay open until the command was started.
pub(crate) fn start_in(command: &mut Command, namespace: BorrowedFd<'_>, lifetime: Lifetime) {
    let namespace = namespace.as_raw_fd();
    let parent = std::process::id().cast_signed();
    let enter = move || {
        if lifetime == Lifetime::Bound {
            // SAFETY: prctl with these arguments touches no memory; getppid never fails.
            unsafe {
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong))?;
                if libc::getppid() != parent {
                    // The parent died before the death signal was set.
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
            }
        }
        // SAFETY: `namespace` is an open descriptor, all strings are NUL-terminated constants, and null is
        // what mount takes where a flag-only or pseudo file system has no source, type or data.
        unsafe {
            check(libc::setns(namespace, libc::CLONE_NEWNET))?;
            check(libc::unshare(libc::CLONE_NEWNS))?;
            let (root, sys) = (c"/".as_ptr(), c"/sys".as_ptr());
            check(libc::mount(
                ptr::null(),
                root,
                ptr::null(),
                libc::MS_SLAVE | libc::MS_REC,
                ptr::null(),
            ))?;
            check(libc::umount2(sys, libc::MNT_DETACH))?;
            let sysfs: &CStr = c"sysfs";
            check(libc::mount(sysfs.as_ptr(), sys, sysfs.as_ptr(), 0, ptr::null()))?;
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec; it makes plain system calls only and allocates nothing
    // (errors from the operating system don't allocate).
    unsafe { command.pre_exec(enter) };
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets a socket option whose value is an `int`.
///
/// # Errors
/// What setsockopt says.
pub(crate) fn set_int_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which lives across the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    })
}

/// What a packet socket is given to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Frames of all protocols.
    All,
    /// None: it only sends.
    Nothing,
}

/// Binds a packet socket to an interface.
///
/// # Errors
/// What bind says.
pub(crate) fn bind_to_interface(socket: BorrowedFd<'_>, interface: u32, listen: Listen) -> io::Result<()> {
    // SAFETY: every field of sockaddr_ll is an integer, and all zero is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = match listen {
        Listen::All => (libc::ETH_P_ALL as u16).to_be(),
        Listen::Nothing => 0,
    };
    address.sll_ifindex = interface.cast_signed();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `address`, which lives across the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), length) })
}
