//! Packets that are longer than a chunk: the kernel spreads them over several, here they become one frame again.

use crate::port::{Frame, FramePool};

/// The packet whose chunks are coming. They come in order, and those of two packets never mix.
#[derive(Debug, Default)]
pub(super) enum Gathering {
    /// None: the next chunk is the first of a packet.
    #[default]
    Nothing,
    /// What came of it so far.
    Packet(Frame),
    /// The packet is lost; the rest of its chunks is to be skipped.
    Lost,
}

/// What a chunk has made of the packet.
#[derive(Debug)]
pub(super) enum Gathered {
    /// The packet is whole.
    Packet(Frame),
    /// There is more to come.
    Unfinished,
    /// That was the end of a packet which no memory was left for, or which is too long.
    Lost,
}

impl Gathering {
    /// Whether the next chunk goes on with a packet.
    #[inline(always)]
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Adds the next chunk of a packet of several. O(its bytes).
    #[cold]
    pub(super) fn add(&mut self, chunk: &Frame, has_more: bool, pool: &FramePool) -> Gathered {
        let packet = match std::mem::take(self) {
            Self::Nothing => pool.take_long(),
            Self::Packet(packet) => Some(packet),
            Self::Lost => None,
        };
        let packet = packet.and_then(|mut packet| packet.append(chunk.bytes()).ok().map(|()| packet));
        match (packet, has_more) {
            (Some(packet), false) => Gathered::Packet(packet),
            (None, false) => Gathered::Lost,
            (packet, true) => {
                *self = packet.map_or(Self::Lost, Self::Packet);
                Gathered::Unfinished
            }
        }
    }

    /// Gives up the packet whose chunks are coming.
    pub(super) fn lose(&mut self, has_more: bool) {
        *self = if has_more { Self::Lost } else { Self::Nothing };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNK: usize = 10;

    fn pool() -> FramePool {
        FramePool::in_memory(64, CHUNK).with_long_frames(FramePool::in_memory(2, 35))
    }

    /// As the socket does it.
    fn add(gathering: &mut Gathering, chunk: Frame, has_more: bool, pool: &FramePool) -> Gathered {
        if has_more || gathering.has_begun() {
            gathering.add(&chunk, has_more, pool)
        } else {
            Gathered::Packet(chunk)
        }
    }

    proptest! {
        /// Packets of any lengths, with as many long ones held as there may be: each comes out as it was, or is lost because it is too long or
        /// there are too many.
        #[test]
        fn packets_become_whole_again(lengths in proptest::collection::vec((1usize..60, any::<bool>()), 1..40)) {
            let pool = pool();
            let mut gathering = Gathering::default();
            let mut held = Vec::new();
            for (number, (length, is_kept)) in lengths.into_iter().enumerate() {
                let packet: Vec<u8> = (0..length).map(|at| (number * 7 + at) as u8).collect();
                let chunks: Vec<&[u8]> = packet.chunks(CHUNK).collect();
                let mut last = None;
                for (at, chunk) in chunks.iter().enumerate() {
                    prop_assert!(last.is_none());
                    let chunk = pool.take_filled(chunk).expect("a frame");
                    match add(&mut gathering, chunk, at + 1 < chunks.len(), &pool) {
                        Gathered::Unfinished => prop_assert!(at + 1 < chunks.len()),
                        end => last = Some(end),
                    }
                }
                let has_room = length <= CHUNK || (length <= 35 && held.len() < 2);
                match last.expect("an end") {
                    Gathered::Packet(frame) => {
                        prop_assert!(has_room);
                        prop_assert_eq!(frame.bytes(), &packet[..]);
                        if is_kept && length > CHUNK {
                            held.push(frame);
                        }
                    }
                    Gathered::Lost => prop_assert!(!has_room),
                    Gathered::Unfinished => unreachable!("an end"),
                }
                prop_assert_eq!(pool.in_use(), 0);
                if number % 5 == 4 {
                    held.clear();
                }
            }
        }
    }

    #[test]
    fn without_long_frames_long_packets_are_lost() {
        let pool = FramePool::in_memory(4, CHUNK);
        let mut gathering = Gathering::default();
        let add = |gathering: &mut Gathering, has_more| {
            let chunk = pool.take_filled(&[1; CHUNK]).expect("a frame");
            add(gathering, chunk, has_more, &pool)
        };
        assert!(matches!(add(&mut gathering, true), Gathered::Unfinished));
        assert!(matches!(add(&mut gathering, true), Gathered::Unfinished));
        assert!(matches!(add(&mut gathering, false), Gathered::Lost));
        assert!(matches!(add(&mut gathering, false), Gathered::Packet(_)));
        gathering.lose(true);
        assert!(matches!(add(&mut gathering, false), Gathered::Lost));
        gathering.lose(false);
        assert!(matches!(add(&mut gathering, false), Gathered::Packet(_)));
        assert_eq!(pool.in_use(), 0);
    }
}
