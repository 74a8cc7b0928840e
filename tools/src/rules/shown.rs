//! A rule as reports show it.

use netchannel::rules::{Rule, text};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<u32>,
    pub(super) text: String,
}

impl Shown {
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            file: rule.place.file.as_ref().map(|file| file.display().to_string()),
            line: rule.place.position.map(|position| position.line),
            column: rule.place.position.map(|position| position.column),
            text: text::rule_text(rule),
        }
    }

    pub(super) fn place(&self) -> String {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}"),
            (Some(file), ..) => file.clone(),
            _ => "in force".to_owned(),
        }
    }
}
