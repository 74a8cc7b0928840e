//! The few system calls around AF_XDP sockets that neither xsk-rs nor nix wrap.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket};

use super::options::BusyPoll;

/// Socket option of linux/if_xdp.h since Linux 6.17: most frames that one call sends in copy mode (32 without it).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Socket options of asm-generic/socket.h since Linux 5.11, which the libc crate does not have on all targets.
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// Bit of `XDP_OPTIONS` that tells of zero-copy mode.
const XDP_OPTIONS_ZEROCOPY: u32 = 1;
/// Command of `SIOCETHTOOL` that reads the numbers of queues.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Lets one call send up to `frames` frames; without effect on kernels that don't know the option.
pub(super) fn raise_transmit_budget(socket: RawFd, frames: u32) -> io::Result<()> {
    match set_option(socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, frames) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        result => result,
    }
}

/// Has calls that send and receive on the socket drive its queue in place of interrupts. Returns the option that was refused, its value and
/// why.
pub(super) fn prefer_busy_poll(socket: RawFd, poll: BusyPoll) -> Result<(), (&'static str, u32, io::Error)> {
    let microseconds = u32::try_from(poll.time.as_micros()).unwrap_or(u32::MAX);
    for (name, option, value) in [
        ("SO_PREFER_BUSY_POLL", SO_PREFER_BUSY_POLL, 1),
        ("SO_BUSY_POLL", libc::SO_BUSY_POLL, microseconds),
        ("SO_BUSY_POLL_BUDGET", SO_BUSY_POLL_BUDGET, poll.budget),
    ] {
        set_option(socket, libc::SOL_SOCKET, option, value).map_err(|error| (name, value, error))?;
    }
    Ok(())
}

fn set_option(socket: RawFd, level: libc::c_int, option: libc::c_int, value: u32) -> io::Result<()> {
    // SAFETY: the option's value is a u32 that lives during the call.
    let result = unsafe {
        libc::setsockopt(
            socket,
            level,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the bound socket runs in zero-copy mode.
pub(super) fn is_zero_copy(socket: RawFd) -> io::Result<bool> {
    let mut options = 0u32;
    let mut length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `options`, and both live during the call.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_XDP,
            libc::XDP_OPTIONS,
            (&raw mut options).cast::<c_void>(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(options & XDP_OPTIONS_ZEROCOPY != 0)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What the kernel said to a socket that asked for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It works on it, or can't do more now; frames that it did not take stay where they are.
    Working,
    /// The interface is down.
    LinkDown,
    /// The interface is gone, and the socket is bound to nothing.
    Gone(Errno),
}

impl From<nix::Result<usize>> for Answer {
    fn from(result: nix::Result<usize>) -> Self {
        match result {
            Err(Errno::ENETDOWN) => Self::LinkDown,
            Err(error @ (Errno::ENXIO | Errno::ENODEV | Errno::EBADF)) => Self::Gone(error),
            // EAGAIN: busy. EBUSY: a frame was dropped on its way, and completed all the same. ENOBUFS: no memory for now.
            Ok(_) | Err(_) => Self::Working,
        }
    }
}

/// Has the kernel send what is in the transmit ring.
pub(super) fn kick_transmit(socket: RawFd) -> Answer {
    send(socket, &[], MsgFlags::MSG_DONTWAIT).into()
}

/// Has the kernel look at the fill ring if it sleeps, and at the queue if the socket prefers busy polling; tells how the interface is.
pub(super) fn kick_receive(socket: RawFd) -> Answer {
    recv(socket, &mut [], MsgFlags::MSG_DONTWAIT).into()
}

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    command: u32,
    max_receive: u32,
    max_transmit: u32,
    max_other: u32,
    max_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Numbers of receive and of transmit queues in use, by ethtool's channels.
pub(super) fn channels(interface: &str) -> io::Result<(u32, u32)> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut channels = EthtoolChannels {
        command: ETHTOOL_GCHANNELS,
        ..EthtoolChannels::default()
    };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero, as the end of the name.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL takes an ifreq whose data points to the structure of the command in it; both live during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result == 0 {
        let of_both = channels.combined;
        Ok((channels.receive + of_both, channels.transmit + of_both))
    } else {
        Err(io::Error::last_os_error())
    }
}
