//! The ways out that flows and sessions take: few ways for many flows, so that each is kept once.

use std::collections::HashMap;

use ahash::RandomState;

use super::routing::Departure;

/// The number of no way.
pub(crate) const UNKNOWN: u16 = u16::MAX;

/// The ways that were found since the network changed last, by number. Everything is O(1).
#[derive(Default)]
pub(crate) struct Ways {
    network_version: u64,
    departures: Vec<Departure>,
    numbers: HashMap<Departure, u16, RandomState>,
}

impl Ways {
    /// The number of a way that is good for this version of the network; [`UNKNOWN`] if there are too many.
    pub(crate) fn number_of(&mut self, network_version: u64, departure: Departure) -> u16 {
        if self.network_version != network_version {
            self.network_version = network_version;
            self.departures.clear();
            self.numbers.clear();
        }
        if let Some(&number) = self.numbers.get(&departure) {
            return number;
        }
        match u16::try_from(self.departures.len()) {
            Ok(number) if number != UNKNOWN => {
                self.departures.push(departure);
                self.numbers.insert(departure, number);
                number
            }
            _ => UNKNOWN,
        }
    }

    /// The way with this number, if it is one of this version of the network.
    #[inline]
    pub(crate) fn get(&self, network_version: u64, number: u16) -> Option<&Departure> {
        if self.network_version != network_version {
            return None;
        }
        self.departures.get(usize::from(number))
    }

    /// What to note about a flow that takes this way, to find it again by [`noted`](Self::noted); 0 if there are too many ways.
    pub(super) fn note(&mut self, network_version: u64, departure: Departure) -> u64 {
        match self.number_of(network_version, departure) {
            UNKNOWN => 0,
            number => network_version << 16 | (u64::from(number) + 1),
        }
    }

    /// The way that was noted, if it is one of this version of the network.
    #[inline]
    pub(super) fn noted(&self, network_version: u64, note: u64) -> Option<&Departure> {
        let number = (note as u16).checked_sub(1)?;
        if note >> 16 != network_version & u64::MAX >> 16 {
            return None;
        }
        self.get(network_version, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::InterfaceId;

    fn departure(number: u32) -> Departure {
        let [a, b, c, d] = number.to_be_bytes();
        Departure {
            interface: InterfaceId(1),
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, a, b, c, d],
            mtu: 1500,
        }
    }

    #[test]
    fn each_way_is_kept_once_until_the_network_changes() {
        let mut ways = Ways::default();
        let first = ways.number_of(3, departure(1));
        let second = ways.number_of(3, departure(2));
        assert_ne!(first, second);
        assert_eq!(ways.number_of(3, departure(1)), first);
        assert_eq!(ways.get(3, second), Some(&departure(2)));
        assert_eq!(ways.get(4, second), None);
        assert_eq!(ways.get(3, UNKNOWN), None);
        ways.number_of(4, departure(5));
        assert_eq!(ways.get(3, first), None);
        assert_eq!(ways.get(4, second), None);
    }

    #[test]
    fn a_note_leads_to_its_way_until_the_network_changes() {
        let mut ways = Ways::default();
        assert_eq!(ways.noted(0, 0), None, "no flow has a way before it is found");
        let notes = [1, 2].map(|number| ways.note(3, departure(number)));
        assert_eq!(ways.noted(3, notes[0]), Some(&departure(1)));
        assert_eq!(ways.noted(3, notes[1]), Some(&departure(2)));
        assert_eq!(ways.noted(4, notes[0]), None);
        // The numbers are given anew, and the old notes are not taken for new ones.
        let later = ways.note(4, departure(5));
        assert_eq!(ways.noted(4, notes[0]), None);
        assert_eq!(ways.noted(4, later), Some(&departure(5)));
    }

    #[test]
    fn too_many_ways_are_not_kept() {
        let mut ways = Ways::default();
        for number in 0..u32::from(UNKNOWN) {
            assert_ne!(ways.number_of(1, departure(number)), UNKNOWN);
        }
        assert_eq!(ways.number_of(1, departure(70_000)), UNKNOWN);
        assert_eq!(ways.note(1, departure(70_000)), 0);
        assert_eq!(
            {
                let number = ways.number_of(1, departure(7));
                ways.get(1, number)
            },
            Some(&departure(7))
        );
    }
}
