//! Follows a real kernel: each test is root in network namespaces of its own, which vanish with their threads.

mod ethtool;
mod links;
mod monitor;
mod neighbours;
mod routes;
mod support;
mod xdp_features;
