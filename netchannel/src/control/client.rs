//! The asking side.

mod pages;
mod watching;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::line::{LineError, Lines};
use super::report::{
    Channels, CountedRules, Deleted, Drops, Flows, Mappings, Memory, Neighbours, Pools, Ports, Routes,
    RulesPage, Sessions, Workers,
};
use super::{
    Filter, FlowPage, MAX_PAGE, NetworkPage, Page, Request, RulePage, RulesRequest, TopFlows, VERSION, Watch,
};

pub use pages::{PageRequest, Paged, Pages};
pub use watching::{Told, WatchEnd, Watching};

/// The longest answer that is taken, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// How long to wait for an answer to begin, and then for its end.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait for rules to be made ready, millions of them as it may be, behind somebody else's.
const RULES_PATIENCE: Duration = Duration::from_secs(600);

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
    #[error("{} may not be opened by this user; try again as root, or as a member of the group that owns it", path.display())]
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
    event: Option<Value>,
    lost: Option<u64>,
    end: Option<bool>,
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
        self.ask(&request.to_line(), PATIENCE)
    }

    /// Asks about the rules in force; for what takes its time, as a load does, waits long.
    ///
    /// # Errors
    /// As [`request`](Client::request), or an answer that is not understood.
    pub fn rules<T: DeserializeOwned>(&mut self, request: RulesRequest) -> Result<T, ClientError> {
        let patience = match request {
            RulesRequest::Begin {}
            | RulesRequest::Part { .. }
            | RulesRequest::Abort { .. }
            | RulesRequest::State {} => PATIENCE,
            _ => RULES_PATIENCE,
        };
        let value = self.ask(&Request::Rules(request).to_line(), patience)?;
        serde_json::from_value(value).map_err(|error| self.protocol(error))
    }

    /// All rules in force, page after page; all of one version.
    pub fn rules_pages(&mut self) -> impl Iterator<Item = Result<RulesPage, ClientError>> {
        let mut after = Some(None);
        std::iter::from_fn(move || {
            let at = after.take()?;
            let page = self.rules(RulesRequest::List { after: at.clone() });
            Some(page.and_then(|page: RulesPage| {
                if page.next.is_some() && page.next == at {
                    return Err(self.protocol("the listing does not advance"));
                }
                after = page.next.clone().map(Some);
                Ok(page)
            }))
        })
    }

    /// Has the other end tell what happens from now on. Nothing is missed once this returns.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn watch(mut self, watch: &Watch) -> Result<Watching, ClientError> {
        self.ask(&watch.to_line(), PATIENCE)?;
        Ok(Watching::of(self))
    }

    fn ask(&mut self, request: &[u8], patience: Duration) -> Result<Value, ClientError> {
        let written = self.lines.write(request, PATIENCE);
        // A server that sends a client away says why before it closes: read that even if the question got stuck.
        let line = match (self.lines.read(MAX_ANSWER, patience, PATIENCE), written) {
            (Ok(Some(line)), _) => line,
            (Ok(None), _) => {
                return Err(ClientError::Ended {
                    path: self.path.clone(),
                });
            }
            (Err(error), _) => return Err(self.failed(error)),
        };
        let answer = self.understand(&line)?;
        match (answer.ok, answer.error) {
            (_, Some(error)) => Err(ClientError::Refused {
                message: error.message,
            }),
            (Some(value), None) => Ok(value),
            (None, None) => Err(self.protocol("it has neither `ok` nor `error`")),
        }
    }

    fn understand(&self, line: &[u8]) -> Result<Answer, ClientError> {
        let answer: Answer = serde_json::from_slice(line).map_err(|error| self.protocol(error))?;
        if answer.version != VERSION {
            let reason = format!("version {} of the protocol, expected {VERSION}", answer.version);
            return Err(self.protocol(reason));
        }
        Ok(answer)
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

    /// Asks for the workers.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn workers(&mut self) -> Result<Workers, ClientError> {
        self.report(&Request::Workers)
    }

    /// Asks for what memory is used.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn memory(&mut self) -> Result<Memory, ClientError> {
        self.report(&Request::Memory)
    }

    /// Asks for routes, page after page, as they are taken.
    pub fn routes(&mut self, first: NetworkPage) -> Pages<'_, Routes> {
        Pages::of(self, first)
    }

    /// Asks for neighbours, page after page, as they are taken.
    pub fn neighbours(&mut self, first: NetworkPage) -> Pages<'_, Neighbours> {
        Pages::of(self, first)
    }

    /// Asks for mappings, page after page, as they are taken; each page is in memory, not all of them.
    pub fn mappings(&mut self, filter: Filter) -> Pages<'_, Mappings> {
        Pages::of(self, Page::first(filter))
    }

    /// Asks for sessions, page after page, as they are taken.
    pub fn sessions(&mut self, filter: Filter) -> Pages<'_, Sessions> {
        Pages::of(self, Page::first(filter))
    }

    /// Asks for pools: all, with all their addresses.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn pools(&mut self, filter: Filter) -> Result<Pools, ClientError> {
        let mut all = Pools::default();
        self.follow(Page::first(filter), Request::Pools, |page: Pools| {
            all.pools.extend(page.pools);
            all.addresses.extend(page.addresses);
            page.next
        })?;
        Ok(all)
    }

    /// Asks for a page of the flow table.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn flows(&mut self, page: &FlowPage) -> Result<Flows, ClientError> {
        self.report(&Request::Flows(page.clone()))
    }

    /// Asks for the flows that have most of something.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn top_flows(&mut self, top: &TopFlows) -> Result<Flows, ClientError> {
        self.report(&Request::TopFlows(top.clone()))
    }

    /// Asks for a page of the rules with their counters.
    ///
    /// # Errors
    /// As [`request`](Client::request).
    pub fn rule_counters(&mut self, page: &RulePage) -> Result<CountedRules, ClientError> {
        self.report(&Request::RuleCounters(page.clone()))
    }

    /// Deletes mappings, and returns how many that were.
    ///
    /// # Errors
    /// As [`request`](Client::request); some may be deleted then.
    pub fn delete_mappings(&mut self, filter: Filter) -> Result<u64, ClientError> {
        let mut deleted = 0;
        self.follow(Page::first(filter), Request::DeleteMappings, |page: Deleted| {
            deleted += page.deleted;
            page.next
        })?;
        Ok(deleted)
    }

    /// Asks for page after page. `take` returns the `next` of each.
    fn follow<T: DeserializeOwned>(
        &mut self,
        mut page: Page,
        request: impl Fn(Page) -> Request,
        mut take: impl FnMut(T) -> Option<String>,
    ) -> Result<(), ClientError> {
        page.limit = MAX_PAGE;
        loop {
            let next = take(self.report(&request(page.clone()))?);
            if next.is_none() {
                return Ok(());
            }
            self.check_advance(&page.after, &next)?;
            page.after = next;
        }
    }

    /// A listing that stays where it is would never end.
    fn check_advance(&self, after: &Option<String>, next: &Option<String>) -> Result<(), ClientError> {
        if next.is_some() && next == after {
            return Err(self.protocol("the listing does not advance"));
        }
        Ok(())
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
