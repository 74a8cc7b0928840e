//! Sessions of the model: when they end, and the life of a TCP connection as RFC 6146 §3.5.2.2 and RFC 7857 §2 tell it.

use std::net::SocketAddrV4;
use std::time::Duration;

use netchannel::channel::nat::Timeouts;
use netchannel::time::Time;

use crate::packets::*;

pub const OUT: usize = 0;
pub const IN: usize = 1;

/// What TCP has shown, by direction.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    syn: [bool; 2],
    fin: [bool; 2],
    reset: bool,
    refused: bool,
}

/// A mapping in use with one outside endpoint.
#[derive(Debug)]
pub struct Session {
    pub remote: SocketAddrV4,
    protocol: u8,
    tcp: Connection,
    opener: usize,
    pub active: Time,
}

/// Whether a packet may open a session.
pub fn opens(body: Body) -> bool {
    match body {
        Body::Tcp(flags) => flags & (SYN | ACK | FIN | RST) == SYN,
        _ => true,
    }
}

impl Session {
    /// A session that a packet in this direction opens.
    pub fn new(body: Body, remote: SocketAddrV4, opener: usize, now: Time) -> Self {
        let mut tcp = Connection::default();
        if matches!(body, Body::Tcp(_)) {
            tcp.syn[opener] = true;
        }
        Self {
            remote,
            protocol: body.number(),
            tcp,
            opener,
            active: now,
        }
    }

    /// When it is over if no packet comes.
    pub fn ends(&self, timeouts: &Timeouts) -> Time {
        self.active + self.timeout(timeouts)
    }

    fn timeout(&self, timeouts: &Timeouts) -> Duration {
        let Connection {
            syn,
            fin,
            reset,
            refused,
        } = self.tcp;
        let to_port = |&&(port, _): &&(u16, Duration)| self.opener == OUT && port == self.remote.port();
        match self.protocol {
            17 => timeouts
                .udp_to_port
                .iter()
                .find(to_port)
                .map_or(timeouts.udp, |&(_, timeout)| timeout),
            1 => timeouts.icmp,
            _ if refused => Duration::ZERO,
            _ if syn != [true; 2] => timeouts.tcp_opening,
            _ if reset || fin == [true; 2] => timeouts.tcp_closing,
            _ => timeouts.tcp_established,
        }
    }

    /// A packet of the session passes.
    pub fn see(&mut self, body: Body, direction: usize, refresh_inbound: bool, now: Time) {
        let keeps_alive = match body {
            Body::Tcp(flags) => self.tcp.see(direction, flags),
            _ => direction == OUT || refresh_inbound,
        };
        if keeps_alive {
            self.active = now;
        }
    }
}

impl Connection {
    /// Whether the packet starts the timeout anew.
    fn see(&mut self, direction: usize, flags: u8) -> bool {
        let has = |flag| flags & flag != 0;
        if self.refused {
            return false;
        }
        if self.syn != [true; 2] {
            if has(RST) {
                // The inside host wants no connection: there is nothing to wait for. Any other reset may be forged.
                self.refused = direction == OUT && !self.syn[OUT];
                return self.refused;
            }
            // Nothing but SYNs changes a connection that is being opened, and those of an outside host that nobody answers keep
            // nothing alive.
            let counts = has(SYN) && !(direction == IN && self.syn[IN]);
            self.syn[direction] |= counts;
            return counts;
        }
        if self.reset {
            // Whatever comes after a reset shows that nobody believed it.
            if !has(RST) {
                self.reset = false;
                self.fin = [false; 2];
            }
            return !has(RST);
        }
        if self.fin == [true; 2] {
            // Over, but for a new connection between the same ends.
            let again = flags & (SYN | ACK | FIN | RST) == SYN;
            if again {
                *self = Self::default();
                self.syn[direction] = true;
            }
            return again;
        }
        self.reset = has(RST);
        self.fin[direction] |= has(FIN) && !has(RST);
        true
    }
}
