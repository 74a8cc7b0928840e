//! Follows a real kernel: each test is root in network namespaces of its own, which vanish with their threads.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netchannel::network::ethtool::{Ethtool, Offload, OffloadChange, Queues};
use netchannel::network::{
    Forwarding, Link, Monitor, MonitorHandle, NeighbourState, Network, NetworkError, NetworkEvent, Route,
    RouteKind, SharedNetwork, VlanTag,
};
use nix::sched::{CloneFlags, unshare};

/// Far longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

type Task = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it and does there what it is told.
struct Namespace {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    thread_id: i32,
}

impl Namespace {
    fn new() -> Self {
        let (tasks, todo) = channel::<Task>();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root: run them with sudo");
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            todo.into_iter().for_each(|task| task());
        });
        let thread_id = is_ready.recv().expect("no network namespace");
        Self {
            tasks: Some(tasks),
            thread: Some(thread),
            thread_id,
        }
    }

    /// Does something inside and waits for its answer.
    fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, is_answered) = channel();
        let tasks = self.tasks.as_ref().unwrap();
        tasks
            .send(Box::new(move || answer.send(task()).unwrap()))
            .unwrap();
        is_answered.recv().expect("the task in the namespace panicked")
    }

    /// Runs commands of `ip`, one a line, all of them; whether none was refused.
    fn try_batch(&self, commands: String) -> bool {
        self.run(move || {
            let mut ip = Command::new("ip");
            ip.args(["-force", "-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut ip = ip.spawn().expect("these tests need iproute2");
            ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
            ip.wait().unwrap().success()
        })
    }

    /// The same for commands of which none may be refused.
    fn batch(&self, commands: String) {
        assert!(
            self.try_batch(commands.clone()),
            "{}",
            &commands[..commands.len().min(1000)]
        );
    }

    fn ip(&self, command: &str) {
        self.batch(format!("{command}\n"));
    }

    fn tries(&self, command: &str) -> bool {
        self.try_batch(format!("{command}\n"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.tasks = None;
        let outcome = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            outcome.unwrap();
        }
    }
}

/// A namespace whose network is followed.
struct Followed {
    handle: MonitorHandle,
    shared: SharedNetwork,
    events: Receiver<NetworkEvent>,
    changes: Receiver<()>,
    namespace: Namespace,
}

impl Followed {
    fn new() -> Self {
        Self::of(Namespace::new())
    }

    fn of(namespace: Namespace) -> Self {
        let shared = SharedNetwork::default();
        let (changed, changes) = channel();
        let followed = shared.clone();
        let on_change = move || {
            // Without a receiver the test is over.
            let _ = changed.send(());
        };
        let handle = namespace
            .run(move || Monitor::start(followed, vec![Box::new(on_change)]))
            .unwrap();
        let events = handle.subscribe();
        Self {
            namespace,
            shared,
            handle,
            events,
            changes,
        }
    }

    fn ip(&self, command: &str) {
        self.namespace.ip(command);
    }

    /// Waits until a snapshot has what is looked for.
    fn wait<T>(&self, what: &str, look: impl Fn(&Network) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let network = self.shared.load();
            if let Some(found) = look(&network) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.changes.recv_timeout(left).is_err() {
                panic!(
                    "not seen: {what}; failure: {:?}; last: {network:?}",
                    self.handle.failure()
                );
            }
        }
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&Network) -> bool) {
        self.wait(what, |network| holds(network).then_some(()));
    }

    fn wait_event(&self, wanted: &NetworkEvent) {
        let deadline = Instant::now() + DEADLINE;
        let mut others = Vec::new();
        loop {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(event) if event == *wanted => return,
                Ok(event) => others.push(event),
                Err(_) => panic!("no event {wanted:?}, but {others:?}"),
            }
        }
    }

    /// Waits until the followed routes are those that the kernel tells when asked.
    fn wait_same_routes(&self) {
        let expected = all_routes(&self.namespace.run(|| Network::read().unwrap()));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let followed = all_routes(&self.shared.load());
            if followed == expected {
                return;
            }
            if self
                .changes
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .is_err()
            {
                let missing: Vec<_> = expected
                    .iter()
                    .filter(|route| !followed.contains(route))
                    .collect();
                let surplus: Vec<_> = followed
                    .iter()
                    .filter(|route| !expected.contains(route))
                    .collect();
                panic!("missing: {missing:?}\nsurplus: {surplus:?}\nor another order than {expected:?}");
            }
        }
    }
}

