//! The parser of frames.

use netchannel::dispatch::FlowKey;
use netchannel::interface::InterfaceId;
use netchannel::packet::{Headers, complete_checksum};

/// Takes the input as a frame: what is found lies in it, and the checksum can be completed.
pub fn parser(input: &[u8]) {
    let Ok(headers) = Headers::parse(input) else {
        return;
    };
    let places = [headers.network, headers.transport_start, headers.end].map(usize::from);
    assert!(places.is_sorted() && places[2] <= input.len(), "{headers:?}");
    assert_eq!(headers.network_len(), places[2] - places[0]);
    headers.dscp(input);
    headers.icmp_type_and_code(input);
    let key = FlowKey::of(&headers, InterfaceId(0));
    assert_eq!((key.source_port, key.destination_port), headers.ports());
    let mut frame = input.to_vec();
    complete_checksum(&mut frame, &headers);
    // It changes nothing that was looked at.
    assert_eq!(Headers::parse(&frame), Ok(headers));
}
