//! The log of what translators do: who had which external address and port, when. Each packet thread puts records into a ring for each
//! translator ([`nat::recording`]); a thread of its own takes them out, and writes them as lines of JSON or
//! exports them by IPFIX, or both. When it does not keep up, records are lost and counted, and packets never wait.
//!
//! The same thread [publishes](crate::events) what is recorded to those who watch, and flows that open and close. What is only watched is
//! recorded only meanwhile.
//!
//! # Lines of JSON
//! One object a line. A key that does not apply is left out. `time` is that of the event, in UTC.
//!
//! | `event` | keys besides `time`, `channel` and `event` |
//! | --- | --- |
//! | `mapping-created` | `protocol`, `inside`, `external`; `remote` only if `log_destinations`, and the mapping depends on it |
//! | `mapping-deleted` | the same and `reason`: `expired`, `closed` (TCP) or `deleted` (by the operator) |
//! | `session-created` | `protocol`, `inside`, `external`; `remote` only if `log_destinations` |
//! | `session-deleted` | the same and `reason` |
//! | `block-allocated`, `block-released` | `host`, `external` (the address), `ports`: the first and the last |
//! | `limit-reached` | `limit` (as in `netchannel show drops`), `protocol`, `host`, `external` (the one address that is out of ports), `bound`, `refused` |
//! | `records-lost` | `count`: records that found no room since the last such line |
//! | `log-started`, `log-stopped` | none |

mod exporter;
mod ipfix;
mod json;
mod lines;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, SystemTime};

use crate::channel::nat::{self, Record, Recorder, Recording, Selection};
use crate::config::{ChannelKind, Config, NatLog};
use crate::dispatch::{FlowRecord, FlowRecorder, flow_recording};
use crate::events::{Events, Kind, Kinds};
use crate::time::{Clock, Time};
use exporter::Exporter;
use lines::LineFile;
use watch::{Flows, publish};

/// How long the thread sleeps when there is nothing to write.
const REST: Duration = Duration::from_millis(20);
/// Records of one translator and worker that are taken at a time.
const AT_ONCE: usize = 4096;
/// Records of a translator without a log, or of flows, that wait for those who watch.
const WATCHED: usize = 16_384;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file can't be written.
    #[error("the log file {file} of channel `{channel}` can't be opened: {source}; is its directory there?")]
    File {
        /// The channel.
        channel: String,
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The collector can't be sent to.
    #[error(
        "channel `{channel}` can't export to the collector {collector}: {source}; is there a route to it?"
    )]
    Collector {
        /// The channel.
        channel: String,
        /// Its address.
        collector: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no more threads.
    #[error("the system refused a thread for the log: {0}")]
    Thread(std::io::Error),
}

/// What a worker's translators record into, by the names of their channels.
#[derive(Default)]
pub struct Recorders {
    channels: HashMap<String, Recorder>,
    flows: Option<FlowRecorder>,
}

impl Recorders {
    /// None: nothing is recorded.
    pub fn none() -> Self {
        Self::default()
    }

    /// That of a translator.
    pub fn take(&mut self, channel: &str) -> Option<Recorder> {
        self.channels.remove(channel)
    }

    /// That of the flow table.
    pub fn take_flows(&mut self) -> Option<FlowRecorder> {
        self.flows.take()
    }
}

/// A running log. Dropping it writes what is left and ends it.
pub struct EventLog {
    thread: Option<JoinHandle<()>>,
    has_logs: bool,
    buffers: Vec<(String, u64, u64)>,
    control: Arc<Control>,
}

/// Has the log files opened anew. Cheap to clone.
#[derive(Clone)]
pub struct Reopener {
    thread: Thread,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    stop: AtomicBool,
    reopen: AtomicBool,
}

