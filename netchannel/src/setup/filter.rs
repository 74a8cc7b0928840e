//! What rules say of packets, as a filter of single ones.

use classifier::InsertError;

use super::rules::{ipv4_rule, ipv6_rule};
use crate::dispatch::{PacketFilter, RuleSet};
use crate::rules::Rule;

/// A filter that takes what the rule matches, whatever its channel. `interfaces` are the names of all interfaces in the order of their
/// numbers.
///
/// # Errors
/// If it is more than the classifier can take.
pub fn packet_filter(rule: &Rule, interfaces: &[impl AsRef<str>]) -> Result<PacketFilter, InsertError> {
    let any = Rule {
        priority: rule.priority,
        ..Rule::any(rule.channel.clone())
    };
    if *rule == any {
        return Ok(PacketFilter::all());
    }
    let families = rule.families();
    let mut boxes = RuleSet::new(PacketFilter::UNWANTED);
    for rule_box in rule.expand(interfaces) {
        let wanted = PacketFilter::WANTED.into();
        if families.ipv4 {
            boxes.insert_ipv4(ipv4_rule(&rule_box, 0, wanted))?;
        }
        if families.ipv6 {
            boxes.insert_ipv6(ipv6_rule(&rule_box, 0, wanted))?;
        }
    }
    Ok(PacketFilter::of(boxes))
}
