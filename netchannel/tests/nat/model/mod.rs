//! The translator against a model of it. Random settings, packets and clock steps must have the same outcome in both, up to the choice of
//! ports; and whatever the outcome, no inside address is seen outside, no external endpoint stands for two inside ones, and every checksum is
//! right (which the harness computes in full for each packet that leaves). `PROPTEST_CASES` says how many.

mod checks;
mod connection;
mod errors;
mod oracle;
mod ports;
mod state;
mod world;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netchannel::time::Time;
use proptest::prelude::*;

use crate::fragments::{cut, together};
use crate::harness::*;
use crate::packets::*;
use errors::Error;
use oracle::Verdict;
use state::{Choice, Model};
use world::{Packet, Setting, Step, To};

/// Long enough for three fragments, the first of which has less than half of it.
const DATA: &[u8] = b"as much as it takes for three fragments, and then a bit more";
const SECOND: u64 = 1_000_000_000;

/// The translator and its model, which are told the same.
struct Pair {
    nat: NatBox,
    model: Model,
    setting: Setting,
    /// External addresses.
    addresses: Vec<Ipv4Addr>,
    /// Datagrams sent in fragments so far.
    fragmented: u16,
}

impl Pair {
    fn new(setting: Setting) -> Self {
        let nat = NatBox::with_rules(
            |settings| *settings = setting.settings.clone(),
            |rules, _| {
                if let Some(filtering) = setting.rule {
                    rules.insert_ipv4(towards(world::RULED_PORT, filtering)).unwrap();
                }
            },
        );
        Self {
            model: Model::new(&setting, nat.test.now),
            addresses: setting.addresses(),
            nat,
            setting,
            fragmented: 0,
        }
    }

    fn place(&self, to: &To) -> SocketAddrV4 {
        match to {
            To::Endpoint(endpoint) => *endpoint,
            To::External(index, port) => SocketAddrV4::new(*index.get(&self.addresses), *port),
        }
    }

    /// Lets time pass, and tells the translator if everything is to be exact.
    fn wait(&mut self, duration: Duration, tick: bool) {
        self.nat.leap(duration);
        if tick || self.setting.is_exact {
            // At a whole second: timers are no finer.
            let beyond = self.nat.test.now.as_nanos() % SECOND;
            if beyond > 0 {
                self.nat.leap(Duration::from_nanos(SECOND - beyond));
            }
            self.nat.test.dispatcher.tick(self.nat.test.now);
            self.model.now = self.nat.test.now;
            self.model.sweep();
            self.compare_answers();
        }
        self.model.now = self.nat.test.now;
    }

    /// What is said about unsolicited SYNs, six seconds later (RFC 5382 REQ-4).
    fn compare_answers(&mut self) {
        let answers = self.nat.test.wan.sent_all();
        let mut answered: Vec<_> = answers.iter().map(|answer| ends(&quoted(answer))).collect();
        answered.sort();
        let due = self.model.answers();
        // More at once than the rate limit lets out.
        assert!(answered == due || due.len() > 50, "{answered:?} {due:?}");
    }

    /// Sends frames in by one side and says what became of them.
    fn send(&mut self, from_inside: bool, packets: &[Vec<u8>]) -> Verdict {
        let mut seen = Seen::default();
        for packet in packets {
            let one = if from_inside {
                self.nat.inside(packet)
            } else {
                self.nat.outside(packet)
            };
            seen.add(one);
        }
        if packets.len() > 1 {
            for frames in [&mut seen.lan, &mut seen.wan] {
                if frames.len() == packets.len() {
                    *frames = vec![frame(&together(frames).1)];
                }
            }
        }
        checks::verdict(&seen, self.setting.settings.refusal, from_inside)
    }

