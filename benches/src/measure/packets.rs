//! Datagrams of 64 bytes as fast as they are carried, or at a given rate.

use std::thread;
use std::time::{Duration, Instant};

use super::{ProcessorTime, Processors, hardware_address, reach_server};
use crate::bpf::{Counter, Generator, Load};
use crate::namespace::Namespace;
use crate::process::processor_mask;
use crate::subject::Subject;
use crate::topology::{INSIDE, Lab, SERVER};
use crate::traffic::datagram::{Flow, SOURCES};
use crate::traffic::packet_sender::PacketSenders;
use crate::{Result, stop};

/// Where the datagrams go: the discard service, and with very many flows the ports behind it.
const DISCARD: u16 = 9;
/// The first source port.
const FIRST_PORT: u16 = 20_000;
/// How long nothing may arrive before the rest counts as lost.
const SETTLED: Duration = Duration::from_millis(100);
/// How long it may take at most until the packets of the warm-up have arrived, and how long is sent before it is asked again.
const LONGEST_WARM_UP: Duration = Duration::from_secs(12);
const WARM_UP_STEP: Duration = Duration::from_millis(250);

/// Who sends.
#[derive(Debug, Clone, Copy)]
pub enum Sender<'a> {
    /// An XDP program, on one processor: costs next to nothing.
    LiveFrames(usize),
    /// A thread with a packet socket on each of these processors.
    Sockets(&'a [usize]),
}

/// How long to send.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Before the measurement starts.
    pub warm_up: Duration,
    /// Datagrams that arrive before that, unless it takes longer than 12 s: what is done for a flow after some packets has
    /// been done then.
    pub warm_up_packets: u64,
    /// What is measured.
    pub window: Duration,
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
    /// Processor time of the whole machine for each that arrived, the senders' included, in seconds.
    pub processor_time: f64,
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

/// Makes the laboratory ready for [`packets`] by [`Sender::LiveFrames`]: frames that do not come from a socket reach an
/// interface only in its polling mode, and the kernel, if it forwards, does it on the forwarder's processor.
///
/// # Errors
/// What `ethtool` or the kernel say.
pub fn prepare_packets(lab: &Lab, subject: &Subject, processors: Processors) -> Result<()> {
    if subject.is_kernel() {
        lab.middle.command("ethtool -K lan gro on")?;
        let mask = processor_mask(processors.forwarder);
        lab.middle
            .set_device_attribute("lan", "queues/rx-0/rps_cpus", &mask)?;
    }
    Ok(())
}

/// Makes an end host ready for traffic from its sockets, as for [`packets`] by [`Sender::Sockets`]: what a processor sends
/// goes by a queue of its own, as on a card with as many queues.
///
/// # Errors
/// What the kernel says; the laboratory must have as many queues.
pub fn prepare_sockets(host: &Namespace, processors: &[usize]) -> Result<()> {
    for (queue, processor) in processors.iter().enumerate() {
        let attribute = format!("queues/tx-{queue}/xps_cpus");
        host.set_device_attribute("eth0", &attribute, &processor_mask(*processor))?;
    }
    Ok(())
}

/// What makes the datagrams.
enum Source<'a> {
    LiveFrames(Generator, usize),
    Sockets(PacketSenders, &'a [usize]),
}

impl<'a> Source<'a> {
    fn new(lab: &Lab, sender: Sender<'a>, load: &Load) -> Result<Self> {
        let hardware = (
            hardware_address(&lab.inside, "eth0")?,
            hardware_address(&lab.middle, "lan")?,
        );
        let flow = Flow {
            hardware,
            addresses: (INSIDE, SERVER),
            ports: (FIRST_PORT, DISCARD),
        };
        Ok(match sender {
            Sender::LiveFrames(processor) => {
                Self::LiveFrames(Generator::new(&lab.inside, "eth0", &flow, load)?, processor)
            }
            Sender::Sockets(processors) => {
                let senders = lab
                    .inside
                    .run(|| PacketSenders::new("eth0", flow, load.flows, processors.len()))?;
                Self::Sockets(senders, processors)
            }
        })
    }

    fn sent(&self) -> Result<u64> {
        match self {
            Self::LiveFrames(generator, _) => generator.sent(),
            Self::Sockets(senders, _) => Ok(senders.sent()),
        }
    }

    fn run(&self, lab: &Lab, duration: Duration) -> Result<()> {
        lab.inside.run(|| match self {
            Self::LiveFrames(generator, processor) => generator.run(*processor, duration),
            Self::Sockets(senders, processors) => senders.run(processors, duration),
        })
    }
}

/// Sends datagrams of [`FRAME`](crate::traffic::datagram::FRAME) bytes through the box and counts those that arrive; does
/// `work` during the window. Packet sockets send as fast as they can, whatever the rate of `load`.
///
/// # Errors
/// [`Error::Answer`](crate::Error::Answer) if nothing crosses, [`Error::Interrupted`](crate::Error::Interrupted) after a
/// signal, or the error of `work`.
pub fn packets<R>(
    lab: &Lab,
    sender: Sender<'_>,
    load: &Load,
    times: Times,
    work: impl FnOnce() -> Result<R>,
) -> Result<(Packets, R)> {
    reach_server(lab)?;
    let source = Source::new(lab, sender, load)?;
    let port = (load.flows <= SOURCES).then_some(DISCARD);
    let counter = Counter::attach(&lab.server, "eth0", SERVER, port)?;
    warm_up(lab, &source, &counter, times.warm_up_packets)?;
    let sent_for = times.warm_up + times.window + SETTLED;
    thread::scope(|scope| {
        let sending = scope.spawn(|| source.run(lab, sent_for));
        let measured =
            stop::pause(times.warm_up).and_then(|()| measure(&source, &counter, times.window, work));
        sending
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (mut packets, result) = measured?;
        packets.delivered = settled(&counter)?;
        packets.offered = source.sent()?;
        Ok((packets, result))
    })
}

/// Sends until so many have arrived.
fn warm_up(lab: &Lab, source: &Source<'_>, counter: &Counter, packets: u64) -> Result<()> {
    let started = Instant::now();
    while counter.count()? < packets && started.elapsed() < LONGEST_WARM_UP {
        source.run(lab, WARM_UP_STEP)?;
    }
    Ok(())
}

fn measure<R>(
    source: &Source<'_>,
    counter: &Counter,
    window: Duration,
    work: impl FnOnce() -> Result<R>,
) -> Result<(Packets, R)> {
    let (started, time) = (Instant::now(), ProcessorTime::now()?);
    let before = (source.sent()?, counter.count()?);
    let result = work()?;
    stop::pause(window.saturating_sub(started.elapsed()))?;
    let after = (source.sent()?, counter.count()?);
    let busy = ProcessorTime::now()?.busy_since(&time);
    let seconds = started.elapsed().as_secs_f64();
    let rate = |before, after| (after - before) as f64 / seconds;
    let packets = Packets {
        offered: after.0,
        delivered: after.1,
        offered_rate: rate(before.0, after.0),
        delivered_rate: rate(before.1, after.1),
        processor_time: busy.as_secs_f64() / (after.1 - before.1).max(1) as f64,
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
