//! HTTP/1.1, just enough: a server that makes up content of any size, and a client that checks its hash.
//!
//! `GET /<bytes>/<seed>` gives content, `PUT /<bytes>/<seed>` takes it and answers with the SHA-256 that it
//! found. Content is a function of its length and seed, so both ends know what is right.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sha2::{Digest, Sha256};

use super::{LOOK_EVERY, Live, Outcome, STALL_LIMIT, listen};
use crate::error::During;
use crate::namespace::Namespace;
use crate::{Error, Result, stop};

/// Content is made and sent in blocks of this size.
const BLOCK: usize = 64 * 1024;

/// The longest line or header that is read.
const LONGEST_LINE: u64 = 8 * 1024;

/// One block of the content with the given seed: SplitMix64, so that any block can be made by itself.
fn fill_block(seed: u64, index: u64, block: &mut [u8; BLOCK]) {
    let mut state = seed.wrapping_mul(0xd1b5_4a32_d192_ed03) ^ index.wrapping_mul(0x2545_f491_4f6c_dd1d);
    for word in block.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(value ^ (value >> 31)).to_le_bytes());
    }
}

/// Passes content of `length` bytes to `take`, block by block.
fn each_block(length: u64, seed: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut block = Box::new([0; BLOCK]);
    let (mut index, mut left) = (0, length);
    while left > 0 {
        fill_block(seed, index, &mut block);
        let part = left.min(BLOCK as u64);
        take(&block[..part as usize])?;
        left -= part;
        index += 1;
    }
    Ok(())
}

/// SHA-256 of the content of `length` bytes with the given seed.
///
/// # Errors
/// [`Error::Interrupted`] after a signal: much content takes a while.
pub fn content_hash(length: u64, seed: u64) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    each_block(length, seed, |block| {
        hash.update(block);
        stop::check()
    })?;
    Ok(hash.finalize().into())
}

/// The server. A thread accepts, and one more serves each connection; all end when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Starts the server in a namespace.
    ///
    /// # Errors
    /// [`Error::Io`] if the address can't be bound.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        namespace.run(|| {
            let (listener, address) = listen(address)?;
            let stopping = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&stopping);
            let accepting = thread::spawn(move || accept(&listener, &flag));
            Ok(Self {
                address,
                stopping,
                accepting: Some(accepting),
            })
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, stopping: &Arc<AtomicBool>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY.as_millis() as u16));
        while let Ok((stream, _)) = listener.accept() {
            let stopping = Arc::clone(stopping);
            // What goes wrong here shows at the client.
            connections.push(thread::spawn(move || drop(serve(stream, &stopping))));
        }
        connections.retain(|connection| !connection.is_finished());
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// A connection that gives up when told to stop, or when nothing moves for [`STALL_LIMIT`].
struct Patient<'a> {
    stream: TcpStream,
    stopping: &'a dyn Fn() -> bool,
}

impl<'a> Patient<'a> {
    fn new(stream: TcpStream, stopping: &'a dyn Fn() -> bool) -> Result<Self> {
        stream
            .set_nonblocking(false)
            .during("make a connection blocking")?;
        stream
            .set_read_timeout(Some(LOOK_EVERY))
            .during("set a read timeout")?;
        stream
            .set_write_timeout(Some(LOOK_EVERY))
            .during("set a write timeout")?;
        Ok(Self { stream, stopping })
    }