    fn packet(&mut self, from_inside: bool, packet: Packet, order: Option<[usize; 3]>) {
        let Packet {
            body,
            source,
            destination,
        } = packet;
        let bytes = ip_packet(body, source, destination, DATA);
        let packets = match order {
            None => vec![bytes],
            Some(order) => {
                self.fragmented += 1;
                let fragments = cut(&bytes, self.fragmented);
                order.map(|number| fragments[number].clone()).to_vec()
            }
        };
        let verdict = self.send(from_inside, &packets);
        self.model.expire();
        self.model.choice = Choice {
            external: checks::new_mapping(&self.nat, &self.model, body, source),
            refused: match verdict {
                Verdict::Dropped(reason) if checks::REFUSALS.contains(&reason) => Some(reason),
                _ => None,
            },
            seen_as: verdict.seen_as(),
        };
        let expected = if from_inside {
            self.model.packet_from_inside(packet)
        } else {
            self.model.packet_from_outside(packet)
        };
        assert_eq!(verdict, expected);
    }

    fn error(&mut self, from_inside: bool, (kind, code): (u8, u8), error: Error) {
        let Error {
            source,
            destination,
            about,
        } = error;
        let quoted = ip_packet(about.body, about.source, about.destination, DATA);
        let bytes = crate::packets::error(kind, code, &source.to_string(), destination, &quoted);
        let verdict = self.send(from_inside, &[bytes]);
        self.model.choice = Choice {
            seen_as: verdict.seen_as(),
            ..Choice::default()
        };
        let expected = if from_inside {
            self.model.error_from_inside(error)
        } else {
            self.model.error_from_outside(error)
        };
        assert_eq!(verdict, expected, "{error:?}");
    }

    /// One of the sessions: its protocol, inside, external and outside endpoint.
    fn session(&self, index: &prop::sample::Index) -> Option<(u8, SocketAddrV4, SocketAddrV4, SocketAddrV4)> {
        let mappings = self.model.mappings.iter();
        let sessions: Vec<_> = mappings
            .flat_map(|mapping| {
                let sessions = mapping.sessions.iter();
                sessions.map(|session| (mapping.protocol, mapping.inside, mapping.external, session.remote))
            })
            .collect();
        (!sessions.is_empty()).then(|| *index.get(&sessions))
    }

    /// An error about a packet that went through a session.
    fn error_about(
        &mut self,
        from_inside: bool,
        session: &prop::sample::Index,
        kind: (u8, u8),
        is_astray: bool,
    ) {
        let Some((protocol, inside, external, remote)) = self.session(session) else {
            return;
        };
        let (body, answer) = bodies(protocol, ACK);
        let astray = self.nat_address(is_astray);
        let error = if from_inside {
            Error {
                source: *inside.ip(),
                destination: astray.unwrap_or(*remote.ip()),
                about: Packet::new(answer, remote, inside),
            }
        } else {
            Error {
                source: host("151.101.1.1"),
                destination: astray.unwrap_or(*external.ip()),
                about: Packet::new(body, external, remote),
            }
        };
        self.error(from_inside, kind, error);
    }

