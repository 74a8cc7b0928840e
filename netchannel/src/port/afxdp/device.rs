//! What must be known of an interface before ports are opened on it.

use std::fs;
use std::io;

use super::error::AfXdpError;
use super::kernel;

/// Number of receive queues that the interface uses now, at least 1: what ethtool's channels say, or sysfs for drivers without them.
///
/// # Errors
/// If there is no such interface in the thread's network namespace, or the kernel does not tell.
pub fn queues_of(interface: &str) -> Result<u32, AfXdpError> {
    Ok(queues(interface)?.0)
}

/// As [`queues_of`], of transmit queues.
///
/// # Errors
/// As [`queues_of`].
pub fn transmit_queues_of(interface: &str) -> Result<u32, AfXdpError> {
    Ok(queues(interface)?.1)
}

/// Receive queues and transmit queues.
fn queues(interface: &str) -> Result<(u32, u32), AfXdpError> {
    let (receive, transmit) = match kernel::channels(interface) {
        Ok(channels) => channels,
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            return Err(AfXdpError::NoSuchInterface {
                interface: interface.to_owned(),
            });
        }
        Err(_) => queues_in_sysfs(interface).unwrap_or((1, 1)),
    };
    Ok((receive.max(1), transmit.max(1)))
}

fn queues_in_sysfs(interface: &str) -> io::Result<(u32, u32)> {
    let (mut receive, mut transmit) = (0, 0);
    for entry in fs::read_dir(format!("/sys/class/net/{interface}/queues"))? {
        let name = entry?.file_name();
        let name = name.as_encoded_bytes();
        receive += u32::from(name.starts_with(b"rx-"));
        transmit += u32::from(name.starts_with(b"tx-"));
    }
    Ok((receive, transmit))
}