    fn retry(
        &mut self,
        mut call: impl FnMut(&mut TcpStream) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let started = Instant::now();
        loop {
            if (self.stopping)() {
                return Err(std::io::Error::other("told to stop"));
            }
            match call(&mut self.stream) {
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {}
                other => return other,
            }
            if started.elapsed() > STALL_LIMIT {
                let text = format!("nothing moved for {} s", STALL_LIMIT.as_secs());
                return Err(std::io::Error::new(TimedOut, text));
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.retry(|stream| stream.read(buffer))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.retry(|stream| stream.write(buffer))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader
        .take(LONGEST_LINE)
        .read_line(&mut line)
        .during("read a line of HTTP")?;
    if line.pop() != Some('\n') {
        return Err(Error::Answer(
            "the connection ended inside an HTTP header".to_owned(),
        ));
    }
    Ok(line.trim_end_matches('\r').to_owned())
}

/// Reads up to the empty line and gives the content length.
fn read_headers(reader: &mut impl BufRead) -> Result<Option<u64>> {
    let mut length = None;
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

/// Method, length and seed of a request line.
fn parse_request(line: &str) -> Option<(&str, u64, u64)> {
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let (length, seed) = path.strip_prefix('/')?.split_once('/')?;
    Some((method, length.parse().ok()?, seed.parse().ok()?))
}

fn serve(stream: TcpStream, stopping: &AtomicBool) -> Result<()> {
    let stopping = || stopping.load(Ordering::Relaxed);
    let mut reader = BufReader::new(Patient::new(stream, &stopping)?);
    let request = read_line(&mut reader)?;
    read_headers(&mut reader)?;
    match parse_request(&request) {
        Some(("GET", length, seed)) => {
            let connection = reader.get_mut();
            respond(connection, "200 OK", length)?;
            each_block(length, seed, |block| {
                connection.write_all(block).during("send content")
            })
        }
        Some(("PUT", length, _)) => {
            let hash = read_content(&mut reader, length, |_| ())?;
            respond(reader.get_mut(), "200 OK", 64)?;
            reader
                .get_mut()
                .write_all(hex(&hash).as_bytes())
                .during("send the hash")
        }
        _ => respond(reader.get_mut(), "400 Bad Request", 0),
    }
}

fn respond(connection: &mut impl Write, status: &str, length: u64) -> Result<()> {
    let header = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    connection.write_all(header.as_bytes()).during("send a response")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads content and gives its hash.
fn read_content(reader: &mut impl Read, length: u64, mut arrived: impl FnMut(usize)) -> Result<[u8; 32]> {
    let mut buffer = vec![0; BLOCK];
    let mut hash = Sha256::new();
    let mut left = length;
    while left > 0 {
        let part = left.min(BLOCK as u64) as usize;
        let count = reader.read(&mut buffer[..part]).during("read content")?;
        if count == 0 {
            return Err(Error::Answer(format!(
                "the connection ended {left} bytes too early of {length}"
            )));
        }
        hash.update(&buffer[..count]);
        arrived(count);
        left -= count as u64;
    }
    Ok(hash.finalize().into())
}

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Content from the server to the client.
    Download,
    /// Content from the client to the server.
    Upload,
}

/// One request; the content is checked by its hash.
///
/// # Errors
/// [`Error::Io`] if the connection fails or stands still for [`STALL_LIMIT`], [`Error::Answer`] if the
/// content is not what it should be, [`Error::Interrupted`] after a signal.
pub fn transfer(server: SocketAddr, method: Method, length: u64, seed: u64, live: &Live) -> Result<()> {
    let content = Content {
        length,
        seed,
        hash: content_hash(length, seed)?,
    };
    let result = request(server, method, &content, live);
    stop::check()?;
    result
}

/// Content that is to be sent or expected.
struct Content {
    length: u64,
    seed: u64,
    hash: [u8; 32],
}

fn request(server: SocketAddr, method: Method, content: &Content, live: &Live) -> Result<()> {
    let Content { length, seed, hash } = *content;
    live.add_sent();
    let stream = TcpStream::connect_timeout(&server, STALL_LIMIT).during(format!("connect to {server}"))?;
    let mut reader = BufReader::new(Patient::new(stream, &stop::requested)?);
    let (verb, body) = match method {
        Method::Download => ("GET", 0),
        Method::Upload => ("PUT", length),
    };
    let head =
        format!("{verb} /{length}/{seed} HTTP/1.1\r\nHost: {server}\r\nContent-Length: {body}\r\n\r\n");
    reader
        .get_mut()
        .write_all(head.as_bytes())
        .during("send a request")?;
    if method == Method::Upload {
        each_block(length, seed, |block| {
            reader.get_mut().write_all(block).during("send content")?;
            live.add_bytes(block.len());
            Ok(())
        })?;
    }
    let status = read_line(&mut reader)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(Error::Answer(status));
    }
    let announced = read_headers(&mut reader)?;
    let found = match method {
        Method::Download if announced == Some(length) => {
            hex(&read_content(&mut reader, length, |count| live.add_bytes(count))?)
        }
        Method::Upload if announced == Some(64) => {
            let mut answer = [0; 64];
            reader.read_exact(&mut answer).during("read the hash")?;
            String::from_utf8_lossy(&answer).into_owned()
        }
        _ => {
            return Err(Error::Answer(format!(
                "content length {announced:?}, not {length}"
            )));
        }
    };
    if found != hex(&hash) {
        return Err(Error::Answer(format!("SHA-256 {found}, not {}", hex(&hash))));
    }
    live.add_received(0);
    Ok(())
}

/// `count` requests of `length` bytes each at the same time, every one with content of its own.
///
/// # Errors
/// [`Error::Interrupted`] after a signal. Requests that fail are in the outcome.
pub fn parallel(server: SocketAddr, method: Method, count: u64, length: u64, live: &Live) -> Result<Outcome> {
    // All hashes first, so that the time is that of the transfers.
    let content = |seed| {
        Ok(Content {
            length,
            seed,
            hash: content_hash(length, seed)?,
        })
    };
    let contents = (0..count).map(content).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let start = |content| scope.spawn(move || request(server, method, content, live));
        let requests: Vec<_> = contents.iter().map(start).collect();
        let panicked = || Err(Error::Answer("the client panicked".to_owned()));
        requests
            .into_iter()
            .map(|request| request.join().unwrap_or_else(|_| panicked()))
            .collect()
    });
    stop::check()?;
    Ok(outcome(&results, length, started.elapsed()))
}

fn outcome(results: &[Result<()>], length: u64, elapsed: Duration) -> Outcome {
    let mut outcome = Outcome {
        sent: results.len() as u64,
        elapsed,
        ..Outcome::default()
    };
    for result in results {
        match result {
            Ok(()) => {
                outcome.received += 1;
                outcome.bytes += length;
            }
            Err(error) => {
                outcome.damaged += u64::from(matches!(error, Error::Answer(_)));
                outcome.failed(error);
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_depends_on_seed_and_length_only() {
        let mut content = Vec::new();
        each_block(BLOCK as u64 + 5, 7, |block| {
            content.extend_from_slice(block);
            Ok(())
        })
        .expect("takes every block");
        assert_eq!(content.len(), BLOCK + 5);
        let hash = |length, seed| content_hash(length, seed).expect("no signal");
        assert_eq!(hash(BLOCK as u64 + 5, 7)[..], Sha256::digest(&content)[..]);
        assert_ne!(content[..BLOCK / 2], content[BLOCK / 2..BLOCK]);
        assert_ne!(hash(100, 1), hash(100, 2));
    }

    #[test]
    fn request_lines() {
        assert_eq!(parse_request("GET /200/7 HTTP/1.1"), Some(("GET", 200, 7)));
        for line in [
            "",
            "GET",
            "GET /",
            "GET /1",
            "GET /x/1 HTTP/1.1",
            "GET /1/-1 HTTP/1.1",
        ] {
            assert_eq!(parse_request(line), None, "{line}");
        }
    }

    #[test]
    fn a_header_that_ends_early_is_an_error() {
        assert!(read_headers(&mut &b"Content-Length: 5\r\n"[..]).is_err());
        let mut whole = &b"content-length: 5\r\nX: y\r\n\r\nbody"[..];
        assert_eq!(read_headers(&mut whole).expect("whole"), Some(5));
        assert_eq!(whole, b"body");
    }
}
