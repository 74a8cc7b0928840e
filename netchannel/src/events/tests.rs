use std::net::Ipv4Addr;

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn link(number: u32) -> What {
    What::LinkUp(Link {
        interface: format!("eth{number}"),
        from: None,
    })
}

fn number(event: &Event) -> u32 {
    match &event.what {
        What::LinkUp(link) => link.interface[3..].parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_made_that_nobody_wants() {
    let events = Events::new();
    let never = || -> What { panic!("nobody watches") };
    events.publish(Kind::Links, never);
    let routes = events.subscribe(Kinds::from_iter([Kind::Routes]));
    assert!(events.wants(Kind::Routes) && !events.wants(Kind::Links));
    events.publish(Kind::Links, never);
    drop(routes);
    assert_eq!(events.wanted().all(), Kinds::NONE);
    events.publish(Kind::Routes, never);
}

#[test]
fn each_listener_hears_its_kinds_in_order() {
    let events = Events::new();
    let mut all = events.subscribe(Kinds::ALL);
    let mut daemon = events.subscribe(Kinds::from_iter([Kind::Daemon]));
    for number in 0..10 {
        events.publish(Kind::Links, || link(number));
    }
    events.publish(Kind::Daemon, || What::Stopping);
    for expected in 0..10 {
        match all.next(LONG) {
            Heard::Event(event) => assert_eq!(number(&event), expected),
            other => panic!("{other:?}"),
        }
    }
    for listener in [&mut all, &mut daemon] {
        assert!(matches!(listener.next(LONG), Heard::Event(event) if event.what == What::Stopping));
        assert_eq!(listener.next(Duration::ZERO), Heard::Nothing);
    }
}

/// Against a plain model: what is heard and what is lost are all that was published, in order.
#[test]
fn what_finds_no_room_is_counted_where_it_is_missing() {
    let events = Events::new();
    let mut listener = events.subscribe(Kinds::ALL);
    let mut fast = events.subscribe(Kinds::ALL);
    let mut expected = 0;
    let mut published = 0;
    for (put, taken) in [(5, 3), (QUEUE + 10, 100), (50, 60), (2 * QUEUE, 3 * QUEUE)] {
        for _ in 0..put {
            events.publish(Kind::Links, || link(published));
            published += 1;
            assert!(
                matches!(fast.next(LONG), Heard::Event(_)),
                "one that listens loses nothing"
            );
        }
        assert!(lock(&listener.queue.waiting).items.len() <= QUEUE + 1);
        for _ in 0..taken {
            match listener.next(Duration::ZERO) {
                Heard::Event(event) => {
                    assert_eq!(number(&event), expected);
                    expected += 1;
                }
                Heard::Lost(count) => expected += count as u32,
                Heard::Nothing => assert_eq!(expected, published),
                Heard::Ended => panic!("it has not ended"),
            }
        }
    }
    assert_eq!(expected, published);
    events.lose(Kind::Links, 7);
    events.lose(Kind::Links, 2);
    assert_eq!(listener.next(LONG), Heard::Lost(9));
}

#[test]
fn a_listener_that_waits_is_woken() {
    let events = Events::new();
    let mut listener = events.subscribe(Kinds::ALL);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (listener.next(LONG), listener.next(LONG)));
        events.publish(Kind::Links, || link(1));
        events.end(Duration::ZERO);
        let (first, second) = waiting.join().unwrap();
        assert!(matches!(first, Heard::Event(_)));
        assert_eq!(second, Heard::Ended);
    });
    // Who comes too late hears the end, too.
    assert_eq!(events.subscribe(Kinds::ALL).next(LONG), Heard::Ended);
}

#[test]
fn the_end_waits_for_those_who_take_what_they_have() {
    let events = Events::new();
    let mut listener = events.subscribe(Kinds::ALL);
    let _deaf = events.subscribe(Kinds::ALL);
    events.publish(Kind::Daemon, || What::Stopping);
    std::thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let heard = listener.next(LONG);
            (heard, listener.next(LONG))
        });
        events.end(Duration::from_millis(50));
        assert!(matches!(heard.join().unwrap(), (Heard::Event(_), Heard::Ended)));
    });
}

#[test]
fn events_are_as_documented_in_json() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_777_777_777_042);
    let check = |what: What, text: &str| {
        let event = Event { time, what };
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        assert_eq!(serde_json::from_str::<Event>(text).unwrap(), event);
    };
    check(
        What::Stopping,
        r#"{"time":"2026-05-03T03:09:37.042Z","event":"stopping"}"#,
    );
    check(
        What::AddressAdded(Address {
            interface: "wan0".to_owned(),
            address: "192.0.2.1/24".parse().unwrap(),
        }),
        r#"{"time":"2026-05-03T03:09:37.042Z","event":"address-added","interface":"wan0","address":"192.0.2.1/24"}"#,
    );
    check(
        What::BlockReleased(Block {
            channel: "internet".to_owned(),
            host: Ipv4Addr::new(10, 0, 0, 2),
            external: Ipv4Addr::new(198, 51, 100, 1),
            ports: "2048-2559".to_owned(),
        }),
        r#"{"time":"2026-05-03T03:09:37.042Z","event":"block-released","channel":"internet","host":"10.0.0.2","external":"198.51.100.1","ports":"2048-2559"}"#,
    );
    let flow = Flow {
        interface: "lan0".to_owned(),
        source: "10.0.0.2".parse().unwrap(),
        destination: "192.0.2.9".parse().unwrap(),
        protocol: 17,
        source_port: 5000,
        destination_port: 53,
        channel: "internet".to_owned(),
        rule: Some(7),
    };
    check(
        What::FlowClosed(ClosedFlow {
            flow,
            packets: 2,
            bytes: 120,
            reason: "replaced".to_owned(),
        }),
        r#"{"time":"2026-05-03T03:09:37.042Z","event":"flow-closed","interface":"lan0","source":"10.0.0.2","destination":"192.0.2.9","protocol":17,"source_port":5000,"destination_port":53,"channel":"internet","rule":7,"packets":2,"bytes":120,"reason":"replaced"}"#,
    );
}
