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
    match kernel::receive_channels(interface) {
        Ok(queues) => Ok(queues.max(1)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(AfXdpError::NoSuchInterface {
            interface: interface.to_owned(),
        }),
        Err(_) => Ok(queues_in_sysfs(interface).unwrap_or(1).max(1)),
    }
}

fn queues_in_sysfs(interface: &str) -> io::Result<u32> {
    let mut queues = 0;
    for entry in fs::read_dir(format!("/sys/class/net/{interface}/queues"))? {
        if entry?.file_name().as_encoded_bytes().starts_with(b"rx-") {
            queues += 1;
        }
    }
    Ok(queues)
}