/// The routes of each prefix in their order, the prefixes sorted.
fn all_routes(network: &Network) -> Vec<Route> {
    let mut routes: Vec<Route> = network.routes.iter().cloned().collect();
    routes.sort_by_key(|route| route.destination);
    for route in &mut routes {
        // The kernel keeps next hops of IPv6 in an order that depends on how they came.
        if route.destination.addr().is_ipv6() {
            route
                .next_hops
                .sort_by_key(|next_hop| (next_hop.interface, next_hop.gateway));
        }
    }
    routes
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link<'a>(network: &'a Network, name: &str) -> Option<&'a Link> {
    network.links.by_name(name)
}

fn has_address(network: &Network, name: &str, address: &str) -> bool {
    link(network, name).is_some_and(|link| link.addresses.contains(&address.parse().unwrap()))
}

fn way(network: &Network, destination: &str) -> Option<String> {
    let next_hop = *network.routes.lookup(address(destination))?.next_hop(0)?;
    let name = &network.links.get(next_hop.interface)?.name;
    Some(
        next_hop
            .gateway
            .map_or_else(|| name.clone(), |gateway| format!("{name} {gateway}")),
    )
}

#[test]
fn what_is_there_at_the_start_is_in_the_first_snapshot() {
    let namespace = Namespace::new();
    namespace.ip("link add one type veth peer name one-far");
    namespace.ip("address add 192.0.2.1/24 dev one");
    namespace.ip("link set one-far up");
    namespace.ip("link set one up");
    let followed = Followed::of(namespace);
    let network = followed.shared.load();
    assert_eq!(followed.shared.version(), 2);
    assert!(has_address(&network, "one", "192.0.2.1/24"));
    assert!(network.links.is_local(address("192.0.2.1")));
    assert!(network.links.by_name("lo").is_some_and(|link| !link.up));
    assert_eq!(way(&network, "192.0.2.9").as_deref(), Some("one"));
    assert_eq!(
        network.links.by_name("one").unwrap().kind.as_deref(),
        Some("veth")
    );
}

#[test]
fn links_and_addresses_appear_change_and_vanish() {
    let followed = Followed::new();
    followed.ip("link add one address 02:00:00:00:00:01 type veth peer name one-far");
    let index = followed.wait("the link", |network| {
        link(network, "one")
            .filter(|link| link.mac == [2, 0, 0, 0, 0, 1] && !link.up)
            .map(|link| link.index)
    });
    let name = || "one".to_owned();
    followed.wait_event(&NetworkEvent::LinkAdded { index, name: name() });

    followed.ip("link set one-far up");
    followed.ip("link set one up mtu 9000");
    followed.wait_until("up, with its MTU", |network| {
        link(network, "one").is_some_and(|link| link.is_usable() && link.mtu == 9000)
    });
    followed.wait_event(&NetworkEvent::LinkUp { index, name: name() });

    followed.ip("address add 192.0.2.1/24 dev one");
    followed.ip("address add 2001:db8::1/64 dev one nodad");
    followed.ip("address add 198.51.100.1 peer 198.51.100.2/32 dev one");
    followed.wait_until("the addresses", |network| {
        ["192.0.2.1/24", "2001:db8::1/64", "198.51.100.1/32"]
            .iter()
            .all(|address| has_address(network, "one", address))
    });
    followed.wait_event(&NetworkEvent::AddressesChanged { index, name: name() });
    assert!(followed.shared.load().links.is_local(address("2001:db8::1")));
    assert!(followed.shared.load().links.is_broadcast(address("192.0.2.255")));

    followed.ip("address del 192.0.2.1/24 dev one");
    followed.wait_until("one address less", |network| {
        !has_address(network, "one", "192.0.2.1/24")
    });
    assert!(!followed.shared.load().links.is_local(address("192.0.2.1")));
    followed.wait_same_routes();

    followed.ip("link set one name two");
    followed.wait_event(&NetworkEvent::LinkRenamed {
        index,
        from: name(),
        to: "two".into(),
    });
    assert!(has_address(&followed.shared.load(), "two", "2001:db8::1/64"));

    followed.ip("link del two");
    followed.wait_event(&NetworkEvent::LinkRemoved {
        index,
        name: "two".into(),
    });
    let network = followed.shared.load();
    assert!(network.links.get(index).is_none() && link(&network, "two").is_none());
    assert!(!network.links.is_local(address("2001:db8::1")));
    followed.wait_same_routes();
}

