//! The `netchannel` daemon in a namespace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::error::During;
use crate::namespace::{Namespace, scratch_directory};
use crate::process::{Process, command_line, run};
use crate::service::{PATIENCE, Service, pinned};
use crate::{Error, Result};

/// A configuration that translates the inside network of the standard laboratory to the box's outside
/// address. `{socket}` stands for the control socket's path.
pub const STANDARD_CONFIGURATION: &str = r#"
[control]
socket = "{socket}"

[[interface]]
name = "lan"
role = "inside"

[[interface]]
name = "wan"
role = "outside"

[[channel]]
name = "internet"
type = "nat"
external = "wan"
ports = ["1024-32767"]
filtering = "endpoint-independent"

[[rule]]
priority = 100
from = "10.77.0.0/24"
channel = "internet"
"#;

/// Room for millions of sessions, behind the channel of [`STANDARD_CONFIGURATION`].
const MANY_SESSIONS: &str = r#"
[channel.limits]
sessions = 4194304
sessions_per_mapping = 65536
"#;
/// Room for their flows.
const MANY_FLOWS: &str = "capacity = 4194304";

/// How to start a daemon.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `netchannel` program.
    pub binary: PathBuf,
    /// Its configuration, with `{socket}` for the control socket's path.
    pub configuration: String,
    /// A processor to pin it to.
    pub processor: Option<usize>,
    /// Directory for configuration, log and control socket if it is to stay; a scratch directory if not.
    pub directory: Option<PathBuf>,
}

impl Launch {
    /// A daemon with the [`STANDARD_CONFIGURATION`].
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self::with_configuration(binary, STANDARD_CONFIGURATION)
    }

    /// The same with room for millions of sessions.
    pub fn with_many_sessions(self) -> Self {
        let (channel, rules) = self
            .configuration
            .split_once("\n[[rule]]")
            .unwrap_or((&self.configuration, ""));
        let configuration = format!("{channel}{MANY_SESSIONS}\n[[rule]]{rules}");
        let launch = Self {
            configuration,
            ..self
        };
        launch.with_flow_table(MANY_FLOWS)
    }

    /// The same with the XDP program carrying flows that are worth it, or no flows.
    pub fn with_offload(self, offload: bool) -> Self {
        let mode = if offload { "auto" } else { "off" };
        self.with_flow_table(&format!("offload = \"{mode}\""))
    }

    /// The same with a further key of the flow table.
    fn with_flow_table(mut self, key: &str) -> Self {
        const TABLE: &str = "\n[flow_table]\n";
        if !self.configuration.contains(TABLE) {
            self.configuration += TABLE;
        }
        self.configuration = self.configuration.replacen(TABLE, &format!("{TABLE}{key}\n"), 1);
        self
    }

    /// A daemon with a configuration of one's own.
    pub fn with_configuration(binary: impl Into<PathBuf>, configuration: impl Into<String>) -> Self {
        Self {
            binary: binary.into(),
            configuration: configuration.into(),
            processor: None,
            directory: None,
        }
    }
}

/// The `netchannel` program that was built beside a running example: `target/<profile>/netchannel`.
///
/// # Errors
/// [`Error::Io`] if the running program's path can't be read.
pub fn binary_beside_examples() -> Result<PathBuf> {
    beside_this_program("../netchannel")
}

/// The bare forwarder that was built beside a running example.
///
/// # Errors
/// [`Error::Io`] if the running program's path can't be read.
pub fn bare_forwarder_beside_examples() -> Result<PathBuf> {
    beside_this_program("bare_forwarder")
}

fn beside_this_program(relative: &str) -> Result<PathBuf> {
    let this = env::current_exe().during("read the path of this program")?;
    Ok(this.parent().unwrap_or(Path::new(".")).join(relative))
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    service: Service,
    binary: PathBuf,
    directory: PathBuf,
    /// Removed with this value; empty if the directory is to stay.
    _scratch: Option<TempDir>,
}

