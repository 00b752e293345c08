//! The command line: what `fixring` the binary does, over the library. Everything here may print and exit; nothing
//! else in the library does.

mod bench;
pub mod check;
mod dictionary;
mod exit;
pub mod logging;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use exit::Exit;
use logging::LogOptions;

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
    Run(Location),
    /// Say what is wrong with the configuration, the data directory and this machine
    Check(Location),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
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
    let cli = Cli::parse();
    if let Err(error) = logging::init(&cli.log) {
        eprintln!("{error}");
        return Exit::Configuration;
    }
    match cli.command {
        Command::Run(location) => run::run(location.config.as_deref(), location.data_dir.as_deref()),
        Command::Bench(bench) => bench::bench(&bench),
        Command::Dictionary(command) => dictionary::dictionary(&command),
        Command::Check(location) => check::check(location.config.as_deref(), location.data_dir.as_deref()),
    }
}