#[test]
fn a_link_that_moves_to_another_namespace_is_gone() {
    let followed = Followed::new();
    followed.ip("link add one type veth peer name one-far");
    let index = followed.wait("the link", |network| link(network, "one").map(|link| link.index));
    let elsewhere = Namespace::new();
    followed.ip(&format!("link set one netns {}", elsewhere.thread_id));
    followed.wait_event(&NetworkEvent::LinkRemoved {
        index,
        name: "one".into(),
    });
    assert!(
        elsewhere
            .run(|| Network::read().unwrap())
            .links
            .by_name("one")
            .is_some()
    );
}

#[test]
fn the_default_route_is_lost_and_regained() {
    let followed = Followed::new();
    followed.ip("link add one type veth peer name one-far");
    followed.ip("link set one-far up");
    followed.ip("link set one up");
    followed.ip("address add 192.0.2.2/24 dev one");
    for round in 0..3 {
        followed.ip("route add default via 192.0.2.1 mtu 1400");
        followed.wait_until("the default route", |network| {
            way(network, "203.0.113.1").as_deref() == Some("one 192.0.2.1")
        });
        let network = followed.shared.load();
        let Forwarding::Via(path) = network.forwarding(address("203.0.113.1"), 0) else {
            panic!("no way out");
        };
        assert_eq!((path.neighbour_address, path.mtu), (address("192.0.2.1"), 1400));
        // Deleted, and taken by the kernel together with the link's state, which it does not tell.
        if round == 0 {
            followed.ip("route del default");
        } else {
            followed.ip("link set one down");
        }
        followed.wait_until("no default route", |network| {
            way(network, "203.0.113.1").is_none()
        });
        followed.ip("link set one up");
        followed.wait_until("the subnet's route", |network| {
            way(network, "192.0.2.9").as_deref() == Some("one")
        });
    }
    followed.wait_same_routes();
}

