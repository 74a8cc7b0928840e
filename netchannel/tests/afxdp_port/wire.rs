//! The other end of a pair of interfaces, through a packet socket: what the kernel itself sends and receives there.
#![allow(unsafe_code)]

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt};

/// A packet socket on an interface, for frames with IPv4.
pub(crate) struct Wire {
    socket: OwnedFd,
}

impl Wire {
    pub(crate) fn on(interface: &str) -> Self {
        let protocol = (libc::ETH_P_IP as u16).to_be();
        // SAFETY: a call without pointers; the descriptor is new and checked.
        let socket = unsafe {
            let socket = libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                i32::from(protocol),
            );
            assert!(socket >= 0, "a packet socket");
            OwnedFd::from_raw_fd(socket)
        };
        // SAFETY: all-zero bytes are a valid address structure.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = if_nametoindex(interface).expect("the interface exists") as i32;
        // SAFETY: the address lives during the call and has the length that is given.
        let result = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(result, 0, "the packet socket binds");
        // A few hundred of the longest packets.
        setsockopt(&socket, RcvBufForce, &(8 << 20)).expect("a buffer");
        Self { socket }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("the frame leaves");
    }

    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 10_000];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

/// Ethernet, IPv4 and UDP, from 10.0.0.1 to 10.0.0.2, with a destination address that is nobody's.
const HEADERS: [u8; 42] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0x10, 0, 0x20, 0, 0, 0, 0, 0, // UDP
];

/// A packet of `length` bytes, from 60, that tells its number and has other bytes than its neighbours.
pub(crate) fn frame(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = HEADERS.to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((bytes.len()..length).map(|at| (number as usize + at) as u8));
    let ip_length = (length - 14) as u16;
    bytes[16..18].copy_from_slice(&ip_length.to_be_bytes());
    bytes[38..40].copy_from_slice(&(ip_length - 20).to_be_bytes());
    bytes
}

/// The number that [`frame`] wrote.
pub(crate) fn number_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[42..50].try_into().expect("one of these packets"))
}

/// Makes the thread one of an ordinary user, for good.
pub(crate) fn become_nobody() {
    const NOBODY: libc::c_long = 65534;
    // SAFETY: the raw call changes this thread only and takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(result, 0, "the thread becomes nobody's");
}
