//! Taking up a configuration that has changed, without an interruption: what can change while it runs is changed, and the rest is named.

use std::sync::mpsc::{Sender, SyncSender, sync_channel};

use super::{Daemon, Event};
use crate::config::{self, Config};

/// What came of taking up a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// How many rules are in force.
    pub rules: usize,
    /// Whether they are others than before.
    pub rules_changed: bool,
    /// What else differs from the configuration at the start and takes a restart, as `[memory] frames`.
    pub needs_restart: Vec<String>,
}

/// Why a configuration is not taken up. Everything stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Its rules can't be had.
    #[error("the rules are refused, and the former ones stay: {0}")]
    Rules(String),
    /// The daemon has ended, or is about to.
    #[error("the daemon is ending")]
    Ending,
}

/// Has a daemon take up configurations, from anywhere. Cheap to clone.
#[derive(Clone)]
pub struct Reloader(pub(super) Sender<Event>);

/// A configuration on its way to the daemon, and where its answer goes.
pub(super) struct Reload {
    config: Box<Config>,
    answer: SyncSender<Result<Reloaded, ReloadError>>,
}

impl Reloader {
    /// Has the daemon take up a configuration: its rules come in force at one instant, or everything stays as it was. Waits until that is done.
    ///
    /// # Errors
    /// If the rules can't be had, as when they name a channel that is new; or the daemon has ended.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let (answer, answered) = sync_channel(1);
        let reload = Reload {
            config: Box::new(config),
            answer,
        };
        self.0
            .send(Event::Reload(reload))
            .map_err(|_| ReloadError::Ending)?;
        answered.recv().unwrap_or(Err(ReloadError::Ending))
    }
}

impl Daemon {
    pub(super) fn reload(&mut self, reload: Reload) {
        let Reload { config, answer } = reload;
        // Whoever asked may have given up.
        let _ = answer.send(self.take_up(*config));
    }

    fn take_up(&mut self, config: Config) -> Result<Reloaded, ReloadError> {
        let needs_restart = differences(&self.config, &config);
        let mut wanted = config.rules.clone();
        wanted.rules.sort_by_key(|rule| rule.priority);
        let rules_changed = self.rules.running().list() != wanted;
        let rules = config.rules.len();
        if rules_changed {
            let source = config.file.display().to_string();
            let loaded = self.rules.load(config.rules, &source, None);
            loaded.map_err(|error| {
                let hint = match needs_restart.is_empty() {
                    true => String::new(),
                    false => format!(
                        " (what else has changed takes a restart: {})",
                        needs_restart.join(", ")
                    ),
                };
                ReloadError::Rules(format!("{error}{hint}"))
            })?;
        }
        Ok(Reloaded {
            rules,
            rules_changed,
            needs_restart,
        })
    }
}

/// Adds the keys of a table that differ. All fields of the type are to be named: one that is new can't be forgotten.
macro_rules! compare {
    ($found:ident, $header:literal, $type:path { $($key:ident),* }, $old:expr, $new:expr) => {{
        let $type { $($key),* } = $old;
        $(if *$key != $new.$key {
            $found.push(concat!("[", $header, "] ", stringify!($key)).to_owned());
        })*
    }};
}

