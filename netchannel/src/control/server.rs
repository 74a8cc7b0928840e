//! The serving side: a thread that takes connections, and one for each of a bounded number of clients.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::access::Access;
use super::line::{LineError, Lines};
use super::request::Asked;
use super::socket::{ControlSocket, ServerError};
use super::{MAX_REQUEST, Next, Request, VERSION, Watch, Watched};

/// What answers the clients' questions.
///
/// Called from several threads at once. An answer must come within a bounded time (asking a worker through its mailbox: with
/// a limit); [`Server::stop`] waits for it. A panic costs the one answer.
pub trait Inspect: Send + Sync {
    /// The value for the client, one of [`report`](super::report)'s as JSON.
    ///
    /// # Errors
    /// Text that tells the client why there is none.
    fn answer(&self, request: Request) -> Result<Value, ControlError>;

    /// Where to take from what a client wants to watch.
    ///
    /// # Errors
    /// Text that tells the client why it can't.
    fn watch(&self, watch: Watch) -> Result<Box<dyn Watched>, ControlError> {
        let _ = watch;
        Err(ControlError::new("there is nothing to watch here"))
    }
}

/// Why a question has no answer; the message goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What is wrong and what to do.
    pub message: String,
}

impl ControlError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        ControlError {
            message: message.into(),
        }
    }
}

impl From<serde_json::Error> for ControlError {
    fn from(error: serde_json::Error) -> Self {
        ControlError::new(format!("the answer has no JSON form: {error}"))
    }
}

/// How much clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients at one time; further ones are told so and sent away.
    pub clients: usize,
    /// Of these, clients that watch a stream; further ones are told so and may ask for something else.
    pub watchers: usize,
    /// How long a client may stay connected without asking.
    pub idle: Duration,
    /// How long a request may take from its first byte to its last.
    pub request: Duration,
    /// How long a client may take to read an answer, or what there is of a stream.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients: 32,
            watchers: 16,
            idle: Duration::from_secs(60),
            request: Duration::from_secs(5),
            answer: Duration::from_secs(10),
        }
    }
}

/// A control socket that is being served. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    answering: Answering,
    /// Closing it wakes the thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Takes the socket's path and serves it. The directory is made if it is missing (mode 0755), the socket has mode 0660,
    /// the file that a dead process left is replaced.
    ///
    /// # Errors
    /// A live process serves the path, something else has it, or the operating system refuses.
    pub fn start(path: &Path, inspect: Arc<dyn Inspect>) -> Result<Server, ServerError> {
        Server::start_with(path, inspect, Limits::default())
    }

    /// As [`start`](Server::start), with limits of one's own.
    ///
    /// # Errors
    /// As [`start`](Server::start).
    pub fn start_with(path: &Path, inspect: Arc<dyn Inspect>, limits: Limits) -> Result<Server, ServerError> {
        Server::start_for(path, Access::default(), inspect, limits)
    }

    /// As [`start_with`](Server::start_with), for those whom `access` says.
    ///
    /// # Errors
    /// As [`start`](Server::start); or the socket can't be given to the group.
    pub fn start_for(
        path: &Path,
        access: Access,
        inspect: Arc<dyn Inspect>,
        limits: Limits,
    ) -> Result<Server, ServerError> {
        let failed = |action, source| ServerError::Io {
            path: path.to_owned(),
            action,
            source,
        };
        let socket = ControlSocket::bind(path, access.group())?;
        let (wake, woken) = UnixStream::pair().map_err(|error| failed("making a pair of sockets", error))?;
        let answering = Answering::by(inspect);
        let clients = Clients {
            answering: answering.clone(),
            access: Arc::new(access),
            limits,
            open: Arc::default(),
            watchers: Arc::default(),
            threads: Vec::new(),
            next: 0,
        };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(socket, woken, clients))
            .map_err(|error| failed("starting its thread", error))?;
        Ok(Server {
            path: path.to_owned(),
            answering,
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Has another one answer from now on.
    pub fn answer_by(&self, inspect: Arc<dyn Inspect>) {
        *self.answering.0.write().unwrap_or_else(PoisonError::into_inner) = inspect;
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends all connections, waits for answers that are being made, and removes the socket.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.wake.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!(
                "the thread of the control socket {} ended by a panic",
                self.path.display()
            );
        }
    }
}

