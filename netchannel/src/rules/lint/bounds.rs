//! Rules as boxes in one space.

use crate::dispatch::dimensions::{DIMENSIONS, FIELDS, FIRST, LATER, WHOLE, dimension};
use crate::rules::{AddressRange, RuleBox};

/// A box: first and last value in each [dimension], both included.
pub(super) type Bounds = [(u128, u128); DIMENSIONS];

/// A point: a value in each dimension.
pub(super) type Point = [u128; DIMENSIONS];

/// The box of all packets of a family, where interfaces have numbers up to the highest.
pub(super) fn everything(is_ipv4: bool, highest_interface: u128) -> Bounds {
    let mut bounds = [(0, 0); DIMENSIONS];
    let address = if is_ipv4 { u128::from(u32::MAX) } else { u128::MAX };
    bounds[dimension::SOURCE_ADDRESS].1 = address;
    bounds[dimension::DESTINATION_ADDRESS].1 = address;
    bounds[dimension::SOURCE_PORT].1 = u16::MAX.into();
    bounds[dimension::DESTINATION_PORT].1 = u16::MAX.into();
    bounds[dimension::PROTOCOL].1 = u8::MAX.into();
    for (bounds, field) in bounds[dimension::FIVE_TUPLE..].iter_mut().zip(&FIELDS) {
        bounds.1 = (1 << field.width) - 1;
    }
    bounds[dimension::INTERFACE].1 = highest_interface;
    bounds[dimension::FRAGMENT].1 = LATER.into();
    bounds
}

/// The packets of a family that a single rule takes; `everything` are those that there are.
pub(super) fn of(rule_box: &RuleBox<'_>, everything: &Bounds) -> Bounds {
    let mut bounds = *everything;
    for (side, addresses) in [
        (dimension::SOURCE_ADDRESS, rule_box.from),
        (dimension::DESTINATION_ADDRESS, rule_box.to),
    ] {
        match addresses {
            Some(AddressRange::V4(first, last)) => {
                bounds[side] = (first.to_bits().into(), last.to_bits().into());
            }
            Some(AddressRange::V6(first, last)) => bounds[side] = (first.to_bits(), last.to_bits()),
            None => {}
        }
    }
    for (side, ports) in [
        (dimension::SOURCE_PORT, rule_box.source_ports),
        (dimension::DESTINATION_PORT, rule_box.destination_ports),
    ] {
        bounds[side] = (ports.first.into(), ports.last.into());
    }
    if let Some(protocol) = rule_box.protocol {
        bounds[dimension::PROTOCOL] = (protocol.into(), protocol.into());
    }
    for (index, values) in rule_box.fields.iter().enumerate() {
        let Some(values) = values else { continue };
        bounds[dimension::FIVE_TUPLE + index] = (values.first.into(), values.last.into());
        if !FIELDS[index].protocols.is_empty() {
            // Later fragments don't have the header that is asked for. The fragment's own field comes last and may say more.
            bounds[dimension::FRAGMENT] = (WHOLE.into(), FIRST.into());
        }
    }
    bounds
}

pub(super) fn contains(outer: &Bounds, inner: &Bounds) -> bool {
    outer
        .iter()
        .zip(inner)
        .all(|(outer, inner)| outer.0 <= inner.0 && inner.1 <= outer.1)
}

pub(super) fn overlap(one: &Bounds, two: &Bounds) -> bool {
    one.iter()
        .zip(two)
        .all(|(one, two)| one.0 <= two.1 && two.0 <= one.1)
}

pub(super) fn holds(bounds: &Bounds, point: &Point) -> bool {
    bounds
        .iter()
        .zip(point)
        .all(|(bounds, value)| (bounds.0..=bounds.1).contains(value))
}

/// The parts of a box that are not in another one that overlaps it: at most two for each dimension.
pub(super) fn without(bounds: &Bounds, taken: &Bounds, parts: &mut Vec<Bounds>) {
    let mut rest = *bounds;
    for (dimension, taken) in taken.iter().enumerate() {
        let (first, last) = rest[dimension];
        if first < taken.0 {
            let mut part = rest;
            part[dimension] = (first, taken.0 - 1);
            parts.push(part);
        }
        if last > taken.1 {
            let mut part = rest;
            part[dimension] = (taken.1 + 1, last);
            parts.push(part);
        }
        rest[dimension] = (first.max(taken.0), last.min(taken.1));
    }
}
