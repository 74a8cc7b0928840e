//! The XDP program, asked for every IP packet of a port.

use ipnet::IpNet;
use netchannel::port::afxdp::AfXdpPort;
use netchannel::xdp::{Interest, LogicalInterface, ModeChoice, OffloadSizes, XdpProgram};

/// Has every IP packet that arrives on the interface of these ports redirected to them, until the program is dropped.
pub(crate) fn redirect_to(ports: &[&AfXdpPort]) -> XdpProgram {
    redirect_in_mode(ModeChoice::Native, ports)
}

/// The same in this mode.
pub(crate) fn redirect_in_mode(mode: ModeChoice, ports: &[&AfXdpPort]) -> XdpProgram {
    redirect_up_to(3840, mode, ports)
}

/// The same for packets of at most this length, in bytes.
pub(crate) fn redirect_up_to(longest: u32, mode: ModeChoice, ports: &[&AfXdpPort]) -> XdpProgram {
    let interface = ports[0].interface();
    let everything: Vec<IpNet> = ["0.0.0.0/0", "::/0"]
        .map(|net| net.parse().expect("a prefix"))
        .into();
    let mut program = XdpProgram::load(longest, OffloadSizes::OFF).expect("the program loads");
    program.attach(interface, mode).expect("the program attaches");
    for (queue, socket) in ports.iter().flat_map(|port| port.sockets()) {
        program
            .register_socket(interface, queue, socket)
            .expect("the socket is taken");
    }
    program
        .set_interest(&Interest {
            interfaces: vec![LogicalInterface {
                device: interface.to_owned(),
                outer_vlan: 0,
                inner_vlan: 0,
                id: 0,
                sources: everything,
                destinations: Vec::new(),
                passes_flows: false,
            }],
            ..Interest::default()
        })
        .expect("the interest is set");
    program
}
