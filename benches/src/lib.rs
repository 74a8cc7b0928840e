//! Network namespaces with real traffic in them: the laboratory of the demo, the end-to-end tests and the
//! traffic benchmark.
//!
//! A [`topology::Lab`] is an inside host, a box and an outside server in namespaces of their own. What
//! translates in the box is a [`subject::Subject`]: the `netchannel` daemon, or a peer for comparison.
//! The [`traffic`] modules send through it and check what comes back.
//!
//! Everything here needs root. Whatever is made is gone when its value is dropped: after a panic and, with
//! [`stop::on_signals`], after Ctrl-C too. What a killed run left behind, [`namespace::sweep`] removes.

pub mod bpf;
pub mod chart;
pub mod conntrack;
pub mod daemon;
pub mod error;
pub mod measure;
pub mod namespace;
pub mod process;
pub mod screen;
pub mod service;
pub mod stop;
pub mod subject;
mod sys;
pub mod table;
pub mod topology;
pub mod traffic;

pub use error::{Error, Result};
