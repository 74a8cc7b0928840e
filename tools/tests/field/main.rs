//! The daemon between programs that others wrote, as Debian packages them: STUN, HTTP, FTP, DNS, bandwidth tests, route tracing, and a
//! tunnel. The box runs the debug binary from a configuration file. Needs root, and what `tools/install-dependencies` installs.

mod behavior;
mod files;
mod hairpin;
mod names;
mod paths;
mod program;
mod site;
mod throughput;
mod tunnel;
