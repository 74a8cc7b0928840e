//! Listings that may be long: printed as their pages come.

use std::io::Write;

use netchannel::control::{Client, Filter, MAX_PAGE, Paged, Pages};
use serde::Serialize;

use super::text::{self, Listing};
use crate::arguments::{ShowMappings, ShowNeighbours, ShowPools, ShowRoutes, ShowSessions};
use crate::failure::Failure;

pub(super) fn mappings(
    client: &mut Client,
    which: &ShowMappings,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mappings = client.mappings(which.filter.filter());
    if json {
        as_json(mappings, "mappings", which.limit, out)
    } else {
        as_text(mappings, &mut text::mappings(), which.limit, out)
    }
}

pub(super) fn sessions(
    client: &mut Client,
    which: &ShowSessions,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let sessions = client.sessions(which.filter());
    if json {
        as_json(sessions, "sessions", which.limit, out)
    } else {
        as_text(sessions, &mut text::sessions(), which.limit, out)
    }
}

pub(super) fn routes(
    client: &mut Client,
    which: &ShowRoutes,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let routes = client.routes(which.filter.page());
    if json {
        as_json(routes, "routes", which.limit, out)
    } else {
        as_text(routes, &mut text::routes(), which.limit, out)
    }
}

pub(super) fn neighbours(
    client: &mut Client,
    which: &ShowNeighbours,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let neighbours = client.neighbours(which.filter.page());
    if json {
        as_json(neighbours, "neighbours", which.limit, out)
    } else {
        as_text(neighbours, &mut text::neighbours(), which.limit, out)
    }
}

pub(super) fn pools(
    client: &mut Client,
    which: &ShowPools,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let pools = client.pools(which.filter())?;
    if json {
        serde_json::to_writer(&mut *out, &pools)?;
        writeln!(out)?;
    } else {
        text::pools(&pools, out)?;
    }
    Ok(())
}

/// The mappings that a deletion would delete.
pub(crate) fn mappings_to_delete(
    client: &mut Client,
    filter: Filter,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mappings = client.mappings(filter);
    if json {
        as_json(mappings, "mappings", None, out)
    } else {
        as_text(mappings, &mut text::mappings(), None, out)
    }
}

/// Pages of a size that fits the limit.
fn sized<P: Paged>(pages: Pages<'_, P>, limit: Option<u64>) -> Pages<'_, P> {
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    pages.by(limit.unwrap_or(MAX_PAGE))
}

/// One object. Nothing is written before the first page has come: an error may come in its place.
fn as_json<P>(
    pages: Pages<'_, P>,
    name: &str,
    limit: Option<u64>,
    out: &mut impl Write,
) -> Result<(), Failure>
where
    P: Paged<Entry: Serialize>,
{
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut is_first = true;
    for entry in sized(pages, limit).take(most) {
        let entry = entry?;
        if is_first {
            write!(out, "{{\"{name}\":[")?;
        } else {
            write!(out, ",")?;
        }
        serde_json::to_writer(&mut *out, &entry)?;
        is_first = false;
    }
    if is_first {
        write!(out, "{{\"{name}\":[")?;
    }
    writeln!(out, "]}}")?;
    Ok(())
}

/// A table, and below it how many there were.
fn as_text<P: Paged>(
    pages: Pages<'_, P>,
    listing: &mut Listing<P::Entry>,
    limit: Option<u64>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut entries = sized(pages, limit);
    let mut left = limit.unwrap_or(u64::MAX);
    loop {
        let most = left.min(MAX_PAGE.into()) as usize;
        let page = entries.by_ref().take(most).collect::<Result<Vec<_>, _>>()?;
        if page.is_empty() {
            break;
        }
        left -= page.len() as u64;
        listing.write(&page, out)?;
    }
    let has_more = limit.is_some() && entries.next().transpose()?.is_some();
    Ok(listing.write_count(has_more, out)?)
}
