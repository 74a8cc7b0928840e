//! The channel `nat` on plain memory, with virtual time. Names say which requirement of which RFC a test is about: `rfc_4787_9a` is REQ-9 (a)
//! of RFC 4787.
#![allow(unreachable_pub)]

mod behavior;
mod blocks;
#[path = "../common/mod.rs"]
mod common;
mod entries;
mod errors;
mod expiry;
mod flood;
mod fragments;
mod harness;
mod icmp;
mod limits;
mod log;
mod model;
mod mutation;
mod observation;
mod offload;
mod packets;
mod ports;
mod routing;
mod segment_size;
mod sharing;
mod state;
mod statics;
mod tcp;
mod team;
mod udp;
