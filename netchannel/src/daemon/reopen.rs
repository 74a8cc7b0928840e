//! Opening the ports anew when an interface is back that was gone. The kernel ties packet memory to the sockets on it, so all sockets are
//! closed and opened on new memory; what arrives meanwhile is dropped, and does not come before the kernel.

use std::sync::{Arc, Mutex, PoisonError};

use super::DaemonError;
use super::kernel::KernelHandover;
use super::packet_thread::{OpenPort, Place, describe, open_ports};
use crate::config::Config;
use crate::dispatch::{Dispatcher, Reopened};
use crate::network::Links;
use crate::port::{AbsentPort, PacketIo};
use crate::setup::Layout;
use crate::xdp::XdpProgram;

/// What a worker needs for it.
pub(super) struct Reopening {
    pub(super) place: Place,
    pub(super) config: Config,
    /// Bytes of the longest packet.
    pub(super) longest_packet: u32,
    pub(super) layout: Layout,
    pub(super) links: Arc<Links>,
    pub(super) xdp: Arc<Mutex<XdpProgram>>,
    /// For each device, whether it is to be left alone, there or not.
    pub(super) left_out: Vec<bool>,
}

impl Reopening {
    /// Opens the ports of all devices that are there. `None` for those that are not. If it fails, there are no ports.
    pub(super) fn run(self, dispatcher: &mut Dispatcher) -> Result<Vec<Option<OpenPort>>, DaemonError> {
        dispatcher.close_ports();
        let counters: Vec<_> = dispatcher.ports().iter().map(|port| port.counters()).collect();
        let Self {
            place,
            config,
            longest_packet,
            layout,
            links,
            xdp,
            left_out,
        } = self;
        let (umem, opened) = open_ports(place, &config, longest_packet, &layout, &links, &left_out)?;
        let mut described = Vec::new();
        let mut ports: Vec<Box<dyn PacketIo>> = Vec::new();
        let mut xdp = xdp.lock().unwrap_or_else(PoisonError::into_inner);
        for ((port, device), counters) in opened.into_iter().zip(&layout.devices).zip(counters) {
            let Some(mut port) = port else {
                described.push(None);
                ports.push(Box::new(AbsentPort::after(counters)));
                continue;
            };
            for (queue, socket) in port.sockets() {
                xdp.register_socket(&device.name, queue, socket)?;
            }
            port.count_from(counters);
            described.push(Some(describe(device, &port, &umem)));
            ports.push(Box::new(port));
        }
        let handover = xdp.handover().try_clone()?;
        dispatcher.reopen(Reopened {
            partial_checksums: layout.devices.iter().map(|it| it.partial_checksums).collect(),
            interfaces: layout.interfaces,
            ports,
            pool: umem.pool(),
            kernel: Box::new(KernelHandover {
                handover,
                devices: layout.devices,
            }),
        });
        Ok(described)
    }
}
