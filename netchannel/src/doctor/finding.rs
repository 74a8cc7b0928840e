//! What a check finds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much it matters. The later ones matter more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be, or nothing that can be changed.
    Ok,
    /// Works; could be faster or simpler.
    Advice,
    /// Works, but slower or less reliably than it seems.
    Warning,
    /// Does not work, or not for all packets.
    Problem,
}

impl Level {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's name, which stays: `mtu`, `governor`.
    pub check: String,
    /// What it is about, if there are several: an interface, a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How much it matters.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// Why it matters; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about it, in words, where no command does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The commands that mend it, for a shell of root's in the same network namespace, until the next start of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(check: &str, seen: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            subject: None,
            level: Level::Ok,
            seen: seen.into(),
            why: None,
            advice: None,
            commands: Vec::new(),
        }
    }

    /// Something to change.
    pub(super) fn new(level: Level, check: &str, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            level,
            why: Some(why.into()),
            ..Self::ok(check, seen)
        }
    }

    pub(super) fn of(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }

    pub(super) fn commands(mut self, commands: impl IntoIterator<Item = String>) -> Self {
        self.commands.extend(commands);
        self
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
