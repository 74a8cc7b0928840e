//! The asking side.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::line::{LineError, Lines};
use super::report::{Channels, Drops, Mapping, Mappings, Ports};
use super::{DEFAULT_PAGE, MAX_PAGE, Request, VERSION};

/// The longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// How long to wait for an answer to begin, and then for its end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process serves the socket.
    #[error(
        "no netchannel is running at {}; start one with `netchannel run --config FILE`, or name its socket with \
         `--socket PATH`",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The user may not ask.
    #[error("{} may not be opened by this user; try again as root", path.display())]
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// The other end said no.
    #[error("{message}")]
    Refused {
        /// Its reason.
        message: String,
    },
    /// The other end went away.
    #[error("the netchannel at {} ended the connection; it may have been stopped", path.display())]
    Ended {
        /// The socket.
        path: PathBuf,
    },
    /// The other end does not answer.
    #[error("the netchannel at {} gave no answer within {} seconds", path.display(), PATIENCE.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// The other end's answer is not of this protocol.
    #[error("the answer from {} is not understood: {reason}", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A connection to a running netchannel.
#[derive(Debug)]
pub struct Client {
    lines: Lines,
    path: PathBuf,
}

#[derive(Deserialize)]
struct Answer {
    version: u32,
    ok: Option<Value>,
    error: Option<ErrorAnswer>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    message: String,
}

impl Client {
    /// Connects to the control socket at `path`.
    ///
    /// # Errors
    /// No process serves it, or this user may not ask.
    pub fn connect(path: impl AsRef<Path>) -> Result<Client, ClientError> {
        let path = path.as_ref().to_owned();
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Client {
                lines: Lines::new(stream),
                path,
            }),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { path }
                }
                io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
                _ => ClientError::Io { path, source },
            }),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The other end refuses, ends the connection, is silent, or does not speak this protocol.
    pub fn request(&mut self, request: &Request) -> Result<Value, ClientError> {
        let written = self.lines.write(&request.to_line(), PATIENCE);
        // A server that sends a client away says why before it closes: read that even if the question got stuck.
        let line = match (self.lines.read(MAX_ANSWER, PATIENCE, PATIENCE), written) {
            (Ok(Some(line)), _) => line,
            (Ok(None), _) => {
                return Err(ClientError::Ended {
                    path: self.path.clone(),
                });
            }
            (Err(error), _) => return Err(self.failed(error)),
        };
        let answer: Answer = serde_json::from_slice(&line).map_err(|error| self.protocol(error))?;
        if answer.version != VERSION {
            let reason = format!("version {} of the protocol, expected {VERSION}", answer.version);
            return Err(self.protocol(reason));
        }
        match (answer.ok, answer.error) {
            (_, Some(error)) => Err(ClientError::Refused {
                message: error.message,
            }),
            (Some(value), None) => Ok(value),
            (None, None) => Err(self.protocol("it has neither `ok` nor `error`")),
        }
    }

    /// Asks for the interfaces.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn ports(&mut self) -> Result<Ports, ClientError> {
        self.report(&Request::Ports)
    }

    /// Asks for the channels.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn channels(&mut self) -> Result<Channels, ClientError> {
        self.report(&Request::Channels)
    }

    /// Asks for the drops.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn drops(&mut self) -> Result<Drops, ClientError> {
        self.report(&Request::Drops)
    }

    /// Asks for the mappings, page after page, as they are taken.
    pub fn mappings(&mut self) -> MappingPages<'_> {
        self.mappings_by(DEFAULT_PAGE)
    }

    /// As [`mappings`](Client::mappings), with so many mappings in a page, 1 to [`MAX_PAGE`].
    pub fn mappings_by(&mut self, limit: u32) -> MappingPages<'_> {
        let limit = limit.clamp(1, MAX_PAGE);
        MappingPages {
            client: self,
            limit,
            page: Vec::new().into_iter(),
            after: None,
            ended: false,
        }
    }

    fn report<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ClientError> {
        let value = self.request(request)?;
        serde_json::from_value(value).map_err(|error| self.protocol(error))
    }

    fn protocol(&self, reason: impl ToString) -> ClientError {
        ClientError::Protocol {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    fn failed(&self, error: LineError) -> ClientError {
        let path = self.path.clone();
        match error {
            LineError::TimedOut { .. } => ClientError::Silent { path },
            LineError::Cut => ClientError::Ended { path },
            LineError::TooLong { limit } => ClientError::Protocol {
                path,
                reason: format!("it is longer than {limit} bytes"),
            },
            LineError::Io(source) => match source.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ClientError::Ended { path },
                _ => ClientError::Io { path, source },
            },
        }
    }
}

/// All mappings, fetched a page at a time. Ends after the first error.
#[derive(Debug)]
pub struct MappingPages<'c> {
    client: &'c mut Client,
    limit: u32,
    page: std::vec::IntoIter<Mapping>,
    after: Option<String>,
    ended: bool,
}

impl MappingPages<'_> {
    fn fetch(&mut self) -> Result<(), ClientError> {
        let request = Request::Mappings {
            after: self.after.take(),
            limit: self.limit,
        };
        let page: Mappings = self.client.report(&request)?;
        let Request::Mappings { after, .. } = request else {
            return Ok(());
        };
        if page.next.is_some() && page.next == after {
            return Err(self.client.protocol("the listing does not advance"));
        }
        self.ended = page.next.is_none();
        self.after = page.next;
        self.page = page.mappings.into_iter();
        Ok(())
    }
}

impl Iterator for MappingPages<'_> {
    type Item = Result<Mapping, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mapping) = self.page.next() {
                return Some(Ok(mapping));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}
