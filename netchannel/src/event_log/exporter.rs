//! Sends IPFIX messages to a collector over UDP (RFC 7011 section 10.3).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use super::ipfix::{DataRecord, Message};
use crate::channel::nat::Event;
use crate::config::Ipfix;
use crate::time::Time;

/// The exporter of one channel. What can't be sent is counted, and told to the collector as not sent.
pub(super) struct Exporter {
    channel: String,
    instance: u32,
    socket: UdpSocket,
    collector: SocketAddr,
    message: Message,
    /// How often templates are sent: over UDP one may get lost, and a collector may start later than we.
    interval: Duration,
    templates_due: Time,
    /// Records that found no room before they came here.
    lost: u64,
    /// Records in messages that the system did not take.
    failed: u64,
    /// Of both together, how many the collector knows of.
    told: u64,
    is_failing: bool,
}

impl Exporter {
    pub(super) fn open(channel: &str, instance: u32, settings: &Ipfix) -> io::Result<Self> {
        let any: SocketAddr = if settings.collector.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(settings.collector)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            channel: channel.to_owned(),
            instance,
            socket,
            collector: settings.collector,
            message: Message::new(settings.observation_domain, settings.message_size.into()),
            interval: settings.template_interval,
            templates_due: Time::ZERO,
            lost: 0,
            failed: 0,
            told: 0,
            is_failing: false,
        })
    }

    /// Sends the templates, and the pool's name, when it is time to.
    pub(super) fn tick(&mut self, now: Time, wall: SystemTime) {
        if now < self.templates_due {
            return;
        }
        self.templates_due = now + self.interval;
        // A message of their own has room for them.
        self.send(wall);
        self.message.add_templates();
        self.message
            .add(&DataRecord::pool_name(self.instance, &self.channel));
        self.send(wall);
    }

    /// Puts an event into a message, which is sent when it is full.
    pub(super) fn export(&mut self, time: SystemTime, event: &Event, now: SystemTime) {
        if let Some(record) = DataRecord::of(self.instance, time, event)
            && !self.message.add(&record)
        {
            self.send(now);
            self.message.add(&record);
        }
    }

    /// Says how many records were lost so far, which the collector is told.
    pub(super) fn lost(&mut self, count: u64) {
        self.lost = count;
    }

    /// Sends what there is.
    pub(super) fn flush(&mut self, now: SystemTime) {
        let not_sent = self.lost + self.failed;
        // Where nothing can be sent there is no point in saying so.
        if not_sent > self.told && !self.is_failing {
            let record = DataRecord::not_sent(self.instance, not_sent);
            if !self.message.add(&record) {
                self.send(now);
                self.message.add(&record);
            }
            self.told = not_sent;
        }
        self.send(now);
    }

    fn send(&mut self, now: SystemTime) {
        if self.message.is_empty() {
            return;
        }
        let records = self.message.records();
        let bytes = self.message.finish(now);
        let Self {
            channel, collector, ..
        } = self;
        match self.socket.send(&bytes) {
            Ok(_) if self.is_failing => {
                log::warn!("channel {channel}: the collector {collector} can be sent to again");
                self.is_failing = false;
            }
            Ok(_) => {}
            Err(error) => {
                self.failed += u64::from(records);
                if !self.is_failing {
                    log::error!("channel {channel}: the collector {collector} can't be sent to: {error}");
                    self.is_failing = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sets of a message: their identifiers.
    fn sets(message: &[u8]) -> Vec<u16> {
        let number = |place: usize| u16::from_be_bytes([message[place], message[place + 1]]);
        let mut sets = Vec::new();
        let mut place = 16;
        while place < message.len() {
            sets.push(number(place));
            place += usize::from(number(place + 2));
        }
        assert_eq!(place, message.len());
        sets
    }

    fn exporter_and_collector() -> (Exporter, UdpSocket) {
        let collector = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        collector.set_nonblocking(true).unwrap();
        let settings = Ipfix {
            collector: collector.local_addr().unwrap(),
            observation_domain: 7,
            template_interval: Duration::from_secs(60),
            message_size: 512,
        };
        let exporter = Exporter::open("internet", 1, &settings).unwrap();
        (exporter, collector)
    }

    /// Over UDP one may get lost, and a collector may start later (RFC 7011 section 8.4).
    #[test]
    fn templates_are_sent_at_the_start_and_at_intervals() {
        let (mut exporter, collector) = exporter_and_collector();
        let mut received = |seconds| {
            exporter.tick(Time::from_secs(seconds), SystemTime::now());
            exporter.flush(SystemTime::now());
            let mut buffer = [0; 2048];
            let mut messages = Vec::new();
            while let Ok(length) = collector.recv(&mut buffer) {
                messages.push(sets(&buffer[..length]));
            }
            messages
        };
        let templates = received(1);
        assert_eq!(templates.len(), 1);
        // Templates, those of options, and the name of the pool.
        assert_eq!((templates[0][0], templates[0][1], templates[0].len()), (2, 3, 3));
        assert!(received(60).is_empty());
        assert_eq!(received(61), templates);
    }

    #[test]
    fn what_was_lost_is_told_once() {
        let (mut exporter, collector) = exporter_and_collector();
        let mut told = |lost| {
            exporter.lost(lost);
            exporter.flush(SystemTime::now());
            let mut buffer = [0; 2048];
            let length = collector.recv(&mut buffer).ok()?;
            Some(u64::from_be_bytes(*buffer[..length].last_chunk()?))
        };
        assert_eq!(told(0), None);
        assert_eq!(told(5), Some(5));
        assert_eq!(told(5), None);
        assert_eq!(told(7), Some(7));
    }
}
