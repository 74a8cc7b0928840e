//! The daemon as a service of a machine: as which user it runs and what it may do, and what it tells the service manager.

mod notify;
mod privileges;

pub use notify::Notifier;
pub use privileges::{NEEDED, PrivilegeError, drop_privileges};
