//! The parser against packets that another library builds, and against any bytes.

use std::net::IpAddr;

use etherparse::{EtherType, Ipv4Header, PacketBuilder, SingleVlanHeader, VlanId};
use proptest::prelude::*;

use super::*;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn ipv4(write: impl FnOnce(PacketBuilderStepIp, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4([10, 0, 0, 1], [192, 0, 2, 1], 64);
    write(step, &mut bytes);
    bytes
}

type PacketBuilderStepIp = etherparse::PacketBuilderStep<etherparse::IpHeaders>;

fn udp() -> Vec<u8> {
    ipv4(|step, bytes| step.udp(1000, 53).write(bytes, b"payload").unwrap())
}

/// Changes the IPv4 header and makes its checksum right again.
fn edited(mut bytes: Vec<u8>, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    edit(&mut bytes[14..34]);
    bytes[24..26].fill(0);
    let sum = checksum::of(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn tagged(mut bytes: Vec<u8>, kind: EtherType, id: u16) -> Vec<u8> {
    let header = SingleVlanHeader {
        vlan_id: VlanId::try_new(id).unwrap(),
        ether_type: EtherType(u16::from_be_bytes([bytes[12], bytes[13]])),
        ..SingleVlanHeader::default()
    };
    bytes.splice(14..14, header.to_bytes());
    // The type moved behind the tag: the tag's own stands before it now.
    bytes[12..14].copy_from_slice(&kind.0.to_be_bytes());
    bytes
}

proptest! {
    #[test]
    fn finds_what_was_put_in(
        v6 in any::<bool>(),
        tcp in any::<bool>(),
        (source, destination) in any::<([u8; 16], [u8; 16])>(),
        ports in any::<(u16, u16)>(),
        ttl in any::<u8>(),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        padding in 0usize..40,
        tags in 0usize..3,
    ) {
        let link = PacketBuilder::ethernet2(MACS.0, MACS.1);
        let [a, b, c, d, ..] = source;
        let [e, f, g, h, ..] = destination;
        let step = if v6 {
            link.ipv6(source, destination, ttl)
        } else {
            link.ipv4([a, b, c, d], [e, f, g, h], ttl)
        };
        let mut bytes = Vec::new();
        if tcp {
            step.tcp(ports.0, ports.1, 1, 2).syn().write(&mut bytes, &payload).unwrap();
        } else {
            step.udp(ports.0, ports.1).write(&mut bytes, &payload).unwrap();
        }
        for tag in 0..tags {
            bytes = tagged(bytes, if tag == 0 { EtherType::VLAN_TAGGED_FRAME } else { EtherType::PROVIDER_BRIDGING }, 7 + tag as u16);
        }
        let end = bytes.len();
        bytes.resize(end + padding, 0xee);

        let headers = Headers::parse(&bytes).unwrap();
        let (from, to): (IpAddr, IpAddr) = if v6 {
            (source.into(), destination.into())
        } else {
            ([a, b, c, d].into(), [e, f, g, h].into())
        };
        prop_assert_eq!((headers.source, headers.destination), (from, to));
        prop_assert_eq!(headers.ports(), ports);
        prop_assert_eq!(headers.ttl, ttl);
        prop_assert_eq!(headers.fragment, Fragment::Whole);
        prop_assert_eq!(usize::from(headers.end), end);
        prop_assert_eq!(usize::from(headers.network), 14 + 4 * tags);
        prop_assert_eq!(usize::from(headers.transport_start), end - payload.len() - if tcp { 20 } else { 8 });
        let expected = match tags {
            0 => VlanTags::default(),
            1 => VlanTags { outer: 7, inner: 0 },
            _ => VlanTags { outer: 8, inner: 7 },
        };
        prop_assert_eq!(headers.vlan, expected);
    }

    #[test]
    fn any_bytes_give_headers_inside_of_the_frame_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ethertype in prop_oneof![Just([8u8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), any::<[u8; 2]>()],
    ) {
        let mut bytes = bytes;
        if let Some(field) = bytes.get_mut(12..14) {
            field.copy_from_slice(&ethertype);
        }
        if let Ok(headers) = Headers::parse(&bytes) {
            prop_assert!(headers.network <= headers.transport_start);
            prop_assert!(headers.transport_start <= headers.end);
            prop_assert!(usize::from(headers.end) <= bytes.len());
        }
    }

    /// Cut off anywhere, a packet is an error, never something shorter.
    #[test]
    fn a_cut_packet_is_an_error(cut in 0usize..49) {
        let bytes = udp();
        prop_assert!(Headers::parse(&bytes[..cut]).is_err());
        prop_assert!(Headers::parse(&bytes).is_ok());
    }
}

#[test]
fn each_way_to_be_malformed_has_its_error() {
    use ParseError::*;
    let error = |bytes: &[u8]| Headers::parse(bytes).unwrap_err();
    assert_eq!(error(&[0; 13]), ShortEthernet);
    let mut arp = udp();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(error(&arp), NotIp(0x0806));
    let three = (0..3).fold(udp(), |bytes, id| {
        tagged(bytes, EtherType::VLAN_TAGGED_FRAME, id + 1)
    });
    assert_eq!(error(&three), NotIp(0x8100));
    assert_eq!(error(&edited(udp(), |ip| ip[0] = 0x44)), Ipv4Header);
    assert_eq!(error(&edited(udp(), |ip| ip[0] = 0x65)), Ipv4Header);
    assert_eq!(error(&edited(udp(), |ip| ip[3] = 19)), Ipv4Header);
    assert_eq!(error(&edited(udp(), |ip| ip[3] += 1)), Truncated);
    let mut sum = udp();
    sum[24] ^= 1;
    assert_eq!(error(&sum), Ipv4Checksum);
    assert_eq!(
        error(&edited(udp(), |ip| ip[6..8].copy_from_slice(&[0x1f, 0xff]))),
        FragmentOverrun
    );
    let mut short_udp = udp();
    short_udp[39] = 7;
    assert_eq!(error(&short_udp), UdpHeader);
    let mut long_udp = udp();
    long_udp[39] += 1;
    assert_eq!(error(&long_udp), UdpHeader);
    let mut tcp = ipv4(|step, bytes| step.tcp(1, 2, 3, 4).write(bytes, &[]).unwrap());
    tcp[46] = 0x40;
    assert_eq!(error(&tcp), TcpHeader);
    assert_eq!(error(&edited(udp(), |ip| (ip[3], ip[9]) = (27, 1))), IcmpHeader);
    let mut six = Vec::new();
    PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv6([1; 16], [2; 16], 64)
        .udp(1, 2)
        .write(&mut six, b"six")
        .unwrap();
    six[14] = 0x50;
    assert_eq!(error(&six), Ipv6Header);
}

#[test]
fn a_priority_tag_is_no_vlan() {
    let headers = Headers::parse(&tagged(udp(), EtherType::VLAN_TAGGED_FRAME, 0)).unwrap();
    assert_eq!((headers.vlan, headers.network), (VlanTags::default(), 18));
    let behind = tagged(
        tagged(udp(), EtherType::VLAN_TAGGED_FRAME, 9),
        EtherType::VLAN_TAGGED_FRAME,
        0,
    );
    assert_eq!(
        Headers::parse(&behind).unwrap().vlan,
        VlanTags { outer: 9, inner: 0 }
    );
}

#[test]
fn only_the_first_fragment_has_ports() {
    let first = Headers::parse(&edited(udp(), |ip| ip[6] = 0x20)).unwrap();
    assert_eq!((first.fragment, first.ports()), (Fragment::First, (1000, 53)));
    let later = Headers::parse(&edited(udp(), |ip| ip[7] = 9)).unwrap();
    assert_eq!(
        (later.fragment, later.ports(), later.transport),
        (Fragment::Later, (0, 0), Transport::None)
    );
}

#[test]
fn an_icmp_identifier_stands_on_the_side_of_who_asked() {
    let parse = |write: fn(PacketBuilderStepIp, &mut Vec<u8>)| Headers::parse(&ipv4(write)).unwrap();
    let request = parse(|step, bytes| step.icmpv4_echo_request(77, 1).write(bytes, &[]).unwrap());
    assert_eq!(request.ports(), (77, 0));
    let reply = parse(|step, bytes| step.icmpv4_echo_reply(77, 1).write(bytes, &[]).unwrap());
    assert_eq!(reply.ports(), (0, 77));
}

#[test]
fn options_are_skipped() {
    let mut header =
        Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, [10, 0, 0, 1], [192, 0, 2, 1]).unwrap();
    header.options = [0x94, 4, 0, 0].into();
    header.set_payload_len(8).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = udp()[..14].to_vec();
    header.write(&mut bytes).unwrap();
    bytes.extend([0, 5, 0, 6, 0, 8, 0, 0]);
    let headers = Headers::parse(&bytes).unwrap();
    assert_eq!((headers.ports(), headers.transport_start), ((5, 6), 38));
}
