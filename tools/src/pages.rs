//! `netchannel man` and `netchannel completions`, from the definitions of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::arguments::{self, Arguments, Completions, Shell};
use crate::failure::Failure;

/// Prints the first page, or writes all.
pub(crate) fn man(arguments: &arguments::Man) -> Result<(), Failure> {
    let mut command = Arguments::command();
    command.build();
    match &arguments.output {
        None => io::stdout().lock().write_all(&page(&command, "netchannel")?)?,
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
            write_all(&command, "netchannel", directory)?;
        }
    }
    Ok(())
}

/// Writes the page of a command and those of the commands below.
fn write_all(command: &Command, name: &str, directory: &Path) -> Result<(), Failure> {
    let file = directory.join(format!("{name}.1"));
    fs::write(&file, page(command, name)?).with_context(|| file.display().to_string())?;
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        write_all(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    // Its examples are to keep their lines, which the page would fill.
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = command.clone().after_help("").display_name(name.to_owned());
    let man = Man::new(command.clone()).title(name).section("1");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut out)?;
    }
    if command.has_subcommands() {
        writeln!(out, ".SH COMMANDS")?;
        for below in command
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
        {
            let about = below.get_about().map(ToString::to_string).unwrap_or_default();
            let page = format!("{name}-{}", below.get_name());
            writeln!(out, ".TP\n\\fB{}\\fR(1)\n{}", escaped(&page), escaped(&about))?;
        }
    }
    write_help(&mut out, &help)?;
    Ok(out)
}

/// Writes what stands behind the options: a line that ends in a colon begins a section.
fn write_help(out: &mut Vec<u8>, help: &str) -> io::Result<()> {
    let mut is_open = false;
    for line in help.lines() {
        let heading = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
        if let Some(heading) = heading {
            let end = if is_open { ".fi\n" } else { "" };
            let heading = match heading {
                "Exit codes" => "EXIT STATUS".to_owned(),
                other => other.to_uppercase(),
            };
            writeln!(out, "{end}.SH {}\n.nf", escaped(&heading))?;
            is_open = true;
        } else if !is_open {
            writeln!(out, ".SH NOTES\n.nf\n{}", escaped(line))?;
            is_open = true;
        } else {
            writeln!(out, "{}", escaped(line))?;
        }
    }
    if is_open {
        writeln!(out, ".fi")?;
    }
    Ok(())
}

/// Text that roff takes as it is.
fn escaped(line: &str) -> String {
    let line = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    match line.starts_with('.') {
        true => format!("\\&{line}"),
        false => line,
    }
}

/// Prints what has a shell complete the command.
pub(crate) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "netchannel", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(())
}
