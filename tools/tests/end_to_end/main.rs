//! The daemon end to end: the debug binary in network namespaces, with real sockets on both sides. Needs root.

mod channels;
mod event_log;
mod frames;
mod icmp;
mod inspection;
mod kernel;
mod lifecycle;
mod limits;
mod link_layer;
mod links;
mod loss;
mod mappings;
mod masquerade;
mod modes;
mod mtu;
mod neighbours;
mod replay;
mod restart;
mod routes;
mod rules;
mod running;
mod site;
mod starting;
mod tcp;
mod udp;
mod watching;
