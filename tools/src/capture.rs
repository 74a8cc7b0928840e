//! `netchannel capture`.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netchannel::control::report::{Captured, CapturedFrame};
use netchannel::control::{Client, ClientError, Told, Watch, Watching};
use netchannel::port::capture::{CaptureOutput, CaptureWriter, Epoch, InterfaceStatistics, PacketRecord};

use crate::arguments::Capture;
use crate::failure::Failure;
use crate::signals;
use crate::units::count;

/// For frames of a VLAN that belongs to no interface.
const NO_INTERFACE: &str = "?";

/// Writes packets to a file until it is stopped.
pub(crate) fn capture(arguments: &Capture) -> Result<(), Failure> {
    let client = Client::connect(&arguments.socket)?;
    let watching = client.watch(&Watch::Capture(arguments.request()))?;
    let file = File::create(&arguments.write)?;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let end = watching.end().context("the connection can't be watched")?;
    signals::on_stop({
        let is_stopped = Arc::clone(&is_stopped);
        move || {
            is_stopped.store(true, Ordering::SeqCst);
            end.end();
        }
    })?;
    log::info!("capturing to {}; Ctrl-C ends it", arguments.write.display());
    write(watching, file, &is_stopped)
}

fn write(mut watching: Watching, mut file: File, is_stopped: &AtomicBool) -> Result<(), Failure> {
    let mut ended = Ok(());
    while let Some(told) = watching.next() {
        match told {
            Ok(Told::Event(event)) => {
                // What a later version says besides is none of ours.
                if let Ok(captured) = serde_json::from_value(event) {
                    file.take(captured)?;
                }
            }
            Ok(Told::Lost(_)) => {}
            Err(ClientError::Ended { .. }) if is_stopped.load(Ordering::SeqCst) => break,
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
        if !watching.has_next() {
            file.flush()?;
        }
    }
    // What was captured is good, however it ended.
    let summary = file.finish()?;
    eprintln!("netchannel: {summary}");
    Ok(ended?)
}

/// The file that is being written.
struct File {
    writer: CaptureWriter,
    interfaces: HashMap<String, Interface>,
    start: Duration,
    lost: u64,
}

struct Interface {
    output: CaptureOutput,
    captured: u64,
    lost: u64,
}

impl File {
    fn create(path: &Path) -> Result<Self, Failure> {
        let writer = if path == Path::new("-") {
            CaptureWriter::to_sink(
                "standard output",
                io::BufWriter::new(io::stdout()),
                Epoch::default(),
            )
        } else {
            CaptureWriter::create(path, Epoch::default())
        };
        Ok(Self {
            writer: writer?,
            interfaces: HashMap::new(),
            start: since_1970(),
            lost: 0,
        })
    }

    fn take(&mut self, captured: Captured) -> Result<(), Failure> {
        match captured {
            Captured::Interfaces(names) => {
                for name in names {
                    self.interface(&name)?;
                }
                // Whoever reads along sees at once that it has begun.
                self.flush()
            }
            Captured::Frame(frame) => self.frame(&frame),
            Captured::Lost(lost) => {
                self.lost = lost.values().sum();
                for (name, lost) in lost {
                    self.interface(&name)?.lost = lost;
                }
                Ok(())
            }
        }
    }

    fn frame(&mut self, frame: &CapturedFrame) -> Result<(), Failure> {
        let bytes = STANDARD
            .decode(&frame.data)
            .map_err(|error| anyhow!("a frame is not understood: {error}"))?;
        let interface = self.interface(frame.interface.as_deref().unwrap_or(NO_INTERFACE))?;
        interface.captured += u64::from(!frame.outbound);
        interface.output.write_record(&PacketRecord {
            time: Duration::from_nanos(frame.time),
            is_outbound: frame.outbound,
            bytes: &bytes,
            original_length: frame.length,
            comment: &frame.comment,
        })?;
        Ok(())
    }

    fn interface(&mut self, name: &str) -> Result<&mut Interface, Failure> {
        if !self.interfaces.contains_key(name) {
            let interface = Interface {
                output: self.writer.interface(name)?,
                captured: 0,
                lost: 0,
            };
            self.interfaces.insert(name.to_owned(), interface);
        }
        self.interfaces
            .get_mut(name)
            .ok_or_else(|| anyhow!("no interface {name}").into())
    }

    fn flush(&self) -> Result<(), Failure> {
        Ok(self.writer.finish()?)
    }

    /// Writes what was counted, and tells it in a line.
    fn finish(self) -> Result<String, Failure> {
        let end = since_1970();
        let mut captured = 0;
        for interface in self.interfaces.values() {
            captured += interface.captured;
            interface.output.write_statistics(&InterfaceStatistics {
                start: self.start,
                end,
                captured: interface.captured,
                lost: interface.lost,
            })?;
        }
        self.flush()?;
        Ok(format!(
            "{} packets came in and were captured, {} were lost",
            count(captured),
            count(self.lost)
        ))
    }
}

fn since_1970() -> Duration {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 nothing is captured.
    time.unwrap_or_default()
}
