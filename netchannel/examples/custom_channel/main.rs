//! A program with a channel of its own, here one that answers UDP datagrams.
//!
//! ```text
//! cargo build --release --package netchannel --example custom_channel
//! sudo target/release/examples/custom_channel netchannel/examples/custom_channel/responder.toml
//! ```
//!
//! It prints what the datagrams say. A line that is typed becomes the answer to the next ones; an empty line, or the end of the
//! input, stops the program. Needs root, and the interface that the configuration names.

mod responder;

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use netchannel::config::Config;
use netchannel::daemon::{ChannelUser, Daemon, Stopper};
use netchannel::setup::CustomChannels;

use responder::Responder;

/// What the configuration calls the channel.
const CHANNEL: &str = "responder";
/// How often the channel is asked for what came in.
const READ_AGAIN: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: custom_channel CONFIG");
        return ExitCode::from(2);
    };
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(3);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custom_channel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let mut channels = CustomChannels::new();
    // The channel is made on the thread that will own it.
    channels.add(CHANNEL, || Responder::new("hello"));
    let daemon = Daemon::start_with(config, channels)?;
    for port in daemon.ports() {
        println!("{port}");
    }
    let (reader, writer) = (daemon.user_of(CHANNEL), daemon.user_of(CHANNEL));
    thread::spawn(move || print_payloads(&reader));
    let stopper = daemon.stopper();
    thread::spawn(move || take_answers(&writer, &stopper));
    daemon.wait()?;
    Ok(())
}

/// Prints what datagrams said, until the daemon is gone.
fn print_payloads(user: &ChannelUser) {
    while let Ok(text) = user.read(4096) {
        if text.is_empty() {
            thread::sleep(READ_AGAIN);
        } else if stdout().write_all(&text).is_err() {
            return;
        }
    }
}

/// Makes each line an answer; stops the daemon at the end.
fn take_answers(user: &ChannelUser, stopper: &Stopper) {
    for line in stdin().lock().lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        if let Err(error) = user.write(line.as_bytes()) {
            eprintln!("custom_channel: {error}");
        }
    }
    stopper.stop();
}
