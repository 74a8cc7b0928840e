//! Why rules were not changed.

use super::uploads::UploadError;
use crate::rules::MAX_TOTAL_BOXES;
use crate::setup::SetupError;
use crate::worker::Unanswered;
use crate::xdp::XdpError;

/// Why the rules were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RulesError {
    /// Rules that can't be had here; one line for each.
    #[error("{0}")]
    Faulty(String),
    /// The lists of all rules multiply to too many.
    #[error(
        "the lists of all rules make {0} single rules; expected at most {MAX_TOTAL_BOXES}: fewer rules or shorter lists"
    )]
    TooMany(u64),
    /// No rule has the number.
    #[error("there is no rule {0}; `netchannel rules list` shows the numbers")]
    NoRule(u32),
    /// The rules were changed by somebody else.
    #[error("the rules have changed since (version {found} in place of {expected}); look again")]
    Changed {
        /// The version that was meant.
        expected: u64,
        /// The present one.
        found: u64,
    },
    /// A trial is under way.
    #[error(
        "the rules are on trial: `netchannel rules confirm` keeps them, `netchannel rules undo` takes them back"
    )]
    OnTrial,
    /// There is no trial.
    #[error("no rules wait for confirmation")]
    NoTrial,
    /// There is nothing to undo.
    #[error("there are no former rules to go back to")]
    NoFormer,
    /// A time to confirm in that is none.
    #[error("{0} seconds to confirm in; expected 1 to 86400")]
    Timeout(u64),
    /// A text did not arrive.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The rules don't fit.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The XDP program could not be told.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The worker does not answer.
    #[error(transparent)]
    Worker(#[from] Unanswered),
}
