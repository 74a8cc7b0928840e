//! State that was saved by another number of workers.

use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

use netchannel::channel::nat::state::{LeftOut, Restored, Saved, Writer};

use super::gateway::Gateway;
use crate::harness::*;
use crate::packets::*;

fn saved(gateway: &Gateway, number: usize) -> Vec<u8> {
    let test = &gateway.workers[number];
    let part = test.dispatcher.state("nat", 0, usize::MAX, test.now).unwrap();
    let mut writer = Writer::new(Vec::new(), "nat", part.basis, SystemTime::UNIX_EPOCH).unwrap();
    writer.add(&part.records).unwrap();
    writer.finish().unwrap().0
}

/// Gives each of so many workers what each of the former ones saved.
fn restored(former: &Gateway, workers: usize) -> (Gateway, Vec<Restored>) {
    let mut team = Gateway::new(workers, |_| {});
    let files: Vec<Vec<u8>> = (0..former.workers.len())
        .map(|number| saved(former, number))
        .collect();
    let mut all = Vec::new();
    for test in &mut team.workers {
        for file in &files {
            let state = Saved::read(file, "nat").unwrap();
            all.extend(test.dispatcher.restore("nat", &state, Duration::ZERO, test.now));
        }
    }
    (team, all)
}

fn sessions(gateway: &Gateway) -> Vec<(SocketAddrV4, SocketAddrV4)> {
    let all = gateway.mappings();
    let mut all: Vec<_> = all
        .iter()
        .map(|(_, mapping)| (mapping.inside, mapping.external))
        .collect();
    all.sort();
    all
}

#[test]
fn hosts_come_back_to_their_worker_and_what_does_not_fit_is_counted() {
    for (former, workers) in [(2, 2), (1, 3), (3, 2), (4, 1)] {
        let mut before = Gateway::new(former, |_| {});
        for number in 0..60 {
            let inside = SocketAddrV4::new([10, 0, 0, 2 + number].into(), 3000 + u16::from(number) * 7);
            before.inside(number.into(), &ip_packet(Body::Udp, inside, at(SERVER), b"out"));
        }
        let (mut team, restored) = restored(&before, workers);
        let came_back: u64 = restored.iter().map(|it| it.sessions).sum();
        let left_out = |reason| {
            restored
                .iter()
                .filter_map(|it| it.left_out.get(&reason))
                .sum::<u64>()
        };
        // Whose host it is takes it up or says why not; the others say that it is not theirs.
        assert_eq!(came_back + left_out(LeftOut::Port), 60);
        assert_eq!(left_out(LeftOut::Worker), 60 * (workers as u64 - 1));
        if former == workers || workers == 1 {
            assert_eq!((came_back, sessions(&team)), (60, sessions(&before)));
        } else {
            assert!((5..60).contains(&came_back), "{came_back}");
        }
        for (inside, external) in sessions(&team) {
            let reply = ip_packet(Body::Udp, at(SERVER), external, b"in");
            let seen = team.outside(usize::from(inside.port()), &reply);
            assert_eq!(ends(seen.at_host()).1, inside);
        }
    }
}