#[test]
fn routes_of_both_families_are_followed() {
    let followed = Followed::new();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        followed.ip(&format!("link add {name} type veth peer name {name}-far"));
        followed.ip(&format!("link set {name}-far up"));
        followed.ip(&format!("link set {name} up"));
        followed.ip(&format!("address add 10.0.{subnet}.2/24 dev {name}"));
        followed.ip(&format!("address add 2001:db8:{subnet}::2/64 dev {name} nodad"));
    }
    followed.ip("route add 172.16.0.0/12 via 10.0.1.1 metric 20");
    followed.ip("route add 172.16.0.0/12 via 10.0.2.1 metric 10");
    followed.ip("route add 2001:db8:f::/48 via 2001:db8:1::1 metric 20");
    followed.ip("route add 2001:db8:f::/48 via 2001:db8:2::1 metric 10");
    followed.wait_until("the routes of the lower metric", |network| {
        way(network, "172.16.0.1").as_deref() == Some("two 10.0.2.1")
            && way(network, "2001:db8:f::1").as_deref() == Some("two 2001:db8:2::1")
    });
    followed.wait_same_routes();

    followed.ip("route replace 172.16.0.0/12 via 10.0.2.9 metric 10");
    followed.ip("route replace 2001:db8:f::/48 via 2001:db8:2::9 metric 10");
    followed.wait_until("the new gateways", |network| {
        way(network, "172.16.0.1").as_deref() == Some("two 10.0.2.9")
            && way(network, "2001:db8:f::1").as_deref() == Some("two 2001:db8:2::9")
    });
    followed.ip("route del 172.16.0.0/12 metric 10");
    followed.ip("route del 2001:db8:f::/48 metric 10");
    followed.wait_until("the routes that are left", |network| {
        way(network, "172.16.0.1").as_deref() == Some("one 10.0.1.1")
            && way(network, "2001:db8:f::1").as_deref() == Some("one 2001:db8:1::1")
    });
    followed.wait_same_routes();

    followed.ip("route add blackhole 172.17.0.0/16");
    followed.ip("route add prohibit 172.18.0.0/16");
    followed.ip("route add unreachable 2001:db8:f:1::/64");
    followed.ip("route add throw 172.19.0.0/16");
    followed.ip("route add 172.20.0.0/16 via 10.0.1.1 table 100");
    followed.ip("route add 172.21.0.0/16 via inet6 2001:db8:1::7 dev one");
    let kind = |network: &Network, destination: &str| {
        network
            .routes
            .lookup(address(destination))
            .map(|route| route.kind)
    };
    followed.wait_until("the routes that refuse", |network| {
        kind(network, "172.17.0.1") == Some(RouteKind::Blackhole)
            && kind(network, "172.18.0.1") == Some(RouteKind::Prohibit)
            && kind(network, "2001:db8:f:1::1") == Some(RouteKind::Unreachable)
            && kind(network, "172.19.0.1").is_none()
            && way(network, "172.21.0.1").as_deref() == Some("one 2001:db8:1::7")
    });
    // Of another table: not followed.
    assert_eq!(
        way(&followed.shared.load(), "172.20.0.1").as_deref(),
        Some("one 10.0.1.1")
    );
    followed.ip("route del blackhole 172.17.0.0/16");
    followed.wait_until("no blackhole", |network| {
        kind(network, "172.17.0.1") == Some(RouteKind::Unicast)
    });
    followed.wait_same_routes();
}

#[test]
fn several_next_hops_are_followed_through_links_going_down_and_up() {
    let followed = Followed::new();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        followed.ip(&format!("link add {name} type veth peer name {name}-far"));
        followed.ip(&format!("link set {name}-far up"));
        followed.ip(&format!("link set {name} up"));
        followed.ip(&format!("address add 10.0.{subnet}.2/24 dev {name}"));
        followed.ip(&format!("address add 2001:db8:{subnet}::2/64 dev {name} nodad"));
    }
    followed.ip("route add 172.16.0.0/12 nexthop via 10.0.1.1 weight 1 nexthop via 10.0.2.1 weight 3");
    followed.ip("route add 2001:db8:f::/48 via 2001:db8:1::1");
    followed.ip("route append 2001:db8:f::/48 via 2001:db8:2::1");
    let hops = |network: &Network, destination: &str| -> Vec<u16> {
        let route = network.routes.lookup(address(destination));
        route.map_or(Vec::new(), |route| {
            route.next_hops.iter().map(|hop| hop.weight).collect()
        })
    };
    followed.wait_until("two next hops", |network| {
        hops(network, "172.16.0.1") == [1, 3] && hops(network, "2001:db8:f::1") == [1, 1]
    });
    followed.wait_same_routes();
    followed.ip("link set two down");
    followed.wait_until("one next hop", |network| {
        hops(network, "172.16.0.1") == [1] && hops(network, "2001:db8:f::1") == [1]
    });
    followed.ip("link set two up");
    followed.wait_until("the next hop of IPv4 again", |network| {
        hops(network, "172.16.0.1") == [1, 3]
    });
    followed.ip("route del 2001:db8:f::/48 via 2001:db8:1::1");
    followed.wait_same_routes();
    followed.ip("link del one");
    followed.wait_same_routes();
}

