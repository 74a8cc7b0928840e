//! How long a datagram takes there and back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::During;
use crate::{Result, stop};

/// Payload of a frame of 64 bytes.
const PAYLOAD: usize = 22;
/// From an answer to the next probe.
const GAP: Duration = Duration::from_micros(100);
/// When a probe counts as lost.
const LOST: Duration = Duration::from_millis(200);

/// What became of the probes.
#[derive(Debug, Clone, Default)]
pub struct RoundTrips {
    /// What each answered probe took, from the shortest to the longest.
    sorted: Vec<Duration>,
    /// Probes that were not answered.
    pub lost: usize,
}

impl RoundTrips {
    /// The time within which this part of the answered probes, 0 to 1, came back; nothing if none did.
    pub fn percentile(&self, part: f64) -> Option<Duration> {
        let rank = (part.clamp(0.0, 1.0) * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied()
    }

    /// Part of the probes that was lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        match self.sorted.len() + self.lost {
            0 => 0.0,
            all => self.lost as f64 / all as f64,
        }
    }
}

/// Sends probes to `target` for `duration`, each when the one before has been answered, and measures. Those of the time
/// before, `warm_up`, do not count.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the socket fails, [`Error::Interrupted`](crate::Error::Interrupted) after a signal.
pub fn round_trips(target: SocketAddr, warm_up: Duration, duration: Duration) -> Result<RoundTrips> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).during("open a UDP socket")?;
    socket
        .connect(target)
        .during(format!("connect a socket to {target}"))?;
    socket.set_read_timeout(Some(LOST)).during("set a read timeout")?;
    let mut trips = RoundTrips::default();
    let started = Instant::now();
    let mut number = 0_u64;
    while started.elapsed() < warm_up + duration {
        stop::check()?;
        thread::sleep(GAP);
        number += 1;
        let sent = Instant::now();
        let answered = probe(&socket, number).during("send a probe")?;
        if sent.duration_since(started) < warm_up {
            continue;
        }
        match answered {
            true => trips.sorted.push(sent.elapsed()),
            false => trips.lost += 1,
        }
    }
    trips.sorted.sort_unstable();
    Ok(trips)
}

/// Whether the probe with this number came back.
fn probe(socket: &UdpSocket, number: u64) -> io::Result<bool> {
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    // A probe that can't be sent is lost: the interface's queue is full.
    if socket.send(&payload).is_err() {
        return Ok(false);
    }
    let mut answer = [0; PAYLOAD];
    let until = Instant::now() + LOST;
    while Instant::now() < until {
        match socket.recv(&mut answer) {
            Ok(PAYLOAD) if answer == payload => return Ok(true),
            // The answer to an earlier one.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Errors of earlier probes, by ICMP.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_answered() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.percentile(0.5), None);
        trips.sorted = (1..=1000).map(Duration::from_micros).collect();
        trips.lost = 1000;
        let microseconds = |part| trips.percentile(part).expect("some").as_micros();
        assert_eq!(
            [0.0, 0.5, 0.99, 0.999, 1.0].map(microseconds),
            [1, 500, 990, 999, 1000]
        );
        assert!((trips.loss() - 0.5).abs() < 1e-9);
    }
}
