//! The objects of `libnftables-json(5)`, as far as rules are about them. What stands in expressions and statements is looked at
//! where they are read.

use serde::Deserialize;
use serde_json::Value;

/// What `nft -j list ruleset` prints.
#[derive(Debug, Deserialize)]
pub(super) struct Ruleset {
    pub(super) nftables: Vec<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chain {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) name: String,
    /// Only chains at hooks have the following.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) hook: Option<String>,
    #[serde(default, rename = "prio")]
    pub(super) priority: Option<i64>,
    #[serde(default)]
    pub(super) policy: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    #[serde(default)]
    pub(super) handle: Option<u64>,
    #[serde(default)]
    pub(super) comment: Option<String>,
    #[serde(default, rename = "expr")]
    pub(super) statements: Vec<Value>,
}

/// A set or a map.
#[derive(Debug, Deserialize)]
pub(super) struct Set {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) flags: Vec<String>,
    #[serde(default)]
    pub(super) timeout: Option<Value>,
    #[serde(default, rename = "elem")]
    pub(super) elements: Vec<Value>,
}

/// A match statement.
#[derive(Debug, Deserialize)]
pub(super) struct Match {
    #[serde(rename = "op")]
    pub(super) operator: String,
    pub(super) left: Value,
    pub(super) right: Value,
}

/// The only key of an object and its value.
pub(super) fn single(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object()?;
    let (key, value) = object.iter().next()?;
    (object.len() == 1).then_some((key.as_str(), value))
}
