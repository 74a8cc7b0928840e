//! Stopping on Ctrl-C so that everything made is removed.
//!
//! A signal only sets a flag; whatever runs long looks at it and returns [`Error::Interrupted`], and the
//! values on the way out clean up as they are dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::During;
use crate::{Error, Result};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

/// How often a wait looks at its condition.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Makes SIGINT and SIGTERM set the flag; a second one ends the process at once with exit code 130.
///
/// # Errors
/// [`Error::Io`] if a handler can't be installed.
pub fn on_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and sets it; the second finds it up.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&REQUESTED))
            .and_then(|_| flag::register(signal, Arc::clone(&REQUESTED)))
            .during("install a signal handler")?;
    }
    Ok(())
}

/// Whether a signal asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Fails once a signal asked to stop.
///
/// # Errors
/// [`Error::Interrupted`] after a signal.
pub fn check() -> Result<()> {
    if requested() {
        Err(Error::Interrupted)
    } else {
        Ok(())
    }
}

/// Waits until `condition` gives a value.
///
/// # Errors
/// [`Error::Timeout`] with `what` after `limit`, [`Error::Interrupted`] after a signal, or the condition's
/// own error.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        check()?;
        if started.elapsed() >= limit {
            return Err(Error::Timeout {
                what: what.to_owned(),
                after: limit,
            });
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Lets `duration` pass.
///
/// # Errors
/// [`Error::Interrupted`] as soon as a signal arrives.
pub fn pause(duration: Duration) -> Result<()> {
    let until = Instant::now() + duration;
    loop {
        check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
