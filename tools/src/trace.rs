//! `netchannel trace`.

use std::io::{BufWriter, Write};

use netchannel::control::report::TracedPacket;
use netchannel::control::{Client, Told, Watch};
use serde_json::{Value, json};

use crate::arguments::Trace;
use crate::failure::Failure;
use crate::units::count;

/// Columns of a step's name.
const STEP: usize = 10;

/// Prints packets as they pass.
pub(crate) fn trace(arguments: &Trace) -> Result<(), Failure> {
    let client = Client::connect(&arguments.socket)?;
    let mut watching = client.watch(&Watch::Trace(arguments.request()))?;
    log::info!("tracing; Ctrl-C ends it");
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Some(told) = watching.next() {
        match told? {
            Told::Event(packet) if arguments.json => writeln!(out, "{packet}")?,
            Told::Event(packet) => text(packet, &mut out)?,
            Told::Lost(number) if arguments.json => writeln!(out, "{}", json!({ "lost": number }))?,
            Told::Lost(number) => writeln!(
                out,
                "({} packets are not shown: more came in a second than --rate allows, or than could be written)",
                count(number)
            )?,
        }
        if !watching.has_next() {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(())
}

fn text(packet: Value, out: &mut impl Write) -> Result<(), Failure> {
    let packet: TracedPacket = serde_json::from_value(packet)?;
    writeln!(out, "{} {}", packet.time, packet.packet)?;
    for step in &packet.steps {
        writeln!(out, "  {:<STEP$} {}", step.step, step.text)?;
    }
    Ok(())
}
