//! A netlink socket: questions with their answers, and the messages about changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::error::NetworkError;
use super::message;
use super::tables::{Reread, Tables};

/// Messages of changes that the kernel keeps for us while we are busy, in bytes of its memory.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The kernel makes no datagram of netlink larger than 32 KiB, save for a single message that is.
const DATAGRAM: usize = 64 << 10;
/// How long the kernel may take for one part of an answer.
const ANSWER_SECONDS: i64 = 10;
/// How often a table is read anew because it changed while it was told.
const INTERRUPTIONS: u32 = 8;

/// The multicast groups of rtnetlink(7) that tell of changes (`RTNLGRP_*`).
const GROUPS: [u32; 7] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_NEXTHOP,
];

// Types of messages of linux/rtnetlink.h (`RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`), which the crates do not have.
const NEW_NEXT_HOP: u16 = 104;
const DELETE_NEXT_HOP: u16 = 105;

/// What a try to receive came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Messages, which the tables have taken in.
    Messages,
    /// There was nothing to receive.
    Nothing,
    /// The kernel had to drop messages.
    Overrun,
}

/// One socket, of the network namespace of the thread that opened it.
pub(super) struct NetlinkSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetlinkSocket {
    /// A socket for questions.
    pub(super) fn open() -> Result<Self, NetworkError> {
        let failed = |action| move |source| NetworkError::Socket { action, source };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("open a netlink socket"))?;
        socket.bind_auto().map_err(failed("bind a netlink socket"))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))
            .map_err(io::Error::from)
            .map_err(failed("set the time-out of a netlink socket"))?;
        Ok(Self {
            socket,
            buffer: vec![0; DATAGRAM],
            sequence: 0,
        })
    }

    /// A socket that gets a message of every change from now on.
    pub(super) fn subscribed() -> Result<Self, NetworkError> {
        let failed = |action| move |source| NetworkError::Socket { action, source };
        let socket = Self::open()?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            // Without CAP_NET_ADMIN as much as the system's limit allows.
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)
                .map_err(io::Error::from)
                .map_err(failed("enlarge the buffer of a netlink socket"))?;
        }
        for group in GROUPS {
            socket
                .socket
                .add_membership(group)
                .map_err(failed("subscribe to changes on a netlink socket"))?;
        }
        Ok(socket)
    }

    /// Sends a request whose answer nobody waits for; a refusal comes as a message.
    pub(super) fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// Reads links, addresses, routes and neighbours, all of them.
    pub(super) fn read_everything(&mut self) -> Result<Tables, NetworkError> {
        let mut tables = Tables::new();
        self.read_links_and_routes(&mut tables)?;
        self.read_table("addresses", &mut tables, message::get_addresses)?;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            self.read_table("neighbours", &mut tables, || message::get_neighbours(family))?;
        }
        Ok(tables)
    }

    /// Reads the links and the routes of both families.
    ///
    /// The links come first for the sake of the routes: the kernel tells that a link went down before it takes
    /// the link's routes away, but answers for the links only when it is done with both.
    pub(super) fn read_links_and_routes(&mut self, tables: &mut Tables) -> Result<(), NetworkError> {
        self.read_table("links", tables, message::get_links)?;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            self.read_table("routes", tables, || message::get_routes(family))?;
        }
        Ok(())
    }

    fn read_table(
        &mut self,
        table: &'static str,
        tables: &mut Tables,
        question: impl Fn() -> RouteNetlinkMessage,
    ) -> Result<(), NetworkError> {
        for _ in 0..INTERRUPTIONS {
            // What an interrupted answer told wrong is told right by the next one, or by the change's own message.
            if self
                .ask(question(), tables)
                .map_err(|source| NetworkError::Read { table, source })?
            {
                return Ok(());
            }
        }
        tables.ask_reread(Reread::Everything);
        Ok(())
    }

    /// Takes in the answer to a question; whether it is whole, which it is not if the table changed meanwhile.
    fn ask(&mut self, question: RouteNetlinkMessage, tables: &mut Tables) -> io::Result<bool> {
        self.send(question, NLM_F_DUMP)?;
        let mut whole = true;
        loop {
            let datagram = receive(&self.socket, &mut self.buffer, 0)?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "an answer larger than the buffer")
            })?;
            for told in Messages(datagram) {
                let Told::Message(message) = told else { continue };
                let (header, payload) = message.into_parts();
                // What is left over from an earlier question that failed.
                if header.sequence_number != self.sequence {
                    continue;
                }
                whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match payload {
                    NetlinkPayload::InnerMessage(message) => tables.read(&message),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(whole),
                    _ => {}
                }
            }
        }
    }

    /// Receives one datagram of changes, if there is one, into the tables.
    pub(super) fn receive(&mut self, tables: &mut Tables) -> Result<Received, NetworkError> {
        let datagram = match receive(&self.socket, &mut self.buffer, libc::MSG_DONTWAIT) {
            Ok(Some(datagram)) => datagram,
            Ok(None) => return Ok(Received::Overrun),
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::EAGAIN) => Ok(Received::Nothing),
                    // The buffer ran over, or the kernel lacked memory for a message.
                    Some(libc::ENOBUFS | libc::ENOMEM) => Ok(Received::Overrun),
                    _ => Err(NetworkError::Receive { source: error }),
                };
            }
        };
        for told in Messages(datagram) {
            let Told::Message(message) = told else {
                // Its routes go with it untold.
                tables.ask_reread(Reread::Routes);
                continue;
            };
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => tables.apply(&inner, message.header.flags),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    log::debug!("the kernel refused to resolve a neighbour: {error}");
                }
                NetlinkPayload::Overrun(_) => return Ok(Received::Overrun),
                _ => {}
            }
        }
        Ok(Received::Messages)
    }
}

/// Receives a datagram of the kernel; none if it did not fit the buffer.
fn receive<'a>(socket: &Socket, buffer: &'a mut [u8], flags: libc::c_int) -> io::Result<Option<&'a [u8]>> {
    loop {
        let mut space = &mut *buffer;
        let (length, sender) = match socket.recv_from(&mut space, flags | libc::MSG_TRUNC) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        // Other processes could send too.
        if sender.port_number() == 0 {
            return Ok(buffer.get(..length));
        }
    }
}

/// One message of a datagram.
enum Told {
    Message(NetlinkMessage<RouteNetlinkMessage>),
    /// A next hop that routes share (`ip nexthop`) changed.
    NextHopObject,
}

/// The messages of a datagram. One that cannot be read is logged and skipped.
struct Messages<'a>(&'a [u8]);

impl Iterator for Messages<'_> {
    type Item = Told;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let header = NetlinkBuffer::new_checked(self.0).ok()?;
            let (length, kind) = (header.length() as usize, header.message_type());
            let bytes = self.0.get(..length)?;
            self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
            if matches!(kind, NEW_NEXT_HOP | DELETE_NEXT_HOP) {
                return Some(Told::NextHopObject);
            }
            match NetlinkMessage::deserialize(bytes) {
                Ok(message) => return Some(Told::Message(message)),
                Err(error) => log::warn!("skipped a message about the kernel's network: {error}"),
            }
        }
    }
}
