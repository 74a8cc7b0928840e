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

    /// A worker that keeps up turns nobody away, whatever comes.
    #[test]
    fn nothing_is_turned_away_without_need(
        rounds in proptest::collection::vec((0usize..=64, 0u32..64, 0u64..20_000_000), 1..300),
    ) {
        let mut overload = Overload::new(2, 2048);
        let mut now = Time::from_secs(1);
        let mut in_a_row = 0;
        for (packets, new, passed) in rounds {
            now = now + Duration::from_nanos(passed);
            // At most as many as a ring holds, and then a pause.
            in_a_row = if packets == 64 && in_a_row < 31 { in_a_row + 1 } else { 0 };
            let packets = if in_a_row == 0 { packets.min(63) } else { packets };
            prop_assert!(!overload.is_active());
            overload.received((new % 2) as usize, packets, 64, now);
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
    was_behind: bool,
}

impl Model {
    fn admits(&mut self, counter: usize) -> bool {
        *self.asked.entry(counter).or_default() += 1;
        self.window.asked += 1;
        let opened = self.opened.entry(counter).or_default();
        let is_admitted = *opened < self.due.1 && self.window.opened < self.due.0;
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

    fn ends(&mut self) {
        let Window {
            bursts,
            packets,
            asked,
            opened,
            was_behind,
        } = self.window;
        let alone = asked > 0 && packets <= asked && self.asked.len() < 2;
        self.budget = match (alone, was_behind) {
            (true, _) => UNBOUNDED,
            (false, true) => {
                let part = if self.was_behind { 0.5 } else { 0.75 };
                ((f64::from(self.budget.min(opened)) * part) as u32).max(bursts)
            }
            (false, false) if opened < asked => self.budget.saturating_add(1 + self.budget / 16),
            (false, false) => self.budget,
        };
        self.share = if self.budget == UNBOUNDED {
            UNBOUNDED
        } else {
            fair_by_trying(&self.asked, self.budget - self.budget / 8)
        };
        self.was_behind = was_behind;
        self.asked.clear();
        self.opened.clear();
        self.window = Window::default();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_a_plain_model(
        phases in proptest::collection::vec((1u32..80, 0usize..=64, 1u32..40, 1u64..400_000, 0u32..100), 1..20),
    ) {
        let mut overload = Overload::new(1, 0);
        let mut model: Option<Model> = None;
        let mut now = Time::from_secs(1);
        let mut full = 0;
        let mut next = 0u32;
        for (rounds, packets, hosts, step, new) in phases {
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
                full = if packets == 64 { full + 1 } else { 0 };
                if full >= 32 && model.is_none() {
                    model = Some(Model {
                        window: Window::default(),
                        ends: now + WINDOW,
                        asked: HashMap::new(),
                        opened: HashMap::new(),
                        due: (UNBOUNDED, UNBOUNDED),
                        budget: UNBOUNDED,
                        share: UNBOUNDED,
                        was_behind: false,
                    });
                } else if let Some(model) = &mut model {
                    model.window.bursts += u32::from(packets > 0);
                    model.window.packets += packets as u32;
                    model.window.was_behind |= full >= 32;
                    if now >= model.ends {
                        model.ends();
                        model.ends = now + WINDOW;
                    }
                    model.release(now);
                }
                overload.received(0, packets, 64, now);
                if !overload.is_active() {
                    model = None;
                }
                if let Some(model) = &model {
                    prop_assert_eq!((overload.budget, overload.share), (model.budget, model.share));
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
    let mut overload = Overload::new(1, RING);
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
        overload.received(0, burst.len(), BURST, Time::from_nanos(elapsed));
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
    assert!(carried(&after, Sender::Known) > 0.9, "{after:?}");
    assert!(carried(&after, Sender::Others) > 0.8, "{after:?}");
    // It is a bound, not a punishment: what is left is the flood's.
    assert!(after[&Sender::Flood].carried > 5_000, "{after:?}");
}

#[test]
fn forged_sources_cost_known_flows_little() {
    let senders = [(Sender::Known, 400_000), (Sender::Forged, 1_500_000)];
    let after = simulate(true, &senders);
    assert!(carried(&after, Sender::Known) > 0.9, "{after:?}");
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

#[test]
fn it_ends_when_the_worker_keeps_up() {
    let mut overload = Overload::new(2, RING);
    let mut now = Time::from_secs(1);
    for round in 0..2000 {
        now = now + Duration::from_micros(100);
        if overload.is_active() {
            for number in 0..32 {
                overload.admits(host(number));
            }
        }
        overload.received(round % 2, 64, 64, now);
    }
    assert!(
        overload.is_active() && overload.budget < 3200,
        "{}",
        overload.budget
    );
    for _ in 0..=CALM_WINDOWS {
        now = now + WINDOW;
        assert!(overload.is_active());
        overload.received(0, 3, 64, now);
        overload.received(1, 3, 64, now);
    }
    assert!(!overload.is_active());
}
