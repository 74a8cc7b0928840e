//! Real traffic over real sockets, checked byte for byte.
//!
//! The functions work in the network namespace of the calling thread: call them in
//! [`Namespace::run`](crate::namespace::Namespace::run).

pub mod datagram;
pub mod http;
pub mod packet_sender;
pub mod ping;
pub mod probe;
pub mod raw;
pub mod round_trip;
pub mod stream;
pub mod udp;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Result;
use crate::error::During;

/// How long a transfer may stand still before it counts as failed, and an answer be awaited before it counts as lost:
/// far longer than a busy machine keeps one waiting.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// How often a blocked socket call returns to look whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A socket that listens and never blocks, and where it listens.
fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).during(format!("listen on {address}"))?;
    let address = listener.local_addr().during("read the listener's address")?;
    listener
        .set_nonblocking(true)
        .during("make the listener non-blocking")?;
    Ok((listener, address))
}

/// Counters of traffic under way, to be read by another thread.
#[derive(Debug, Default)]
pub struct Live {
    /// Requests, datagrams or probes sent.
    pub sent: AtomicU64,
    /// Those answered, intact.
    pub received: AtomicU64,
    /// Bytes of content that arrived.
    pub bytes: AtomicU64,
}

impl Live {
    /// Sent, received and bytes, now.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.received), read(&self.bytes))
    }

    fn add_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn add_received(&self, bytes: usize) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.add_bytes(bytes);
    }

    fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What became of the traffic.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Requests, datagrams or probes sent.
    pub sent: u64,
    /// Those answered, intact.
    pub received: u64,
    /// Those answered with something else than was expected.
    pub damaged: u64,
    /// Bytes of content that arrived.
    pub bytes: u64,
    /// From the first byte to the last.
    pub elapsed: Duration,
    /// Why the first one that failed did, in words.
    pub first_failure: Option<String>,
}

impl Outcome {
    /// Whether everything that was sent came back as it should.
    pub fn intact(&self) -> bool {
        self.sent > 0 && self.received == self.sent && self.damaged == 0 && self.first_failure.is_none()
    }

    /// Bytes of content in bits per second.
    pub fn bits_per_second(&self) -> f64 {
        if self.elapsed.is_zero() {
            0.0
        } else {
            self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64()
        }
    }

    fn failed(&mut self, why: impl ToString) {
        self.first_failure.get_or_insert_with(|| why.to_string());
    }
}
