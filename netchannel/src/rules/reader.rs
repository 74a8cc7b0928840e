//! What readers of all notations share, and all files that make up one list: the rules so far, the sets and names that are known, and what
//! was found wrong.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ahash::RandomState;

use super::{AddressRange, Name, NamedSet, PortRange, RuleList};
use crate::config::{ConfigError, MAX_PROBLEMS, Problem};
use crate::text::{nearest, quoted};

/// The longest name of a set, in bytes.
pub const MAX_SET_NAME: usize = 32;
/// The most sets of a list, of addresses and ports together.
pub const MAX_SETS: usize = 65_536;
/// The most values of a set.
pub const MAX_SET_VALUES: usize = 1 << 20;
/// The most rules of a list.
pub const MAX_RULES: usize = 1 << 22;

/// Among more sets than these the one that was meant is not looked for.
const MAX_COMPARED: usize = 1_000;

/// A set that rules may name.
struct Known {
    set: Set,
    /// The warning if no rule names it.
    unused: Option<Box<Problem>>,
}

/// A set of either kind.
#[derive(Clone)]
pub(crate) enum Set {
    Addresses(Arc<NamedSet<AddressRange>>),
    Ports(Arc<NamedSet<PortRange>>),
}

pub(crate) struct Reader {
    /// The name of the channel `drop`.
    pub(crate) drop: Name,
    pub(crate) list: RuleList,
    sets: HashMap<Name, Known, RandomState>,
    names: HashSet<Name, RandomState>,
    problems: Vec<Problem>,
    more: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            drop: "drop".into(),
            list: RuleList::default(),
            sets: HashMap::default(),
            names: HashSet::default(),
            problems: Vec::new(),
            more: 0,
        }
    }

    /// Knows the sets of a list, and has none of its rules.
    pub(crate) fn with_sets(list: &RuleList) -> Self {
        let addresses = list.address_sets.iter().cloned();
        let ports = list.port_sets.iter().cloned();
        let named = addresses
            .map(|set| (set.name.clone(), Set::Addresses(set)))
            .chain(ports.map(|set| (set.name.clone(), Set::Ports(set))));
        let sets = named.map(|(name, set)| (name, Known { set, unused: None }));
        Self {
            sets: sets.collect(),
            ..Self::new()
        }
    }

    /// A name, shared with whatever has the same.
    pub(crate) fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        let name = Name::from(text);
        self.names.insert(name.clone());
        name
    }

    /// Why there can't be another set of this name.
    pub(crate) fn check_set_name(&self, name: &str) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > MAX_SET_NAME || !name.bytes().all(plain) {
            return Err(format!(
                "{} is not the name of a set; expected 1 to {MAX_SET_NAME} letters, digits, -, _ and .",
                quoted(name)
            ));
        }
        if self.sets.contains_key(name) {
            return Err(format!(
                "the set {} is here twice; expected a name of its own",
                quoted(name)
            ));
        }
        if self.sets.len() >= MAX_SETS {
            return Err(format!("there are more than {MAX_SETS} sets; expected fewer"));
        }
        Ok(())
    }

    /// Adds a set whose name was checked. `unused` is the warning if no rule names it.
    pub(crate) fn add_set(&mut self, name: &str, set: Set, unused: Problem) {
        match &set {
            Set::Addresses(set) => self.list.address_sets.push(set.clone()),
            Set::Ports(set) => self.list.port_sets.push(set.clone()),
        }
        let unused = Some(Box::new(unused));
        self.sets.insert(name.into(), Known { set, unused });
    }

    /// The set of addresses of this name.
    pub(crate) fn addresses(&mut self, name: &str) -> Result<Arc<NamedSet<AddressRange>>, String> {
        match self.set(name)? {
            Set::Addresses(set) => Ok(set),
            Set::Ports(_) => Err(format!("@{name} is a set of ports; expected one of addresses")),
        }
    }

    /// The set of ports of this name.
    pub(crate) fn ports(&mut self, name: &str) -> Result<Arc<NamedSet<PortRange>>, String> {
        match self.set(name)? {
            Set::Ports(set) => Ok(set),
            Set::Addresses(_) => Err(format!("@{name} is a set of addresses; expected one of ports")),
        }
    }

    fn set(&mut self, name: &str) -> Result<Set, String> {
        if let Some(known) = self.sets.get_mut(name) {
            known.unused = None;
            return Ok(known.set.clone());
        }
        let mut known: Vec<&str> = self.sets.keys().take(MAX_COMPARED).map(AsRef::as_ref).collect();
        known.sort_unstable();
        let found = format!("there is no set {} up to here", quoted(name));
        Err(match nearest(name, known.iter().copied()) {
            Some(near) => format!("{found}; did you mean @{near}?"),
            None => format!("{found}; expected it to be defined before the rules that name it"),
        })
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// How much there is of rules and problems.
    pub(crate) fn mark(&self) -> (usize, usize, usize) {
        (self.list.rules.len(), self.problems.len(), self.more)
    }

    /// Forgets the rules and problems since a mark.
    pub(crate) fn go_back(&mut self, (rules, problems, more): (usize, usize, usize)) {
        self.list.rules.truncate(rules);
        self.problems.truncate(problems);
        self.more = more;
    }

    /// Whether no more problems are kept: further ones are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Counts a problem that is not kept.
    pub(crate) fn count_problem(&mut self) {
        self.more += 1;
    }

    /// Whether there is no use in looking for more.
    pub(crate) fn has_enough(&self) -> bool {
        self.more >= MAX_PROBLEMS
    }

    /// The list and the warnings; or everything that is wrong.
    pub(crate) fn finish(self, file: &Path) -> Result<(RuleList, Vec<Problem>), ConfigError> {
        if !self.problems.is_empty() {
            return Err(ConfigError {
                file: file.to_owned(),
                problems: self.problems,
                more: self.more,
            });
        }
        let unused = self.sets.into_values().filter_map(|known| known.unused);
        let mut warnings: Vec<Problem> = unused.map(|warning| *warning).collect();
        warnings.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        warnings.truncate(MAX_PROBLEMS);
        Ok((self.list, warnings))
    }
}

/// The places of two values that overlap, the later one last, if there are any.
pub(crate) fn overlap<T, E: Ord + Copy>(values: &[T], ends: impl Fn(&T) -> (E, E)) -> Option<(usize, usize)> {
    let mut sorted: Vec<((E, E), usize)> = values.iter().map(ends).zip(0..).collect();
    sorted.sort_unstable();
    let touching = sorted.windows(2).find(|pair| pair[1].0.0 <= pair[0].0.1)?;
    let (a, b) = (touching[0].1, touching[1].1);
    Some((a.min(b), a.max(b)))
}
