//! Loading while signals come in.
#![allow(unsafe_code)] // for a signal handler

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use netchannel::xdp::{OffloadSizes, XdpProgram};
use nix::libc::c_int;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::bench::MAX_FRAME_LENGTH;

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// The kernel does not verify a program to its end for a thread with a signal pending.
#[test]
fn signals_do_not_disturb_it() {
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing but an atomic addition.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("a handler");
    let loader = pthread_self();
    let done = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // The loader waits for this thread, so it lives.
                pthread_kill(loader, Signal::SIGUSR1).expect("a signal");
                thread::yield_now();
            }
        });
        let outcome = XdpProgram::load(MAX_FRAME_LENGTH, OffloadSizes::OFF);
        done.store(true, Ordering::Relaxed);
        outcome
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(
        HANDLED.load(Ordering::Relaxed) > 0,
        "signals come in when it is loaded"
    );
}
