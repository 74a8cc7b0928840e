//! Namespaces whose network is followed while `ip` changes it.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netchannel::network::{Link, Monitor, MonitorHandle, Network, NetworkEvent, Route, SharedNetwork};
use nix::sched::{CloneFlags, unshare};

/// Far longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

type Task = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it and does there what it is told.
pub(crate) struct Namespace {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    /// By which `ip link set netns` finds it.
    pub(crate) thread_id: i32,
}

impl Namespace {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, is_answered) = channel();
        let tasks = self.tasks.as_ref().unwrap();
        tasks
            .send(Box::new(move || answer.send(task()).unwrap()))
            .unwrap();
        is_answered.recv().expect("the task in the namespace panicked")
    }

    /// Runs commands of `ip`, one a line, all of them; whether none was refused.
    pub(crate) fn try_batch(&self, commands: String) -> bool {
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
    pub(crate) fn batch(&self, commands: String) {
        assert!(
            self.try_batch(commands.clone()),
            "{}",
            &commands[..commands.len().min(1000)]
        );
    }

    pub(crate) fn ip(&self, command: &str) {
        self.batch(format!("{command}\n"));
    }

    /// Makes an Ethernet link that is up and has a carrier: a veth pair, with `{name}-far` as the other end.
    pub(crate) fn ethernet(&self, name: &str) {
        self.batch(format!(
            "link add {name} type veth peer name {name}-far\nlink set {name}-far up\nlink set {name} up\n"
        ));
    }

    pub(crate) fn tries(&self, command: &str) -> bool {
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
pub(crate) struct Followed {
    pub(crate) handle: MonitorHandle,
    pub(crate) shared: SharedNetwork,
    pub(crate) events: Receiver<NetworkEvent>,
    pub(crate) changes: Receiver<()>,
    pub(crate) namespace: Namespace,
}

impl Followed {
    pub(crate) fn new() -> Self {
        Self::of(Namespace::new())
    }

    pub(crate) fn of(namespace: Namespace) -> Self {
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

    pub(crate) fn ip(&self, command: &str) {
        self.namespace.ip(command);
    }

    /// Waits until a snapshot has what is looked for.
    pub(crate) fn wait<T>(&self, what: &str, look: impl Fn(&Network) -> Option<T>) -> T {
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

    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Network) -> bool) {
        self.wait(what, |network| holds(network).then_some(()));
    }

    pub(crate) fn wait_event(&self, wanted: &NetworkEvent) {
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

    /// Waits until the followed routes are those that the kernel tells when asked, which go on changing for a
    /// while after a link went up.
    pub(crate) fn wait_same_routes(&self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let expected = all_routes(&self.namespace.run(|| Network::read().unwrap()));
            let followed = all_routes(&self.shared.load());
            if followed == expected {
                return;
            }
            if Instant::now() > deadline {
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
            // Woken by the next snapshot, or to ask the kernel again.
            let _ = self.changes.recv_timeout(Duration::from_millis(50));
        }
    }
}

/// The routes of each prefix in their order, the prefixes sorted.
pub(crate) fn all_routes(network: &Network) -> Vec<Route> {
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

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn link<'a>(network: &'a Network, name: &str) -> Option<&'a Link> {
    network.links.by_name(name)
}

pub(crate) fn has_address(network: &Network, name: &str, address: &str) -> bool {
    link(network, name).is_some_and(|link| link.addresses.contains(&address.parse().unwrap()))
}

pub(crate) fn way(network: &Network, destination: &str) -> Option<String> {
    let next_hop = *network.routes.lookup(address(destination))?.next_hop(0)?;
    let name = &network.links.get(next_hop.interface)?.name;
    Some(
        next_hop
            .gateway
            .map_or_else(|| name.clone(), |gateway| format!("{name} {gateway}")),
    )
}

/// Two namespaces joined by a veth pair, `near` in the followed one and `far` in the other.
pub(crate) fn pair() -> (Followed, Namespace) {
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
