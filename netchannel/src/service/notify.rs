//! What the service manager is told (sd_notify(3)), if there is one that listens.

use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::daemon::Pulse;

/// Tells the service manager how things are. Without one (`NOTIFY_SOCKET` is not set) it does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notifier;

impl Notifier {
    /// It has started, or has taken up what changed.
    pub fn ready(self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// It takes up what changed; [`ready`](Self::ready) follows in any case.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => log::debug!("the service manager is not told of the reload: {error}"),
        }
    }

    /// It ends.
    pub fn stopping(self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Tells it again and again that packets are being looked at, as often as it asks for (`WATCHDOG_USEC`), as long as that is so.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn watch(self, pulse: Pulse) -> std::io::Result<()> {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
            return Ok(());
        };
        let interval = (limit / 2).max(Duration::from_millis(10));
        // It ends with the process: who is stopping may take longer than the limit, and is not asked any more.
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                loop {
                    if pulse.beats() {
                        tell(&[NotifyState::Watchdog]);
                    } else {
                        log::warn!(
                            "the packet thread does not answer: the service manager's watchdog is not fed"
                        );
                    }
                    thread::sleep(interval);
                }
            })?;
        Ok(())
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager is not told {states:?}: {error}");
    }
}