/// Changes in an order that no person would choose, a few prefixes and metrics only, so that they meet.
#[test]
fn random_changes_of_routes_end_in_the_kernels_own_table() {
    let followed = Followed::new();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        followed.ip(&format!("link add {name} type veth peer name {name}-far"));
        followed.ip(&format!("link set {name}-far up"));
        followed.ip(&format!("link set {name} up"));
        followed.ip(&format!("address add 10.0.{subnet}.2/24 dev {name}"));
        followed.ip(&format!("address add 2001:db8:{subnet}::2/64 dev {name} nodad"));
    }
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |choices: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) % choices
    };
    for _ in 0..20 {
        let mut commands = String::new();
        for _ in 0..60 {
            let verb = [
                "add", "add", "append", "prepend", "replace", "change", "del", "del",
            ][random(8) as usize];
            let (prefix, metric) = (random(4), random(2) + 1);
            let (subnet, host) = (random(2) + 1, random(3) + 10);
            commands += &match random(5) {
                0 => format!("route {verb} blackhole 172.16.{prefix}.0/24 metric {metric}\n"),
                1 => format!(
                    "route {verb} 172.16.{prefix}.0/24 metric {metric} nexthop via 10.0.1.{host} \
                     nexthop via 10.0.2.{host} weight 2\n"
                ),
                2 => format!("route {verb} 172.16.{prefix}.0/24 metric {metric} via 10.0.{subnet}.{host}\n"),
                3 => format!(
                    "route {verb} 2001:db8:f{prefix}::/48 metric {metric} nexthop via 2001:db8:1::{host} \
                     nexthop via 2001:db8:2::{host}\n"
                ),
                _ => format!(
                    "route {verb} 2001:db8:f{prefix}::/48 metric {metric} via 2001:db8:{subnet}::{host}\n"
                ),
            };
        }
        followed.namespace.try_batch(commands);
        followed.wait_same_routes();
    }
    assert!(!followed.shared.load().routes.is_empty());
}

#[test]
fn five_thousand_routes_are_followed_in_few_snapshots() {
    let followed = Followed::new();
    followed.ip("link add one type veth peer name one-far");
    followed.ip("link set one-far up");
    followed.ip("link set one up");
    followed.ip("address add 192.0.2.2/24 dev one");
    followed.wait_until("the subnet's route", |network| {
        way(network, "192.0.2.9").is_some()
    });
    let (before, count) = (followed.shared.version(), followed.shared.load().routes.len());
    let routes = |verb: &str| {
        (0..5000_u32)
            .map(|number| {
                format!(
                    "route {verb} 10.{}.{}.0/24 via 192.0.2.1\n",
                    number >> 8,
                    number & 255
                )
            })
            .collect::<String>()
    };
    followed.namespace.batch(routes("add"));
    followed.wait_until("all routes", |network| network.routes.len() == count + 5000);
    assert_eq!(
        way(&followed.shared.load(), "10.19.135.9").as_deref(),
        Some("one 192.0.2.1")
    );
    let snapshots = followed.shared.version() - before;
    assert!(snapshots < 2500, "{snapshots} snapshots for 5000 changes");
    followed.namespace.batch(routes("del"));
    followed.wait_until("no route", |network| network.routes.len() == count);
    followed.wait_same_routes();
}

