//! Sends UDP datagrams as fast as the kernel can make them, or at a given rate.
//!
//! The kernel runs an XDP program over and over on frames of its own and transmits what the program says
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`). Frames are used again after their receiver has changed them, so the program
//! writes the whole frame each time.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use signal_hook::SigId;

use super::assembler::{Assembler, Helper, If, Register, Verdict, Width};
use super::syscall::{self, Words};
use crate::error::During;
use crate::namespace::Namespace;
use crate::{Result, stop};

/// Bytes of a frame, without its check sequence.
pub const FRAME: usize = 64;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const SOURCE_PORT: usize = ETHERNET + IPV4;
const DESTINATION_PORT: usize = SOURCE_PORT + 2;
/// First bytes of payload: the complements of the ports, so that the checksum is the same for all flows.
const COMPLEMENTS: usize = SOURCE_PORT + UDP;

/// Runs of the program at most: minutes.
const RUNS: u32 = 1 << 31;
/// Runs between two transmissions.
const BATCH: u32 = 64;
/// How far a paced sender may fall behind before it gives up the time: what it then sends at once is lost in
/// a receiver's ring otherwise. Nanoseconds.
const LONGEST_DELAY: i32 = 1_000_000;
/// The signal that ends a run.
const END: Signal = Signal::SIGUSR1;

/// Where the datagrams come from and go to.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Source and destination MAC address.
    pub hardware: ([u8; 6], [u8; 6]),
    /// Source and destination address.
    pub addresses: (Ipv4Addr, Ipv4Addr),
    /// First source port and destination port.
    pub ports: (u16, u16),
}

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Datagrams per second, at least 1; as many as possible if empty.
    pub rate: Option<u32>,
    /// Source ports, in turn, from the first on. A power of two, at most 32,768.
    pub sources: u16,
    /// Destination ports, each for one turn of the source ports, from the first on. A power of two, at most 32,768.
    pub destinations: u16,
}

impl Default for Load {
    /// As many as possible, in one flow.
    fn default() -> Self {
        Self {
            rate: None,
            sources: 1,
            destinations: 1,
        }
    }
}

/// The generator.
#[derive(Debug)]
pub struct Generator {
    /// Datagrams sent, and the time of the next.
    state: Words<2>,
    program: OwnedFd,
    frame: [u8; FRAME],
    interface: u32,
}

impl Generator {
    /// Makes a generator that sends from an interface.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if there is no such interface or the kernel refuses the program.
    pub fn new(namespace: &Namespace, interface: &str, flow: &Flow, load: &Load) -> Result<Self> {
        let state = Words::new().during("make a map")?;
        let frame = frame(flow);
        let code = program(state.descriptor(), &frame, flow.ports, load);
        let program = syscall::load(&code).during("load the generator's program")?;
        let interface =
            namespace.run(|| if_nametoindex(interface).during(format!("find interface {interface}")))?;
        Ok(Self {
            state,
            program,
            frame,
            interface,
        })
    }

    /// Datagrams sent so far. Those that the receiving interface has no room for are among them.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel refuses.
    pub fn sent(&self) -> Result<u64> {
        let [sent, _] = self.state.read().during("read the generator's count")?;
        Ok(sent)
    }

    /// Sends for `duration`, on a processor of its own. Call it inside the interface's namespace.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the kernel refuses, [`Error::Interrupted`](crate::Error::Interrupted)
    /// after a signal.
    pub fn run(&self, processor: usize, duration: Duration) -> Result<()> {
        // A call costs some milliseconds around its runs, so there is one only, which a signal ends.
        LazyLock::force(&ENDING)
            .as_ref()
            .map_err(|error| io::Error::new(error.kind(), error.to_string()))
            .during("install a signal handler")?;
        let sender = pthread_self();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| end_after(duration, sender, &done));
            let result = self.run_until_signal(processor);
            done.store(true, Ordering::Relaxed);
            result
        })?;
        stop::check()
    }

    fn run_until_signal(&self, processor: usize) -> Result<()> {
        let mut processors = CpuSet::new();
        processors
            .set(processor)
            .during(format!("choose processor {processor}"))?;
        sched_setaffinity(Pid::from_raw(0), &processors).during(format!("move to processor {processor}"))?;
        let [sent, _] = self.state.read().during("read the generator's count")?;
        self.state
            .write(&[sent, 0])
            .during("reset the generator's clock")?;
        syscall::run_live(self.program.as_fd(), &self.frame, self.interface, RUNS, BATCH)
            .during("generate packets")
    }
}

/// Makes the signal that ends a run do nothing else.
static ENDING: LazyLock<io::Result<SigId>> =
    LazyLock::new(|| signal_hook::flag::register(END as i32, Arc::new(AtomicBool::new(false))));

/// Interrupts what the thread `sender` does after `duration`, or earlier when all is to stop. Again and again,
/// for a signal that comes just before the call does not end it.
fn end_after(duration: Duration, sender: Pthread, done: &AtomicBool) {
    let until = Instant::now() + duration;
    while !done.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stop::requested() {
            // The sender waits for this thread, so it lives.
            let _ = pthread_kill(sender, END);
        }
        thread::sleep(left.clamp(Duration::from_millis(1), Duration::from_millis(20)));
    }
}

/// The frame of the first flow.
fn frame(flow: &Flow) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let ((source_mac, destination_mac), (source, destination)) = (flow.hardware, flow.addresses);
    frame[..6].copy_from_slice(&destination_mac);
    frame[6..12].copy_from_slice(&source_mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let total = ((FRAME - ETHERNET) as u16).to_be_bytes();
    let mut header = [
        0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    let checksum = !sum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame[ETHERNET..ETHERNET + IPV4].copy_from_slice(&header);

    let length = ((FRAME - ETHERNET - IPV4) as u16).to_be_bytes();
    let udp = &mut frame[SOURCE_PORT..];
    udp[..2].copy_from_slice(&flow.ports.0.to_be_bytes());
    udp[2..4].copy_from_slice(&flow.ports.1.to_be_bytes());
    udp[4..6].copy_from_slice(&length);
    udp[UDP..UDP + 2].copy_from_slice(&(!flow.ports.0).to_be_bytes());
    udp[UDP + 2..UDP + 4].copy_from_slice(&(!flow.ports.1).to_be_bytes());
    let mut pseudo = [0, 17, length[0], length[1], 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    pseudo[4..8].copy_from_slice(&source.octets());
    pseudo[8..12].copy_from_slice(&destination.octets());
    pseudo.extend_from_slice(udp);
    // Zero would say that there is no checksum.
    let checksum = match !sum(&pseudo) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Ones' complement sum of 16-bit words, RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

fn program(state: i32, frame: &[u8; FRAME], first_ports: (u16, u16), load: &Load) -> Vec<[u8; 8]> {
    use Register::{R0, R1, R2, R3, R4, R5, R6, R7};
    let mut asm = Assembler::default();
    let drop = asm.label();
    asm.copy(R6, R1);
    asm.map_value(R7, state);
    if let Some(rate) = load.rate {
        let interval = 1_000_000_000 / rate.max(1);
        let on_time = asm.label();
        asm.call(Helper::KtimeGetNs);
        asm.load(Width::Double, R1, R7, 8);
        asm.jump_if(R0, If::Less, R1, drop);
        asm.copy(R2, R0);
        asm.subtract(R2, R1);
        asm.jump_if_constant(R2, If::LessOrEqual, LONGEST_DELAY, on_time);
        asm.copy(R1, R0);
        asm.place(on_time);
        asm.add(R1, interval.cast_signed());
        asm.store(Width::Double, R7, 8, R1);
    }
    asm.load(Width::Word, R2, R6, 0);
    asm.load(Width::Word, R3, R6, 4);
    asm.copy(R4, R2);
    asm.add(R4, FRAME as i32);
    asm.jump_if(R4, If::Greater, R3, drop);
    asm.load(Width::Double, R5, R7, 0);
    asm.copy(R1, R5);
    asm.add(R1, 1);
    asm.store(Width::Double, R7, 0, R1);
    for (index, chunk) in frame.chunks_exact(8).enumerate() {
        let word = chunk
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        asm.set_double(R1, word);
        asm.store(Width::Double, R2, (index * 8) as i16, R1);
    }
    let turns = [
        (SOURCE_PORT, COMPLEMENTS, 0, load.sources, first_ports.0),
        (
            DESTINATION_PORT,
            COMPLEMENTS + 2,
            load.sources.ilog2(),
            load.destinations,
            first_ports.1,
        ),
    ];
    for (port, complement, shift, ports, first) in turns {
        if ports > 1 {
            asm.copy(R1, R5);
            asm.shift_right(R1, shift.cast_signed());
            asm.and(R1, i32::from(ports) - 1);
            asm.add(R1, first.into());
            asm.big_endian_half(R1);
            asm.store(Width::Half, R2, port as i16, R1);
            asm.xor(R1, 0xffff);
            asm.store(Width::Half, R2, complement as i16, R1);
        }
    }
    asm.answer(Verdict::Transmit);
    asm.place(drop);
    asm.answer(Verdict::Drop);
    asm.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_hold_for_every_flow() {
        let flow = Flow {
            hardware: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            addresses: (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(198, 51, 100, 2)),
            ports: (1024, 9),
        };
        let mut frame = frame(&flow);
        assert_eq!(sum(&frame[ETHERNET..ETHERNET + IPV4]), 0xffff);
        for port in [1024_u16, 1025, 5000, 33_791] {
            for (at, port) in [(SOURCE_PORT, port), (DESTINATION_PORT, port ^ 0x55)] {
                frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
                frame[at + UDP..at + UDP + 2].copy_from_slice(&(!port).to_be_bytes());
            }
            let mut summed = vec![0, 17];
            summed.extend_from_slice(&frame[ETHERNET + IPV4 + 4..ETHERNET + IPV4 + 6]);
            summed.extend_from_slice(&frame[ETHERNET + 12..]);
            assert_eq!(sum(&summed), 0xffff, "port {port}");
        }
    }
}
