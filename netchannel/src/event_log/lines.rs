//! A file that lines of JSON are appended to, or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::SystemTime;

use super::json::Line;
use crate::channel::nat::Event;
use crate::config::LogFile;

/// The file of one channel. What can't be written is counted, and told once writing works again.
pub(super) struct LineFile {
    channel: String,
    file: LogFile,
    out: BufWriter<Output>,
    /// Lines that could not be written since the last one that could.
    failed: u64,
}

enum Output {
    File(File),
    Stdout(io::Stdout),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}

fn open(file: &LogFile) -> io::Result<Output> {
    match file {
        LogFile::Stdout => Ok(Output::Stdout(io::stdout())),
        LogFile::Path(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                // Who was where is not for everybody to read.
                .mode(0o640)
                .open(path)?;
            Ok(Output::File(file))
        }
    }
}

/// A line is written whole or not at all.
fn put(out: &mut BufWriter<Output>, line: &Line<'_>) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

impl LineFile {
    pub(super) fn open(channel: &str, file: &LogFile, now: SystemTime) -> io::Result<Self> {
        let mut lines = Self {
            channel: channel.to_owned(),
            file: file.clone(),
            out: BufWriter::with_capacity(1 << 16, open(file)?),
            failed: 0,
        };
        put(&mut lines.out, &Line::about_log(now, channel, "log-started"))?;
        lines.out.flush()?;
        Ok(lines)
    }

    fn told(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            if self.failed == 0 {
                log::error!(
                    "channel {}: the log {} can't be written: {error}",
                    self.channel,
                    self.file
                );
            }
            self.failed += 1;
        }
    }

    pub(super) fn write(&mut self, time: SystemTime, event: &Event) {
        let written = put(&mut self.out, &Line::of(time, &self.channel, event));
        self.told(written);
    }

    pub(super) fn lost(&mut self, now: SystemTime, count: u64) {
        let written = put(&mut self.out, &Line::lost(now, &self.channel, count));
        self.told(written);
    }

    pub(super) fn flush(&mut self) {
        let flushed = self.out.flush();
        let worked = flushed.is_ok();
        self.told(flushed);
        if worked && self.failed > 0 {
            log::warn!(
                "channel {}: the log {} can be written again; {} attempts failed",
                self.channel,
                self.file,
                self.failed
            );
            self.failed = 0;
        }
    }

    /// Opens the file anew; the old one stays in use if that fails.
    pub(super) fn reopen(&mut self) {
        self.flush();
        match open(&self.file) {
            Ok(output) => self.out = BufWriter::with_capacity(1 << 16, output),
            Err(error) => log::error!(
                "channel {}: the log {} can't be opened anew: {error}",
                self.channel,
                self.file
            ),
        }
    }

    pub(super) fn finish(&mut self, now: SystemTime) {
        let written = put(&mut self.out, &Line::about_log(now, &self.channel, "log-stopped"));
        self.told(written);
        self.flush();
    }
}
