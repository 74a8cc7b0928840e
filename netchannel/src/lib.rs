//! Netchannels on AF_XDP: packets are looked up once, by addresses, ports and protocol, and handed to the channel that owns them.

pub mod channel;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dispatch;
pub mod drop_reason;
pub mod interface;
pub mod network;
pub mod packet;
pub mod port;
pub mod replay;
pub mod setup;
pub mod time;
pub mod worker;
pub mod xdp;
