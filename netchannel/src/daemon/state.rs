//! The files that the translators' state is kept in, one for each channel.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::channel::nat::state::{Part, Restored, Saved, StateError, Writer};
use crate::config::{ChannelKind, Config};
use crate::dispatch::Dispatcher;
use crate::time::Time;

/// Places that are looked at in one part when no packet waits for it.
const PLACES_AT_THE_END: usize = 65_536;

/// The directory of state files can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the state directory {}: {source}; make it writable, or take [state] out of the configuration", .directory.display())]
pub struct StateDirectoryError {
    /// The directory.
    pub directory: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Why a file is not taken up.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Unusable(#[from] StateError),
}

/// Where the state of all translators is kept.
#[derive(Clone, Debug)]
pub(super) struct StateFiles {
    directory: PathBuf,
    channels: Vec<String>,
    interval: Duration,
}

impl StateFiles {
    /// Makes the directory if it is missing, and sees that files can be made in it. `None` if no state is to be kept.
    pub(super) fn open(config: &Config) -> Result<Option<Self>, StateDirectoryError> {
        let Some(directory) = config.state.directory.clone() else {
            return Ok(None);
        };
        let make = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let probe = directory.join(".probe");
            create(&probe)?;
            fs::remove_file(probe)
        };
        make().map_err(|source| StateDirectoryError {
            directory: directory.clone(),
            source,
        })?;
        let nats = config
            .channels
            .iter()
            .filter(|channel| matches!(channel.kind, ChannelKind::Nat(_)));
        Ok(Some(Self {
            directory,
            channels: nats.map(|channel| channel.name.clone()).collect(),
            interval: config.state.interval,
        }))
    }

    /// How often it is saved while the daemon runs, if at all.
    pub(super) fn interval(&self) -> Option<Duration> {
        Some(self.interval).filter(|interval| !interval.is_zero())
    }

    pub(super) fn channels(&self) -> &[String] {
        &self.channels
    }

    fn file(&self, channel: &str) -> PathBuf {
        self.directory.join(format!("{channel}.nat-state"))
    }

    /// Has all translators take up what was saved of them. What can't be used is put aside.
    pub(super) fn restore(&self, dispatcher: &mut Dispatcher, now: Time) {
        for channel in &self.channels {
            let file = self.file(channel);
            match restore(&file, channel, dispatcher, now) {
                Ok(Some((restored, stopped))) => {
                    log::info!(
                        "channel {channel}: after {:.1} s: {restored}",
                        stopped.as_secs_f64()
                    );
                }
                Ok(None) => {}
                Err(refused) => {
                    let aside = file.with_extension("nat-state.refused");
                    let kept = match fs::rename(&file, &aside) {
                        Ok(()) => format!("it is kept as {}", aside.display()),
                        Err(error) => format!("it can't be put aside: {error}"),
                    };
                    log::error!(
                        "channel {channel} starts without mappings: its state in {} is refused: {refused}; {kept}",
                        file.display()
                    );
                }
            }
        }
    }

    /// Removes what was taken up, unless it is written anew soon: after a crash it would be too old.
    pub(super) fn forget_taken_up(&self) {
        if self.interval().is_some() {
            return;
        }
        for channel in &self.channels {
            let file = self.file(channel);
            match fs::remove_file(&file) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn!("{} can't be removed: {error}", file.display()),
            }
        }
    }

    /// Saves the state of all translators as it is now.
    pub(super) fn save(&self, dispatcher: &Dispatcher, now: Time) {
        for channel in &self.channels {
            let parts = |after| Ok(dispatcher.state(channel, after, PLACES_AT_THE_END, now));
            if let Some(records) = self.save_parts(channel, parts) {
                log::info!("channel {channel}: {records} sessions and held ports saved");
            }
        }
    }

    /// Saves the state of one translator, which `parts` gives from each place on. The file is replaced as a whole or not at all. Returns how
    /// many records there are; that there is no file is logged, but for [`io::ErrorKind::Interrupted`].
    pub(super) fn save_parts(
        &self,
        channel: &str,
        parts: impl FnMut(u64) -> io::Result<Option<Part>>,
    ) -> Option<u64> {
        let file = self.file(channel);
        match save(&file, channel, parts) {
            Ok(records) => Some(records),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => {
                log::error!(
                    "channel {channel}: its state is not saved in {}: {error}",
                    file.display()
                );
                None
            }
        }
    }
}

/// `None` if there is no file.
fn restore(
    file: &Path,
    channel: &str,
    dispatcher: &mut Dispatcher,
    now: Time,
) -> Result<Option<(Restored, Duration)>, Refused> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let saved = Saved::read(&bytes, channel)?;
    let stopped = saved.age(SystemTime::now());
    let restored = dispatcher.restore(channel, &saved, stopped, now);
    Ok(restored.map(|restored| (restored, stopped)))
}

fn save(
    file: &Path,
    channel: &str,
    mut parts: impl FnMut(u64) -> io::Result<Option<Part>>,
) -> io::Result<u64> {
    let now = SystemTime::now();
    let Some(mut part) = parts(0)? else { return Ok(0) };
    let temporary = file.with_extension("nat-state.new");
    let out = BufWriter::with_capacity(1 << 16, create(&temporary)?);
    let mut writer = Writer::new(out, channel, part.basis, now)?;
    loop {
        writer.add(&part.records)?;
        let Some(next) = part.next else { break };
        match parts(next)? {
            Some(following) => part = following,
            None => break,
        }
    }
    let (mut out, records) = writer.finish()?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(&temporary, file)?;
    // The new name lasts when the directory is written.
    if let Some(directory) = file.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(records)
}

/// Makes a file for root alone, empty if it was there.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
