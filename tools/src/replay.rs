//! `netchannel replay`.

use std::io::Write;
use std::path::{Path, PathBuf};

use netchannel::config::Config;
use netchannel::replay::{self, ReplayInput};

use crate::arguments::Replay;
use crate::check;
use crate::failure::Failure;

/// Sends captures through a configuration.
pub(crate) fn replay(arguments: &Replay) -> Result<(), Failure> {
    let config = check::load(&arguments.config).map_err(|error| Failure::Refused(vec![error]))?;
    let (inputs, output) = files(&arguments.files, &config).map_err(Failure::Usage)?;
    let summary = replay::run(&config, &inputs, &output)?;
    writeln!(std::io::stdout(), "{summary}")?;
    Ok(())
}

/// The inputs with their interfaces, and the output.
fn files(files: &[PathBuf], config: &Config) -> Result<(Vec<ReplayInput>, PathBuf), String> {
    let Some((output, inputs)) = files.split_last().filter(|(_, inputs)| !inputs.is_empty()) else {
        return Err("expected at least one capture to read and one to write".to_owned());
    };
    if let (Some(interface), _) = split(output) {
        return Err(format!(
            "the last file is the capture to write, found {}; expected a file without `{interface}=`",
            output.display()
        ));
    }
    let mut taken = Vec::with_capacity(inputs.len());
    for input in inputs {
        let (interface, path) = split(input);
        if let Some(name) = &interface
            && config.interface(name).is_none()
        {
            let known: Vec<&str> = config
                .interfaces
                .iter()
                .map(|interface| interface.name.as_str())
                .collect();
            return Err(format!(
                "{}: no interface `{name}` in {}; expected one of {}",
                input.display(),
                config.file.display(),
                known.join(", ")
            ));
        }
        if is_same_file(&path, output) {
            return Err(format!(
                "{} is both read and written; expected another file to write",
                path.display()
            ));
        }
        taken.push(ReplayInput { interface, path });
    }
    Ok((taken, output.clone()))
}

/// `lan0=in.pcap` into interface and file. A `=` after a `/` is the file's own.
fn split(argument: &Path) -> (Option<String>, PathBuf) {
    let named = argument.to_str().and_then(|text| text.split_once('='));
    match named {
        Some((interface, path)) if !interface.contains('/') && !interface.is_empty() => {
            (Some(interface.to_owned()), PathBuf::from(path))
        }
        _ => (None, argument.to_owned()),
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "[[interface]]\nname = \"lan0\"\nrole = \"inside\"\n";
        Config::parse(text, "test.toml").unwrap()
    }

    fn taken(arguments: &[&str]) -> Result<(Vec<ReplayInput>, PathBuf), String> {
        files(
            &arguments.iter().map(PathBuf::from).collect::<Vec<_>>(),
            &config(),
        )
    }

    #[test]
    fn interfaces_stand_before_their_files() {
        let (inputs, output) = taken(&["lan0=a.pcap", "b.pcapng", "./x=y.pcap", "out.pcapng"]).unwrap();
        let input = |interface: Option<&str>, path: &str| ReplayInput {
            interface: interface.map(str::to_owned),
            path: PathBuf::from(path),
        };
        let expected = [
            input(Some("lan0"), "a.pcap"),
            input(None, "b.pcapng"),
            input(None, "./x=y.pcap"),
        ];
        assert_eq!(inputs, expected);
        assert_eq!(output, PathBuf::from("out.pcapng"));
    }

    #[test]
    fn mistakes_are_told() {
        assert!(
            taken(&["out.pcapng"])
                .unwrap_err()
                .contains("at least one capture to read")
        );
        assert!(
            taken(&["lan9=a", "out"])
                .unwrap_err()
                .contains("no interface `lan9` in test.toml; expected one of lan0")
        );
        assert!(taken(&["a", "lan0=out"]).unwrap_err().contains("without `lan0=`"));
        assert!(
            taken(&["lan0=a", "a"])
                .unwrap_err()
                .contains("both read and written")
        );
    }
}
