//! Netchannels on AF_XDP: packets are looked up once, by addresses, ports and protocol, and handed to the channel that owns them.
//!
//! The XDP program redirects to user space what is asked for; all else stays with the kernel. A worker takes bursts of
//! packets from its ports, finds each one's flow, asks the rules about new flows, and gives the packets to their channels,
//! which drop, pass, route, translate or answer them.
//!
//! # Rooms
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`config`] | the configuration: one TOML file, checked as a whole |
//! | [`rules`] | rules: their one form, and the notations that they are read from and written into |
//! | [`daemon`] | a configuration brought to life on this machine's interfaces |
//! | [`replay`] | the same on captures, without a network card and without root |
//! | [`channel`] | [`Netchannel`](channel::Netchannel), the trait to implement, and the channels that ship |
//! | [`dispatch`] | the [`Dispatcher`](dispatch::Dispatcher), and [`Context`](dispatch::Context), by which a channel acts |
//! | [`packet`] | packets: the parser, and checksums |
//! | [`port`] | where packets come from and go to: AF_XDP sockets, captures, plain memory |
//! | [`network`] | the kernel's links, routes and neighbours, followed as they change |
//! | [`xdp`] | the XDP program: loading, attaching, and telling it what is wanted |
//! | [`worker`] | the loop of the thread that owns a dispatcher, and how others ask it something |
//! | [`control`] | the control socket and its client |
//! | [`doctor`] | whether this machine suits a configuration, and what to change |
//! | [`measure`] | what the structures of the classifier cost on rule sets and traces |
//! | [`workload`] | rule sets and header traces for measuring classifiers: reading, writing and making them |
//! | [`setup`] | from a configuration to the parts of a dispatcher |
//! | [`interface`], [`drop_reason`], [`time`] | what the others share |
//!
//! # A channel of one's own
//!
//! A channel is a type that implements [`Netchannel`](channel::Netchannel). The configuration names it in a `[[channel]]` of
//! `type = "custom"`, and rules send packets to it. It is made on the thread that owns it from then on, so nothing in it needs to be
//! [`Send`]. To try one without interfaces, give it to a [`Dispatcher`](dispatch::Dispatcher) on
//! [`MemoryPort`](port::memory::MemoryPort)s; the example `custom_channel` and its test show both.
//!
//! ```no_run
//! use netchannel::channel::Netchannel;
//! use netchannel::config::Config;
//! use netchannel::daemon::Daemon;
//! use netchannel::dispatch::Context;
//! use netchannel::packet::Packet;
//! use netchannel::setup::CustomChannels;
//!
//! /// Sends every packet back by the interface that it came in on.
//! struct Mirror {
//!     mirrored: u64,
//! }
//!
//! impl Netchannel for Mirror {
//!     fn kind(&self) -> &'static str {
//!         "mirror"
//!     }
//!
//!     fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
//!         for mut packet in burst.drain(..) {
//!             // The Ethernet addresses change places.
//!             packet.frame.bytes_mut()[..12].rotate_left(6);
//!             let interface = packet.interface;
//!             context.transmit(packet, interface);
//!             self.mirrored += 1;
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut channels = CustomChannels::new();
//! channels.add("mirror", || Mirror { mirrored: 0 });
//! let daemon = Daemon::start_with(Config::load("netchannel.toml")?, channels)?;
//! daemon.wait()?;
//! # Ok(())
//! # }
//! ```

pub mod channel;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dispatch;
pub mod doctor;
pub mod drop_reason;
pub mod event_log;
pub mod events;
pub mod interface;
pub mod measure;
mod memory;
pub mod metrics;
pub mod network;
pub mod packet;
pub mod port;
pub mod replay;
pub mod rules;
pub mod service;
pub mod setup;
mod text;
pub mod time;
pub mod worker;
pub mod workload;
pub mod xdp;
