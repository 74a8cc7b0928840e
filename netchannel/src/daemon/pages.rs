//! Answers in pages, and deletions: the worker is asked for one bounded slice after the other, and packets pass in between.

use std::fmt;

use super::inspect::Inspector;
use crate::channel::{MappingEntry, Netchannel, SessionEntry, Slice, Sliced};
use crate::control::report::{Deleted, Mapping, Mappings, Opener, Session, Sessions};
use crate::control::{ControlError, Page};
use crate::time::Time;

/// Slices that one page may take: where little of what there is is asked for, most slices are empty.
const SLICES: usize = 16;

/// Where a page starts: at a channel, a worker, and a place of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) channel: usize,
    pub(super) worker: usize,
    pub(super) place: u64,
}

impl Cursor {
    pub(super) fn parse(after: Option<&str>) -> Result<Self, ControlError> {
        let Some(after) = after else {
            return Ok(Self::of_channel(0));
        };
        let parse = || {
            let mut parts = after.split(':');
            let cursor = Self {
                channel: parts.next()?.parse().ok()?,
                worker: parts.next()?.parse().ok()?,
                place: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(cursor)
        };
        parse().ok_or_else(|| ControlError::new("`after` is no cursor; expected the `next` of a page"))
    }

    /// The start of a channel.
    pub(super) fn of_channel(channel: usize) -> Self {
        Self {
            channel,
            worker: 0,
            place: 0,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.channel, self.worker, self.place)
    }
}

/// What one slice of a channel gives: something, and the place to go on from.
type Take<T> = fn(&mut dyn Netchannel, Slice<'_>, Time) -> (T, Option<u64>);

/// A slice of one channel: its name, what it gave, and where to go on.
pub(super) type Taken<T> = (String, T, Option<Cursor>);

impl Inspector {
    /// Takes the next slice of the channels that are asked for; `None` if there are no more.
    fn take<T: Send + 'static>(
        &self,
        page: &Page,
        at: Cursor,
        limit: usize,
        take: Take<T>,
    ) -> Result<Option<Taken<T>>, ControlError> {
        let filter = page.filter.clone();
        let workers = self.team.len();
        if at.worker >= workers {
            return Err(ControlError::new(
                "`after` is no cursor; expected the `next` of a page",
            ));
        }
        self.ask_one(at.worker, move |dispatcher, now| {
            let count = dispatcher.channels().len();
            let mut channels = dispatcher.channels_mut().enumerate().skip(at.channel);
            let (number, name, channel) = channels
                .find(|(_, (name, _))| filter.has_channel(name))
                .map(|(number, (name, channel))| (number, name, channel))?;
            let after = if number == at.channel { at.place } else { 0 };
            let slice = Slice {
                filter: &filter,
                after,
                limit,
            };
            let (taken, next) = take(channel, slice, now);
            let next = match next {
                Some(place) => Cursor {
                    channel: number,
                    worker: at.worker,
                    place,
                },
                None if at.worker + 1 < workers => Cursor {
                    channel: number,
                    worker: at.worker + 1,
                    place: 0,
                },
                None => Cursor::of_channel(number + 1),
            };
            let name = name.to_owned();
            let next = (next.channel < count).then_some(next);
            Some((name, taken, next))
        })
    }

    /// Takes slices until `add`, which is told the channel and what a slice of it gave, has counted as many entries as the page may have.
    fn page<T: Send + 'static>(
        &self,
        page: &Page,
        take: Take<T>,
        add: impl FnMut(&str, T) -> usize,
    ) -> Result<Option<String>, ControlError> {
        self.page_of(page, |at, limit| self.take(page, at, limit, take), add)
    }

