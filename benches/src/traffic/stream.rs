//! TCP streams as fast as they go.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{LOOK_EVERY, STALL_LIMIT, listen};
use crate::error::During;
use crate::namespace::Namespace;
use crate::{Result, stop};

/// Bytes given to one send or receive call.
const CHUNK: usize = 128 * 1024;

/// A server that reads TCP streams and counts.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Sink {
    /// Starts the server in a namespace.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the address can't be bound.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        namespace.run(|| {
            let (listener, address) = listen(address)?;
            let (bytes, stopping) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let threads = Arc::new(Mutex::new(Vec::new()));
            let accepting = {
                let (bytes, stopping, threads) = (bytes.clone(), stopping.clone(), threads.clone());
                thread::spawn(move || accept(&listener, &bytes, &stopping, &threads))
            };
            threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(accepting);
            Ok(Self {
                address,
                bytes,
                stopping,
                threads,
            })
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that have arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // The accepting thread may add to them until it has ended.
        loop {
            let thread = self.threads.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(thread) = thread else { break };
            let _ = thread.join();
        }
    }
}

fn accept(
    listener: &TcpListener,
    bytes: &Arc<AtomicU64>,
    stopping: &Arc<AtomicBool>,
    threads: &Mutex<Vec<JoinHandle<()>>>,
) {
    while !stopping.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY.as_millis() as u16));
        while let Ok((stream, _)) = listener.accept() {
            let (bytes, stopping) = (Arc::clone(bytes), Arc::clone(stopping));
            let reading = thread::spawn(move || drop(read(stream, &bytes, &stopping)));
            threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(reading);
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn read(mut stream: TcpStream, bytes: &AtomicU64, stopping: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let mut buffer = vec![0; CHUNK];
    while !stopping.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => drop(bytes.fetch_add(count as u64, Ordering::Relaxed)),
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends over `streams` connections at once to a [`Sink`] and gives the bits per second that arrived in
/// `duration`, after a warm-up of a quarter of it.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if a connection fails, [`Error::Interrupted`](crate::Error::Interrupted)
/// after a signal.
pub fn throughput(sink: &Sink, streams: usize, duration: Duration) -> Result<f64> {
    let target = sink.address();
    let connect = |_| TcpStream::connect_timeout(&target, STALL_LIMIT).during(format!("connect to {target}"));
    let connections = (0..streams).map(connect).collect::<Result<Vec<_>>>()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let senders: Vec<_> = connections
            .into_iter()
            .map(|stream| scope.spawn(|| send(stream, &done)))
            .collect();
        let measured = measure(sink, duration);
        done.store(true, Ordering::Relaxed);
        for sender in senders {
            if let Ok(result) = sender.join() {
                result.during("send a stream")?;
            }
        }
        measured
    })
}

fn measure(sink: &Sink, duration: Duration) -> Result<f64> {
    stop::pause(duration / 4)?;
    let (started, before) = (Instant::now(), sink.bytes());
    stop::pause(duration)?;
    Ok((sink.bytes() - before) as f64 * 8.0 / started.elapsed().as_secs_f64())
}

fn send(mut stream: TcpStream, done: &AtomicBool) -> io::Result<()> {
    stream.set_write_timeout(Some(LOOK_EVERY))?;
    let chunk = vec![0x5a; CHUNK];
    while !done.load(Ordering::Relaxed) {
        match stream.write(&chunk) {
            Ok(_) => {}
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
