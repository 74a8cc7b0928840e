//! `netchannel show`.

mod flows;
mod listing;
mod pages;
mod rules;
mod text;
mod watch;

use std::io::{BufWriter, Write};

use netchannel::control::{Client, Request};

use crate::arguments::{Show, What};
use crate::failure::Failure;

pub(crate) use pages::mappings_to_delete;

/// Asks a running netchannel and prints its answer, once or again and again.
pub(crate) fn show(arguments: &Show) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.socket)?;
    if let Some(interval) = arguments.watch {
        let is_json = arguments.json;
        return watch::watch(interval, is_json, |out| once(&mut client, arguments, out));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    once(&mut client, arguments, &mut out)?;
    out.flush()?;
    Ok(())
}

fn once(client: &mut Client, arguments: &Show, out: &mut impl Write) -> Result<(), Failure> {
    let as_json = arguments.json;
    match &arguments.what {
        What::Ports if as_json => json(client, &Request::Ports, out)?,
        What::Channels if as_json => json(client, &Request::Channels, out)?,
        What::Drops if as_json => json(client, &Request::Drops, out)?,
        What::Workers if as_json => json(client, &Request::Workers, out)?,
        What::Memory if as_json => json(client, &Request::Memory, out)?,
        What::Ports => text::ports(&client.ports()?, out)?,
        What::Channels => text::channels(&client.channels()?, out)?,
        What::Drops => text::drops(&client.drops()?, out)?,
        What::Workers => text::workers(&client.workers()?, out)?,
        What::Memory => text::memory(&client.memory()?, out)?,
        What::Mappings(which) => pages::mappings(client, which, as_json, out)?,
        What::Sessions(which) => pages::sessions(client, which, as_json, out)?,
        What::Pools(which) => pages::pools(client, which, as_json, out)?,
        What::Routes(which) => pages::routes(client, which, as_json, out)?,
        What::Neighbours(which) => pages::neighbours(client, which, as_json, out)?,
        What::Flows(which) => flows::flows(client, which, as_json, out)?,
        What::Rules(which) => rules::rules(client, which, as_json, out)?,
    }
    Ok(())
}

/// The answer as it came: fields that this program does not know stay in.
fn json(client: &mut Client, request: &Request, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "{}", client.request(request)?)?;
    Ok(())
}
