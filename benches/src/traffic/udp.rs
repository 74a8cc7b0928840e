//! UDP datagrams that an echo server sends back.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{LOOK_EVERY, Live, Outcome, STALL_LIMIT};
use crate::error::During;
use crate::namespace::Namespace;
use crate::{Result, stop};

/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// A server that sends every datagram back. Its thread ends when it is dropped.
#[derive(Debug)]
pub struct EchoServer {
    address: SocketAddr,
    peers: Arc<Mutex<HashSet<SocketAddr>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Starts the server in a namespace.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the address can't be bound.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        namespace.run(|| {
            let socket = UdpSocket::bind(address).during(format!("bind UDP {address}"))?;
            let address = socket.local_addr().during("read a socket's address")?;
            socket
                .set_read_timeout(Some(LOOK_EVERY))
                .during("set a read timeout")?;
            let (peers, stopping) = (Arc::default(), Arc::new(AtomicBool::new(false)));
            let (seen, flag) = (Arc::clone(&peers), Arc::clone(&stopping));
            let thread = thread::spawn(move || echo(&socket, &seen, &flag));
            Ok(Self {
                address,
                peers,
                stopping,
                thread: Some(thread),
            })
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The source addresses and ports that it has seen: what a translator in between made of the senders.
    pub fn peers(&self) -> HashSet<SocketAddr> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn echo(socket: &UdpSocket, peers: &Mutex<HashSet<SocketAddr>>, stopping: &AtomicBool) {
    let mut buffer = vec![0; LONGEST];
    while !stopping.load(Ordering::Relaxed) {
        // Errors are timeouts, or ICMP errors about earlier answers.
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
            let _ = socket.send_to(&buffer[..length], peer);
        }
    }
}

/// Payload of the `round`th datagram of a socket: as long as DNS queries are, and no two alike.
fn payload(socket: usize, round: usize) -> Vec<u8> {
    let length = 30 + (socket * 31 + round * 97) % 450;
    let mut payload = format!("query {round} of socket {socket} ").into_bytes();
    payload.extend((payload.len()..length).map(|index| (index * 7 + socket + round) as u8));
    payload
}

/// Sends `rounds` datagrams from each of `sockets` sockets bound to `source`, one from each at a time, and
/// checks that each comes back to the socket that sent it. None is sent twice.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if a socket fails, [`Error::Interrupted`](crate::Error::Interrupted)
/// after a signal. Lost and damaged datagrams are in the outcome.
pub fn echo_many(
    source: Ipv4Addr,
    server: SocketAddr,
    sockets: usize,
    rounds: usize,
    live: &Live,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let sockets = (0..sockets)
        .map(|_| open(source, server))
        .collect::<Result<Vec<_>>>()?;
    for round in 0..rounds {
        for (index, socket) in sockets.iter().enumerate() {
            socket
                .send(&payload(index, round))
                .during(format!("send UDP to {server}"))?;
            live.add_sent();
            outcome.sent += 1;
        }
        gather(&sockets, round, live, &mut outcome)?;
    }
    outcome.elapsed = started.elapsed();
    if outcome.received < outcome.sent {
        let lost = outcome.sent - outcome.received - outcome.damaged;
        outcome.failed(format!("{lost} datagrams lost, {} damaged", outcome.damaged));
    }
    Ok(outcome)
}

fn open(source: Ipv4Addr, server: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((source, 0)).during(format!("bind UDP {source}"))?;
    socket
        .connect(server)
        .during(format!("connect UDP to {server}"))?;
    socket
        .set_nonblocking(true)
        .during("make a socket non-blocking")?;
    Ok(socket)
}

/// Reads the answers of one round.
fn gather(sockets: &[UdpSocket], round: usize, live: &Live, outcome: &mut Outcome) -> Result<()> {
    let mut waiting: Vec<usize> = (0..sockets.len()).collect();
    let until = Instant::now() + STALL_LIMIT;
    let mut buffer = vec![0; LONGEST];
    while !waiting.is_empty() && Instant::now() < until {
        stop::check()?;
        let mut ready: Vec<_> = waiting
            .iter()
            .map(|&index| PollFd::new(sockets[index].as_fd(), PollFlags::POLLIN))
            .collect();
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY.as_millis() as u16));
        waiting.retain(|&index| match sockets[index].recv(&mut buffer) {
            Ok(length) if buffer[..length] == payload(index, round) => {
                live.add_received(length);
                outcome.received += 1;
                outcome.bytes += length as u64;
                false
            }
            // Late, and counted as lost already.
            Ok(length) if (0..round).any(|earlier| buffer[..length] == payload(index, earlier)) => true,
            Ok(_) => {
                outcome.damaged += 1;
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => {
                outcome.failed(error);
                false
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_payloads_are_alike() {
        let all: HashSet<_> = (0..50)
            .flat_map(|socket| (0..50).map(move |round| payload(socket, round)))
            .collect();
        assert_eq!(all.len(), 2500);
        assert!(all.iter().all(|payload| (30..512).contains(&payload.len())));
    }

    #[test]
    fn echo_over_loopback() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        socket.set_read_timeout(Some(LOOK_EVERY)).expect("a timeout");
        let (peers, stopping) = (Mutex::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| echo(&socket, &peers, &stopping));
            let outcome = echo_many(Ipv4Addr::LOCALHOST, address, 5, 3, &Live::default()).expect("sockets");
            stopping.store(true, Ordering::Relaxed);
            assert!(outcome.intact(), "{outcome:?}");
            assert_eq!(outcome.sent, 15);
        });
        assert_eq!(peers.into_inner().expect("not poisoned").len(), 5);
    }
}
