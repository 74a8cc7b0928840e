//! The port: all sockets on one interface, behind [`PacketIo`].

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;

use super::device::queues_of;
use super::error::AfXdpError;
use super::kernel::Answer;
use super::options::PortOptions;
use super::queue::Queue;
use super::umem::Umem;
use crate::port::{Frame, PacketIo, PortCounters};
use crate::time::Time;

/// Time between looks at an interface that is up and silent.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// An interface through AF_XDP sockets, one for each of its queues. It stays in the thread that opened it.
pub struct AfXdpPort {
    interface: String,
    options: PortOptions,
    queues: Vec<Queue>,
    /// The queue that is read first the next time.
    next: usize,
    counters: PortCounters,
    link_up: bool,
    gone: Option<Errno>,
    now: Time,
    looked: Time,
}

/// What the kernel counted on one queue, and what its socket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// The queue's number on its interface, from 0.
    pub queue: u32,
    /// Packets that were redirected to the socket and dropped, for reasons other than those below: too long for a frame, or longer than a chunk while
    /// all frames for such were in use.
    pub receive_dropped: u64,
    /// Packets dropped because the receive ring was full: the worker was too slow.
    pub receive_ring_full: u64,
    /// Packets that found no free frame in the fill ring.
    pub fill_ring_empty: u64,
    /// Times that the kernel found nothing to send in the transmit ring.
    pub transmit_ring_empty: u64,
    /// Descriptors that the kernel refused; not zero means a defect.
    pub refused_by_kernel: u64,
    /// Frames that could not be used: shorter than an Ethernet header or of another pool when sent, or moved by an XDP program
    /// when received. They returned to their pool.
    pub invalid: u64,
    /// Frames that the socket holds now.
    pub held: usize,
    /// Of these, frames that were given to the transmit ring and not yet taken back.
    pub sending: usize,
}

impl AfXdpPort {
    /// Opens a socket for each queue and fills their fill rings. [`super::open`] does this for all ports of a worker.
    ///
    /// # Errors
    /// If an option is out of its range, the interface or queue does not exist, another socket holds the queue (and did not let go
    /// within two seconds), the zero-copy mode of the UMEM is not possible, or the process may not open such sockets.
    pub fn open(umem: &Umem, options: &PortOptions) -> Result<Self, AfXdpError> {
        options.check()?;
        let interface = options.interface.clone();
        let available = queues_of(&interface)?;
        if let Some(queue) = options.queues.iter().copied().find(|queue| *queue >= available) {
            return Err(AfXdpError::NoSuchQueue {
                interface,
                queue,
                available,
            });
        }
        let mut queues = options
            .queues
            .iter()
            .map(|&number| Queue::open(&umem.shared, options, number))
            .collect::<Result<Vec<_>, _>>()?;
        for queue in &mut queues {
            queue.refill();
        }
        Ok(Self {
            interface,
            options: options.clone(),
            queues,
            next: 0,
            counters: PortCounters::default(),
            link_up: true,
            gone: None,
            now: Time::ZERO,
            looked: Time::ZERO,
        })
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The options that it was opened with.
    pub fn options(&self) -> &PortOptions {
        &self.options
    }

    /// The sockets with the numbers of their queues, to be put into the XSKMAP of the interface's XDP program.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.queues
            .iter()
            .map(|queue| (queue.number(), queue.descriptor()))
    }

    /// Whether the driver reads and writes frames itself; if not, the kernel copies.
    pub fn is_zero_copy(&self) -> bool {
        self.queues.iter().all(Queue::is_zero_copy)
    }

    /// Goes on counting from what another port on the interface has counted.
    pub fn count_from(&mut self, counters: PortCounters) {
        self.counters = counters;
    }