impl Daemon {
    /// Starts the daemon in `namespace` and waits until it says that it is ready and its control socket
    /// answers.
    ///
    /// # Errors
    /// [`Error::Program`] with its log if it ends before, [`Error::Timeout`] after [`PATIENCE`].
    pub fn start(namespace: &Namespace, launch: &Launch) -> Result<Self> {
        let mut daemon = Self::spawn(namespace, launch)?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Starts the daemon and does not wait: for one that is expected to fail.
    ///
    /// # Errors
    /// [`Error::Io`] if the program can't be started.
    pub fn spawn(namespace: &Namespace, launch: &Launch) -> Result<Self> {
        let (directory, scratch) = match &launch.directory {
            Some(directory) => {
                fs::create_dir_all(directory).during(format!("make {}", directory.display()))?;
                (directory.clone(), None)
            }
            None => {
                let scratch = scratch_directory()?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        let socket = directory.join("control.sock").display().to_string();
        let configuration = directory.join("netchannel.toml");
        fs::write(&configuration, launch.configuration.replace("{socket}", &socket))
            .during("write the daemon's configuration")?;
        let mut command = pinned(&launch.binary, launch.processor);
        command.arg("run").arg("--config").arg(&configuration);
        let service = match launch.directory {
            Some(_) => Service::start_free(namespace, command, &directory)?,
            None => Service::start(namespace, command, &directory)?,
        };
        Ok(Self {
            service,
            binary: launch.binary.clone(),
            directory,
            _scratch: scratch,
        })
    }

    /// Waits until the daemon is ready.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let Self {
            service,
            binary,
            directory,
            ..
        } = self;
        let answers = || Ok(control(binary, directory, &["ports"])?.status.success());
        service.wait_until_ready(answers)
    }

    /// What `netchannel show <what> -j` says.
    ///
    /// # Errors
    /// [`Error::Program`] if it fails or says something that is not JSON.
    pub fn show(&self, what: &str) -> Result<Value> {
        let output = control(&self.binary, &self.directory, &[what, "-j"])?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(self.failure(&format!("does not show {what}: {}", why.trim())));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| self.failure(&format!("shows {what} as JSON with a mistake: {error}")))
    }

    /// What `netchannel show <what>` says to people.
    ///
    /// # Errors
    /// [`Error::Command`] if it fails.
    pub fn show_text(&self, what: &str) -> Result<String> {
        run(&mut self.show_command(&[what]))
    }

    /// The command that asks this daemon, as one would type it.
    pub fn show_command_line(&self, what: &str) -> String {
        command_line(&self.show_command(&[what]))
    }

    fn show_command(&self, arguments: &[&str]) -> Command {
        show_command(&self.binary, &self.directory, arguments)
    }

    fn failure(&self, what: &str) -> Error {
        self.service.failure(what)
    }

    /// Everything that it wrote so far.
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// Where its configuration, log and control socket are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.service.process.pid()
    }

    /// Its process, for signals and waiting.
    pub fn process(&mut self) -> &mut Process {
        &mut self.service.process
    }

    /// Stops it by SIGTERM and gives its exit status.
    ///
    /// # Errors
    /// [`Error::Program`] if it still runs after [`PATIENCE`]; it is killed then.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.service.process.signal(Signal::SIGTERM)?;
        self.service.process.wait(PATIENCE).map_err(|error| match error {
            Error::Timeout { .. } => self.failure("did not end after SIGTERM"),
            other => other,
        })
    }

    /// Lets it run on after this process, and gives its process identifier. It must have been started with a
    /// directory of its own.
    pub fn keep(self) -> u32 {
        let pid = self.service.process.pid();
        self.service.process.detach();
        pid
    }
}

fn control(binary: &Path, directory: &Path, arguments: &[&str]) -> Result<Output> {
    show_command(binary, directory, arguments)
        .output()
        .during(format!("run {}", binary.display()))
}

fn show_command(binary: &Path, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("show")
        .args(arguments)
        .arg("--socket")
        .arg(directory.join("control.sock"));
    command
}