/// What is different in `new` and can't be changed while it runs, by the names of the file.
fn differences(old: &Config, new: &Config) -> Vec<String> {
    let Config {
        file: _,
        files: _,
        control,
        metrics,
        service,
        state,
        workers,
        memory,
        rings,
        flow_table,
        interfaces,
        channels,
        // These can.
        rules: _,
        // For captures only.
        replay: _,
        warnings: _,
    } = old;
    let mut found = Vec::new();
    compare!(
        found,
        "control",
        config::Control { socket, group },
        control,
        new.control
    );
    compare!(found, "metrics", config::Metrics { listen }, metrics, new.metrics);
    compare!(found, "service", config::Service { user }, service, new.service);
    compare!(
        found,
        "state",
        config::State {
            directory,
            interval,
            takeover,
            pins
        },
        state,
        new.state
    );
    compare!(
        found,
        "workers",
        config::Workers { count, cpus, wait },
        workers,
        new.workers
    );
    compare!(
        found,
        "memory",
        config::Memory { frames, huge_pages },
        memory,
        new.memory
    );
    compare!(
        found,
        "rings",
        config::Rings {
            receive,
            transmit,
            fill,
            completion
        },
        rings,
        new.rings
    );
    compare!(
        found,
        "flow_table",
        config::FlowTable {
            capacity,
            offload,
            offloaded_flows,
            limit_new_flows
        },
        flow_table,
        new.flow_table
    );
    for (known, interface) in interfaces.iter().map(|it| (it, new.interface(&it.name))) {
        let same = interface.is_some_and(|new| {
            let position = known.position;
            config::Interface {
                position,
                ..new.clone()
            } == *known
        });
        if !same {
            found.push(format!("[[interface]] {}", known.name));
        }
    }
    let added = new
        .interfaces
        .iter()
        .filter(|it| old.interface(&it.name).is_none());
    found.extend(added.map(|it| format!("[[interface]] {}", it.name)));
    for known in channels {
        if new
            .channel(&known.name)
            .is_none_or(|channel| channel.kind != known.kind)
        {
            found.push(format!("[[channel]] {}", known.name));
        }
    }
    let added = new.channels.iter().filter(|it| old.channel(&it.name).is_none());
    found.extend(added.map(|it| format!("[[channel]] {}", it.name)));
    let names = |config: &Config| -> Vec<String> {
        let interfaces = config.interfaces.iter().map(|it| it.name.clone());
        interfaces
            .chain(config.channels.iter().map(|it| it.name.clone()))
            .collect()
    };
    let (mut before, mut after) = (names(old), names(new));
    if before != after {
        before.sort_unstable();
        after.sort_unstable();
        if before == after {
            found.push("the order of interfaces or channels".to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [[interface]]
        name = "lan"
        role = "inside"
        [[interface]]
        name = "wan"
        role = "outside"
        [[channel]]
        name = "internet"
        type = "nat"
        external = "wan"
        [[rule]]
        from = "10.0.0.0/24"
        channel = "internet"
    "#;

    fn differing(change: impl Fn(&str) -> String) -> Vec<String> {
        let parse = |text: &str| Config::parse(text, "test.toml").unwrap();
        differences(&parse(TEXT), &parse(&change(TEXT)))
    }

    #[test]
    fn what_takes_a_restart_is_named_and_what_does_not_is_not() {
        let added = |more: &str| differing(|text| format!("{more}\n{text}"));
        assert_eq!(added("# A comment moves all lines."), [""; 0]);
        assert_eq!(added("[memory]\nframes = 16384 # as it was"), [""; 0]);
        assert_eq!(added("[memory]\nframes = 32768"), ["[memory] frames"]);
        assert_eq!(
            added("[rings]\nfill = 512\n[control]\ngroup = \"adm\"\n[service]\nuser = \"nobody\""),
            ["[control] group", "[service] user", "[rings] fill"]
        );
        assert_eq!(
            added("[[rule]]\nfrom = \"10.0.0.9\"\nchannel = \"drop\""),
            [""; 0]
        );
        assert_eq!(
            added(
                "[[interface]]\nname = \"dmz\"\nrole = \"inside\"\n[[channel]]\nname = \"routed\"\ntype = \"forward\""
            ),
            ["[[interface]] dmz", "[[channel]] routed"]
        );
        assert_eq!(
            differing(|text| text.replace("external = \"wan\"", "external = \"192.0.2.1\"")),
            ["[[channel]] internet"]
        );
        assert_eq!(
            differing(|text| text.replace(
                "\"lan\"\n        role",
                "\"lan\"\n        prefixes = \"10.0.0.0/8\"\n        role"
            )),
            ["[[interface]] lan"]
        );
    }
}
