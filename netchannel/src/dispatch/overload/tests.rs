use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn host(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 | number).into()
}

#[test]
fn a_host_is_an_ipv4_address_or_an_ipv6_network() {
    let shares = Shares::new();
    let counter = |address: IpAddr| shares.counter_of(address);
    let network = |host: u128| Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | host).into();
    assert_eq!(counter(network(1)), counter(network(u128::from(u64::MAX))));
    let counters: std::collections::HashSet<_> = (0..100).map(|number| counter(host(number))).collect();
    assert!(counters.len() > 50, "{}", counters.len());
}

#[test]
fn who_shared_a_counter_does_not_in_the_next_window() {
    let mut shares = Shares::new();
    let together = |shares: &Shares| -> Vec<u32> {
        let same = |number: &u32| shares.counter_of(host(*number)) == shares.counter_of(host(0));
        (1..20_000).filter(same).collect()
    };
    let first = together(&shares);
    shares.clear();
    let second = together(&shares);
    let both = first.iter().filter(|number| second.contains(number)).count();
    assert!(!first.is_empty() && both < first.len(), "{first:?} {second:?}");
}

/// The largest share with which hosts get no more than there is, found by trying.
fn fair_by_trying(asked: &HashMap<usize, u32>, available: u32) -> u32 {
    let taken = |share: u32| -> u64 { asked.values().map(|&asked| u64::from(asked.min(share))).sum() };
    if taken(UNBOUNDED) <= available.into() {
        return UNBOUNDED;
    }
    (1..)
        .take_while(|&share| taken(share) <= available.into())
        .last()
        .unwrap_or(1)
}

proptest! {
    #[test]
    fn shares_are_fair(asking in proptest::collection::vec((0u32..50, 1u32..200), 0..60), available in 0u32..5000) {
        let mut shares = Shares::new();
        // What a former window left behind does not matter.
        shares.ask(host(1));
        shares.clear();
        let mut asked = HashMap::new();
        for (number, times) in asking {
            for _ in 0..times {
                let before = asked.entry(shares.counter_of(host(number))).or_insert(0);
                let opened = shares.ask(host(number));
                prop_assert_eq!(u32::from(*opened), *before);
                *opened += 1;
                *before += 1;
            }
        }
        prop_assert_eq!(shares.are_contested(), asked.len() > 1);
        prop_assert_eq!(shares.fair(available), fair_by_trying(&asked, available));
    }

    /// However many packets come, of known flows or new: who loses none turns nobody away.
    #[test]
    fn nothing_is_turned_away_without_loss(
        rounds in proptest::collection::vec((0usize..=128, 0usize..2, 0u64..20_000_000), 1..300),
        lost_before in 0u64..3,
    ) {
        let mut overload = Overload::new(2);
        let mut now = Time::from_secs(1);
        overload.ports[0].lost = lost_before;
        for (packets, port, passed) in rounds {
            now = now + Duration::from_nanos(passed);
            prop_assert!(!overload.is_active());
            overload.was_full(port);
            overload.end_round(packets, now, |port| if port == 0 { lost_before } else { 0 });
        }
    }

    /// New flows that are rare among packets are admitted whatever is lost, and be it many at once.
    #[test]
    fn few_new_flows_are_never_turned_away(
        rounds in proptest::collection::vec((1usize..=64, 0u64..200_000, any::<bool>(), 0u32..100), 1..3000),
        hosts in 1u32..5,
    ) {
        let mut overload = Overload::new(1);
        let mut now = Time::from_secs(1);
        let mut lost = 0;
        let (mut spare, mut packets_of_window, mut ends) = (0, 0, Time::ZERO);
        for (packets, passed, loses, wanted) in rounds {
            now = now + Duration::from_nanos(passed);
            if overload.is_active() {
                for number in 0..wanted.min(spare) {
                    spare -= 1;
                    prop_assert!(overload.admits(host(number % hosts)));
                }
            }
            lost += u64::from(loses);
            overload.was_full(0);
            let was_active = overload.is_active();
            overload.end_round(packets, now, |_| lost);
            packets_of_window += packets as u32;
            if now >= ends {
                // One in 64 packets, and no more than 1,024 together.
                spare = if was_active { (spare + packets_of_window / 64).min(1024) } else { 1024 };
                packets_of_window = 0;
                ends = now + Duration::from_millis(10);
            }
        }
    }
}