    /// What the kernel counted, for each queue.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn statistics(&self) -> io::Result<Vec<QueueStatistics>> {
        self.queues
            .iter()
            .map(|queue| {
                let counted = queue.statistics()?;
                // When it copies, the kernel counts a packet that finds no free frame as dropped too.
                let counted_twice = match queue.is_zero_copy() {
                    true => 0,
                    false => counted.rx_fill_ring_empty_descs(),
                };
                Ok(QueueStatistics {
                    queue: queue.number(),
                    receive_dropped: counted.rx_dropped().saturating_sub(counted_twice) + queue.lost(),
                    receive_ring_full: counted.rx_ring_full(),
                    fill_ring_empty: counted.rx_fill_ring_empty_descs(),
                    transmit_ring_empty: counted.tx_ring_empty_descs(),
                    refused_by_kernel: counted.rx_invalid_descs() + counted.tx_invalid_descs(),
                    invalid: queue.invalid(),
                    held: queue.held(),
                    sending: queue.sending(),
                })
            })
            .collect()
    }

    fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Working => self.link_up = true,
            Answer::LinkDown => self.link_up = false,
            Answer::Gone(error) => self.gone = Some(error),
        }
    }

    /// Gives free frames to the receive side, and looks at the interface when it is time to.
    fn supply(&mut self) {
        let look = !self.link_up || self.now.since(self.looked) >= LOOK_INTERVAL;
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            queue.refill();
            let always = look && index == 0;
            let answer = queue.wake_receive(always);
            if always || answer != Answer::Working {
                self.note(answer);
                self.looked = self.now;
            }
        }
    }

    /// Reads up to `limit` frames from each queue, beginning with `next`, while there is room for `total` in all.
    fn receive_from_each(&mut self, burst: &mut Vec<Frame>, limit: usize, total: usize) -> usize {
        let count = self.queues.len();
        let mut received = 0;
        for offset in 0..count {
            let queue = &mut self.queues[(self.next + offset) % count];
            let (packets, bytes) = queue.receive(burst, limit.min(total - received));
            received += packets;
            self.counters.received_packets += packets as u64;
            self.counters.received_bytes += bytes;
        }
        received
    }
}

impl PacketIo for AfXdpPort {
    /// Each queue gets an equal share of `limit`; what some leave over goes to the others.
    fn receive(&mut self, now: Time, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.now = now;
        let count = self.queues.len();
        let share = limit.div_ceil(count);
        let mut received = self.receive_from_each(burst, share, limit);
        if count > 1 {
            if received >= share && received < limit {
                received += self.receive_from_each(burst, limit, limit - received);
            }
            self.next = (self.next + 1) % count;
        }
        received
    }

    /// Zero while the interface is down or gone.
    fn transmit_room(&mut self) -> usize {
        if !self.is_link_up() {
            return 0;
        }
        self.queues[0].transmit_room()
    }

    fn transmit(&mut self, _now: Time, frames: &mut Vec<Frame>) -> usize {
        if !self.is_link_up() {
            return 0;
        }
        let before = frames.len();
        let (packets, bytes) = self.queues[0].transmit(frames, before);
        self.counters.transmitted_packets += packets as u64;
        self.counters.transmitted_bytes += bytes;
        before - frames.len()
    }

    /// At most one system call when packets were queued, none when not, apart from a look at the interface ten times a second.
    fn flush(&mut self) -> io::Result<()> {
        if self.gone.is_none() {
            let answer = self.queues[0].send();
            if answer != Answer::Working {
                self.note(answer);
            }
        }
        self.queues[0].complete();
        if self.gone.is_none() {
            self.supply();
        }
        match self.gone {
            None => Ok(()),
            Some(error) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                AfXdpError::InterfaceGone {
                    interface: self.interface.clone(),
                    source: error.into(),
                },
            )),
        }
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    /// A system call for each queue. A driver that writes frames itself only says how often it found no free one, which need not be a loss.
    fn receive_losses(&self) -> u64 {
        let lost = |queue: &Queue| {
            // An open socket always has an answer.
            let counted = queue.statistics().ok()?;
            Some(match queue.is_zero_copy() {
                true => counted.rx_ring_full(),
                false => counted.rx_ring_full() + counted.rx_fill_ring_empty_descs(),
            })
        };
        self.queues.iter().filter_map(lost).sum()
    }

    fn held(&self) -> usize {
        self.queues.iter().map(Queue::held).sum()
    }

    /// As it was when the interface was last looked at: at the last transmission, or a tenth of a second ago.
    fn is_link_up(&self) -> bool {
        self.link_up && self.gone.is_none()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().map(Queue::descriptor).collect()
    }
}

impl fmt::Debug for AfXdpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfXdpPort")
            .field("interface", &self.interface)
            .field("queues", &self.queues.len())
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}