/// Who answers at present.
#[derive(Clone)]
struct Answering(Arc<RwLock<Arc<dyn Inspect>>>);

impl Answering {
    fn by(inspect: Arc<dyn Inspect>) -> Self {
        Self(Arc::new(RwLock::new(inspect)))
    }

    fn present(&self) -> Arc<dyn Inspect> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}

/// The threads of the clients and what is needed to end them.
struct Clients {
    answering: Answering,
    access: Arc<Access>,
    limits: Limits,
    open: Arc<Mutex<HashMap<u64, UnixStream>>>,
    watchers: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    next: u64,
}

fn accept(socket: ControlSocket, woken: UnixStream, mut clients: Clients) {
    // After a failure to accept (no file descriptors left), the socket is not looked at for a while.
    let mut paused = false;
    loop {
        let listen = if paused {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let mut descriptors = [
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.listener.as_fd(), listen),
        ];
        let timeout = if paused {
            PollTimeout::from(100_u8)
        } else {
            PollTimeout::NONE
        };
        match poll(&mut descriptors, timeout) {
            Ok(_) => paused = false,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => {
                log::error!(
                    "the control socket {} is no longer served: {errno}",
                    socket.path().display()
                );
                break;
            }
        }
        if descriptors[0].any().unwrap_or(true) {
            break;
        }
        match socket.listener.accept() {
            Ok((stream, _)) => clients.serve(stream),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                log::warn!("the control socket can not take a client: {error}");
                paused = true;
            }
        }
    }
    // The file goes first: who starts now finds no file, or this socket still alive.
    drop(socket);
    clients.end();
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

impl Clients {
    fn serve(&mut self, stream: UnixStream) {
        self.threads.retain(|thread| !thread.is_finished());
        let id = self.next;
        self.next += 1;
        let mut lines = match stream.set_nonblocking(false).and_then(|()| stream.try_clone()) {
            Ok(copy) => {
                let mut open = lock(&self.open);
                if open.len() >= self.limits.clients {
                    drop(open);
                    return refuse(stream, self.limits.clients);
                }
                open.insert(id, copy);
                Lines::new(stream)
            }
            Err(error) => return log::warn!("a client of the control socket is lost: {error}"),
        };
        let slot = Slot {
            id,
            open: Arc::clone(&self.open),
        };
        let conversation = Conversation {
            may_change: self.access.allows(lines.stream()),
            access: Arc::clone(&self.access),
            answering: self.answering.clone(),
            limits: self.limits,
            watchers: Arc::clone(&self.watchers),
        };
        let spawned = thread::Builder::new()
            .name("control client".to_owned())
            .spawn(move || {
                let _slot = slot;
                if let Err(error) = conversation.hold(&mut lines) {
                    log::debug!("a client of the control socket is sent away: {error}");
                }
            });
        match spawned {
            Ok(thread) => self.threads.push(thread),
            Err(error) => log::warn!("a client of the control socket is lost: {error}"),
        }
    }

    fn end(self) {
        for stream in lock(&self.open).values() {
            // It may be gone already, which is as well.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread of the control socket ended by a panic");
            }
        }
    }
}

