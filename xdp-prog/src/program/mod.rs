//! Entry points and the order of the questions.
//!
//! A frame goes to a socket only if user space asks for it; at the first reason against that the kernel gets
//! it. What no socket can take is the kernel's too, and counted; but for a while after a clean stop it is dropped, so that
//! the kernel does not end connections that the next process takes up again.
#![allow(unsafe_code)] // an eBPF program reads packet and context memory by pointers

mod ethernet;
mod external;
mod flow;
mod ipv4;
mod ipv6;
mod maps;
mod offload;
mod packet;

use aya_ebpf::{bindings::xdp_action, helpers, macros::xdp, programs::XdpContext};
use xdp_prog::{QUEUES_PER_INTERFACE, Verdict};

use self::packet::Packet;

/// Why the kernel gets a frame, as the error; `Ok` if user space asks for it.
type Decision<T = ()> = Result<T, Verdict>;

/// Decides about every frame of the interfaces it is attached to. `frags`: it takes frames of several buffers
/// too, so that it attaches at any MTU.
#[xdp(frags)]
fn netchannel(ctx: XdpContext) -> u32 {
    if offload::carry(&ctx) {
        maps::count(Verdict::Offloaded);
        return xdp_action::XDP_REDIRECT;
    }
    let verdict = match decide(&ctx) {
        Ok(slot) => redirect(&ctx, slot),
        Err(verdict) => verdict,
    };
    maps::count(verdict);
    if verdict as u32 == Verdict::Redirected as u32 {
        xdp_action::XDP_REDIRECT
    } else if verdict as u32 == Verdict::Held as u32 {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// Hands the frame to the kernel, whatever it is.
#[xdp(frags)]
fn netchannel_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The slot of the interface in the map of sockets, if user space asks for the frame.
#[inline(always)]
fn decide(ctx: &XdpContext) -> Decision<u32> {
    let packet = Packet::new(ctx);
    let (frame, network) = ethernet::parse(&packet)?;
    if frame.ether_type == ethernet::MARKER {
        return Err(ethernet::take_marker(ctx, network));
    }
    let interface = maps::interface(ctx.ingress_ifindex() as u32, frame.outer_vlan, frame.inner_vlan)
        .ok_or(Verdict::OtherInterface)?;
    if frame.to_group {
        return Err(Verdict::Multicast);
    }
    match frame.ether_type {
        ethernet::IPV4 => ipv4::decide(network, interface)?,
        ethernet::IPV6 => ipv6::decide(network, interface)?,
        _ => return Err(Verdict::NotIp),
    }
    Ok(interface.slot)
}

#[inline(always)]
fn redirect(ctx: &XdpContext, slot: u32) -> Verdict {
    let queue = ctx.rx_queue_index();
    if queue >= QUEUES_PER_INTERFACE {
        return Verdict::NoSocket;
    }
    // SAFETY: the helper only reads the context that the kernel gave to this program.
    if unsafe { helpers::generated::bpf_xdp_get_buff_len(ctx.ctx) } > u64::from(maps::MAX_FRAME_LENGTH.load())
    {
        return Verdict::TooLong;
    }
    match maps::SOCKETS.redirect(
        slot * QUEUES_PER_INTERFACE + queue,
        u64::from(xdp_action::XDP_PASS),
    ) {
        Ok(_) => Verdict::Redirected,
        Err(_) if is_held() => Verdict::Held,
        Err(_) => Verdict::NoSocket,
    }
}

/// Whether frames that no socket takes are dropped now.
#[inline(always)]
fn is_held() -> bool {
    let until = maps::hold();
    // SAFETY: the helper only reads the clock.
    until != 0 && unsafe { helpers::generated::bpf_ktime_get_ns() } < until
}

/// The kernel's verifier asks for a licence; none of the helpers needs a particular one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"MIT\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
