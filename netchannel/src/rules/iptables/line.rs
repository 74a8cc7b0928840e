//! One rule.

use super::matches::{Context, Matches, States};
use super::targets;
use super::words::{Word, words};
use crate::rules::Name;
use crate::rules::chains::{Body, Branch, Refusal};
use crate::text::quoted;

/// A line that appends a rule to a chain.
pub(super) struct Line {
    pub(super) chain: String,
    /// Where the rule starts, behind its counters.
    pub(super) start: usize,
    /// The target of `-j` or `-g`, if there is one.
    pub(super) target: Option<Word>,
    /// Whether it is `-g`.
    goes: bool,
    matches: Vec<Word>,
    /// What stands behind the target.
    arguments: Vec<Word>,
}

/// What is in a line.
pub(super) struct Read {
    pub(super) comment: Option<Name>,
    pub(super) notes: Vec<String>,
    pub(super) body: Result<Body, Refusal>,
}

impl Line {
    /// `[PACKETS:BYTES] -A CHAIN MATCHES -j TARGET ARGUMENTS`
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let mut words = words(text).map_err(Refusal::from)?.into_iter().peekable();
        words.next_if(|word| is_counters(&word.text));
        let Some(append) = words.next_if(|word| ["-A", "--append"].contains(&word.text.as_str())) else {
            let message = "is no line of iptables-save; expected -A CHAIN ..., :CHAIN POLICY, *TABLE, COMMIT or a comment";
            return Err(message.to_owned().into());
        };
        let Some(chain) = words.next() else {
            return Err("-A without a chain; expected -A CHAIN".to_owned().into());
        };
        let mut line = Self {
            chain: chain.text,
            start: append.at.start,
            target: None,
            goes: false,
            matches: Vec::new(),
            arguments: Vec::new(),
        };
        while let Some(word) = words.next() {
            match word.text.as_str() {
                "-j" | "--jump" | "-g" | "--goto" => {
                    line.goes = word.text.contains("-g");
                    line.target = words.next();
                    if line.target.is_none() {
                        return Err(format!("{} without a target; expected -j TARGET", word.text).into());
                    }
                    line.arguments = words.by_ref().collect();
                }
                _ => {
                    // A comment may look like anything.
                    let is_comment = word.text == "--comment";
                    line.matches.push(word);
                    if is_comment {
                        line.matches.extend(words.next());
                    }
                }
            }
        }
        Ok(line)
    }

    /// What the rule does with which packets; `chain` is the one that the target names, if it names one.
    pub(super) fn body(mut self, context: &Context<'_>, chain: Option<usize>) -> Read {
        // Some targets are followed by matches' options in old versions' output.
        if let Some(at) = self
            .arguments
            .iter()
            .position(|word| ["-m", "-s", "-d", "-p"].contains(&word.text.as_str()))
        {
            self.matches.extend(self.arguments.split_off(at));
        }
        let mut matches = Matches::new(context);
        matches.read(&self.matches);
        let target = self.target.as_ref().map(|target| target.text.as_str());
        let mut notes = std::mem::take(&mut matches.notes);
        let comment = matches.comment.take();
        if matches.states == Some(States::Answers) && target == Some("ACCEPT") {
            notes.push("is not needed: answers to what a rule let out come in without one".to_owned());
            return Read {
                comment,
                notes,
                body: Ok(Body::default()),
            };
        }
        let body = self.checked(matches, chain, context, &mut notes);
        if body.is_err() {
            notes.clear();
        }
        Read { comment, notes, body }
    }

    fn checked(
        &self,
        matches: Matches<'_>,
        chain: Option<usize>,
        context: &Context<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Body, Refusal> {
        let (mut body, regions) = matches.end()?;
        let Some(target) = &self.target else {
            notes.push("only counts packets, and is no rule".to_owned());
            return Ok(body);
        };
        let verdict = targets::verdict(target, &self.arguments, self.goes, chain, context, notes)?;
        body.branches = regions
            .into_iter()
            .map(|region| Branch {
                region,
                verdict: verdict.clone(),
            })
            .collect();
        Ok(body)
    }
}

fn is_counters(text: &str) -> bool {
    let counts = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    counts
        .and_then(|counts| counts.split_once(':'))
        .is_some_and(|(packets, bytes)| {
            [packets, bytes]
                .iter()
                .all(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

/// A word that is in the way.
pub(super) fn refuse(word: &Word, message: impl Into<String>) -> Refusal {
    Refusal {
        message: message.into(),
        at: Some(word.at.clone()),
    }
}

/// A word that should have been another.
pub(super) fn wrong(word: &Word, expected: &str) -> Refusal {
    refuse(word, format!("found {}; expected {expected}", quoted(&word.text)))
}
