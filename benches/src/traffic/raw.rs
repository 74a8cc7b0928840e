//! Whole Ethernet frames, for traffic that no other socket makes: VLAN tags, fragments, IPv4 options, mistakes.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, send, socket,
};

use super::LOOK_EVERY;
use crate::error::During;
use crate::sys::{Listen, bind_to_interface, set_int_option};
use crate::{Result, stop};

const PACKET_AUXDATA: i32 = 8;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const STATUS_VLAN_VALID: u32 = 1 << 4;
/// Both MAC addresses.
const ADDRESSES: usize = 12;
/// Room for the largest frame and its tags.
const LARGEST: usize = 65_600;

/// `struct tpacket_auxdata` as bytes: status, len, snaplen, mac, net, vlan_tci, vlan_tpid.
const AUXDATA: usize = 20;

/// All that comes in on an interface, and a way to send anything.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
}

impl RawSocket {
    /// Opens an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if there is no such interface or the socket can't be made.
    pub fn open(interface: &str) -> Result<Self> {
        let index = if_nametoindex(interface).during(format!("find interface {interface}"))?;
        let flags = SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .during("open a packet socket")?;
        bind_to_interface(socket.as_fd(), index, Listen::All)
            .during(format!("bind to interface {interface}"))?;
        for option in [PACKET_AUXDATA, PACKET_IGNORE_OUTGOING] {
            set_int_option(socket.as_fd(), libc::SOL_PACKET, option, 1)
                .during("set a packet socket's option")?;
        }
        Ok(Self { socket })
    }

    /// Sends a frame, from its destination address to the end of its payload.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), among others if it is larger than the interface carries.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .during("send a frame")
            .map(drop)
    }

    /// Waits for a frame that `wanted` makes something of; others are passed over. `None` if none came within
    /// `limit`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the interface fails,
    /// [`Error::Interrupted`](crate::Error::Interrupted) after a signal.
    pub fn receive<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let until = Instant::now() + limit;
        loop {
            while let Some(frame) = self.next()? {
                if let Some(found) = wanted(&frame) {
                    return Ok(Some(found));
                }
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            stop::check()?;
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY.as_millis() as u16));
        }
    }

    /// A frame that has arrived, as it was on the wire: the kernel takes the outermost VLAN tag out, and here
    /// it goes in again.
    fn next(&self) -> Result<Option<Vec<u8>>> {
        let mut frame = vec![0; LARGEST];
        let mut parts = [IoSliceMut::new(&mut frame)];
        let mut control = cmsg_space!([u8; AUXDATA]);
        let message = match recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        ) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error).during("receive a frame"),
        };
        let length = message.bytes;
        let tag = message
            .cmsgs()
            .during("read a frame's tag")?
            .find_map(|control| match control {
                ControlMessageOwned::Unknown(unknown) => vlan_tag(&unknown.data_bytes),
                _ => None,
            });
        frame.truncate(length);
        if let Some(tag) = tag
            && frame.len() >= ADDRESSES
        {
            frame.splice(ADDRESSES..ADDRESSES, tag);
        }
        Ok(Some(frame))
    }
}

/// The tag that the kernel took out of a frame.
fn vlan_tag(auxdata: &[u8]) -> Option<[u8; 4]> {
    let status = u32::from_ne_bytes(auxdata.get(..4)?.try_into().ok()?);
    let control = u16::from_ne_bytes(auxdata.get(16..18)?.try_into().ok()?).to_be_bytes();
    let protocol = u16::from_ne_bytes(auxdata.get(18..20)?.try_into().ok()?).to_be_bytes();
    (status & STATUS_VLAN_VALID != 0).then_some([protocol[0], protocol[1], control[0], control[1]])
}
