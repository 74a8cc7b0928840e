//! The files that the translators' state is kept in, one for each channel.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::channel::nat::state::{LeftOut, Part, Restored, Saved, StateError, Writer};
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

    /// Reads what was saved of all translators. What can't be used is put aside.
    pub(super) fn read(&self) -> FormerState {
        let mut former = FormerState::default();
        for channel in &self.channels {
            let file = self.file(channel);
            match read(&file, channel) {
                Ok(Some((saved, stopped))) => former.channels.push((channel.clone(), saved, stopped)),
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
        former
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

    /// Saves the state of one translator, which `parts` gives part by part. The file is replaced as a whole or not at all. Returns how
    /// many records there are; that there is no file is logged, but for [`io::ErrorKind::Interrupted`].
    pub(super) fn save_parts(
        &self,
        channel: &str,
        parts: impl FnMut() -> io::Result<Option<Part>>,
    ) -> Option<u64> {
        let file = self.file(channel);
        let saved = || -> io::Result<u64> {
            let mut new = NewFile::new(file.clone(), channel);
            new.add_all(parts)?;
            new.finish()
        };
        match saved() {
            Ok(records) => Some(records),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) => {
                tell_unsaved(channel, &file, &error);
                None
            }
        }
    }
}

fn tell_unsaved(channel: &str, file: &Path, error: &io::Error) {
    log::error!(
        "channel {channel}: its state is not saved in {}: {error}",
        file.display()
    );
}

/// What was saved: read once, and taken up by every worker, each its own part of it.
#[derive(Debug, Default)]
pub(super) struct FormerState {
    /// Name of the channel, what was saved, and the time since.
    channels: Vec<(String, Saved<'static>, Duration)>,
}

impl FormerState {
    /// Has the translators of a worker take up what is theirs. Says what came of it, by channel.
    pub(super) fn restore(&self, dispatcher: &mut Dispatcher, now: Time) -> Vec<(String, Restored)> {
        let taken_up = self.channels.iter().filter_map(|(channel, saved, stopped)| {
            let restored = dispatcher.restore(channel, saved, *stopped, now)?;
            Some((channel.clone(), restored))
        });
        taken_up.collect()
    }

    /// Tells what the workers took up.
    pub(super) fn tell(&self, restored: impl Iterator<Item = (String, Restored)>) {
        let mut sums: HashMap<String, Restored> = HashMap::new();
        for (channel, restored) in restored {
            sums.entry(channel).or_default().add(&restored);
        }
        for (channel, _, stopped) in &self.channels {
            if let Some(restored) = sums.get_mut(channel) {
                // One of the workers has taken it up, or said what is against it.
                restored.left_out.remove(&LeftOut::Worker);
                log::info!(
                    "channel {channel}: after {:.1} s: {restored}",
                    stopped.as_secs_f64()
                );
            }
        }
    }
}

/// Saves the state of all translators in the end: every worker adds its own, and with the last one's the files are whole.
#[derive(Clone)]
pub(super) struct LastSave(Arc<Mutex<Saving>>);

struct Saving {
    /// Workers that have not added theirs.
    left: usize,
    /// A file for each translator; none where it failed.
    files: Vec<(String, Option<NewFile>)>,
}

impl LastSave {
    /// For so many workers.
    pub(super) fn new(files: &StateFiles, workers: usize) -> Self {
        let file = |channel: &String| {
            let new = NewFile::new(files.file(channel), channel);
            (channel.clone(), Some(new))
        };
        Self(Arc::new(Mutex::new(Saving {
            left: workers,
            files: files.channels.iter().map(file).collect(),
        })))
    }

    /// Adds the state of a worker's translators as it is now.
    pub(super) fn save(&self, dispatcher: &Dispatcher, now: Time) {
        let saving = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        saving.left = saving.left.saturating_sub(1);
        for (channel, open) in &mut saving.files {
            let Some(mut file) = open.take() else { continue };
            let mut after = Some(0);
            let parts = || {
                let part = after.and_then(|after| dispatcher.state(channel, after, PLACES_AT_THE_END, now));
                after = part.as_ref().and_then(|part| part.next);
                Ok(part)
            };
            let path = file.path.clone();
            let added = file.add_all(parts);
            let done = added.and_then(|()| match saving.left {
                0 => file.finish().map(Some),
                _ => {
                    *open = Some(file);
                    Ok(None)
                }
            });
            match done {
                Ok(Some(records)) => log::info!("channel {channel}: {records} sessions and held ports saved"),
                Ok(None) => {}
                Err(error) => tell_unsaved(channel, &path, &error),
            }
        }
    }
}

/// `None` if there is no file.
fn read(file: &Path, channel: &str) -> Result<Option<(Saved<'static>, Duration)>, Refused> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let saved = Saved::read(&bytes, channel)?;
    let stopped = saved.age(SystemTime::now());
    Ok(Some((saved.into_owned(), stopped)))
}

/// A file that is being written, to take the place of the former one when it is whole.
struct NewFile {
    path: PathBuf,
    channel: String,
    /// From the first part on.
    writer: Option<Writer<BufWriter<File>>>,
}

impl NewFile {
    fn new(path: PathBuf, channel: &str) -> Self {
        Self {
            path,
            channel: channel.to_owned(),
            writer: None,
        }
    }

    fn temporary(&self) -> PathBuf {
        self.path.with_extension("nat-state.new")
    }

    fn add_all(&mut self, mut parts: impl FnMut() -> io::Result<Option<Part>>) -> io::Result<()> {
        while let Some(part) = parts()? {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                None => {
                    let out = BufWriter::with_capacity(1 << 16, create(&self.temporary())?);
                    let writer = Writer::new(out, &self.channel, part.basis, SystemTime::now())?;
                    self.writer.insert(writer)
                }
            };
            writer.add(&part.records)?;
        }
        Ok(())
    }

    /// Puts it in the place of the former one, if there is anything to be saved. Returns how many records it has.
    fn finish(mut self) -> io::Result<u64> {
        let Some(writer) = self.writer.take() else {
            return Ok(0);
        };
        let (mut out, records) = writer.finish()?;
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(self.temporary(), &self.path)?;
        // The new name lasts when the directory is written.
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(records)
    }
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
