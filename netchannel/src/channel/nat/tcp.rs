//! The life of a TCP connection as a translator sees it: the state machine of RFC 6146 §3.5.2.2, which RFC 7857 §2.1 recommends for
//! all translators, with a reset in whatever state of an open connection treated as RFC 7857 §2.3 says. Beyond that, a new connection between the
//! same endpoints starts over once both sides have sent a FIN, and one that the inside host refuses is over at once, so that probes from
//! outside don't keep a mapping alive (RFC 7857 §7.1). No connection is probed when its long timeout is over (RFC 6146 §3.5.2.3): it ends.

use serde::{Deserialize, Serialize};

use super::flow::Direction;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Whether a packet with these flags opens a connection.
#[inline]
pub(super) const fn opens(flags: u8) -> bool {
    flags & (FIN | SYN | RST | ACK) == SYN
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Only the inside host has sent a SYN.
    OutboundSyn,
    /// Only the outside host has sent a SYN.
    InboundSyn,
    /// Both have.
    Established,
    /// The inside host has sent a FIN.
    OutboundFin,
    /// The outside host has sent a FIN.
    InboundFin,
    /// Both have.
    Closed,
    /// A reset has passed; it may have been forged.
    Reset,
    /// The inside host has answered the outside host's SYN with a reset: there is nothing to wait for.
    Refused,
}

impl State {
    /// The state of a connection whose first SYN goes in this direction.
    pub(super) const fn opened(direction: Direction) -> Self {
        match direction {
            Direction::Outbound => Self::OutboundSyn,
            Direction::Inbound => Self::InboundSyn,
        }
    }

    /// Whether the timeout is the long one of an established connection.
    pub(super) const fn is_established(self) -> bool {
        matches!(self, Self::Established | Self::OutboundFin | Self::InboundFin)
    }

    /// The state after a packet, and whether the packet starts the timeout anew.
    #[inline]
    pub(super) const fn after(self, direction: Direction, flags: u8) -> (Self, bool) {
        use Direction::{Inbound, Outbound};
        let (rst, syn, fin) = (flags & RST != 0, flags & SYN != 0, flags & FIN != 0);
        match (self, direction) {
            (Self::InboundSyn, Outbound) if rst => (Self::Refused, true),
            (Self::Refused, _) => (self, false),
            (Self::OutboundSyn | Self::InboundSyn, _) if rst || !syn => (self, false),
            (Self::OutboundSyn, Inbound) | (Self::InboundSyn, Outbound) => (Self::Established, true),
            (Self::OutboundSyn, Outbound) => (self, true),
            // In "V4 INIT" nothing but the inside host's SYN counts: an outside host that nobody answers keeps nothing alive.
            (Self::InboundSyn, Inbound) => (self, false),
            (Self::Reset, _) if rst => (self, false),
            // In "TRANS" any other packet does, a SYN too: it may be forged as well as the reset.
            (Self::Reset, _) => (Self::Established, true),
            (Self::Closed, _) if opens(flags) => (Self::opened(direction), true),
            (Self::Closed, _) => (self, false),
            (_, _) if rst => (Self::Reset, true),
            (Self::Established, Outbound) if fin => (Self::OutboundFin, true),
            (Self::Established, Inbound) if fin => (Self::InboundFin, true),
            (Self::OutboundFin, Inbound) | (Self::InboundFin, Outbound) if fin => (Self::Closed, true),
            (Self::Established | Self::OutboundFin | Self::InboundFin, _) => (self, true),
        }
    }

    /// Its name in listings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OutboundSyn | Self::InboundSyn => "opening",
            Self::Established => "established",
            Self::OutboundFin | Self::InboundFin => "half-closed",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{Inbound, Outbound};
    use super::*;

    const STATES: [State; 8] = [
        State::OutboundSyn,
        State::InboundSyn,
        State::Established,
        State::OutboundFin,
        State::InboundFin,
        State::Closed,
        State::Reset,
        State::Refused,
    ];

