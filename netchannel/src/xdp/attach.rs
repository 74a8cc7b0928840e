//! Attaching to an interface: native mode first, generic mode where the driver has no native one.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{ForeignProgram, XdpError, sys};

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the network stack, on socket buffers: slower, but with any driver.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Which mode to attach in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeChoice {
    /// Native, or generic where the driver can't do native.
    #[default]
    Auto,
    /// Native or not at all.
    Native,
    /// Generic, even where the driver could do native.
    Generic,
}

const ASKED_FOR: &str = "generic mode was asked for";

/// The mode that the program was attached in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic {
        /// For people: the reason why not native.
        why_not_native: String,
    },
}

/// Attaches the program by a link, which is open as long as the program is to be attached.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    interface: &str,
    ifindex: u32,
    choice: ModeChoice,
) -> Result<(OwnedFd, AttachedMode), XdpError> {
    let try_mode = |mode| {
        let flags = match mode {
            Mode::Native => sys::XDP_FLAGS_DRV_MODE,
            Mode::Generic => sys::XDP_FLAGS_SKB_MODE,
        };
        sys::create_link(program, ifindex, flags)
    };
    let why_not_native = match choice {
        ModeChoice::Generic => ASKED_FOR.to_owned(),
        ModeChoice::Auto | ModeChoice::Native => match try_mode(Mode::Native) {
            Ok(link) => return Ok((link, AttachedMode::Native)),
            Err(error) => match why_not_native(&error) {
                Some(reason) if choice == ModeChoice::Auto => format!("{reason} ({error})"),
                _ => return Err(failure(interface, ifindex, Mode::Native, error)),
            },
        },
    };
    match try_mode(Mode::Generic) {
        Ok(link) => Ok((link, AttachedMode::Generic { why_not_native })),
        Err(error) => Err(failure(interface, ifindex, Mode::Generic, error)),
    }
}

/// Puts the program in the place of one that an earlier process left, if it is in a mode that is wanted now.
pub(super) fn take_over(
    link: OwnedFd,
    program: BorrowedFd<'_>,
    ifindex: u32,
    choice: ModeChoice,
) -> Option<(OwnedFd, AttachedMode)> {
    let mode = match (attached_mode(ifindex).ok()??, choice) {
        (Mode::Native, ModeChoice::Auto | ModeChoice::Native) => AttachedMode::Native,
        (Mode::Generic, ModeChoice::Generic) => AttachedMode::Generic {
            why_not_native: ASKED_FOR.to_owned(),
        },
        (Mode::Generic, ModeChoice::Auto) => AttachedMode::Generic {
            why_not_native: "the program that was there before ran in generic mode".to_owned(),
        },
        _ => return None,
    };
    // What is not taken over is closed, and the program attached anew.
    sys::update_link(link.as_fd(), program)
        .ok()
        .map(|()| (link, mode))
}

/// The reason if the error means that the driver can't do native mode; nothing if it means something else, in
/// which case generic mode would fail too, or would hide a mistake.
fn why_not_native(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EOPNOTSUPP => Some("the driver has no native XDP"),
        libc::ERANGE => Some("the interface's MTU is too large for the driver's native XDP"),
        libc::ENOSPC => Some("the driver has not enough queues for native XDP"),
        libc::EINVAL => Some("the driver refuses native XDP as the interface is set up"),
        _ => None,
    }
}

fn failure(interface: &str, ifindex: u32, mode: Mode, source: io::Error) -> XdpError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            let program = attached_program(ifindex).ok().flatten().unwrap_or_default();
            XdpError::AlreadyAttached { interface, program }
        }
        Some(libc::ENODEV) => XdpError::NoSuchInterface { interface },
        _ => XdpError::Attach {
            interface,
            mode,
            source,
        },
    }
}

/// The XDP program on an interface of this network namespace, whoever attached it.
///
/// # Errors
///
/// [`XdpError::System`] if the kernel can't be asked.
pub(super) fn attached_program(ifindex: u32) -> Result<Option<ForeignProgram>, XdpError> {
    let id = attached_xdp(ifindex)
        .map_err(|source| XdpError::System {
            call: "RTM_GETLINK",
            source,
        })?
        .and_then(|attributes| program_id(&attributes));
    Ok(id.map(|id| {
        let name = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .and_then(|program| program.name_as_str().map(str::to_owned))
            .filter(|name| !name.is_empty());
        ForeignProgram { id: Some(id), name }
    }))
}

/// The mode of the program on an interface, if there is one.
fn attached_mode(ifindex: u32) -> io::Result<Option<Mode>> {
    let attributes = attached_xdp(ifindex)?.unwrap_or_default();
    Ok(attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(Mode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        _ => None,
    }))
}

/// What the kernel says of the XDP programs on an interface.
fn attached_xdp(ifindex: u32) -> io::Result<Option<Vec<LinkXdp>>> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(
        header,
        NetlinkPayload::from(RouteNetlinkMessage::GetLink(request)),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(xdp(link.attributes)),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

fn xdp(attributes: Vec<LinkAttribute>) -> Option<Vec<LinkXdp>> {
    attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })
}

fn program_id(attributes: &[LinkXdp]) -> Option<u32> {
    attributes
        .iter()
        .find_map(|xdp| match xdp {
            LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
                Some(*id)
            }
            _ => None,
        })
        .filter(|id| *id != 0)
}
