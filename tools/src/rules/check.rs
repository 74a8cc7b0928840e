//! `netchannel rules check`, `convert` and `export`.

use anyhow::Context;
use netchannel::rules::{Names, Options, RuleList};

use super::{files, running};
use crate::arguments::{CheckRules, ConvertRules, ExportRules, Target};
use crate::check::{check_each, counted, load};
use crate::failure::Failure;

/// Checks every file, then fails if one was refused.
pub(super) fn check(arguments: &CheckRules) -> Result<(), Failure> {
    let refused_config = |error| Failure::Refused(vec![error]);
    let config = arguments.config.as_deref().map(load).transpose();
    let names = config.map_err(refused_config)?.map(|config| Names::of(&config));
    let options = Options {
        format: arguments.format,
        lenient: arguments.lenient,
        import: arguments.import.options(),
        ..Options::default()
    };
    check_each(&arguments.files, |file| {
        let rules = files::read(file, &options)?;
        if let Some(names) = &names {
            rules.check_with(names, file)?;
        }
        Ok(summary(&rules))
    })
}

/// What a file holds, in one line.
fn summary(rules: &RuleList) -> String {
    let sets = rules.address_sets.len() + rules.port_sets.len();
    [counted(rules.len(), "rule"), counted(sets, "set")].join(", ")
}

pub(super) fn convert(arguments: &ConvertRules) -> Result<(), Failure> {
    let options = Options {
        format: arguments.from,
        lenient: arguments.target.lenient,
        channel: Some(arguments.channel.as_str().into()),
        import: arguments.import.options(),
    };
    let read = files::read_with_channels(&arguments.file, &options);
    let (rules, channels) = read.map_err(|error| Failure::Refused(vec![error]))?;
    write(&rules, &arguments.target)?;
    match &arguments.channels {
        Some(file) => {
            std::fs::write(file, channels)
                .with_context(|| format!("{}: can not be written", file.display()))?;
        }
        None if !channels.is_empty() => {
            log::info!(
                "the rules lead to channels that the configuration needs (--channels writes them to a file):\n{channels}"
            );
        }
        None => {}
    }
    Ok(())
}

pub(super) fn export(arguments: &ExportRules) -> Result<(), Failure> {
    let rules = match (&arguments.origin.config, &arguments.origin.file) {
        (Some(config), _) => load(config).map(|config| config.rules),
        (None, Some(file)) => files::read(file, &Options::default()),
        (None, None) => Ok(running::in_force(&arguments.origin.socket)?),
    };
    write(
        &rules.map_err(|error| Failure::Refused(vec![error]))?,
        &arguments.target,
    )
}

fn write(rules: &RuleList, target: &Target) -> Result<(), Failure> {
    files::write(rules, target.to, target.lenient, &target.output)
}
