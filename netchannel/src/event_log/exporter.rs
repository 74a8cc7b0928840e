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
