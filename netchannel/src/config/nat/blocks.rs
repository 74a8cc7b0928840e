//! `[channel.blocks]`: ports for inside hosts in blocks.

use super::super::error::Source;
use super::super::schema;
use super::super::section::Section;
use super::{HIGHEST_HOLD_COUNT, hold_time};
use crate::channel::nat::{Deterministic, MOST_BLOCKS, PortBlocks, SMALLEST_BLOCK};
use crate::rules::PortRange;

pub(super) fn read(
    table: &Section<'_, '_>,
    ports: &[PortRange],
    deterministic: Option<&Deterministic>,
    source: &mut Source<'_>,
) -> Option<PortBlocks> {
    let table = table.table("blocks", &schema::BLOCKS, source)?;
    let default = PortBlocks::default();
    let sizes = SMALLEST_BLOCK.into()..=u16::MAX.into();
    let size = table.number("size", default.size.into(), sizes, source) as u16;
    if !ports.iter().any(|range| range.last - range.first >= size - 1) {
        let span = table
            .value("size")
            .map_or(table.span.clone(), |value| value.span());
        let message =
            format!("no range of `ports` has {size} ports in a row; expected blocks that fit in one");
        source.error(&span, "size", message);
    }
    if let Some(Deterministic { spare_ports, .. }) = deterministic
        && *spare_ports < size
    {
        let message = format!(
            "[channel.deterministic] gives each inside host ports of its own; expected `spare_ports` there, {size} or more, or no \
             [channel.blocks]"
        );
        source.error(&table.span, "blocks", message);
    }
    Some(PortBlocks {
        size,
        most: table.number("most", default.most.into(), 1..=MOST_BLOCKS.into(), source) as u16,
        hold: hold_time(&table, "hold", default.hold, source),
        hold_count: table.number("hold_count", default.hold_count, 0..=HIGHEST_HOLD_COUNT, source),
    })
}