/// What a worker with the same rules and nothing that makes them fast would say.
struct Model {
    window: Window,
    ends: Time,
    asked: HashMap<usize, u32>,
    opened: HashMap<usize, u32>,
    due: (u32, u32),
    budget: u32,
    share: u32,
    had_lost: bool,
    saved: u32,
    alone: u32,
}

impl Model {
    fn new(now: Time) -> Self {
        Self {
            window: Window::default(),
            ends: now + WINDOW,
            asked: HashMap::new(),
            opened: HashMap::new(),
            due: (UNBOUNDED, UNBOUNDED),
            budget: UNBOUNDED,
            share: UNBOUNDED,
            had_lost: false,
            saved: 1024,
            alone: 100,
        }
    }

    fn admits(&mut self, counter: usize) -> bool {
        *self.asked.entry(counter).or_default() += 1;
        self.window.asked += 1;
        let opened = self.opened.entry(counter).or_default();
        let is_due = *opened < self.due.1 && self.window.opened < self.due.0;
        let is_admitted = is_due || self.window.opened < self.saved;
        *opened += u32::from(is_admitted);
        self.window.opened += u32::from(is_admitted);
        is_admitted
    }

    fn release(&mut self, now: Time) {
        let left = self.ends.as_nanos() - now.as_nanos();
        let part = |whole: u32| match whole {
            UNBOUNDED => UNBOUNDED,
            whole => (u128::from(whole) * u128::from(10_000_000 - left) / 10_000_000) as u32,
        };
        let early = u64::from(self.budget / 8 + 1);
        self.due.0 = (u64::from(part(self.budget)) + early).min(self.budget.into()) as u32;
        self.due.1 = (u64::from(part(self.share)) + 1).min(self.share.into()) as u32;
    }

    fn ends(&mut self, has_lost: bool) {
        let Window {
            packets,
            asked,
            opened,
        } = self.window;
        let has_others = packets > asked || self.asked.len() > 1;
        self.alone = if has_others { 0 } else { self.alone + 1 };
        let always = (f64::from(packets) / 64.0).ceil() as u32;
        self.budget = match (self.alone >= 100, has_lost) {
            (true, _) => UNBOUNDED,
            (false, true) => {
                let part = if self.had_lost { 0.5 } else { 0.75 };
                ((f64::from(self.budget.min(opened)) * part) as u32).max(always)
            }
            (false, false) if opened < asked => self.budget.saturating_add(1 + self.budget / 16),
            (false, false) => self.budget,
        };
        let spare =
            i64::from(self.saved) - i64::from(opened) + if opened == asked { always.into() } else { 0 };
        self.saved = spare.clamp(0, 1024) as u32;
        self.share = if self.budget == UNBOUNDED {
            UNBOUNDED
        } else {
            fair_by_trying(&self.asked, self.budget - self.budget / 8)
        };
        self.had_lost = has_lost;
        self.asked.clear();
        self.opened.clear();
        self.window = Window::default();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_a_plain_model(
        phases in proptest::collection::vec(
            (1u32..80, 1usize..=64, 1u32..40, 1u64..400_000, 0u32..100, any::<bool>()),
            1..20,
        ),
    ) {
        let mut overload = Overload::new(1);
        let mut model: Option<Model> = None;
        let mut now = Time::from_secs(1);
        let (mut lost, mut asked_for, mut ends) = (0u64, 0, Time::ZERO);
        let mut next = 0u32;
        for (rounds, packets, hosts, step, new, loses) in phases {
            for _ in 0..rounds {
                now = now + Duration::from_nanos(step);
                prop_assert_eq!(overload.is_active(), model.is_some());
                for _ in 0..(packets as u32 * new / 100) {
                    next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let source = host((next >> 16) % hosts);
                    if let Some(model) = &mut model {
                        let counter = overload.shares.counter_of(source);
                        prop_assert_eq!(overload.admits(source), model.admits(counter));
                    }
                }
                lost += u64::from(loses);
                let has_lost = now >= ends && lost > asked_for;
                if let Some(model) = &mut model {
                    model.window.packets += packets as u32;
                    if now >= ends {
                        model.ends(has_lost);
                        model.ends = now + WINDOW;
                    }
                    model.release(now);
                } else if has_lost {
                    model = Some(Model::new(now));
                }
                if now >= ends {
                    (asked_for, ends) = (lost, now + WINDOW);
                }
                overload.was_full(0);
                overload.end_round(packets, now, |_| lost);
                if !overload.is_active() {
                    model = None;
                }
                if let Some(model) = &model {
                    let found = (overload.budget, overload.share, overload.saved);
                    prop_assert_eq!(found, (model.budget, model.share, model.saved));
                }
            }
        }
    }
}

/// Who sends how many packets a second.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Sender {
    /// Of known flows.
    Known,
    /// The first of a flow each, all of one host.
    Flood,
    /// The same, each of another host.
    Forged,
    /// First packets of some other hosts.
    Others,
}

