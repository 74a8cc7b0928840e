//! Workers on threads of their own, that sleep when they have nothing to do.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

use netchannel::channel::nat::NatSettings;
use netchannel::dispatch::team::{Waker, team};

use super::gateway::worker;
use crate::common::TestBox;
use crate::harness::EXTERNAL;
use crate::packets::*;

/// What wakes a thread: a flag that stays until it is seen.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ringing: Condvar,
    count: AtomicU64,
}

impl Bell {
    fn ring(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().unwrap() = true;
        self.ringing.notify_all();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.ringing.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// Ends the others' wait too if an assertion fails.
struct Finish<'a> {
    is_over: &'a AtomicBool,
    bells: &'a [Arc<Bell>],
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.bells.iter().for_each(|bell| bell.ring());
    }
}

const FLOWS: u16 = 40;
const ROUNDS: u32 = 60;

/// Each worker gets packets of flows of all hosts, and sleeps when it has sent its own. All arrive, those of each flow in their order.
#[test]
fn nothing_is_lost_and_order_is_kept_between_threads_that_sleep() {
    for workers in 2..=4usize {
        let bells: Vec<Arc<Bell>> = (0..workers).map(|_| Arc::default()).collect();
        let ring = |bell: &Arc<Bell>| -> Waker {
            let bell = Arc::clone(bell);
            Arc::new(move || bell.ring())
        };
        let members = team(bells.iter().map(ring).collect());
        let all = workers as u64 * u64::from(FLOWS) * u64::from(ROUNDS);
        let (arrived, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let start = Barrier::new(workers);
        thread::scope(|scope| {
            for member in members {
                let (bells, arrived, is_over, start) = (&bells, &arrived, &is_over, &start);
                scope.spawn(move || {
                    let number = member.number();
                    let mut test = worker(&NatSettings::new(vec![EXTERNAL]), Some(member));
                    let mut last: HashMap<(SocketAddrV4, SocketAddrV4), u32> = HashMap::new();
                    let _finish = Finish { is_over, bells };
                    let mut work = |test: &mut TestBox| {
                        let mut is_idle = false;
                        while !is_idle {
                            is_idle = test.dispatcher.poll(test.now).unwrap() == 0;
                            for frame in test.wan.sent_all() {
                                let payload: [u8; 4] = packet(&frame)[28..32].try_into().unwrap();
                                let round = u32::from_be_bytes(payload);
                                let before = last.insert(ends(&frame), round).unwrap_or(0);
                                assert_eq!(before + 1, round);
                                if arrived.fetch_add(1, Ordering::Relaxed) + 1 == all {
                                    is_over.store(true, Ordering::SeqCst);
                                    bells.iter().for_each(|bell| bell.ring());
                                }
                            }
                        }
                    };
                    start.wait();
                    for round in 1..=ROUNDS {
                        for flow in 0..FLOWS {
                            let inside = SocketAddrV4::new([10, 0, 0, 2 + flow as u8].into(), 5000);
                            let server = SocketAddrV4::new([8, 8, 8, 8].into(), 1000 + number as u16);
                            let packet = ip_packet(Body::Udp, inside, server, &round.to_be_bytes());
                            assert!(test.lan.send(&frame(&packet)));
                        }
                        work(&mut test);
                    }
                    while !is_over.load(Ordering::SeqCst) {
                        if test.dispatcher.falls_asleep() {
                            bells[number].wait();
                        }
                        test.dispatcher.wakes_up();
                        work(&mut test);
                    }
                    test.assert_all_accounted_for();
                    let totals = test.dispatcher.totals();
                    assert_eq!(totals.dropped.total(), 0);
                });
            }
        });
        assert_eq!(arrived.into_inner(), all);
    }
}
