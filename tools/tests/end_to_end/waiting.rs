//! The ways to wait for packets: traffic passes with each of them, and `show workers` tells which it is and that it is kept.

use netchannel::control::report::{WaitMode, Worker, WorkerState, Workers};
use netchannel_benches::topology::{BOX_INSIDE, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{
    Site, TRANSLATE_ALL, TRANSLATOR, check_echo, check_tcp, check_traffic, eventually, exchange_udp, lab,
};

fn site(workers: &str, queues: u32) -> Site {
    let options = Options {
        queues,
        ..Options::default()
    };
    let workers = format!("[workers]\n{workers}\n");
    Site::on(lab(&options), &[&workers, TRANSLATOR, TRANSLATE_ALL].concat())
}

fn worker(site: &Site) -> Worker {
    let mut workers = site.show_with::<Workers>("workers").workers;
    assert_eq!(workers.len(), 1);
    workers.remove(0)
}

/// Traffic of all kinds, then what the worker does without any.
fn check(site: &Site) {
    check_traffic(&site.lab);
    check_tcp(&site.lab, 3, 1_000_000);
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    let outcome = exchange_udp(&site.lab, echo.address(), 20, 5);
    assert!(outcome.intact(), "{outcome:?}");
    check_echo(&site.lab.inside, BOX_INSIDE);
    check_echo(&site.lab.inside, SERVER);
}

/// Without traffic it sleeps most of the time. Questions about it wake it, so that it hardly ever sleeps when it is asked.
fn check_sleep(site: &Site) {
    eventually("a second of sleep", || {
        worker(site).last_second.asleep_seconds > 0.5
    });
    assert!(worker(site).total.sleeps > 0);
}

#[test]
fn a_worker_that_is_told_nothing_sleeps() {
    let site = Site::new();
    check(&site);
    check_sleep(&site);
    let seen = worker(&site);
    assert_eq!((seen.wait, seen.spin_seconds), (WaitMode::Interrupt, None));
    site.finish();
}

#[test]
fn an_adaptive_worker_looks_on_for_a_while_and_then_sleeps() {
    let site = site("wait = \"adaptive\"\nspin = \"2ms\"", 1);
    check(&site);
    let seen = worker(&site);
    assert_eq!((seen.wait, seen.spin_seconds), (WaitMode::Adaptive, Some(0.002)));
    // Between the packets of a transfer it looked on: more looks than sleeps by far.
    assert!(seen.total.empty_polls > seen.total.sleeps, "{seen:?}");
    let text = site.daemon.show_text("workers").expect("it answers");
    assert!(text.contains("adaptive, 2.00 ms"), "{text}");
    check_sleep(&site);
    site.finish();
}

#[test]
fn a_worker_that_polls_never_sleeps() {
    for queues in [1, 2] {
        let site = site(
            "wait = \"busy-poll\"\nbusy_poll_budget = 128\nbusy_poll_time = \"50us\"",
            queues,
        );
        check(&site);
        // Interrupts held back, as they should be: now packets come because the worker asks for them.
        for interface in ["lan", "wan"] {
            for (attribute, value) in [("napi_defer_hard_irqs", "2"), ("gro_flush_timeout", "200000")] {
                let set = site.lab.middle.set_device_attribute(interface, attribute, value);
                set.expect("an attribute");
            }
        }
        check(&site);
        eventually("a full second", || {
            worker(&site).last_second.polling_seconds > 0.0
        });
        let seen = worker(&site);
        assert_eq!(
            (seen.wait, seen.state),
            (WaitMode::BusyPoll, WorkerState::Running)
        );
        assert_eq!(
            (seen.total.sleeps, seen.total.asleep_seconds),
            (0, 0.0),
            "{seen:?}"
        );
        site.finish();
    }
}