#[test]
fn an_overrun_leads_to_a_new_reading() {
    let namespace = Namespace::new();
    namespace.ip("link add one type veth peer name one-far");
    namespace.ip("link set one-far up");
    namespace.ip("link set one up");
    namespace.ip("address add 192.0.2.2/24 dev one");
    let shared = SharedNetwork::default();
    // The monitor's thread waits in its callback while more changes pile up than the kernel keeps.
    let (entered, is_entered) = channel::<()>();
    let (leave, may_leave) = channel::<()>();
    let (changed, changes) = channel();
    let hold = move || {
        let _ = entered.send(());
        let _ = may_leave.recv();
        let _ = changed.send(());
    };
    leave.send(()).unwrap();
    let followed = shared.clone();
    let handle = namespace
        .run(move || Monitor::start(followed, vec![Box::new(hold)]))
        .unwrap();
    is_entered.recv().unwrap();
    namespace.ip("route add 203.0.113.0/24 via 192.0.2.1");
    is_entered.recv_timeout(DEADLINE).unwrap();
    let changes_of = |verb: &str| {
        (0..65_536_u32)
            .map(|number| {
                format!(
                    "route {verb} 10.{}.{}.0/24 via 192.0.2.1\n",
                    number >> 8,
                    number & 255
                )
            })
            .collect::<String>()
    };
    namespace.batch(changes_of("add"));
    namespace.ip("route del 203.0.113.0/24");
    drop(leave);
    let deadline = Instant::now() + DEADLINE;
    let all = namespace.run(|| all_routes(&Network::read().unwrap()));
    assert!(all.len() > 65_536);
    while all_routes(&shared.load()) != all {
        assert!(
            changes
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .is_ok()
        );
    }
    assert!(handle.failure().is_none());
}

#[test]
fn vlan_links_have_their_parent_and_tag() {
    let followed = Followed::new();
    followed.ip("link add base type veth peer name base-far");
    if !followed
        .namespace
        .tries("link add link base name outer type vlan id 100 protocol 802.1ad")
    {
        eprintln!("not tested: this kernel has no VLAN links (8021q)");
        return;
    }
    followed.ip("link add link outer name inner type vlan id 7");
    let tags = followed.wait("the inner VLAN link", |network| {
        let inner = link(network, "inner")?;
        let (below, tags) = network.links.underlying(inner.index)?;
        assert_eq!(below.name, "base");
        assert_eq!(inner.vlan?.parent, link(network, "outer")?.index);
        Some(tags)
    });
    assert_eq!(
        tags,
        [
            VlanTag {
                id: 100,
                protocol: 0x88a8
            },
            VlanTag {
                id: 7,
                protocol: 0x8100
            }
        ]
    );
    followed.ip("link del outer");
    followed.wait_until("no VLAN links", |network| {
        link(network, "inner").is_none() && link(network, "outer").is_none()
    });
}

/// Two namespaces joined by a veth pair, `near` in the followed one and `far` in the other.
fn pair() -> (Followed, Namespace) {
    let (followed, far) = (Followed::new(), Namespace::new());
    followed.ip("link add near type veth peer name far");
    followed.ip(&format!("link set far netns {}", far.thread_id));
    followed.ip("address add 192.0.2.1/24 dev near");
    followed.ip("address add 2001:db8::1/64 dev near nodad");
    followed.ip("link set near up");
    far.ip("link set far address 02:00:00:00:00:0f");
    far.ip("address add 192.0.2.15/24 dev far");
    far.ip("address add 2001:db8::15/64 dev far nodad");
    far.ip("link set far up");
    followed.wait_until("the pair with a carrier", |network| {
        link(network, "near").is_some_and(Link::is_usable)
    });
    (followed, far)
}

