//! Sends UDP datagrams as fast as the kernel can make them, or at a given rate.
//!
//! The kernel runs an XDP program over and over on frames of its own and transmits what the program says
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`). Frames are used again after their receiver has changed them, so the program
//! writes the whole frame each time.

mod flood;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use signal_hook::SigId;

use super::assembler::{Assembler, Helper, If, Label, Register, Verdict, Width};
use super::load::{load, number_of};
use super::syscall::{self, Hook, Words};
use crate::error::During;
use crate::namespace::Namespace;
use crate::process::run_on;
use crate::traffic::datagram::{
    COMPLEMENTS, DESTINATION_PORT, DESTINATIONS, FRAME, Flow, MOST_FLOWS, SOURCE_PORT, SOURCES, frame,
};
use crate::{Result, stop};

pub use flood::Flood;

/// Runs of the program at most: minutes.
const RUNS: u32 = 1 << 31;
/// Runs between two transmissions.
const BATCH: u32 = 64;
/// How far a paced sender may fall behind before it gives up the time: what it then sends at once is lost in
/// a receiver's ring otherwise. Nanoseconds.
const LONGEST_DELAY: i32 = 1_000_000;
/// The signal that ends a run.
const END: Signal = Signal::SIGUSR1;

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Datagrams per second, at least 1; as many as possible if empty.
    pub rate: Option<u32>,
    /// Flows, in turn: first the source ports from the first one on, [`SOURCES`] of them, then
    /// the destination ports. At most [`MOST_FLOWS`](crate::traffic::datagram::MOST_FLOWS).
    pub flows: u32,
}

impl Default for Load {
    /// As many as possible, in one flow.
    fn default() -> Self {
        Self { rate: None, flows: 1 }
    }
}

/// The generator.
#[derive(Debug)]
pub struct Generator {
    /// Datagrams sent, the time of the next, and its flow.
    state: Words<3>,
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
        Self::with(namespace, interface, frame(flow), |state, frame| {
            program(state, frame, flow.ports, load)
        })
    }

    /// A generator with a program that sends such frames; it is made for the map that it counts in.
    fn with(
        namespace: &Namespace,
        interface: &str,
        frame: [u8; FRAME],
        program: impl FnOnce(i32, &[u8; FRAME]) -> Vec<[u8; 8]>,
    ) -> Result<Self> {
        let state = Words::new().during("make a map")?;
        let program = load(Hook::Xdp, &program(state.descriptor(), &frame), "generator")?;
        let interface = namespace.run(|| number_of(interface))?;
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
        let [sent, ..] = self.state.read().during("read the generator's count")?;
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
        run_on(processor)?;
        let [sent, _, flow] = self.state.read().during("read the generator's count")?;
        self.state
            .write(&[sent, 0, flow])
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

/// The beginning of each generator's program: ends it, at the label, before the time of the next datagram or if a frame has no room; counts the
/// datagram, and writes the frame that all are made of. Then R2 is the frame, R5 the count, and R7 the state.
fn begin(asm: &mut Assembler, state: i32, rate: Option<u32>, frame: &[u8; FRAME]) -> Label {
    use Register::{R0, R1, R2, R5, R6, R7};
    let drop = asm.label();
    asm.copy(R6, R1);
    asm.map_value(R7, state);
    if let Some(rate) = rate {
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
    asm.frame(Hook::Xdp, R6, FRAME, drop);
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
    drop
}

fn program(state: i32, frame: &[u8; FRAME], first_ports: (u16, u16), load: &Load) -> Vec<[u8; 8]> {
    use Register::{R1, R2, R5, R7};
    let mut asm = Assembler::default();
    let drop = begin(&mut asm, state, load.rate, frame);
    if load.flows > 1 {
        let more = asm.label();
        asm.load(Width::Double, R5, R7, 16);
        asm.copy(R1, R5);
        asm.add(R1, 1);
        asm.jump_if_constant(R1, If::Less, load.flows.min(MOST_FLOWS).cast_signed(), more);
        asm.set(R1, 0);
        asm.place(more);
        asm.store(Width::Double, R7, 16, R1);
        let fields = [
            (SOURCE_PORT, COMPLEMENTS, 0, SOURCES, first_ports.0),
            (
                DESTINATION_PORT,
                COMPLEMENTS + 2,
                SOURCES.ilog2(),
                DESTINATIONS,
                first_ports.1,
            ),
        ];
        let fields = &fields[..if load.flows > SOURCES { 2 } else { 1 }];
        for &(port, complement, shift, ports, first) in fields {
            asm.copy(R1, R5);
            asm.shift_right(R1, shift.cast_signed());
            asm.and(R1, ports.cast_signed() - 1);
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
