//! The kernel's own translation: rules of nftables, which iptables' are too nowadays.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::doctor::root::Root;

/// The kernel's rules that translate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translations {
    /// Each of them; `None` if there is no `nft` to ask, or it refuses.
    pub rules: Option<Vec<KernelTranslation>>,
    /// Whether the kernel has a table "nat" of the former iptables (iptables-legacy), which `nft` does not show.
    pub legacy: bool,
}

/// A rule that translates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTranslation {
    /// The family of its table: ip, ip6, inet.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its number, by which it can be deleted.
    pub handle: u64,
    /// What it does: masquerade, snat, dnat, redirect.
    pub kind: String,
    /// The interfaces that it asks for; none if it does not ask.
    pub interfaces: Vec<String>,
}

impl Translations {
    pub(in crate::doctor) fn read(root: &Root) -> Self {
        let legacy = root.text("proc/net/ip_tables_names");
        let listed = Command::new("nft")
            .args(["-j", "list", "ruleset"])
            .stdin(Stdio::null())
            .output();
        let rules = listed.ok().filter(|output| output.status.success());
        Self {
            rules: rules.and_then(|output| Self::parse(&String::from_utf8_lossy(&output.stdout))),
            legacy: legacy.is_some_and(|names| names.lines().any(|name| name == "nat")),
        }
    }

    /// The rules that translate in what `nft -j list ruleset` says; `None` if it is no such thing.
    pub(in crate::doctor) fn parse(json: &str) -> Option<Vec<KernelTranslation>> {
        let ruleset: Value = serde_json::from_str(json).ok()?;
        let objects = ruleset.get("nftables")?.as_array()?;
        let rules = objects.iter().filter_map(|object| object.get("rule"));
        Some(rules.filter_map(translation).collect())
    }
}

fn translation(rule: &Value) -> Option<KernelTranslation> {
    let expressions = rule.get("expr")?.as_array()?;
    let text = |key: &str| rule.get(key)?.as_str().map(str::to_owned);
    let kind = expressions.iter().find_map(|expression| {
        let known = ["masquerade", "snat", "dnat", "redirect"];
        let own = known.into_iter().find(|kind| expression.get(kind).is_some());
        // A target of iptables; this nft may not be able to tell which.
        let target = expression
            .get("xt")
            .and_then(|xt| xt.get("name"))
            .and_then(Value::as_str);
        own.map(str::to_owned).or_else(|| {
            let target = target?.to_ascii_lowercase();
            known.contains(&target.as_str()).then_some(target)
        })
    })?;
    Some(KernelTranslation {
        family: text("family")?,
        table: text("table")?,
        chain: text("chain")?,
        handle: rule.get("handle")?.as_u64()?,
        kind,
        interfaces: expressions.iter().flat_map(interfaces).collect(),
    })
}

/// The interfaces that a match asks for.
fn interfaces(expression: &Value) -> Vec<String> {
    let asked = || {
        let found = expression.get("match")?;
        let key = found.get("left")?.get("meta")?.get("key")?.as_str()?;
        let is_positive = found.get("op").and_then(Value::as_str) != Some("!=");
        let right = found.get("right")?;
        (["iifname", "oifname", "iif", "oif"].contains(&key) && is_positive).then_some(right)
    };
    match asked() {
        None => Vec::new(),
        Some(right) => match (right.as_str(), right.get("set").and_then(Value::as_array)) {
            (Some(name), _) => vec![name.to_owned()],
            (None, Some(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            (None, None) => Vec::new(),
        },
    }
}
