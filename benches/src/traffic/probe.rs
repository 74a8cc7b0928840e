//! Single UDP datagrams and the ICMP errors that they provoke, as traceroute and path MTU discovery use them.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::libc::{sock_extended_err, sockaddr_in};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::Ipv4RecvErr;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};

use super::{LOOK_EVERY, Live, STALL_LIMIT};
use crate::error::During;
use crate::sys::set_int_option;
use crate::{Result, stop};

/// First destination port of a traceroute: nobody listens there.
const TRACEROUTE_PORT: u16 = 33_434;

/// ICMP types, RFC 792.
pub const UNREACHABLE: u8 = 3;
/// ICMP time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Code of "destination unreachable": no such port.
pub const PORT: u8 = 3;
/// Code of "destination unreachable": fragmentation needed, and forbidden.
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// One datagram to send.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Where to.
    pub target: SocketAddrV4,
    /// Time to live, 1 to 255.
    pub ttl: u8,
    /// Bytes of UDP payload.
    pub payload: usize,
    /// Whether routers may not fragment it.
    pub dont_fragment: bool,
    /// How long to wait for what comes back.
    pub timeout: Duration,
}

impl Probe {
    /// A probe of 32 bytes that reaches its target, which has [`STALL_LIMIT`] to answer.
    pub fn to(target: SocketAddrV4) -> Self {
        Self {
            target,
            ttl: 64,
            payload: 32,
            dont_fragment: false,
            timeout: STALL_LIMIT,
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A datagram.
    Datagram(Vec<u8>),
    /// An ICMP error about the probe, which the kernel matched by the packet embedded in it.
    Icmp {
        /// Who sent it.
        from: Ipv4Addr,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// MTU of the next hop, of [`FRAGMENTATION_NEEDED`].
        mtu: u32,
    },
    /// Nothing in time.
    Silence,
}

/// Payload of a probe.
pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Sends one probe and waits for what comes back.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the socket fails, among others with EMSGSIZE if the datagram is larger
/// than the own interface carries and must not be fragmented; [`Error::Interrupted`](crate::Error::Interrupted)
/// after a signal.
pub fn probe(probe: &Probe) -> Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).during("open a UDP socket")?;
    socket
        .set_nonblocking(true)
        .during("make a socket non-blocking")?;
    socket.set_ttl(probe.ttl.into()).during("set the time to live")?;
    setsockopt(&socket, Ipv4RecvErr, &true).during("ask for ICMP errors")?;
    // PROBE: sets the bit, and sends without regard to what the kernel believes of the path.
    let discover = if probe.dont_fragment {
        libc::IP_PMTUDISC_PROBE
    } else {
        libc::IP_PMTUDISC_DONT
    };
    set_int_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discover)
        .during("set path MTU discovery")?;
    socket
        .send_to(&payload(probe.payload), probe.target)
        .during(format!("send a probe to {}", probe.target))?;
    let until = Instant::now() + probe.timeout;
    while Instant::now() < until {
        stop::check()?;
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY.as_millis() as u16));
        if let Some(error) = icmp_error(&socket)? {
            return Ok(error);
        }
        let mut buffer = vec![0; 65_535];
        match socket.recv_from(&mut buffer) {
            Ok((length, _)) => {
                buffer.truncate(length);
                return Ok(Answer::Datagram(buffer));
            }
            // An ICMP error is reported here once more; the error queue has all of it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error().is_some() => {}
            Err(error) => return Err(error).during("receive an answer to a probe"),
        }
    }
    Ok(Answer::Silence)
}

fn icmp_error(socket: &UdpSocket) -> Result<Option<Answer>> {
    let mut payload = [0; 2048];
    let mut parts = [IoSliceMut::new(&mut payload)];
    let mut control = cmsg_space!(sock_extended_err, sockaddr_in);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let Ok(message) = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) else {
        return Ok(None);
    };
    for control in message.cmsgs().during("read an ICMP error")? {
        if let ControlMessageOwned::Ipv4RecvErr(error, from) = control
            && error.ee_origin == libc::SO_EE_ORIGIN_ICMP
        {
            let from = from.map_or(Ipv4Addr::UNSPECIFIED, |from| {
                u32::from_be(from.sin_addr.s_addr).into()
            });
            return Ok(Some(Answer::Icmp {
                from,
                kind: error.ee_type,
                code: error.ee_code,
                mtu: error.ee_info,
            }));
        }
    }
    Ok(None)
}

/// One hop of a traceroute.
#[derive(Debug, Clone)]
pub struct Hop {
    /// Time to live of the probe.
    pub ttl: u8,
    /// What came back.
    pub answer: Answer,
    /// When.
    pub round_trip: Duration,
}

impl Hop {
    /// Who answered.
    pub fn from(&self) -> Option<Ipv4Addr> {
        match self.answer {
            Answer::Icmp { from, .. } => Some(from),
            Answer::Datagram(_) | Answer::Silence => None,
        }
    }
}

/// Sends probes with times to live from 1 on, until one reaches the target or `longest` is passed.
///
/// # Errors
/// As [`probe`].
pub fn traceroute(target: Ipv4Addr, longest: u8, live: &Live) -> Result<Vec<Hop>> {
    let mut hops = Vec::new();
    for ttl in 1..=longest {
        let target = SocketAddrV4::new(target, TRACEROUTE_PORT + u16::from(ttl) - 1);
        let sent = Instant::now();
        live.add_sent();
        let answer = probe(&Probe {
            ttl,
            ..Probe::to(target)
        })?;
        if answer != Answer::Silence {
            live.add_received(0);
        }
        let passed = matches!(
            answer,
            Answer::Icmp {
                kind: TIME_EXCEEDED,
                ..
            } | Answer::Silence
        );
        hops.push(Hop {
            ttl,
            answer,
            round_trip: sent.elapsed(),
        });
        if !passed {
            break;
        }
    }
    Ok(hops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_answers_with_an_icmp_error() {
        let closed = UdpSocket::bind("127.0.0.1:0")
            .expect("loopback")
            .local_addr()
            .expect("bound")
            .port();
        let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, closed);
        let answer = probe(&Probe::to(target)).expect("a socket");
        let expected = Answer::Icmp {
            from: Ipv4Addr::LOCALHOST,
            kind: UNREACHABLE,
            code: PORT,
            mtu: 0,
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_listener_that_says_nothing() {
        let listener = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().expect("bound").port());
        let silent = Probe {
            timeout: Duration::from_millis(10),
            ..Probe::to(target)
        };
        assert_eq!(probe(&silent).expect("a socket"), Answer::Silence);
        let mut buffer = [0; 64];
        assert_eq!(listener.recv(&mut buffer).expect("the probe"), 32);
        assert_eq!(buffer[..32], payload(32));
    }
}
