//! What becomes of a packet by the rules in force, and the addresses that translators have now.

use super::RuleStore;
use crate::config::{ChannelKind, Config, External};
use crate::control::ControlError;
use crate::rules::explain::{Explanation, Flow, ShownRule, World, explain};
use crate::setup::Claim;

impl RuleStore {
    pub(super) fn explain(&self, flow: &str, is_verbose: bool) -> Result<Explanation, ControlError> {
        let flow: Flow = flow
            .parse()
            .map_err(|error: crate::rules::explain::FlowError| ControlError::new(error.to_string()))?;
        let (config, claims) = {
            let changing = self.changing();
            (
                resolved(&self.0.config, &changing.claims),
                changing.claims.clone(),
            )
        };
        let running = self.running();
        let show = |rule: usize| ShownRule {
            number: Some(running.numbers[rule].0),
            ..ShownRule::of(&running.rules[rule])
        };
        let world = World::running(&config, claims);
        Ok(explain(&world, &running.list(), flow, is_verbose, show))
    }
}

/// The configuration with the addresses that interfaces have now in the place of their names.
fn resolved(config: &Config, claims: &[Claim]) -> Config {
    let mut config = config.clone();
    for channel in &mut config.channels {
        let ChannelKind::Nat(nat) = &mut channel.kind else {
            continue;
        };
        for external in &mut nat.external {
            let External::Interface(name) = external else {
                continue;
            };
            let claim = claims
                .iter()
                .find(|claim| claim.name == channel.name && claim.interface.as_ref() == Some(name));
            if let Some(claim) = claim {
                *external = External::Addresses(*claim.addresses.start(), *claim.addresses.end());
            }
        }
    }
    config
}
