//! Sends UDP datagrams by packet sockets, a thread on each of some processors.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, sendmmsg, socket,
};

use super::datagram::{FRAME, Flow, frame, set_flow};
use crate::error::During;
use crate::process::run_on;
use crate::sys::{Listen, bind_to_interface};
use crate::{Result, stop};

/// Datagrams given to one call.
const BURST: usize = 64;

/// Threads that each send as fast as they can by a packet socket (`AF_PACKET`) of their own.
#[derive(Debug)]
pub struct PacketSenders {
    interface: u32,
    flow: Flow,
    flows: u32,
    sent: Vec<AtomicU64>,
}

impl PacketSenders {
    /// Makes `count` senders on an interface of the calling thread's namespace, which share `flows` flows; each has
    /// one at least.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if there is no such interface.
    pub fn new(interface: &str, flow: Flow, flows: u32, count: usize) -> Result<Self> {
        let interface = if_nametoindex(interface).during(format!("find interface {interface}"))?;
        Ok(Self {
            interface,
            flow,
            flows: flows.max(count as u32),
            sent: (0..count).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Datagrams that the interface has taken so far.
    pub fn sent(&self) -> u64 {
        self.sent.iter().map(|sent| sent.load(Ordering::Relaxed)).sum()
    }

    /// Sends for `duration`, each sender on a processor of its own. Call it inside the interface's namespace.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if a socket fails, [`Error::Interrupted`](crate::Error::Interrupted) after a
    /// signal.
    pub fn run(&self, processors: &[usize], duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        let failed = AtomicBool::new(false);
        thread::scope(|scope| {
            let start = |(number, &processor): (usize, &usize)| {
                let failed = &failed;
                scope.spawn(move || {
                    let sent = run_on(processor).and_then(|()| self.send(number, until, failed));
                    failed.fetch_or(sent.is_err(), Ordering::Relaxed);
                    sent
                })
            };
            let senders: Vec<_> = processors
                .iter()
                .enumerate()
                .take(self.sent.len())
                .map(start)
                .collect();
            let end = |sender: thread::ScopedJoinHandle<'_, Result<()>>| {
                sender
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            senders.into_iter().try_for_each(end)
        })
    }

    /// The work of a sender: of its flows one after the other, in bursts.
    fn send(&self, number: usize, until: Instant, failed: &AtomicBool) -> Result<()> {
        let flags = SockFlag::empty();
        // For no protocol: it sends only, and is given no copies of what the interface sees.
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, flags, None).during("open a packet socket")?;
        bind_to_interface(socket.as_fd(), self.interface, Listen::Nothing).during("bind a packet socket")?;
        let (first, step) = (number as u32, self.sent.len() as u32);
        let mut frames = [frame(&self.flow); BURST];
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BURST, None);
        let mut next = first;
        while Instant::now() < until && !stop::requested() && !failed.load(Ordering::Relaxed) {
            for frame in &mut frames {
                set_flow(frame, self.flow.ports, next);
                next += step;
                if next >= self.flows {
                    next = first;
                }
            }
            let slices: [[IoSlice<'_>; 1]; BURST] =
                std::array::from_fn(|index| [IoSlice::new(&frames[index][..FRAME])]);
            let taken = sendmmsg(
                socket.as_raw_fd(),
                &mut headers,
                &slices,
                [None; BURST],
                [],
                MsgFlags::empty(),
            );
            match taken {
                Ok(results) => {
                    self.sent[number].fetch_add(results.count() as u64, Ordering::Relaxed);
                }
                // The interface's queue is full.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => return Err(error).during("send by a packet socket"),
            }
        }
        stop::check()
    }
}
