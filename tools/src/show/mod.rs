//! `netchannel show`.

mod pages;
mod text;

use std::io::{BufWriter, Write};

use netchannel::control::{Client, Request};

use crate::arguments::{Show, What};
use crate::failure::Failure;

pub(crate) use pages::mappings_to_delete;

/// Asks a running netchannel and prints its answer.
pub(crate) fn show(arguments: &Show) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.socket)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let as_json = arguments.json;
    match &arguments.what {
        What::Ports if as_json => json(&mut client, &Request::Ports, &mut out)?,
        What::Channels if as_json => json(&mut client, &Request::Channels, &mut out)?,
        What::Drops if as_json => json(&mut client, &Request::Drops, &mut out)?,
        What::Ports => text::ports(&client.ports()?, &mut out)?,
        What::Channels => text::channels(&client.channels()?, &mut out)?,
        What::Drops => text::drops(&client.drops()?, &mut out)?,
        What::Mappings(which) => pages::mappings(&mut client, which, as_json, &mut out)?,
        What::Sessions(which) => pages::sessions(&mut client, which, as_json, &mut out)?,
        What::Pools(which) => pages::pools(&mut client, which, as_json, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

/// The answer as it came: fields that this program does not know stay in.
fn json(client: &mut Client, request: &Request, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "{}", client.request(request)?)?;
    Ok(())
}