    /// An external address, if the error is to go astray.
    fn nat_address(&self, is_astray: bool) -> Option<Ipv4Addr> {
        self.addresses.last().copied().filter(|_| is_astray)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Packet {
                from_inside,
                body,
                from,
                to,
                fragments,
            } => {
                let packet = Packet::new(body, from, self.place(&to));
                self.packet(from_inside, packet, fragments);
            }
            Step::Known {
                from_inside,
                session,
                flags,
                stranger,
                fragments,
            } => {
                if let Some((protocol, inside, external, remote)) = self.session(&session) {
                    let (body, answer) = bodies(protocol, flags);
                    let packet = if from_inside {
                        Packet::new(body, inside, stranger.unwrap_or(remote))
                    } else {
                        Packet::new(answer, stranger.unwrap_or(remote), external)
                    };
                    // A session between two inside hosts gets nothing from outside.
                    if from_inside || !self.addresses.contains(packet.source.ip()) {
                        self.packet(from_inside, packet, fragments);
                    }
                }
            }
            Step::Hairpin {
                session,
                flags,
                from,
                fragments,
            } => {
                if let Some((protocol, _, external, _)) = self.session(&session) {
                    let packet = Packet::new(bodies(protocol, flags).0, from, external);
                    self.packet(true, packet, fragments);
                }
            }
            Step::Spoofed {
                from_inside,
                external,
            } => {
                let source = SocketAddrV4::new(*external.get(&self.addresses), 2000);
                let packet = Packet::new(Body::Udp, source, self.place(&To::External(external, 2001)));
                self.packet(from_inside, packet, None);
            }
            Step::Untranslatable {
                from_inside,
                from,
                to,
                is_icmp,
            } => {
                let to = *self.place(&to).ip();
                // A redirect; GRE.
                let bytes = if is_icmp {
                    ipv4(1, *from.ip(), to, &icmp(5, 1, [8, 8, 8, 8], DATA))
                } else {
                    ipv4(47, *from.ip(), to, DATA)
                };
                let verdict = self.send(from_inside, &[bytes]);
                let expected = self.model.untranslatable(from_inside, is_icmp, *from.ip(), to);
                assert_eq!(verdict, expected);
            }
            Step::ErrorAbout {
                from_inside,
                session,
                kind,
                is_astray,
            } => self.error_about(from_inside, &session, kind, is_astray),
            Step::ErrorAboutAny {
                from_inside,
                body,
                external,
                inside,
                remote,
            } => {
                let external = self.place(&external);
                let error = if from_inside {
                    let answer = match body {
                        Body::Query(_) => Body::Query(0),
                        other => other,
                    };
                    let about = Packet::new(answer, remote, inside);
                    Error {
                        source: host("10.0.0.77"),
                        destination: *remote.ip(),
                        about,
                    }
                } else {
                    Error {
                        source: host("151.101.1.1"),
                        destination: *external.ip(),
                        about: Packet::new(body, external, remote),
                    }
                };
                self.error(from_inside, (3, 1), error);
            }
            Step::Wait(milliseconds, tick) => self.wait(Duration::from_millis(milliseconds), tick),
            Step::WaitForEnd(session, before) => {
                let timeouts = &self.setting.settings.timeouts;
                let mappings = self.model.mappings.iter();
                let ends: Vec<Time> = mappings
                    .flat_map(|mapping| mapping.sessions.iter().map(|session| session.ends(timeouts)))
                    .collect();
                if !ends.is_empty() {
                    let early = match (before, self.setting.is_exact) {
                        (false, _) => 0,
                        (true, true) => SECOND,
                        (true, false) => 1,
                    };
                    let left = session.get(&ends).since(self.nat.test.now).as_nanos() as u64;
                    self.wait(Duration::from_nanos(left.saturating_sub(early)), false);
                }
            }
        }
    }
}

/// Of a protocol, what an inside host sends and what it is answered.
fn bodies(protocol: u8, flags: u8) -> (Body, Body) {
    match protocol {
        6 => (Body::Tcp(flags), Body::Tcp(flags)),
        17 => (Body::Udp, Body::Udp),
        _ => (Body::Query(8), Body::Query(0)),
    }
}

fn run(steps: Vec<Step>, setting: Setting) {
    let mut pair = Pair::new(setting);
    for (number, step) in steps.into_iter().enumerate() {
        // Some at once, so that they are too fast; not more than the rate limit lets be answered, and not while what is over may still
        // take up room.
        if !pair.setting.is_exact || number % 8 == 0 || pair.model.is_stale {
            pair.wait(Duration::from_millis(100), false);
        }
        let _step = Doing(format!("{step:?}"));
        pair.take(step);
        pair.model.now = pair.nat.test.now;
        pair.model.expire();
        checks::compare_listings(&pair.nat, &pair.model);
    }
}

/// Says at which step the two disagree.
struct Doing(String);

impl Drop for Doing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("disagreement after {}", self.0);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// X-2, 6888-4, 4787-1, 4787-3, 4787-5, 4787-8, 4787-9, 4787-11, 4787-12, 6888-8, 3022-5.
    #[test]
    fn agrees_with_the_model(
        steps in proptest::collection::vec(world::step(), 1..150),
        setting in world::setting(),
    ) {
        run(steps, setting);
    }
}

/// A few seconds' worth, unless it is said how many.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(150, |_| config.cases);
    ProptestConfig { cases, ..config }
}
