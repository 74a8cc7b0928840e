//! ICMP echo, RFC 792.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, socket,
};

use super::{LOOK_EVERY, Live, Outcome, STALL_LIMIT};
use crate::error::During;
use crate::{Result, stop};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ICMP_HEADER: usize = 8;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    /// How many requests.
    pub count: u16,
    /// Bytes of payload in each, at most 65,507.
    pub payload: usize,
    /// Identifier: tells this ping from others at the same time.
    pub identifier: u16,
    /// From one request to the next.
    pub interval: Duration,
    /// How long an answer may take before its request counts as lost.
    pub limit: Duration,
}

impl Default for Ping {
    fn default() -> Self {
        Self {
            count: 5,
            payload: 56,
            identifier: 0x4e43,
            interval: Duration::from_millis(20),
            limit: STALL_LIMIT,
        }
    }
}

/// What became of a ping.
#[derive(Debug, Clone)]
pub struct PingOutcome {
    /// Requests and answers.
    pub outcome: Outcome,
    /// Round trip of every answer, in order.
    pub round_trips: Vec<Duration>,
}

/// Sends echo requests and checks identifier, sequence number and payload of what comes back.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the raw socket fails, [`Error::Interrupted`](crate::Error::Interrupted)
/// after a signal. Lost and damaged answers are in the outcome.
pub fn ping(target: Ipv4Addr, ping: &Ping, live: &Live) -> Result<PingOutcome> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK,
        SockProtocol::Icmp,
    )
    .during("open a raw socket")?;
    let started = Instant::now();
    let mut result = PingOutcome {
        outcome: Outcome::default(),
        round_trips: Vec::new(),
    };
    for sequence in 0..ping.count {
        let request = request(ping, sequence);
        let sent = Instant::now();
        sendto(
            socket.as_raw_fd(),
            &request,
            &SockaddrIn::from(socket_address(target)),
            MsgFlags::empty(),
        )
        .during(format!("send an echo request to {target}"))?;
        live.add_sent();
        result.outcome.sent += 1;
        match answer(&socket, target, &request, ping.limit)? {
            Some(true) => {
                result.round_trips.push(sent.elapsed());
                result.outcome.received += 1;
                result.outcome.bytes += ping.payload as u64;
                live.add_received(ping.payload);
            }
            Some(false) => {
                result.outcome.damaged += 1;
                result
                    .outcome
                    .failed(format!("the answer to echo request {sequence} is damaged"));
            }
            None => result
                .outcome
                .failed(format!("no answer to echo request {sequence}")),
        }
        if sequence + 1 < ping.count {
            stop::pause(ping.interval.saturating_sub(sent.elapsed()))?;
        }
    }
    result.outcome.elapsed = started.elapsed();
    Ok(result)
}

fn socket_address(address: Ipv4Addr) -> std::net::SocketAddrV4 {
    std::net::SocketAddrV4::new(address, 0)
}

/// An echo request with its checksum.
fn request(ping: &Ping, sequence: u16) -> Vec<u8> {
    let mut message = vec![ECHO_REQUEST, 0, 0, 0];
    message.extend(ping.identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend((0..ping.payload).map(|index| (index as u16).wrapping_add(sequence) as u8));
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + sum) as u16
}

/// Waits for the answer to a request: whether it is intact, or nothing if none came.
fn answer(socket: &OwnedFd, target: Ipv4Addr, request: &[u8], limit: Duration) -> Result<Option<bool>> {
    let mut buffer = vec![0; 65_535];
    let until = Instant::now() + limit;
    while Instant::now() < until {
        stop::check()?;
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY.as_millis() as u16));
        loop {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    if let Some(intact) = is_answer(&buffer[..length], target, request) {
                        return Ok(Some(intact));
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(error) => return Err(error).during("receive an echo reply"),
            }
        }
    }
    Ok(None)
}

/// Whether an IPv4 packet answers the request, and if so, whether the answer is intact. A raw socket gets
/// all ICMP of its namespace.
fn is_answer(packet: &[u8], target: Ipv4Addr, request: &[u8]) -> Option<bool> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let message = packet.get(header..)?;
    let fixed = message.get(..ICMP_HEADER)?;
    let ours = fixed[0] == ECHO_REPLY && fixed[4..8] == request[4..8] && Ipv4Addr::from(source) == target;
    ours.then(|| checksum(message) == 0 && message[ICMP_HEADER..] == request[ICMP_HEADER..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(request: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 10, 0, 0, 1];
        packet.extend_from_slice(request);
        packet[20] = ECHO_REPLY;
        packet[22..24].fill(0);
        let checksum = checksum(&packet[20..]);
        packet[22..24].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn answers_are_checked() {
        let target = Ipv4Addr::new(192, 0, 2, 1);
        let request = request(
            &Ping {
                payload: 57,
                ..Ping::default()
            },
            3,
        );
        assert_eq!(checksum(&request), 0);
        let mut packet = reply(&request);
        assert_eq!(is_answer(&packet, target, &request), Some(true));
        assert_eq!(
            is_answer(&packet, Ipv4Addr::LOCALHOST, &request),
            None,
            "from someone else"
        );
        assert_eq!(is_answer(&packet[..24], target, &request), None, "cut off");
        packet[40] ^= 1;
        assert_eq!(
            is_answer(&packet, target, &request),
            Some(false),
            "one bit changed"
        );
        packet[27] ^= 1;
        assert_eq!(
            is_answer(&packet, target, &request),
            None,
            "another sequence number"
        );
    }
}
