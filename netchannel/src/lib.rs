//! Netchannels on AF_XDP: packets are looked up once, by addresses, ports and protocol, and handed to the channel that owns them.

pub mod config;
pub mod control;
pub mod network;
pub mod packet;
pub mod port;
pub mod time;
pub mod xdp;
