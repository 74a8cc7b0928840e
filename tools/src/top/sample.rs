//! What the netchannel is asked again and again, in a thread of its own: keys are answered while it is slow, or gone.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use netchannel::control::report::{Channels, Drops, Flows, Memory, Pools, Ports, Workers};
use netchannel::control::{Client, ClientError, Filter, FlowOrder, TopFlows};

/// Flows that are asked for: those that moved most.
const FLOWS: u32 = 500;
/// Flows that were silent for longer, in seconds, are not among them.
const SILENT: u64 = 5;

/// All that is shown, as of one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When.
    pub(super) at: Instant,
    pub(super) ports: Ports,
    pub(super) channels: Channels,
    pub(super) drops: Drops,
    pub(super) workers: Workers,
    pub(super) memory: Memory,
    pub(super) pools: Pools,
    pub(super) flows: Flows,
}

/// Starts to ask, once each `interval`: samples, or in their place why there is none.
pub(super) fn start(socket: PathBuf, interval: Duration) -> io::Result<Receiver<Result<Sample, String>>> {
    let (sender, receiver) = sync_channel(1);
    thread::Builder::new().name("samples".to_owned()).spawn(move || {
        let mut client = None;
        loop {
            let start = Instant::now();
            let sample = take(&mut client, &socket);
            if sample.is_err() {
                // The next one finds what is there then.
                client = None;
            }
            // Ends with the one who looks.
            if sender.send(sample.map_err(|error| error.to_string())).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(start.elapsed()));
        }
    })?;
    Ok(receiver)
}

fn take(client: &mut Option<Client>, socket: &PathBuf) -> Result<Sample, ClientError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(socket)?),
    };
    let at = Instant::now();
    let top = TopFlows {
        filter: String::new(),
        limit: FLOWS,
        by: FlowOrder::Bytes,
        max_idle_seconds: Some(SILENT),
    };
    Ok(Sample {
        at,
        ports: client.ports()?,
        channels: client.channels()?,
        drops: client.drops()?,
        workers: client.workers()?,
        memory: client.memory()?,
        pools: client.pools(Filter::default())?,
        flows: client.top_flows(&top)?,
    })
}
