//! Helper programs and child processes.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::During;
use crate::stop::wait_until;
use crate::{Error, Result};

/// Runs a program to its end and gives what it wrote to standard output.
///
/// # Errors
/// [`Error::NoProgram`] if it can't be started, [`Error::Command`] if it says that it failed.
pub fn run(command: &mut Command) -> Result<String> {
    // In a process group of its own, so that Ctrl-C does not end it half-way.
    command.stdin(Stdio::null()).process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|source| Error::NoProgram { program, source })?;
    if !output.status.success() {
        return Err(Error::Command {
            command: command_line(command),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Moves the calling thread to a processor.
///
/// # Errors
/// [`Error::Io`] if there is no such processor, or this process may not use it.
pub fn run_on(processor: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors
        .set(processor)
        .during(format!("choose processor {processor}"))?;
    sched_setaffinity(Pid::from_raw(0), &processors).during(format!("move to processor {processor}"))
}

/// The processors that the calling thread may use, in order.
///
/// # Errors
/// [`Error::Io`] if the kernel does not tell.
pub fn usable_processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).during("ask for the processors there are")?;
    let usable = |processor: &usize| set.is_set(*processor).unwrap_or(false);
    Ok((0..CpuSet::count()).filter(usable).collect())
}

/// A processor as a mask, as the kernel's settings take it: groups of 32 bits in hexadecimal, from the highest on.
pub fn processor_mask(processor: usize) -> String {
    format!(
        "{:x}{}",
        1_u32 << (processor % 32),
        ",00000000".repeat(processor / 32)
    )
}

/// A command for a line of words separated by blanks. There is no quoting.
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The command as one would type it.
pub fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// A child process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    /// Empty once the process was detached.
    child: Option<Child>,
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`.
    ///
    /// A death signal belongs to the thread that forked, not to the process: so one thread, which lives as
    /// long as the process, forks all children.
    pub(crate) fn start(command: Command) -> Result<Self> {
        type Job = (Command, mpsc::Sender<(Command, io::Result<Child>)>);
        static FORKER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
            let (jobs, queue) = mpsc::channel::<Job>();
            thread::spawn(move || {
                for (mut command, answer) in queue {
                    let child = command.spawn();
                    // The one who asked waits for the answer, or is gone and its child is not wanted.
                    if let Err(mpsc::SendError((_, Ok(mut child)))) = answer.send((command, child)) {
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                }
            });
            jobs
        });
        let gone = || io::Error::other("the thread that forks has ended");
        let (answer, result) = mpsc::channel();
        FORKER
            .send((command, answer))
            .map_err(|_| gone())
            .during("start a process")?;
        let (command, child) = result.recv().map_err(|_| gone()).during("start a process")?;
        let child = child.during(format!("start `{}`", command_line(&command)))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self {
            child: Some(child),
            pid,
            status: None,
        })
    }

    /// The process identifier.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    /// [`Error::Io`] if its state can't be read.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none()
            && let Some(child) = &mut self.child
        {
            self.status = child.try_wait().during("look after a child process")?;
        }
        Ok(self.status)
    }

    /// Sends a signal, unless the process has ended.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill(self.pid, signal).during(format!("send {signal} to process {}", self.pid))
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it still runs after `limit`, [`Error::Interrupted`] after a signal.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("process {} to end", self.pid);
        wait_until(&what, limit, || self.ended())
    }

    /// Kills the process and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            if let Ok(status) = child.wait() {
                self.status = Some(status);
            }
        }
    }

    /// Lets the process outlive this value.
    pub fn detach(mut self) {
        self.child = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_one_bit() {
        let masks = [0, 5, 31, 32, 65].map(processor_mask);
        assert_eq!(
            masks,
            ["1", "20", "80000000", "1,00000000", "2,00000000,00000000"]
        );
    }

    #[test]
    fn there_is_a_processor_to_run_on() {
        let usable = usable_processors().expect("the kernel tells");
        run_on(usable[0]).expect("it may be used");
        assert!(run_on(CpuSet::count()).is_err());
    }
}