/// Packets that arrived at the ring, and those that were sent on.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    arrived: u64,
    carried: u64,
    turned_away: u64,
}

const RING: usize = 2048;

/// Time after which it is counted what becomes of packets, and the end, in simulated nanoseconds.
const SETTLED: u64 = 200_000_000;
const END: u64 = 500_000_000;

/// Lets a worker with a receive ring work for some simulated time: in nanoseconds it takes 1,400 to send on a packet of a known flow, 2,400 of a
/// new one, 150 to turn one away.
fn simulate(limited: bool, senders: &[(Sender, u64)]) -> HashMap<Sender, Tally> {
    let mut overload = Overload::new(1);
    let mut lost = 0;
    let mut tallies: HashMap<Sender, Tally> = HashMap::new();
    let mut ring: VecDeque<(Sender, IpAddr)> = VecDeque::new();
    let mut sent = vec![0u64; senders.len()];
    let mut elapsed = 0;
    while elapsed < END {
        // The next packet is of the sender whose time comes first.
        let next = |sent: &[u64]| {
            let due = sent
                .iter()
                .zip(senders)
                .map(|(sent, (_, rate))| sent * 1_000_000_000 / rate);
            due.enumerate()
                .map(|(index, due)| (due, index))
                .min()
                .expect("a sender")
        };
        while let (due, index) = next(&sent)
            && due <= elapsed
        {
            let (sender, number) = (senders[index].0, sent[index] as u32);
            sent[index] += 1;
            let source = match sender {
                Sender::Known | Sender::Flood => host(1),
                Sender::Forged => host(0x80_0000 + number),
                Sender::Others => host(1000 + number % 50),
            };
            tallies.entry(sender).or_default().arrived += u64::from(due >= SETTLED);
            if ring.len() < RING {
                ring.push_back((sender, source));
            } else {
                lost += 1;
            }
        }
        let burst: Vec<_> = ring.drain(..ring.len().min(BURST)).collect();
        let mut cost = 500;
        for &(sender, source) in &burst {
            let tally = tallies.entry(sender).or_default();
            let (is_new, counts) = (sender != Sender::Known, u64::from(elapsed >= SETTLED));
            if is_new && limited && overload.is_active() && !overload.admits(source) {
                tally.turned_away += counts;
                cost += 150;
            } else {
                tally.carried += counts;
                cost += if is_new { 2400 } else { 1400 };
            }
        }
        if burst.len() == BURST {
            overload.was_full(0);
        }
        overload.end_round(burst.len(), Time::from_nanos(elapsed), |_| lost);
        elapsed += cost;
    }
    tallies
}

fn carried(tallies: &HashMap<Sender, Tally>, sender: Sender) -> f64 {
    let tally = tallies[&sender];
    tally.carried as f64 / tally.arrived as f64
}

#[test]
fn a_flood_of_one_host_costs_known_flows_and_other_hosts_little() {
    let senders = [
        (Sender::Known, 400_000),
        (Sender::Flood, 1_500_000),
        (Sender::Others, 5_000),
    ];
    let before = simulate(false, &senders);
    assert!(carried(&before, Sender::Known) < 0.4, "{before:?}");
    let after = simulate(true, &senders);
    assert!(carried(&after, Sender::Known) > 0.97, "{after:?}");
    assert!(carried(&after, Sender::Others) > 0.95, "{after:?}");
    // It is a bound, not a punishment: what is left is the flood's.
    assert!(after[&Sender::Flood].carried > 5_000, "{after:?}");
}

#[test]
fn forged_sources_cost_known_flows_little() {
    let senders = [(Sender::Known, 400_000), (Sender::Forged, 1_500_000)];
    let after = simulate(true, &senders);
    assert!(carried(&after, Sender::Known) > 0.97, "{after:?}");
}

