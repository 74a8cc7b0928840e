//! One AF_XDP socket: a queue of an interface with its four rings. Frames go in and out as values, every one of them counted.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::socket::XdpStatistics;
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue};

use super::error::AfXdpError;
use super::gathering::{Gathered, Gathering};
use super::kernel::{self, Answer};
use super::options::{LONGEST_ETHERNET_HEADER, PortOptions, ZeroCopy};
use super::umem::{Lent, Returned, Shared, os_error};
use crate::port::Frame;

/// Descriptors moved at a time.
const BATCH: usize = 64;
/// How long the kernel may take to let go of a queue whose socket was closed just before.
const RELEASE_TIME: Duration = Duration::from_secs(2);
/// Time between attempts to bind.
const RELEASE_POLL: Duration = Duration::from_millis(20);

/// Shortest frame that goes on a wire: an Ethernet header. The kernel drops shorter ones, empty ones without giving them back.
const SHORTEST_FRAME: usize = 14;

pub(super) struct Queue {
    shared: Rc<Shared>,
    receive: RxQueue,
    transmit: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    descriptors: Vec<FrameDesc>,
    number: u32,
    fill_size: usize,
    transmit_size: usize,
    zero_copy: bool,
    /// Whether the queue is driven by calls on the socket.
    busy_poll: bool,
    lent_receive: usize,
    lent_transmit: usize,
    /// Frames that the fill ring was short of its low mark when it was last filled; part of the UMEM's sum.
    shortage: usize,
    gathering: Gathering,
    /// Packets that could not be gathered.
    lost: u64,
    invalid: u64,
    /// Behind the socket, which is closed before.
    _binding: Binding,
}

/// A socket's part in what its UMEM is bound to. libxdp keeps the first socket of a UMEM open until the UMEM is deleted, which frames may keep
/// from being so for long; its queue is to be free for others when the last socket is closed.
struct Binding(Rc<Shared>);

