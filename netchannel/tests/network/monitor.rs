//! The thread that follows: storms, overruns, its end.

use std::sync::mpsc::{TryRecvError, channel};
use std::time::Instant;

use netchannel::network::{InterfaceIndex, Monitor, Network, NetworkError, NetworkEvent, SharedNetwork};

use crate::support::{DEADLINE, Followed, Namespace, address, all_routes, way};

#[test]
fn five_thousand_routes_are_followed_in_few_snapshots() {
    let followed = Followed::new();
    followed.namespace.ethernet("one");
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
    namespace.ethernet("one");
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
    assert_eq!(changes.try_recv(), Err(TryRecvError::Disconnected));
    while events.try_recv().is_ok() {}
    assert_eq!(events.try_recv(), Err(TryRecvError::Disconnected));
    let version = shared.version();
    namespace.ip("link add one type veth peer name one-far");
    resolver.resolve(InterfaceIndex(1), address("192.0.2.1"));
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
