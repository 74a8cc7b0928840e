//! Measurements of what a subject forwards, from the inside host to the server.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::bpf::{Counter, Flow, Generator, Load};
use crate::error::During;
use crate::namespace::Namespace;
use crate::subject::Subject;
use crate::topology::{INSIDE, Lab, SERVER};
use crate::traffic::Live;
use crate::traffic::ping::{Ping, ping};
use crate::traffic::stream::{Sink, throughput};
use crate::{Error, Result, stop};

/// Where the datagrams go: the discard service.
const DISCARD: u16 = 9;
/// The first source port.
const FIRST_PORT: u16 = 20_000;
/// Where the streams go.
const SINK: u16 = 5001;
/// How long the sender runs before the measurement starts.
const WARM_UP: Duration = Duration::from_millis(300);
/// The same where each datagram is a new flow: tables of millions take their memory meanwhile.
const WARM_UP_OF_NEW_FLOWS: Duration = Duration::from_secs(2);
/// How long nothing may arrive before the rest counts as lost.
const SETTLED: Duration = Duration::from_millis(100);

/// What does the work.
#[derive(Debug, Clone, Copy)]
pub struct Processors {
    /// Sends. The interfaces' receive work is done here too.
    pub sender: usize,
    /// Forwards.
    pub forwarder: usize,
}

/// Datagrams, sent and arrived.
#[derive(Debug, Clone, Copy)]
pub struct Packets {
    /// Sent in all.
    pub offered: u64,
    /// Arrived in all.
    pub delivered: u64,
    /// Sent in a second.
    pub offered_rate: f64,
    /// Arrived in a second.
    pub delivered_rate: f64,
}

impl Packets {
    /// Part of what was sent that did not arrive, 0 to 1.
    pub fn loss(&self) -> f64 {
        if self.offered == 0 {
            0.0
        } else {
            1.0 - self.delivered as f64 / self.offered as f64
        }
    }
}

/// Makes the laboratory ready for [`packets`]: frames that do not come from a socket reach an interface only
/// in its polling mode, and the kernel, if it forwards, does it on the forwarder's processor.
///
/// # Errors
/// What `ethtool` or the kernel say.
pub fn prepare_packets(lab: &Lab, subject: &Subject, processors: Processors) -> Result<()> {
    if subject.is_kernel() {
        lab.middle.command("ethtool -K lan gro on")?;
        let mask = format!("{:x}", 1_u64 << processors.forwarder);
        lab.middle
            .set_device_attribute("lan", "queues/rx-0/rps_cpus", &mask)?;
    }
    Ok(())
}

/// Sends datagrams of [`FRAME`](crate::bpf::FRAME) bytes through the box for `window` and counts those that
/// arrive; does `work` meanwhile.
///
/// # Errors
/// [`Error::Answer`] if nothing crosses, [`Error::Interrupted`] after a signal, or the error of `work`.
pub fn packets<R>(
    lab: &Lab,
    processors: Processors,
    load: &Load,
    window: Duration,
    work: impl FnOnce() -> Result<R>,
) -> Result<(Packets, R)> {
    reach_server(lab)?;
    let hardware = (
        hardware_address(&lab.inside, "eth0")?,
        hardware_address(&lab.middle, "lan")?,
    );
    let flow = Flow {
        hardware,
        addresses: (INSIDE, SERVER),
        ports: (FIRST_PORT, DISCARD),
    };
    let generator = Generator::new(&lab.inside, "eth0", &flow, load)?;
    let port = (load.destinations == 1).then_some(DISCARD);
    let counter = Counter::attach(&lab.server, "eth0", SERVER, port)?;
    let warm_up = if load.destinations == 1 {
        WARM_UP
    } else {
        WARM_UP_OF_NEW_FLOWS
    };
    let sent_for = warm_up + window + WARM_UP / 3;
    thread::scope(|scope| {
        let sender = scope.spawn(|| lab.inside.run(|| generator.run(processors.sender, sent_for)));
        let measured = stop::pause(warm_up).and_then(|()| measure(&generator, &counter, window, work));
        sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (mut packets, result) = measured?;
        packets.delivered = settled(&counter)?;
        packets.offered = generator.sent()?;
        Ok((packets, result))
    })
}

fn measure<R>(
    generator: &Generator,
    counter: &Counter,
    window: Duration,
    work: impl FnOnce() -> Result<R>,
) -> Result<(Packets, R)> {
    let started = Instant::now();
    let before = (generator.sent()?, counter.count()?);
    let result = work()?;
    stop::pause(window.saturating_sub(started.elapsed()))?;
    let after = (generator.sent()?, counter.count()?);
    let seconds = started.elapsed().as_secs_f64();
    let rate = |before, after| (after - before) as f64 / seconds;
    let packets = Packets {
        offered: after.0,
        delivered: after.1,
        offered_rate: rate(before.0, after.0),
        delivered_rate: rate(before.1, after.1),
    };
    Ok((packets, result))
}

/// The count, once no more arrive.
fn settled(counter: &Counter) -> Result<u64> {
    let mut last = counter.count()?;
    loop {
        stop::pause(SETTLED)?;
        let now = counter.count()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

/// Bits per second over `streams` TCP connections from the inside host to the server.
///
/// # Errors
/// As [`throughput`].
pub fn tcp(lab: &Lab, streams: usize, window: Duration) -> Result<f64> {
    reach_server(lab)?;
    let sink = Sink::start(&lab.server, SocketAddr::from((SERVER, SINK)))?;
    lab.inside.run(|| throughput(&sink, streams, window))
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
