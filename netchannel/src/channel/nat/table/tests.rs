use std::net::Ipv4Addr;

use super::*;
use crate::channel::nat::flow::Protocol;
use rand::SeedableRng;

/// A session with a mapping of its own, all tables at their size for so many: at most 256 bytes, and ten million in less than 4 GiB.
#[test]
fn ten_million_sessions_fit_in_four_gibibytes() {
    for count in [1_000_000, 3_200_000, 10_000_000usize] {
        let index = Index::for_entries(count).bytes();
        // By key; the list of the mapping; the timer and its slot.
        let session = Slab::<Session>::BYTES * count + index + (8 + 8 + 2) * count;
        // By inside endpoint; the external port.
        let mapping = Slab::<Mapping>::BYTES * count + index + 4 * count;
        let all = session + mapping;
        assert!(all <= 256 * count, "{} bytes a session", all / count);
        assert!(count < 10_000_000 || all < 4 << 30);
    }
}

#[test]
fn a_note_leads_to_its_session_and_no_other() {
    let settings = NatSettings::new(vec![Ipv4Addr::new(192, 0, 2, 1)]);
    let mut table = Table::new(&settings, StdRng::seed_from_u64(1));
    let endpoint = |address: [u8; 4]| Endpoint {
        address: address.into(),
        port: 5000,
    };
    let (inside, remote) = (endpoint([10, 0, 0, 2]), endpoint([8, 8, 8, 8]));
    let mut open = |now| {
        let session = table
            .open_outbound(Protocol::Udp, inside, remote, Filtering::EndpointIndependent, now)
            .unwrap();
        let note = table.cookie(session, Direction::Outbound).to_note();
        assert_eq!(table.noted(note, Direction::Outbound, now), Some(session));
        assert_eq!(table.noted(note, Direction::Inbound, now), None);
        assert_eq!(table.noted(0, Direction::Outbound, now), None);
        (session, note)
    };
    let (first, note) = open(Time::ZERO);
    // The next one takes the place of the first.
    let later = Time::from_secs(300);
    let (second, _) = open(later);
    assert_eq!(first, second);
    assert_eq!(table.noted(note, Direction::Outbound, later), None);
}