#[test]
fn neighbours_are_resolved_when_asked_for_and_followed() {
    let (followed, _far) = pair();
    let resolver = followed.handle.resolver();
    let near = link(&followed.shared.load(), "near").unwrap().index;
    for destination in [address("192.0.2.15"), address("2001:db8::15")] {
        assert_eq!(followed.shared.load().neighbours.lookup(near, destination), None);
        resolver.resolve(near, destination);
        followed.wait_until("the resolved neighbour", |network| {
            let neighbour = network.neighbours.lookup(near, destination);
            neighbour.is_some_and(|neighbour| {
                neighbour.state == NeighbourState::Fresh && neighbour.mac == Some([2, 0, 0, 0, 0, 15])
            })
        });
    }
    // Nobody has this address.
    resolver.resolve(near, address("192.0.2.77"));
    followed.wait_until("given up", |network| {
        let neighbour = network.neighbours.lookup(near, address("192.0.2.77"));
        neighbour
            .is_some_and(|neighbour| neighbour.mac.is_none() && neighbour.state == NeighbourState::Failed)
    });
    // No such link: refused by the kernel, and nothing else happens.
    resolver.resolve(netchannel::network::InterfaceIndex(9999), address("192.0.2.77"));

    followed.ip("neighbour replace 192.0.2.15 lladdr 02:00:00:00:00:0f dev near nud stale");
    let is = move |network: &Network, state: NeighbourState| {
        let neighbour = network.neighbours.lookup(near, address("192.0.2.15"));
        neighbour.is_some_and(|neighbour| neighbour.state == state && neighbour.mac.is_some())
    };
    followed.wait_until("stale", |network| is(network, NeighbourState::Stale));
    // Asked for again, until the second since the first request is over.
    let deadline = Instant::now() + DEADLINE;
    while !is(&followed.shared.load(), NeighbourState::Fresh) {
        assert!(Instant::now() < deadline, "never confirmed");
        resolver.resolve(near, address("192.0.2.15"));
        let _ = followed.changes.recv_timeout(Duration::from_millis(50));
    }

    followed.ip("neighbour replace 192.0.2.99 lladdr 02:00:00:00:00:63 dev near");
    followed.wait_until("the permanent one", |network| {
        let neighbour = network.neighbours.lookup(near, address("192.0.2.99"));
        neighbour.is_some_and(|neighbour| neighbour.mac == Some([2, 0, 0, 0, 0, 0x63]))
    });
    followed.ip("neighbour del 192.0.2.99 dev near");
    followed.wait_until("the permanent one gone", |network| {
        network
            .neighbours
            .lookup(near, address("192.0.2.99"))
            .is_none_or(|neighbour| neighbour.mac.is_none())
    });
    followed.ip("link set near down");
    followed.wait_until("no neighbours", |network| {
        network.neighbours.lookup(near, address("192.0.2.15")).is_none()
    });
}

#[test]
fn the_carrier_is_followed() {
    let (followed, far) = pair();
    let index = link(&followed.shared.load(), "near").unwrap().index;
    let name = || "near".to_owned();
    far.ip("link set far down");
    followed.wait_event(&NetworkEvent::LinkDown { index, name: name() });
    let network = followed.shared.load();
    assert!(link(&network, "near").is_some_and(|link| link.up && !link.running));
    assert!(matches!(
        network.forwarding(address("192.0.2.15"), 0),
        Forwarding::LinkDown(_)
    ));
    far.ip("link set far up");
    followed.wait_event(&NetworkEvent::LinkUp { index, name: name() });
    far.ip("link del far");
    followed.wait_event(&NetworkEvent::LinkRemoved { index, name: name() });
}

#[test]
fn veth_peers_are_known_where_they_can_be_reached() {
    let (followed, far) = pair();
    followed.ip("link add left type veth peer name right");
    let right = followed.wait("both ends", |network| {
        let left = link(network, "left")?.index;
        network.links.veth_peer(left).map(|right| right.name.clone())
    });
    assert_eq!(right, "right");
    let network = followed.shared.load();
    let near = link(&network, "near").unwrap();
    let peer = near.peer.unwrap();
    assert!(!peer.same_namespace);
    assert_eq!(network.links.veth_peer(near.index), None);
    let there = far.run(|| Network::read().unwrap());
    assert_eq!(there.links.by_name("far").map(|far| far.index), Some(peer.index));
}

