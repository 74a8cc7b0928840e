//! Captured frames, as a stream for the client that writes them to a file.

use std::collections::VecDeque;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::inspect::Inspector;
use super::trace::{PacketStream, Scene};
use crate::control::report::{Captured, CapturedFrame};
use crate::control::{Capture, ControlError, Next, Side};
use crate::dispatch::{Fate, Observation, Sent, WatchOptions, Watcher};

/// Packets that may wait to be taken by the client's thread.
const BACKLOG: usize = 8192;

impl Inspector {
    pub(super) fn capture(&self, capture: &Capture) -> Result<PacketStream, ControlError> {
        let options = || {
            Ok(WatchOptions {
                filter: self.packet_filter(&capture.filter)?,
                with_answers: capture.with_answers,
                only_drops: capture.side == Side::Drops,
                snap_length: capture.snap_length as usize,
                per_second: u32::MAX,
                count: capture.count.unwrap_or(u64::MAX),
                backlog: BACKLOG,
            })
        };
        let interfaces = Captured::Interfaces(self.interface_names());
        let first = VecDeque::from([serde_json::to_value(interfaces)?]);
        let side = capture.side;
        let tell = move |scene: &Scene, seen: &Observation, events: &mut VecDeque<Value>| {
            for frame in scene.captured(seen, side) {
                events.push_back(serde_json::to_value(Captured::Frame(frame))?);
            }
            Ok(())
        };
        self.packets(options, first, Box::new(tell), tell_loss)
    }
}

/// What was lost so far, by interface.
fn tell_loss(scene: &Scene, watchers: &[Watcher], _: u64) -> Result<Next, ControlError> {
    let interfaces = scene.interfaces.iter();
    let lost = interfaces.map(|(id, interface)| {
        let lost = watchers.iter().map(|watcher| watcher.unseen.lost_by(id)).sum();
        (interface.name.clone(), lost)
    });
    Ok(Next::Event(serde_json::to_value(Captured::Lost(lost.collect()))?))
}

impl Scene {
    /// The frames of a packet that are asked for: as it came in, and what left because of it.
    fn captured(&self, seen: &Observation, side: Side) -> Vec<CapturedFrame> {
        let since_1970 = self.wall_time(seen.time).duration_since(UNIX_EPOCH);
        let time = since_1970.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let mut frames = Vec::new();
        // What has waited was captured when it came in.
        let is_end_of_drop = side == Side::Drops && matches!(seen.fate, Fate::Dropped(_));
        if side != Side::Out && (!seen.has_waited || is_end_of_drop) {
            frames.push(CapturedFrame {
                interface: seen.interface.map(|id| self.interface(Some(id))),
                outbound: false,
                time,
                length: seen.length as u32,
                data: STANDARD.encode(&seen.frame),
                comment: self.summary(seen),
            });
        }
        if matches!(side, Side::Both | Side::Out) {
            let from = match seen.interface {
                Some(id) => format!("from {}", self.interface(Some(id))),
                None => "from a VLAN of no interface".to_owned(),
            };
            let about = match seen.fate {
                Fate::Dropped(reason) => format!(
                    "tells the sender of a packet {from} that was dropped: {}",
                    reason.name()
                ),
                _ => format!("{from}; {}", self.summary(seen)),
            };
            frames.extend(seen.sent.iter().map(|sent| self.sent(sent, time, &about)));
        }
        frames
    }

    fn sent(&self, sent: &Sent, time: u64, about: &str) -> CapturedFrame {
        CapturedFrame {
            interface: sent.interface.map(|id| self.interface(Some(id))),
            outbound: true,
            time,
            length: sent.length as u32,
            data: STANDARD.encode(&sent.frame),
            comment: about.to_owned(),
        }
    }
}