impl EventLog {
    /// Opens all logs of a configuration and starts the thread, which publishes in `events`, too. Times of records are those of `clock`. There
    /// are recorders for each of so many workers.
    ///
    /// # Errors
    /// If a file or socket can't be opened.
    pub fn start(
        config: &Config,
        workers: usize,
        clock: Clock,
        events: &Events,
    ) -> Result<(Self, Vec<Recorders>), LogError> {
        let mut recorders: Vec<Recorders> = (0..workers).map(|_| Recorders::none()).collect();
        let mut logs = Vec::new();
        let mut buffers = vec![buffer::<FlowRecord>("flows", workers * WATCHED)];
        let started = SystemTime::now();
        for (number, channel) in config.channels.iter().enumerate() {
            let ChannelKind::Nat(settings) = &channel.kind else {
                continue;
            };
            let log = settings.log.as_ref();
            let selection = log.map_or(Selection::NONE, |log| log.selection);
            let records = log.map_or(WATCHED, |log| log.buffer as usize);
            buffers.push(buffer::<Record>(&channel.name, workers * records));
            let recordings = recorders.iter_mut().map(|recorders| {
                let (recorder, recording) = nat::recording(selection, records);
                let recorder = recorder.watched(events.wanted());
                recorders.channels.insert(channel.name.clone(), recorder);
                recording
            });
            let recordings = recordings.collect();
            logs.push(ChannelLog::open(
                &channel.name,
                number as u32 + 1,
                log,
                (selection, recordings),
                started,
            )?);
        }
        let recordings = recorders.iter_mut().map(|recorders| {
            let (recorder, recording) = flow_recording(events.wanted(), WATCHED);
            recorders.flows = Some(recorder);
            recording
        });
        let flows = Flows::new(config, recordings.collect());
        let has_logs = logs.iter().any(ChannelLog::is_written);
        let control = Arc::new(Control::default());
        let thread = thread::Builder::new().name("event log".to_owned()).spawn({
            let (control, events) = (Arc::clone(&control), events.clone());
            move || run(logs, flows, &control, clock, &events)
        });
        let thread = thread.map_err(LogError::Thread)?;
        events.wake_when_watched(thread.thread().clone());
        Ok((
            Self {
                thread: Some(thread),
                has_logs,
                buffers,
                control,
            },
            recorders,
        ))
    }

    /// The buffers of records: what is recorded, how many records, how many bytes.
    pub fn buffers(&self) -> &[(String, u64, u64)] {
        &self.buffers
    }

    /// A way to have the files opened anew, after they were moved away; `None` if there are no logs.
    pub fn reopener(&self) -> Option<Reopener> {
        let thread = self.thread.as_ref().filter(|_| self.has_logs)?.thread().clone();
        let control = Arc::clone(&self.control);
        Some(Reopener { thread, control })
    }
}

impl Reopener {
    /// Opens the files anew soon. What was recorded before may still go to the old ones.
    pub fn reopen(&self) {
        self.control.reopen.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.control.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the thread of the event log ended by a panic");
            }
        }
    }
}

fn buffer<T>(of: &str, records: usize) -> (String, u64, u64) {
    (of.to_owned(), records as u64, (records * size_of::<T>()) as u64)
}

/// What this thread publishes.
fn published() -> Kinds {
    [Kind::Flows, Kind::Mappings, Kind::Limits].into_iter().collect()
}

fn run(mut logs: Vec<ChannelLog>, mut flows: Flows, control: &Control, clock: Clock, events: &Events) {
    let is_written = logs.iter().any(ChannelLog::is_written);
    let wanted = events.wanted();
    loop {
        // Looked at first: what was recorded before the stop is written.
        let stop = control.stop.load(Ordering::Acquire);
        if control.reopen.swap(false, Ordering::AcqRel) {
            logs.iter_mut().for_each(ChannelLog::reopen);
        }
        let now = Now {
            time: clock.now(),
            wall: SystemTime::now(),
        };
        let taken = logs.iter_mut().fold(0, |sum, log| sum + log.work(now, events));
        if taken + flows.work(now, events) > 0 {
            continue;
        }
        if stop {
            let now = SystemTime::now();
            return logs.iter_mut().for_each(|log| log.finish(now));
        }
        if is_written || wanted.all().has_any(published()) {
            thread::park_timeout(REST);
        } else {
            // Nothing is recorded: woken when somebody watches, or to stop.
            thread::park();
        }
    }
}

