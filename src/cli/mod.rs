//! The command line: what `fixring` the binary does, over the library. Everything here may print and exit; nothing
//! else in the library does.

/// A line on standard output. `println!` panics where the reader has gone away; here that changes nothing of the outcome.
macro_rules! print_line {
    ($($text:tt)*) => {
        crate::cli::print(&format!("{}\n", format_args!($($text)*)))
    };
}

/// A line on standard error, likewise.
macro_rules! error_line {
    ($($text:tt)*) => {
        crate::cli::print_error(&format!("{}\n", format_args!($($text)*)))
    };
}

mod bench;
mod certify;
pub mod check;
mod config;
mod demo;
mod dictionary;
mod exit;
mod held;
mod journal;
pub mod logging;
mod order;
mod outlet;
mod progress;
mod recover;
mod run;
mod schedule;
mod simulate;

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use exit::Exit;
use logging::{LogError, LogOptions};

use crate::sys::memory::{address_space_limit, share_arenas};

/// To standard output. A reader that has gone away (`| head`) changes nothing of the outcome.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A FIX engine whose send buffer is a durable journal.
#[derive(Parser, Debug)]
#[command(name = "fixring", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the engine until SIGTERM or SIGINT
    ///
    /// Without a configuration: an exchange on 127.0.0.1:9880 for any CompIDs of any supported version, its data in
    /// ./fixring-data, health and metrics on 127.0.0.1:9890.
    #[command(after_long_help = exit::STATUSES_OF_RUN)]
    Run(Location),
    /// Say what is wrong with the configuration, the data directory and this machine
    Check(Location),
    /// Print when sessions start, end and are reset, in UTC and in local time
    ///
    /// What the configuration means, day by day: to be read before it is put to use, above all around changes of the
    /// clock. Nothing runs, and no data directory is looked at.
    Schedule(schedule::ScheduleOptions),
    /// See the engine killed and recover in a minute, with every order counted
    ///
    /// Starts the engine as a child process, sends orders to it over TCP at a steady rate, kills it with SIGKILL half
    /// way, starts it again and counts what was lost or came twice. Round trips count from the moment when an order
    /// was due; orders that were in flight at the kill or fell due before the session was back are not among them:
    /// their figure is the time from the kill to logged on again. Exit status 1 where anything was lost or doubled.
    Demo(demo::DemoOptions),
    /// Make a configuration of another engine's
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look into a data directory
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Show the numbers of a stopped data directory's sessions, and set them
    ///
    /// Alone it prints them. A directory that is restored from a snapshot, a clone or a copy is held, since its
    /// counterparties have seen numbers that it knows nothing of: `run` waits until each session has been spoken of
    /// with --restored. A number that is set opens a new epoch. PossDup messages that come again may be executed again.
    Recover(recover::RecoverOptions),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    Certify(certify::CertifyOptions),
    Order(order::OrderOptions),
    Simulate(simulate::SimulateOptions),
    /// Look up fields and messages; check, export and compile dictionaries
    #[command(subcommand)]
    Dictionary(dictionary::DictionaryCommand),
}

/// Which configuration, and over which data.
#[derive(clap::Args, Debug)]
struct Location {
    /// The configuration; without it, built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides engine.data_dir
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Parses the arguments and does what they say.
pub fn main() -> Exit {
    let mut cli = Cli::parse();
    if address_space_limit().is_some() {
        // Before the first thread has one of its own.
        share_arenas();
    }
    if matches!(cli.command, Command::Demo(_)) {
        // The client's attempts to connect while the venue is down are the demo's very subject, not news.
        cli.log.level_unless_given("error");
    }
    if matches!(cli.command, Command::Bench(bench::Bench::Stages(_))) {
        // Its engine runs in this process: what it logs in order is no news beside the figures.
        cli.log.level_unless_given("error");
    }
    let _logs_end = match logging::init(&cli.log) {
        Ok(logs_end) => logs_end,
        Err(error) => {
            error_line!("{error}");
            return match error {
                LogError::Level { .. } => Exit::Configuration,
                LogError::Thread(_) => Exit::Storage,
            };
        }
    };
    match cli.command {
        Command::Run(location) => run::run(location.config.as_deref(), location.data_dir.as_deref()),
        Command::Bench(bench) => bench::bench(&bench),
        Command::Dictionary(command) => dictionary::dictionary(&command),
        Command::Certify(options) => certify::certify(&options),
        Command::Order(options) => order::order(&options),
        Command::Simulate(options) => simulate::simulate(&options),
        Command::Check(location) => check::check(location.config.as_deref(), location.data_dir.as_deref()),
        Command::Schedule(options) => schedule::schedule(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Recover(options) => recover::recover(&options),
        Command::Journal(command) => journal::journal(&command),
        Command::Config(command) => config::config(&command),
    }
}
