//! `netchannel show`.

mod text;

use std::io::{BufWriter, Write};

use netchannel::control::{Client, MAX_PAGE, Request};

use crate::arguments::{Show, What};
use crate::failure::Failure;

/// Asks a running netchannel and prints its answer.
pub(crate) fn show(arguments: &Show) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.socket)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match (arguments.what, arguments.json) {
        (What::Ports, true) => json(&mut client, &Request::Ports, &mut out)?,
        (What::Channels, true) => json(&mut client, &Request::Channels, &mut out)?,
        (What::Drops, true) => json(&mut client, &Request::Drops, &mut out)?,
        (What::Mappings, true) => mappings_as_json(&mut client, &mut out)?,
        (What::Ports, false) => text::ports(&client.ports()?, &mut out)?,
        (What::Channels, false) => text::channels(&client.channels()?, &mut out)?,
        (What::Drops, false) => text::drops(&client.drops()?, &mut out)?,
        (What::Mappings, false) => mappings_as_text(&mut client, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

/// The answer as it came: fields that this program does not know stay in.
fn json(client: &mut Client, request: &Request, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "{}", client.request(request)?)?;
    Ok(())
}

/// One object, written as the pages come.
fn mappings_as_json(client: &mut Client, out: &mut impl Write) -> Result<(), Failure> {
    let mut before = "{\"mappings\":[";
    for mapping in client.mappings_by(MAX_PAGE) {
        let mapping = mapping?;
        write!(out, "{before}")?;
        serde_json::to_writer(&mut *out, &mapping)?;
        before = ",";
    }
    writeln!(out, "{}]}}", if before == "," { "" } else { before })?;
    Ok(())
}

fn mappings_as_text(client: &mut Client, out: &mut impl Write) -> Result<(), Failure> {
    let mut listing = text::Mappings::new();
    let mut mappings = client.mappings_by(MAX_PAGE);
    let mut count: u64 = 0;
    loop {
        let page = mappings
            .by_ref()
            .take(MAX_PAGE as usize)
            .collect::<Result<Vec<_>, _>>()?;
        if page.is_empty() {
            break;
        }
        count += page.len() as u64;
        listing.write(&page, out)?;
    }
    text::count_of_mappings(count, out)?;
    Ok(())
}