/// One flow in 25 ms, of other hosts: most windows have none.
#[test]
fn a_flood_of_one_host_costs_those_little_that_ask_seldom() {
    let senders = [(Sender::Flood, 1_500_000), (Sender::Others, 40)];
    let before = simulate(false, &senders);
    assert!(carried(&before, Sender::Others) < 0.5, "{before:?}");
    let after = simulate(true, &senders);
    assert!(carried(&after, Sender::Others) > 0.8, "{after:?}");
}

#[test]
fn known_flows_that_are_too_many_lose_little_more_by_a_flood() {
    let alone = simulate(true, &[(Sender::Known, 1_000_000)]);
    let flooded = simulate(true, &[(Sender::Known, 1_000_000), (Sender::Flood, 1_000_000)]);
    let [alone, flooded] = [alone, flooded].map(|tallies| tallies[&Sender::Known].carried as f64);
    assert!(flooded > 0.8 * alone, "{flooded} of {alone}");
}

#[test]
fn a_host_that_is_alone_is_not_bounded() {
    let senders = [(Sender::Flood, 1_500_000)];
    let [before, after] = [false, true].map(|limited| simulate(limited, &senders)[&Sender::Flood]);
    assert_eq!(after.turned_away, 0);
    assert_eq!(after.carried, before.carried);
}

#[test]
fn what_can_be_carried_is_carried() {
    let senders = [
        (Sender::Known, 200_000),
        (Sender::Flood, 150_000),
        (Sender::Others, 100_000),
    ];
    for (sender, tally) in simulate(true, &senders) {
        assert_eq!(tally.turned_away, 0, "{sender:?}");
    }
}

/// A download takes all of the worker's time: many packets wait, and none is lost.
#[test]
fn a_ring_that_is_nearly_full_turns_nobody_away() {
    let mut overload = Overload::new(1);
    let mut now = Time::from_secs(1);
    let mut sources = (0..).map(host);
    for round in 0..100_000 {
        now = now + Duration::from_micros(90);
        overload.was_full(0);
        overload.end_round(BURST, now, |_| 0);
        if round % 10 == 0 && overload.is_active() {
            assert!(sources.next().is_some_and(|source| overload.admits(source)));
        }
    }
    assert!(!overload.is_active());
}

#[test]
fn only_ports_that_were_full_are_asked_and_once_in_a_window() {
    let mut overload = Overload::new(3);
    let mut now = Time::from_secs(1);
    let mut asked = [0; 3];
    for round in 0..1000 {
        now = now + Duration::from_micros(100);
        if round % 10 == 0 {
            overload.was_full(1);
        }
        overload.end_round(BURST, now, |port| {
            asked[port] += 1;
            0
        });
    }
    assert_eq!(asked[0] + asked[2], 0);
    assert!((9..=11).contains(&asked[1]), "{asked:?}");
}

/// What a socket lost before its interface went is nothing that another one loses.
#[test]
fn a_port_that_was_opened_anew_begins_anew() {
    let mut overload = Overload::new(1);
    let mut now = Time::from_secs(1);
    let mut look = |overload: &mut Overload, lost| {
        now = now + WINDOW;
        overload.was_full(0);
        overload.end_round(BURST, now, |_| lost);
    };
    look(&mut overload, 0);
    overload.ports[0].lost = 1000;
    look(&mut overload, 0);
    assert!(!overload.is_active());
    look(&mut overload, 1);
    assert!(overload.is_active());
}

#[test]
fn it_ends_when_nothing_is_lost() {
    let mut overload = Overload::new(2);
    let mut now = Time::from_secs(1);
    let mut lost = 0;
    for round in 0..2000 {
        now = now + Duration::from_micros(100);
        if overload.is_active() {
            for number in 0..32 {
                overload.admits(host(number));
            }
        }
        lost += 1;
        overload.was_full(round % 2);
        overload.end_round(BURST, now, |_| lost);
    }
    assert!(
        overload.is_active() && overload.budget < 3200,
        "{}",
        overload.budget
    );
    for _ in 0..=CALM_WINDOWS {
        now = now + WINDOW;
        assert!(overload.is_active());
        overload.end_round(BURST, now, |_| lost);
    }
    assert!(!overload.is_active());
}
