//! The metrics of this daemon.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::inspect::Inspector;
use super::pools::add_pool;
use crate::control::ControlError;
use crate::control::report::Pool;
use crate::metrics::{Limits, Reports, Server, ServerError, write};

/// Serves metrics until it is dropped.
pub(super) struct Metrics {
    _server: Server,
    inspector: Arc<Mutex<Arc<Inspector>>>,
}

impl Metrics {
    pub(super) fn start(address: SocketAddr, inspector: Inspector) -> Result<Self, ServerError> {
        let inspector = Arc::new(Mutex::new(Arc::new(inspector)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let start_time = now.map_or(0.0, |since| since.as_secs_f64());
        let gather = {
            let inspector = Arc::clone(&inspector);
            move || {
                let inspector = Arc::clone(&inspector.lock().unwrap_or_else(PoisonError::into_inner));
                let reports = inspector.reports(start_time);
                reports
                    .map(|reports| write(&reports))
                    .map_err(|error| error.message)
            }
        };
        let server = Server::start(address, Limits::default(), Arc::new(gather))?;
        log::info!("metrics are at http://{}/metrics", server.address());
        Ok(Self {
            _server: server,
            inspector,
        })
    }

    /// Has questions answered by another one from now on.
    pub(super) fn answer_by(&self, inspector: Inspector) {
        *self.inspector.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(inspector);
    }
}

impl Inspector {
    fn reports(&self, start_time: f64) -> Result<Reports, ControlError> {
        Ok(Reports {
            start_time,
            ports: self.ports()?,
            channels: self.channels()?,
            drops: self.drops()?,
            pools: self.all_pools()?,
            workers: self.workers()?,
            memory: self.memory()?,
            rules: Some(self.rules.state()),
        })
    }

    /// What each translator has, without the list of its addresses.
    fn all_pools(&self) -> Result<Vec<Pool>, ControlError> {
        let of_workers = self.ask_all(|dispatcher, _| {
            let channels = dispatcher.channels().iter();
            let pools = channels.filter_map(|(name, channel, _)| {
                let pool = channel.pool()?;
                Some(Pool {
                    channel: name.to_owned(),
                    ..pool
                })
            });
            pools.collect::<Vec<_>>()
        })?;
        let mut of_workers = of_workers.into_iter();
        let mut pools = of_workers.next().unwrap_or_default();
        for more in of_workers {
            pools
                .iter_mut()
                .zip(&more)
                .for_each(|(sum, more)| add_pool(sum, more));
        }
        Ok(pools)
    }
}