    /// As [`page`](Self::page); `take` takes the slice at a place of so many entries at most.
    pub(super) fn page_of<T>(
        &self,
        page: &Page,
        take: impl Fn(Cursor, usize) -> Result<Option<Taken<T>>, ControlError>,
        mut add: impl FnMut(&str, T) -> usize,
    ) -> Result<Option<String>, ControlError> {
        self.check_channel(page)?;
        let start = Cursor::parse(page.after.as_deref())?;
        let mut cursor = Some(start);
        let mut room = page.limit as usize;
        let mut slices = 0;
        while let Some(at) = cursor
            && room > 0
            // A page leads on, always.
            && (slices < SLICES || at == start)
        {
            let Some((channel, taken, next)) = take(at, room)? else {
                return Ok(None);
            };
            room = room.saturating_sub(add(&channel, taken));
            slices += 1;
            cursor = next;
        }
        Ok(cursor.map(|cursor| cursor.to_string()))
    }

    /// A channel that is asked for by name has to be there.
    fn check_channel(&self, page: &Page) -> Result<(), ControlError> {
        let Some(name) = page.filter.channel.clone() else {
            return Ok(());
        };
        self.ask(move |dispatcher, _| {
            let channels = || dispatcher.channels().iter();
            if channels().any(|(channel, _, _)| channel == name) {
                return Ok(());
            }
            let of_kind = channels().filter(|(_, channel, _)| channel.kind() == "nat");
            let names: Vec<&str> = of_kind.map(|(name, _, _)| name).collect();
            let message = format!(
                "there is no channel \"{name}\"; the channels that translate are: {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            );
            Err(ControlError::new(message))
        })?
    }

    pub(super) fn mappings(&self, page: &Page) -> Result<Mappings, ControlError> {
        let mut mappings = Vec::new();
        let next = self.page(
            page,
            |channel, slice, now| sliced(channel.mappings(slice, now)),
            |channel, entries| {
                mappings.extend(entries.iter().map(|entry| mapping(channel, entry)));
                entries.len()
            },
        )?;
        Ok(Mappings { mappings, next })
    }

    pub(super) fn sessions(&self, page: &Page) -> Result<Sessions, ControlError> {
        let mut sessions = Vec::new();
        let next = self.page(
            page,
            |channel, slice, now| sliced(channel.sessions(slice, now)),
            |channel, entries| {
                sessions.extend(entries.iter().map(|entry| session(channel, entry)));
                entries.len()
            },
        )?;
        Ok(Sessions { sessions, next })
    }

    pub(super) fn delete_mappings(&self, page: &Page) -> Result<Deleted, ControlError> {
        let mut deleted = 0;
        let next = self.page(
            page,
            |channel, slice, now| channel.delete_mappings(slice, now),
            |_, count| {
                deleted += count;
                count as usize
            },
        )?;
        if deleted > 0 {
            log::info!("{deleted} mappings were deleted over the control socket");
        }
        Ok(Deleted { deleted, next })
    }
}

pub(super) fn sliced<T>(sliced: Sliced<T>) -> (Vec<T>, Option<u64>) {
    (sliced.entries, sliced.next)
}

fn mapping(channel: &str, entry: &MappingEntry) -> Mapping {
    Mapping {
        channel: channel.to_owned(),
        protocol: entry.protocol.name().to_owned(),
        inside: entry.inside.to_string(),
        external: entry.external.to_string(),
        sessions: entry.sessions.into(),
        age_seconds: entry.age.as_secs(),
        idle_seconds: entry.idle.as_secs(),
        expires_in_seconds: entry.left.as_secs(),
        state: entry.state.map(str::to_owned),
    }
}

fn session(channel: &str, entry: &SessionEntry) -> Session {
    Session {
        channel: channel.to_owned(),
        protocol: entry.protocol.name().to_owned(),
        inside: entry.inside.to_string(),
        external: entry.external.to_string(),
        remote: entry.remote.to_string(),
        opened_by: if entry.is_from_inside {
            Opener::Inside
        } else {
            Opener::Outside
        },
        mapping_age_seconds: entry.mapping_age.as_secs(),
        idle_seconds: entry.idle.as_secs(),
        expires_in_seconds: entry.left.as_secs(),
        state: entry.state.map(str::to_owned),
    }
}
