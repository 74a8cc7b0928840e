//! Checks: from facts to findings, without a look at anything else.

mod device;
mod kernel;
mod processors;
mod queues;
mod xdp;

use super::facts::Facts;
use super::finding::Finding;
use super::wanted::Wanted;

/// What there is to say, in the order in which one would look: kernel, processors, devices.
pub(super) fn all(facts: &Facts, wanted: Option<&Wanted>) -> Vec<Finding> {
    let mut findings = kernel::check(facts, wanted);
    findings.extend(processors::check(&facts.processors, wanted));
    let Some(wanted) = wanted else { return findings };
    for (device, plan) in facts.devices.iter().zip(&wanted.devices) {
        let found = match device.link {
            None => vec![device::absent()],
            Some(ref link) => {
                let mut found = device::check(device, link, plan, facts);
                found.extend(xdp::check(device, link, wanted, plan));
                found.extend(queues::check(device, wanted, &facts.processors));
                found
            }
        };
        findings.extend(found.into_iter().map(|finding| finding.of(&device.name)));
    }
    findings.extend(kernel::translation(facts, wanted));
    findings
}

#[cfg(test)]
mod tests;
