//! Answers that come in pages, followed to the end.

use serde::de::DeserializeOwned;

use super::super::report::{Mapping, Mappings, Neighbour, Neighbours, Route, Routes, Session, Sessions};
use super::super::{MAX_PAGE, NetworkPage, Page, Request};
use super::{Client, ClientError};

/// What asks for a page: what is asked for, how much of it, and where it begins.
pub trait PageRequest: Clone {
    /// The `next` of the page before.
    fn after(&mut self) -> &mut Option<String>;

    /// Entries at most.
    fn limit(&mut self) -> &mut u32;
}

impl PageRequest for Page {
    fn after(&mut self) -> &mut Option<String> {
        &mut self.after
    }

    fn limit(&mut self) -> &mut u32 {
        &mut self.limit
    }
}

impl PageRequest for NetworkPage {
    fn after(&mut self) -> &mut Option<String> {
        &mut self.after
    }

    fn limit(&mut self) -> &mut u32 {
        &mut self.limit
    }
}

/// An answer that comes in pages.
pub trait Paged: DeserializeOwned {
    /// What the pages list.
    type Entry;

    /// What asks for them.
    type Page: PageRequest;

    /// What to ask for a page.
    fn request(page: Self::Page) -> Request;

    /// The entries of this page, and its `next`.
    fn into_parts(self) -> (Vec<Self::Entry>, Option<String>);
}

impl Paged for Mappings {
    type Entry = Mapping;
    type Page = Page;

    fn request(page: Page) -> Request {
        Request::Mappings(page)
    }

    fn into_parts(self) -> (Vec<Mapping>, Option<String>) {
        (self.mappings, self.next)
    }
}

impl Paged for Sessions {
    type Entry = Session;
    type Page = Page;

    fn request(page: Page) -> Request {
        Request::Sessions(page)
    }

    fn into_parts(self) -> (Vec<Session>, Option<String>) {
        (self.sessions, self.next)
    }
}

impl Paged for Routes {
    type Entry = Route;
    type Page = NetworkPage;

    fn request(page: NetworkPage) -> Request {
        Request::Routes(page)
    }

    fn into_parts(self) -> (Vec<Route>, Option<String>) {
        (self.routes, self.next)
    }
}

impl Paged for Neighbours {
    type Entry = Neighbour;
    type Page = NetworkPage;

    fn request(page: NetworkPage) -> Request {
        Request::Neighbours(page)
    }

    fn into_parts(self) -> (Vec<Neighbour>, Option<String>) {
        (self.neighbours, self.next)
    }
}

/// All entries, fetched a page at a time. Ends after the first error.
#[derive(Debug)]
pub struct Pages<'c, P: Paged> {
    client: &'c mut Client,
    page: P::Page,
    entries: std::vec::IntoIter<P::Entry>,
    ended: bool,
}

impl<'c, P: Paged> Pages<'c, P> {
    pub(super) fn of(client: &'c mut Client, page: P::Page) -> Self {
        Self {
            client,
            page,
            entries: Vec::new().into_iter(),
            ended: false,
        }
    }

    /// With so many entries in a page, 1 to [`MAX_PAGE`].
    pub fn by(mut self, limit: u32) -> Self {
        *self.page.limit() = limit.clamp(1, MAX_PAGE);
        self
    }

    fn fetch(&mut self) -> Result<(), ClientError> {
        let page: P = self.client.report(&P::request(self.page.clone()))?;
        let (entries, next) = page.into_parts();
        self.client.check_advance(self.page.after(), &next)?;
        self.ended = next.is_none();
        *self.page.after() = next;
        self.entries = entries.into_iter();
        Ok(())
    }
}

impl<P: Paged> Iterator for Pages<'_, P> {
    type Item = Result<P::Entry, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(Ok(entry));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}
