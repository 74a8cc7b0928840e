//! Just enough of HTTP/1.1 (RFC 9112) to be scraped: GET and HEAD of `/metrics`, one request a connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest head of a request.
const LONGEST_REQUEST: usize = 8 << 10;
/// What Prometheus calls its text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// How much clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time; further ones are told so and closed.
    pub connections: usize,
    /// How long a request may take to come.
    pub request: Duration,
    /// How long the answer may take to be read.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8,
            request: Duration::from_secs(5),
            answer: Duration::from_secs(10),
        }
    }
}

/// The address can't be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "metrics can't be served at {address}: {source}; is another process there, or is the address not this machine's?"
)]
pub struct ServerError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Gives the text of the metrics, or why there is none. It must come within a bounded time.
pub type Gather = dyn Fn() -> Result<String, String> + Send + Sync;

/// A server of metrics. Stops when dropped, without waiting for clients.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// The connections, to be ended.
    open: Mutex<Vec<(usize, TcpStream)>>,
}

impl Server {
    /// Serves `/metrics` at this address. What each request is told is asked of `gather`.
    ///
    /// # Errors
    /// If the address can't be listened at.
    pub fn start(address: SocketAddr, limits: Limits, gather: Arc<Gather>) -> Result<Self, ServerError> {
        let failed = |source| ServerError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("metrics".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, limits, &gather, &shared)
        });
        Ok(Self {
            address,
            shared,
            thread: Some(thread.map_err(failed)?),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the thread. If that fails, it is woken by the next client.
        let woken = TcpStream::connect_timeout(&wakeable(self.address), Duration::from_secs(1));
        for (_, stream) in lock(&self.shared.open).iter() {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if woken.is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic of the thread has been told already.
            let _ = thread.join();
        }
    }
}

/// An address that reaches a listener at this one.
fn wakeable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, limits: Limits, gather: &Arc<Gather>, shared: &Arc<Shared>) {
    let mut number = 0;
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No file descriptors left, most likely: not to be asked again at once.
                log::debug!("the metrics' listener can not take a client: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        number += 1;
        let Some(place) = Place::take(shared, number, &stream, limits.connections) else {
            refuse(stream);
            continue;
        };
        let gather = Arc::clone(gather);
        let spawned = thread::Builder::new()
            .name("metrics client".to_owned())
            .spawn(move || {
                let _place = place;
                if let Err(error) = serve(stream, limits, &*gather) {
                    log::debug!("a client of the metrics is sent away: {error}");
                }
            });
        if let Err(error) = spawned {
            log::debug!("a client of the metrics is lost: {error}");
        }
    }
}

/// A client's place among the bounded number.
struct Place {
    shared: Arc<Shared>,
    number: usize,
}

impl Place {
    fn take(shared: &Arc<Shared>, number: usize, stream: &TcpStream, most: usize) -> Option<Self> {
        let copy = stream.try_clone().ok()?;
        let mut open = lock(&shared.open);
        if open.len() >= most {
            return None;
        }
        open.push((number, copy));
        Some(Self {
            shared: Arc::clone(shared),
            number,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.shared.open).retain(|(number, _)| *number != self.number);
    }
}

/// The answer fits into the empty buffer of the connection, so this never waits.
fn refuse(mut stream: TcpStream) {
    let answer = answer(
        "503 Service Unavailable",
        PLAIN,
        "too many connections; try again\n",
        true,
    );
    let told = stream
        .set_write_timeout(Some(Duration::from_millis(10)))
        .and_then(|()| stream.write_all(&answer));
    if let Err(error) = told {
        log::debug!("a client beyond the limit was not told so: {error}");
    }
}

fn serve(mut stream: TcpStream, limits: Limits, gather: &Gather) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = match read_head(&mut stream, limits.request)? {
        Head::Whole(head) => head,
        Head::TooLong => {
            let text = "the request is too long\n";
            return finish(
                stream,
                &answer("431 Request Header Fields Too Large", PLAIN, text, true),
                limits,
            );
        }
        Head::None => return Ok(()),
    };
    finish(stream, &respond(&head, gather), limits)
}

enum Head {
    Whole(Vec<u8>),
    TooLong,
    /// The client left, or took too long.
    None,
}

/// Reads up to the empty line. A client that dribbles does not get more time.
fn read_head(stream: &mut TcpStream, time: Duration) -> io::Result<Head> {
    let deadline = Instant::now() + time;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if head.windows(4).any(|four| four == b"\r\n\r\n") || head.windows(2).any(|two| two == b"\n\n") {
            return Ok(Head::Whole(head));
        }
        if head.len() >= LONGEST_REQUEST {
            return Ok(Head::TooLong);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Head::None);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(Head::None),
            Ok(length) => head.extend_from_slice(&chunk[..length]),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// What a request is answered.
fn respond(head: &[u8], gather: &Gather) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return answer("400 Bad Request", PLAIN, "this is no HTTP request\n", true);
    };
    if !version.starts_with("HTTP/1.") {
        return answer(
            "505 HTTP Version Not Supported",
            PLAIN,
            "expected HTTP/1.1\n",
            true,
        );
    }
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return answer("405 Method Not Allowed", PLAIN, "expected GET\n", true),
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path {
        "/metrics" => match catch_unwind(AssertUnwindSafe(gather)) {
            Ok(Ok(text)) => answer("200 OK", TEXT, &text, with_body),
            Ok(Err(message)) => answer(
                "503 Service Unavailable",
                PLAIN,
                &format!("{message}\n"),
                with_body,
            ),
            Err(_) => answer("500 Internal Server Error", PLAIN, "see the log\n", with_body),
        },
        "/" => answer(
            "200 OK",
            PLAIN,
            "netchannel: the metrics are at /metrics\n",
            with_body,
        ),
        _ => answer("404 Not Found", PLAIN, "the metrics are at /metrics\n", with_body),
    }
}

fn answer(status: &str, kind: &str, body: &str, with_body: bool) -> Vec<u8> {
    let allow = if status.starts_with("405") {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        answer.push_str(body);
    }
    answer.into_bytes()
}

/// Writes within the time, however slowly the client reads.
fn finish(mut stream: TcpStream, mut bytes: &[u8], limits: Limits) -> io::Result<()> {
    let deadline = Instant::now() + limits.answer;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(&bytes[..bytes.len().min(64 << 10)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    // What the client still sends is not waited for; closing with it unread would reset the connection, and lose the answer.
    stream.shutdown(Shutdown::Write)?;
    let mut rest = [0; 1024];
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    for _ in 0..16 {
        if !matches!(stream.read(&mut rest), Ok(1..)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