#[test]
fn offloads_are_turned_off_and_on() {
    let namespace = Namespace::new();
    namespace.ip("link add left numrxqueues 3 numtxqueues 2 type veth peer name right");
    namespace.run(|| {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.driver("left").unwrap(), "veth");
        assert_eq!(
            ethtool.queues("left").unwrap(),
            Queues {
                receive: 3,
                transmit: 2
            }
        );
        assert_eq!(
            ethtool.queues("lo").unwrap(),
            Queues {
                receive: 1,
                transmit: 1
            }
        );
        for offload in [
            Offload::TransmitChecksum,
            Offload::ReceiveVlan,
            Offload::TransmitVlan,
        ] {
            assert!(ethtool.is_on("left", offload).unwrap(), "{offload:?}");
            assert_eq!(ethtool.turn_off("left", offload).unwrap(), OffloadChange::Changed);
            assert!(!ethtool.is_on("left", offload).unwrap(), "{offload:?}");
            assert_eq!(
                ethtool.turn_off("left", offload).unwrap(),
                OffloadChange::AlreadyOff
            );
            assert!(ethtool.is_on("right", offload).unwrap(), "{offload:?}");
            ethtool.turn_on("left", offload).unwrap();
            assert!(ethtool.is_on("left", offload).unwrap(), "{offload:?}");
        }
        let fixed = ethtool.turn_off("lo", Offload::TransmitChecksum);
        assert!(
            matches!(fixed, Err(NetworkError::OffloadFixed { .. })),
            "{fixed:?}"
        );
        assert!(!Network::read().unwrap().links.by_name("left").unwrap().up);
        ethtool.set_up("left").unwrap();
        assert!(Network::read().unwrap().links.by_name("left").unwrap().up);
    });
}

#[test]
fn settings_of_interfaces_that_are_not_there_are_refused() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let ethtool = Ethtool::open().unwrap();
        for name in ["nothing", "exactly15bytes!"] {
            assert!(
                matches!(ethtool.driver(name), Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
            assert!(
                matches!(ethtool.queues(name), Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
            assert!(
                matches!(ethtool.set_up(name), Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
            let offload = ethtool.turn_off(name, Offload::ReceiveVlan);
            assert!(
                matches!(offload, Err(NetworkError::NoSuchInterface { .. })),
                "{name}"
            );
        }
        for name in ["", "sixteen-bytes-it", "zero\0"] {
            assert!(
                matches!(ethtool.set_up(name), Err(NetworkError::BadInterfaceName { .. })),
                "{name:?}"
            );
        }
    });
}

#[test]
fn dropping_the_handle_ends_the_thread() {
    let Followed {
        handle,
        shared,
        events,
        changes,
        namespace,
    } = Followed::new();
    assert!(handle.failure().is_none());
    let resolver = handle.resolver();
    drop(handle);
    // The callbacks and the subscriptions went with the thread, so both channels are closed.
    while changes.try_recv().is_ok() {}
    assert_eq!(
        changes.try_recv(),
        Err(std::sync::mpsc::TryRecvError::Disconnected)
    );
    while events.try_recv().is_ok() {}
    assert_eq!(
        events.try_recv(),
        Err(std::sync::mpsc::TryRecvError::Disconnected)
    );
    let version = shared.version();
    namespace.ip("link add one type veth peer name one-far");
    resolver.resolve(netchannel::network::InterfaceIndex(1), address("192.0.2.1"));
    assert_eq!(shared.version(), version);
}

#[test]
fn a_thread_that_fails_says_so() {
    let namespace = Namespace::new();
    let (started, is_started) = channel::<()>();
    let panics_later = move || {
        // Fails once the receiver is gone.
        assert!(
            started.send(()).is_ok(),
            "expected: this test lets the thread panic"
        );
    };
    let handle = namespace
        .run(move || Monitor::start(SharedNetwork::default(), vec![Box::new(panics_later)]))
        .unwrap();
    let events = handle.subscribe();
    is_started.recv().unwrap();
    drop(is_started);
    assert!(handle.failure().is_none());
    namespace.ip("link add one type veth peer name one-far");
    let event = events.recv_timeout(DEADLINE);
    assert!(
        matches!(event, Ok(NetworkEvent::MonitorFailed { .. })),
        "{event:?}"
    );
    assert!(matches!(
        handle.failure().as_deref(),
        Some(NetworkError::Panicked)
    ));
}