/// The same instant on both clocks.
#[derive(Clone, Copy)]
struct Now {
    time: Time,
    wall: SystemTime,
}

impl Now {
    /// When a recorded time was.
    fn wall_time_of(self, time: Time) -> SystemTime {
        self.wall.checked_sub(self.time.since(time)).unwrap_or(self.wall)
    }
}

/// The log of one translator.
struct ChannelLog {
    channel: String,
    /// What the log asks for; more may be recorded for those who watch.
    selection: Selection,
    /// One for each worker.
    recordings: Vec<Recording>,
    /// Records that were reported as lost.
    lost: u64,
    lines: Option<LineFile>,
    exporter: Option<Exporter>,
}

impl ChannelLog {
    fn open(
        channel: &str,
        instance: u32,
        settings: Option<&NatLog>,
        (selection, recordings): (Selection, Vec<Recording>),
        now: SystemTime,
    ) -> Result<Self, LogError> {
        let lines = settings.and_then(|log| log.file.as_ref()).map(|file| {
            LineFile::open(channel, file, now).map_err(|source| LogError::File {
                channel: channel.to_owned(),
                file: file.to_string(),
                source,
            })
        });
        let exporter = settings.and_then(|log| log.ipfix.as_ref()).map(|settings| {
            Exporter::open(channel, instance, settings).map_err(|source| LogError::Collector {
                channel: channel.to_owned(),
                collector: settings.collector,
                source,
            })
        });
        Ok(Self {
            channel: channel.to_owned(),
            selection,
            recordings,
            lost: 0,
            lines: lines.transpose()?,
            exporter: exporter.transpose()?,
        })
    }

    /// Whether there is a log, and not only those who watch.
    fn is_written(&self) -> bool {
        self.lines.is_some() || self.exporter.is_some()
    }

    /// Writes and publishes what there is, and returns how many records that were.
    fn work(&mut self, now: Now, events: &Events) -> usize {
        let mut taken = 0;
        if let Some(exporter) = &mut self.exporter {
            exporter.tick(now.time, now.wall);
        }
        let records = self
            .recordings
            .iter_mut()
            .flat_map(|recording| std::iter::from_fn(|| recording.next()).take(AT_ONCE));
        for Record { time, event } in records {
            taken += 1;
            let time = now.wall_time_of(time);
            publish(events, &self.channel, time, &event);
            if !self.selection.has(&event) {
                continue;
            }
            if let Some(lines) = &mut self.lines {
                lines.write(time, &event);
            }
            if let Some(exporter) = &mut self.exporter {
                exporter.export(time, &event, now.wall);
            }
        }
        let lost = self.recordings.iter().map(Recording::lost).sum();
        if lost > self.lost {
            events.lose(Kind::Mappings, lost - self.lost);
            if let Some(lines) = &mut self.lines {
                lines.lost(now.wall, lost - self.lost);
            }
            if let Some(exporter) = &mut self.exporter {
                exporter.lost(lost);
            }
            self.lost = lost;
        }
        if let Some(lines) = &mut self.lines {
            lines.flush();
        }
        if let Some(exporter) = &mut self.exporter {
            exporter.flush(now.wall);
        }
        taken
    }

    fn reopen(&mut self) {
        if let Some(lines) = &mut self.lines {
            lines.reopen();
        }
    }

    fn finish(&mut self, now: SystemTime) {
        if let Some(lines) = &mut self.lines {
            lines.finish(now);
        }
    }
}