    /// The state after SYN, SYN and ACK, ACK, FIN and ACK, RST from inside, then from outside. Where the state stays, `=` says that the
    /// timeout starts anew, `-` that it does not.
    const TABLE: &str = "
        OutboundSyn  =            =            -            -            -        Established  Established  -            -            -
        InboundSyn   Established  Established  -            -            Refused  -            -            -            -            -
        Established  =            =            =            OutboundFin  Reset    =            =            =            InboundFin   Reset
        OutboundFin  =            =            =            =            Reset    =            =            =            Closed       Reset
        InboundFin   =            =            =            Closed       Reset    =            =            =            =            Reset
        Closed       OutboundSyn  -            -            -            -        InboundSyn   -            -            -            -
        Reset        Established  Established  Established  Established  -        Established  Established  Established  Established  -
        Refused      -            -            -            -            -        -            -            -            -            -";

    /// RFC 7857 §2.1, §2.3 and §7.1: every state, event and direction. The states are, in the words of RFC 6146 §3.5.2.2 and in the order of
    /// the table, V6 INIT, V4 INIT, ESTABLISHED, V6 FIN RCV, V4 FIN RCV, V6 FIN + V4 FIN RCV and TRANS; the last one is our own.
    #[test]
    fn rfc_7857_2_1_the_whole_table() {
        let named = |name: &str| STATES.into_iter().find(|state| format!("{state:?}") == name);
        let events = [SYN, SYN | ACK, ACK, FIN | ACK, RST];
        let mut checked = 0;
        for line in TABLE.trim().lines() {
            let mut words = line.split_whitespace();
            let state = words.next().and_then(named).unwrap();
            for direction in [Outbound, Inbound] {
                for flags in events {
                    let expected = match words.next().unwrap() {
                        "=" => (state, true),
                        "-" => (state, false),
                        name => (named(name).unwrap(), true),
                    };
                    assert_eq!(
                        state.after(direction, flags),
                        expected,
                        "{state:?} {direction:?} {flags:#x}"
                    );
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, STATES.len() * 10);
    }

    /// RFC 7857 §2.3, RFC 6146 §3.5.2.2 (TRANS): neither a forged reset nor a forged SYN after it takes the long timeout from a connection that
    /// goes on.
    #[test]
    fn rfc_7857_2_3_forged_packets_do_not_shorten_a_connection_that_goes_on() {
        for forged in [&[RST][..], &[RST, RST], &[RST, SYN], &[RST, SYN, RST]] {
            let state = forged
                .iter()
                .fold(State::Established, |state, &flags| state.after(Inbound, flags).0);
            assert_eq!(
                state.after(Outbound, ACK),
                (State::Established, true),
                "{forged:?}"
            );
        }
    }

    /// RFC 6146 §3.5.2.2 (V4 INIT): SYNs from outside that nobody answers do not keep their session alive.
    #[test]
    fn rfc_7857_2_1_unanswered_syns_from_outside_keep_nothing_alive() {
        assert_eq!(State::InboundSyn.after(Inbound, SYN), (State::InboundSyn, false));
        assert_eq!(
            State::OutboundSyn.after(Outbound, SYN),
            (State::OutboundSyn, true)
        );
    }

    /// RFC 5382 REQ-2: a handshake from either side, and crossed SYNs (REQ-2 (a)).
    #[test]
    fn rfc_5382_2_every_handshake_ends_in_established() {
        let run = |first, packets: &[(Direction, u8)]| {
            packets
                .iter()
                .fold(State::opened(first), |state, &(direction, flags)| {
                    state.after(direction, flags).0
                })
        };
        for (client, server) in [(Outbound, Inbound), (Inbound, Outbound)] {
            assert_eq!(
                run(client, &[(server, SYN | ACK), (client, ACK)]),
                State::Established
            );
            assert_eq!(
                run(client, &[(server, SYN), (client, SYN | ACK), (server, SYN | ACK)]),
                State::Established
            );
        }
    }

    #[test]
    fn whatever_the_flags_a_state_follows() {
        for state in STATES {
            for direction in [Outbound, Inbound] {
                for flags in 0..=u8::MAX {
                    let (next, refreshed) = state.after(direction, flags);
                    assert!(refreshed || next == state);
                    // A reset never ends in the long timeout.
                    assert!(flags & RST == 0 || !next.is_established());
                }
            }
        }
    }
}