impl Binding {
    fn new(shared: &Rc<Shared>, socket: RawFd) -> Self {
        if shared.first_socket.get().is_none() {
            shared.first_socket.set(Some(socket));
        }
        shared.sockets.set(shared.sockets.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.sockets.set(shared.sockets.get() - 1);
        if shared.sockets.get() > 0 {
            return;
        }
        if let Some(first) = shared.first_socket.get()
            && let Ok(nothing) = EventFd::new()
        {
            // SAFETY: the descriptor is libxdp's as long as the UMEM exists, which this value keeps. libxdp uses it for nothing but sockets to come,
            // of which there are none, and closes it in the end, whatever it is.
            unsafe { libc::dup2(nothing.as_raw_fd(), first) };
        }
    }
}

impl Queue {
    /// Opens the socket and binds it, waiting while the kernel still cleans up after one that was closed.
    pub(super) fn open(shared: &Rc<Shared>, options: &PortOptions, number: u32) -> Result<Self, AfXdpError> {
        let interface = &options.interface;
        let failed = |source: io::Error| AfXdpError::Socket {
            interface: interface.clone(),
            queue: number,
            source,
        };
        let ring = |size| QueueSize::new(size).map_err(|error| failed(io::Error::other(error.to_string())));
        let mode = match shared.zero_copy() {
            ZeroCopy::Auto => BindFlags::empty(),
            ZeroCopy::On => BindFlags::XDP_ZEROCOPY,
            ZeroCopy::Off => BindFlags::XDP_COPY,
        };
        let long_packets = match shared.options.has_long_packets() {
            true => BindFlags::XDP_USE_SG,
            false => BindFlags::empty(),
        };
        let config = SocketConfig::builder()
            .rx_queue_size(ring(options.receive_ring)?)
            .tx_queue_size(ring(options.transmit_ring)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(mode | long_packets | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let name: Interface = interface.parse().map_err(|_| AfXdpError::NoSuchInterface {
            interface: interface.clone(),
        })?;

        let started = Instant::now();
        let (transmit, receive, rings) = loop {
            // SAFETY: libxdp loads no program (the flag above), so there is none that could be detached twice.
            match unsafe { Socket::new(config, &shared.umem, &name, number) } {
                Ok(parts) => break parts,
                Err(error) => {
                    let source = os_error(&error);
                    if source.raw_os_error() == Some(libc::EBUSY) && started.elapsed() < RELEASE_TIME {
                        sleep(RELEASE_POLL);
                        continue;
                    }
                    return Err(open_error(shared, interface, number, source));
                }
            }
        };
        // A port opened twice on the same UMEM shares the rings of the first, which only that one may use.
        let Some((fill, completion)) = rings else {
            return Err(AfXdpError::QueueBusy {
                interface: interface.clone(),
                queue: number,
                waited: Duration::ZERO,
            });
        };
        let socket = transmit.fd().as_raw_fd();
        kernel::raise_transmit_budget(socket, options.transmit_ring).map_err(failed)?;
        if let Some(poll) = options.busy_poll {
            kernel::prefer_busy_poll(socket, poll).map_err(|(option, value, source)| {
                AfXdpError::BusyPollRefused {
                    interface: interface.clone(),
                    queue: number,
                    option,
                    value,
                    source,
                }
            })?;
        }
        let zero_copy = kernel::is_zero_copy(socket).map_err(failed)?;
        if shared.zero_copy() == ZeroCopy::On && !zero_copy {
            return Err(AfXdpError::ZeroCopyImpossible {
                interface: interface.clone(),
                queue: number,
            });
        }
        Ok(Self {
            shared: Rc::clone(shared),
            receive,
            transmit,
            fill,
            completion,
            descriptors: vec![FrameDesc::default(); BATCH],
            number,
            fill_size: shared.options.fill_ring as usize,
            transmit_size: options.transmit_ring as usize,
            zero_copy,
            busy_poll: options.busy_poll.is_some(),
            lent_receive: 0,
            lent_transmit: 0,
            shortage: 0,
            gathering: Gathering::default(),
            lost: 0,
            invalid: 0,
            _binding: Binding::new(shared, socket),
        })
    }

    /// Appends up to `limit` received frames to `burst`; returns how many and their bytes. Where the socket drives the queue, a look at an
    /// empty ring has the kernel look at the queue: one system call a burst, none while there is more in the ring.
    pub(super) fn receive(&mut self, burst: &mut Vec<Frame>, limit: usize) -> (usize, u64) {
        let received = self.receive_ready(burst, limit);
        if received.0 > 0 || !self.busy_poll || limit == 0 {
            return received;
        }
        // How the interface is, the next flush finds out.
        kernel::kick_receive(self.raw());
        self.receive_ready(burst, limit)
    }

    fn receive_ready(&mut self, burst: &mut Vec<Frame>, limit: usize) -> (usize, u64) {
        let (mut count, mut bytes) = (0, 0);
        while count < limit {
            let wanted = BATCH.min(limit - count);
            // SAFETY: the ring is of the UMEM that the descriptors are looked up in.
            let got = unsafe { self.receive.consume(&mut self.descriptors[..wanted]) };
            for descriptor in &self.descriptors[..got] {
                let returned = self.shared.take_back(descriptor, Lent::Receive);
                self.lent_receive -= usize::from(!matches!(returned, Returned::NotLent));
                let Returned::Frame(mut frame) = returned else {
                    self.gathering.lose(descriptor.has_more_frames());
                    self.invalid += 1;
                    continue;
                };
                if descriptor.has_more_frames() || self.gathering.has_begun() {
                    match self
                        .gathering
                        .add(&frame, descriptor.has_more_frames(), &self.shared.pool)
                    {
                        Gathered::Packet(packet) => frame = packet,
                        Gathered::Unfinished => continue,
                        Gathered::Lost => {
                            self.lost += 1;
                            continue;
                        }
                    }
                }
                // Another core may have written it: the whole burst is on its way before the first is looked at.
                frame.prefetch();
                bytes += frame.len() as u64;
                count += 1;
                burst.push(frame);
            }
            if got < wanted {
                break;
            }
        }
        (count, bytes)
    }

    /// Gives free frames to the kernel to receive into, up to the size of the fill ring. Frames of the reserve stay free, and above
    /// its low mark (a quarter of the ring) this ring leaves what others are short of theirs.
    pub(super) fn refill(&mut self) {
        let mut room = self.fill.nb_free_exact() as usize;
        let filled = self.fill_size - room;
        let short = (self.fill_size / 4).saturating_sub(filled);
        let total = &self.shared.shortage;
        let others = total.get() - self.shortage;
        let free = self
            .shared
            .pool
            .free()
            .saturating_sub(self.shared.options.reserve as usize);
        let mut count = room.min(free.saturating_sub(others).max(short.min(free)));
        self.shortage = short.saturating_sub(count);
        total.set(others + self.shortage);

        while count > 0 {
            let batch = count.min(BATCH);
            let mut lent = 0;
            while lent < batch {
                let Some(frame) = self.shared.pool.take() else {
                    break;
                };
                let Ok(descriptor) = self.shared.lend(frame, Lent::Receive) else {
                    break;
                };
                self.descriptors[lent] = descriptor;
                lent += 1;
            }
            // SAFETY: the descriptors are of this UMEM, and their frames were lent for this just now.
            let given = unsafe { self.fill.produce(&self.descriptors[..lent]) };
            debug_assert_eq!(given, lent, "there was room for {room}");
            self.lent_receive += given;
            room -= given;
            count -= given;
            if given < batch {
                break;
            }
        }
    }

    /// Queues up to `limit` frames from the front of `frames`; returns how many of them were queued, and their bytes. Frames of another
    /// pool are copied; those that can't be sent go back to their pool and are counted as invalid.
    pub(super) fn transmit(&mut self, frames: &mut Vec<Frame>, limit: usize) -> (usize, u64) {
        let count = self.fitting(&frames[..limit.min(frames.len())]);
        let (mut sent, mut bytes, mut lent) = (0, 0, 0);
        for frame in frames.drain(..count) {
            let len = frame.len();
            if len < SHORTEST_FRAME {
                self.invalid += 1;
                continue;
            }
            if lent + self.shared.chunks_for(len) > BATCH {
                self.give(lent);
                lent = 0;
            }
            let chunks = match self.shared.lend(frame, Lent::Transmit) {
                Ok(descriptor) => {
                    self.descriptors[lent] = descriptor;
                    Some(1)
                }
                Err(foreign) => self.shared.lend_copy(&foreign, &mut self.descriptors[lent..]),
            };
            match chunks {
                Some(chunks) => {
                    lent += chunks;
                    sent += 1;
                    bytes += len as u64;
                }
                None => self.invalid += 1,
            }
        }
        self.give(lent);
        (sent, bytes)
    }

    /// How many frames, from the first one on, there is room for.
    fn fitting(&mut self, frames: &[Frame]) -> usize {
        let mut room = self.transmit.nb_free_exact() as usize;
        if !self.shared.options.has_long_packets() {
            return frames.len().min(room);
        }
        let mut free = self.shared.pool.free();
        let fits = |frame: &&Frame| {
            let chunks = self.shared.chunks_for(frame.len());
            let copies = if chunks > 1 { chunks } else { 0 };
            let fits = chunks <= room && copies <= free;
            if fits {
                room -= chunks;
                free -= copies;
            }
            fits
        };
        frames.iter().take_while(fits).count()
    }

    /// Puts the first `lent` descriptors into the transmit ring, which has room for them.
    fn give(&mut self, lent: usize) {
        // SAFETY: the descriptors are of this UMEM, and their frames were lent for this just before.
        let given = unsafe { self.transmit.produce(&self.descriptors[..lent]) };
        debug_assert_eq!(given, lent, "there was room");
        self.lent_transmit += given;
    }

    /// Packets that fit in the transmit ring now, however long.
    pub(super) fn transmit_room(&mut self) -> usize {
        let chunks = self.transmit.nb_free_exact() as usize;
        if !self.shared.options.has_long_packets() {
            return chunks;
        }
        chunks
            / self
                .shared
                .chunks_for(self.shared.options.longest_packet as usize)
    }

    /// Takes back the frames that were sent.
    pub(super) fn complete(&mut self) {
        while self.lent_transmit > 0 {
            // SAFETY: the ring is of the UMEM that the descriptors are looked up in.
            let got = unsafe { self.completion.consume(&mut self.descriptors) };
            for descriptor in &self.descriptors[..got] {
                let returned = self.shared.take_back(descriptor, Lent::Transmit);
                self.lent_transmit -= usize::from(!matches!(returned, Returned::NotLent));
                self.invalid += u64::from(!matches!(returned, Returned::Frame(_)));
            }
            if got < self.descriptors.len() {
                break;
            }
        }
    }

    /// Has the kernel send what is queued, if it waits to be told.
    pub(super) fn send(&mut self) -> Answer {
        let mut waiting = self.waiting();
        // A driver in zero-copy mode may wait to be told before it completes frames that have left the ring.
        while (waiting > 0 || (self.zero_copy && self.lent_transmit > 0)) && self.transmit.needs_wakeup() {
            let answer = kernel::kick_transmit(self.raw());
            let before = waiting;
            waiting = self.waiting();
            // Some kernels send 32 frames a call: go on as long as frames leave the ring.
            if answer != Answer::Working || waiting == 0 || waiting >= before {
                return answer;
            }
        }
        Answer::Working
    }

    /// Wakes up the receive side if the kernel waits to be told, or `always` to learn how the interface is.
    pub(super) fn wake_receive(&mut self, always: bool) -> Answer {
        if always || self.fill.needs_wakeup() {
            kernel::kick_receive(self.raw())
        } else {
            Answer::Working
        }
    }

    /// Frames in the transmit ring that the kernel has not read.
    fn waiting(&mut self) -> usize {
        self.transmit_size - self.transmit.nb_free_exact() as usize
    }

    /// Frames lent to the kernel.
    pub(super) fn held(&self) -> usize {
        self.lent_receive + self.lent_transmit
    }

    /// Of these, frames lent for transmission.
    pub(super) fn sending(&self) -> usize {
        self.lent_transmit
    }

    /// The queue's number on its interface.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Descriptors that were not what they had to be: from the kernel, or frames that can't be sent.
    pub(super) fn invalid(&self) -> u64 {
        self.invalid
    }

    /// Packets that could not be gathered from their chunks, because all long frames were in use or they were too long.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn statistics(&self) -> io::Result<XdpStatistics> {
        self.receive.fd().xdp_statistics()
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as its rings exist, which this value owns.
        unsafe { BorrowedFd::borrow_raw(self.raw()) }
    }

    fn raw(&self) -> RawFd {
        self.receive.fd().as_raw_fd()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let total = &self.shared.shortage;
        total.set(total.get() - self.shortage);
    }
}

fn open_error(shared: &Shared, interface: &str, queue: u32, source: io::Error) -> AfXdpError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EINVAL) if shared.options.has_long_packets() => AfXdpError::LongPacketsRefused {
            interface,
            queue,
            length: shared.options.longest_packet,
            mtu: shared.options.frame_capacity() - LONGEST_ETHERNET_HEADER,
            source,
        },
        Some(libc::ENODEV | libc::ENXIO) => AfXdpError::NoSuchInterface { interface },
        Some(libc::EPERM | libc::EACCES) => AfXdpError::NotPermitted {
            doing: format!("an AF_XDP socket on {interface}"),
        },
        Some(libc::EBUSY) => AfXdpError::QueueBusy {
            interface,
            queue,
            waited: RELEASE_TIME,
        },
        Some(libc::EOPNOTSUPP) if shared.zero_copy() == ZeroCopy::On => {
            AfXdpError::ZeroCopyImpossible { interface, queue }
        }
        Some(libc::EOPNOTSUPP) if shared.zero_copy() == ZeroCopy::Auto => {
            AfXdpError::MixedZeroCopy { interface, queue }
        }
        _ => AfXdpError::Socket {
            interface,
            queue,
            source,
        },
    }
}