/// A client's place among the bounded number; free again when its thread ends in any way.
struct Slot {
    id: u64,
    open: Arc<Mutex<HashMap<u64, UnixStream>>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells a client that there is no room. The line fits into the empty buffer of the connection, so this never waits.
fn refuse(stream: UnixStream, clients: usize) {
    let message = format!("{clients} clients are connected already; try again when one has left");
    let line = answer_line(Err(ControlError::new(message)));
    let mut lines = Lines::new(stream);
    if let Err(error) = lines.write(&line, Duration::from_millis(10)) {
        log::debug!("a client beyond the limit was not told so: {error}");
    }
}

/// What a client's thread needs.
struct Conversation {
    may_change: bool,
    access: Arc<Access>,
    answering: Answering,
    limits: Limits,
    watchers: Arc<AtomicUsize>,
}

impl Conversation {
    fn hold(&self, lines: &mut Lines) -> Result<(), LineError> {
        let limits = &self.limits;
        loop {
            let line = match lines.read(MAX_REQUEST, limits.idle, limits.request) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error @ (LineError::TooLong { .. } | LineError::TimedOut { .. })) => {
                    let line = answer_line(Err(ControlError::new(error.to_string())));
                    lines.write(&line, limits.answer)?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            match Asked::parse(&line) {
                Ok(asked) if asked.is_for_some() && !self.may_change => {
                    let message = format!("this is for {} only", self.access);
                    lines.write(&answer_line(Err(ControlError::new(message))), limits.answer)?;
                }
                Ok(Asked::Once(request)) => {
                    let answer = guarded(|| self.answering.present().answer(request));
                    lines.write(&answer_line(answer), limits.answer)?;
                }
                Ok(Asked::Watch(watch)) => match self.admit(watch) {
                    Ok((mut watched, _place)) => {
                        lines.write(&answer_line(Ok(json!({}))), limits.answer)?;
                        stream(lines, &mut *watched, limits.answer)?;
                    }
                    Err(error) => lines.write(&answer_line(Err(error)), limits.answer)?,
                },
                Err(message) => {
                    lines.write(&answer_line(Err(ControlError::new(message))), limits.answer)?;
                }
            }
        }
    }

    fn admit(&self, watch: Watch) -> Result<(Box<dyn Watched>, Place), ControlError> {
        let most = self.limits.watchers;
        let place = Place::take(&self.watchers, most).ok_or_else(|| {
            ControlError::new(format!(
                "{most} clients watch already; try again when one has left"
            ))
        })?;
        Ok((guarded(|| self.answering.present().watch(watch))?, place))
    }
}

/// A panic costs the one answer.
fn guarded<T>(ask: impl FnOnce() -> Result<T, ControlError>) -> Result<T, ControlError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        Err(ControlError::new(
            "the question made the server fail; see its log",
        ))
    })
}

/// A place among those who watch; free again when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(taken));
        (taken.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How often it is looked whether a client that watches is still there.
const LOOK: Duration = Duration::from_millis(100);
/// What is written at once, in bytes, when much happens.
const AT_ONCE: usize = 32 << 10;

/// Writes what happens until nothing more will, or the client is gone.
fn stream(lines: &mut Lines, watched: &mut dyn Watched, answer: Duration) -> Result<(), LineError> {
    let mut text = Vec::new();
    loop {
        let patience = if text.is_empty() { LOOK } else { Duration::ZERO };
        let next = guarded(|| watched.next(patience));
        let is_quiet = matches!(next, Ok(Next::Nothing));
        let goes_on = match next {
            Ok(Next::Event(event)) => {
                push_line(&mut text, &json!({ "version": VERSION, "event": event }));
                true
            }
            Ok(Next::Lost(count)) => {
                push_line(&mut text, &json!({ "version": VERSION, "lost": count }));
                true
            }
            Ok(Next::Nothing) => true,
            Ok(Next::Ended) => {
                push_line(&mut text, &json!({ "version": VERSION, "end": true }));
                false
            }
            Err(error) => {
                text.append(&mut answer_line(Err(error)));
                push_line(&mut text, &json!({ "version": VERSION, "end": true }));
                false
            }
        };
        if !text.is_empty() && (is_quiet || !goes_on || text.len() >= AT_ONCE) {
            lines.write(&text, answer)?;
            text.clear();
        }
        if !goes_on {
            return Ok(());
        }
        if is_quiet && lines.is_hung_up()? {
            return Err(LineError::Cut);
        }
    }
}

fn answer_line(answer: Result<Value, ControlError>) -> Vec<u8> {
    let answer = match answer {
        Ok(value) => json!({ "version": VERSION, "ok": value }),
        Err(error) => json!({ "version": VERSION, "error": { "message": error.message } }),
    };
    let mut line = Vec::new();
    push_line(&mut line, &answer);
    line
}

fn push_line(text: &mut Vec<u8>, value: &Value) {
    text.extend_from_slice(value.to_string().as_bytes());
    text.push(b'\n');
}
