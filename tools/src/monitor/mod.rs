//! `netchannel monitor`.

mod text;

use std::io::Write;

use netchannel::control::{Client, Told, Watch};
use netchannel::events::Kinds;
use serde_json::json;

use crate::arguments::Monitor;
use crate::failure::Failure;
use crate::signals;

/// Prints what happens until the daemon stops, or a signal comes.
pub(crate) fn monitor(arguments: &Monitor) -> Result<(), Failure> {
    let kinds = if arguments.kinds.is_empty() {
        Kinds::ALL
    } else {
        arguments.kinds.iter().copied().collect()
    };
    let events = Client::connect(&arguments.socket)?.watch(&Watch::Events(kinds))?;
    signals::end_on_stop()?;
    for told in events {
        let line = match told? {
            Told::Event(event) if arguments.json => event.to_string(),
            Told::Event(event) => text::event(&event),
            Told::Lost(count) if arguments.json => json!({ "lost": count }).to_string(),
            Told::Lost(count) => text::lost(count),
        };
        // Whoever reads gets whole lines, at once.
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}
