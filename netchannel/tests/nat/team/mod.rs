//! Several workers share a translator's work: together they do what one does, whichever of them a packet comes to.

mod gateway;
mod handoff;
mod oracle;
mod slices;
mod state;
mod threads;
