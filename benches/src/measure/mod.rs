//! Measurements of what a subject forwards, from the inside host to the server.

mod packets;
mod processor_time;

use std::net::SocketAddr;
use std::time::Duration;

pub use packets::{Packets, Sender, Times, packets, prepare_packets, prepare_sockets};
pub use processor_time::{ProcessorTime, wait_until_idle};

use crate::bpf::Reflector;
use crate::error::During;
use crate::namespace::Namespace;
use crate::process::run_on;
use crate::topology::{Lab, SERVER};
use crate::traffic::Live;
use crate::traffic::ping::{Ping, ping};
use crate::traffic::round_trip::{self, RoundTrips};
use crate::traffic::stream::{Sink, throughput};
use crate::{Error, Result};

/// Where the streams go.
const SINK: u16 = 5001;
/// What does the work.
#[derive(Debug, Clone, Copy)]
pub struct Processors {
    /// Sends. The interfaces' receive work is done here too.
    pub sender: usize,
    /// Forwards.
    pub forwarder: usize,
}

/// Where probes of the round trip go: the echo service.
const ECHO: u16 = 7;

/// Bits per second over `streams` TCP connections from the inside host to the server.
///
/// # Errors
/// As [`throughput`].
pub fn tcp(lab: &Lab, streams: usize, window: Duration) -> Result<f64> {
    reach_server(lab)?;
    let sink = Sink::start(&lab.server, SocketAddr::from((SERVER, SINK)))?;
    lab.inside.run(|| throughput(&sink, streams, window))
}

/// Sends probes from the inside host to the server, where an eBPF program sends them back.
#[derive(Debug)]
pub struct Prober<'lab> {
    lab: &'lab Lab,
    _reflector: Reflector,
}

impl<'lab> Prober<'lab> {
    /// Makes the server ready.
    ///
    /// # Errors
    /// [`Error::Answer`] if nothing crosses, or what the kernel says.
    pub fn new(lab: &'lab Lab) -> Result<Self> {
        reach_server(lab)?;
        Ok(Self {
            lab,
            _reflector: Reflector::attach(&lab.server, "eth0", ECHO)?,
        })
    }

    /// Sends probes, from a processor of its own if one is given.
    ///
    /// # Errors
    /// [`Error::Answer`] if no probe comes back, [`Error::Interrupted`] after a signal.
    pub fn round_trips(&self, processor: Option<usize>, times: Times) -> Result<RoundTrips> {
        let target = SocketAddr::from((SERVER, ECHO));
        let trips = self.lab.inside.run(|| {
            processor.map_or(Ok(()), run_on)?;
            round_trip::round_trips(target, times.warm_up, times.window)
        })?;
        match trips.percentile(1.0) {
            Some(_) => Ok(trips),
            None => Err(Error::Answer("no probe came back".to_owned())),
        }
    }
}

/// Makes sure that the way is open, and all neighbours known.
fn reach_server(lab: &Lab) -> Result<()> {
    let few = Ping {
        count: 3,
        ..Ping::default()
    };
    let answered = lab.inside.run(|| ping(SERVER, &few, &Live::default()))?;
    if answered.outcome.received == 0 {
        return Err(Error::Answer("no ping crosses the box".to_owned()));
    }
    Ok(())
}

/// The MAC address of an interface.
///
/// # Errors
/// [`Error::Command`] if there is no such interface.
pub fn hardware_address(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let text = namespace.hardware_address(interface)?;
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    let address = bytes.and_then(|bytes| bytes.try_into().ok());
    address
        .ok_or_else(|| std::io::Error::other(format!("{text:?} is not one")))
        .during("read a MAC address")
}

/// The middle one of some values, or the mean of the two in the middle; nothing of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
