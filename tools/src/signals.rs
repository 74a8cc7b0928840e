//! SIGINT and SIGTERM: the first stops cleanly, the second at once. SIGHUP has the configuration taken up, and log files opened anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// The exit code after a second signal: 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// Calls `stop` on the first signal, from a thread of its own.
pub(crate) fn on_stop(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = stop_signals()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            log::info!("{name}: stopping");
            stop();
        }
    })?;
    Ok(())
}

/// Ends the program with success on SIGINT or SIGTERM, when no line is being written; at once on a second one. For what runs until it is
/// stopped, with standard output locked only to write.
pub(crate) fn end_on_stop() -> io::Result<()> {
    let mut signals = stop_signals()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            let _whole_lines = io::stdout().lock();
            std::process::exit(0);
        }
    })?;
    Ok(())
}

/// The signals that ask for an end. The second one ends the program at once.
fn stop_signals() -> io::Result<Signals> {
    let stopping = Arc::new(AtomicBool::new(false));
    let signals = Signals::new([SIGINT, SIGTERM])?;
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset and sets it.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    Ok(signals)
}

/// Calls `reload` on each SIGHUP, from a thread of its own.
pub(crate) fn on_hangup(reload: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    thread::Builder::new().name("hangup".to_owned()).spawn(move || {
        for _ in signals.forever() {
            log::info!("SIGHUP: reading the configuration again");
            reload();
        }
    })?;
    Ok(())
}
