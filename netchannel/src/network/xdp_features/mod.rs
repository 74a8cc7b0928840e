//! What devices can do with XDP, as the kernel's generic netlink family `netdev` tells (Linux 6.3).
//!
//! What matters is whether frames may be redirected to a device. One that can't take them drops them in silence: so does a veth whose peer has
//! neither an XDP program nor GRO. The kernel takes the flag [`NDO_XMIT`] off exactly then, and says so.

mod follow;
mod generic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use follow::RedirectMonitor;

use super::error::NetworkError;
use generic::NetdevSocket;

/// The device takes frames that are redirected to it (`NETDEV_XDP_ACT_NDO_XMIT`).
pub const NDO_XMIT: u64 = 1 << 2;
/// So it does if they lie in several buffers (`NETDEV_XDP_ACT_NDO_XMIT_SG`).
pub const NDO_XMIT_SG: u64 = 1 << 6;

/// What the device can do with XDP: bits of the kernel's `enum netdev_xdp_act`. None if there is no such device, or the kernel is too
/// old to say.
///
/// # Errors
///
/// When the kernel can't be asked.
pub fn xdp_features(ifindex: u32) -> Result<Option<u64>, NetworkError> {
    let Some(mut socket) = NetdevSocket::open()? else {
        return Ok(None);
    };
    Ok(socket.read()?.get(&ifindex).copied())
}

/// To which devices frames may be redirected, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectTargets {
    /// None if it can't be told.
    features: Option<HashMap<u32, u64>>,
}

impl RedirectTargets {
    /// Whether frames may be redirected to a device. None if it can't be told, for the kernel is too old.
    pub fn allow(&self, ifindex: u32) -> Option<bool> {
        self.has(ifindex, NDO_XMIT)
    }

    /// The same of frames that lie in several buffers.
    pub fn allow_several_buffers(&self, ifindex: u32) -> Option<bool> {
        self.has(ifindex, NDO_XMIT_SG)
    }

    fn has(&self, ifindex: u32, feature: u64) -> Option<bool> {
        let features = self.features.as_ref()?.get(&ifindex);
        Some(features.is_some_and(|features| features & feature != 0))
    }
}

/// The current [`RedirectTargets`], shared between threads. Clones show the same.
///
/// A reader compares [`version`](Self::version), one atomic load, and takes the lock of [`load`](Self::load) only when it has moved.
#[derive(Clone, Debug, Default)]
pub struct SharedRedirectTargets {
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    version: AtomicU64,
    targets: Mutex<Arc<RedirectTargets>>,
}

impl SharedRedirectTargets {
    /// The number of the current targets. It grows with each change. Read it before [`load`](Self::load): then a change in between is at worst
    /// loaded twice, never missed.
    pub fn version(&self) -> u64 {
        self.slot.version.load(Ordering::Acquire)
    }

    /// The current targets. Takes a lock for as long as it takes to count one reference more.
    pub fn load(&self) -> Arc<RedirectTargets> {
        Arc::clone(&self.slot.targets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces them, if they are others; whether they were.
    fn publish(&self, features: Option<HashMap<u32, u64>>) -> bool {
        let new = RedirectTargets { features };
        let mut current = self.slot.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if **current == new {
            return false;
        }
        *current = Arc::new(new);
        self.slot.version.fetch_add(1, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_move_with_changes_only() {
        let shared = SharedRedirectTargets::default();
        assert_eq!(shared.load().allow(1), None);
        let version = shared.version();
        assert!(!shared.publish(None));
        assert_eq!(shared.version(), version);
        assert!(shared.publish(Some([(1, NDO_XMIT | 1), (2, 1)].into())));
        assert_ne!(shared.version(), version);
        let targets = shared.load();
        assert_eq!(
            [1, 2, 3].map(|ifindex| targets.allow(ifindex)),
            [Some(true), Some(false), Some(false)]
        );
        assert_eq!(targets.allow_several_buffers(1), Some(false));
        assert!(shared.publish(Some([(1, NDO_XMIT | NDO_XMIT_SG)].into())));
        assert_eq!(shared.load().allow_several_buffers(1), Some(true));
    }
}
