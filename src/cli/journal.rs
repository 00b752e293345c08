//! `fixring journal`: what a data directory holds, while the engine runs or after.
//!
//! All but `repair` only read: no lock, no mapping, nothing changed.
//!
//! Exit status: 0; 1 where `verify` finds that something is not whole; 2 where the session or journal that was asked for does not exist, or
//! `repair` lacks a word of the operator's; 3 where the directory is not a data directory of ours, or is in use; 4 where reading or
//! writing failed.

mod dialects;
mod filter;
mod pretty;
mod read;
mod render;
mod repair;
mod status;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Exit;
use super::run::{load, load_outline};
use crate::config::Config;
use crate::journal::StorageError;
use crate::journal::inspect::{CatError, Directory};
use crate::session::Identity;
use dialects::Dialects;

#[derive(Subcommand, Debug)]
pub(super) enum JournalCommand {
    /// Say what a data directory holds and where each session stands
    Status(status::StatusOptions),
    /// Walk every record and say what is provably whole
    ///
    /// Every segment that is there is read from its beginning to its end, and then what the ring has beyond them: CRCs, the
    /// links of each session, its numbers, and whether each state record says what the records before it add up to.
    /// Safe beside a running engine. Exit status: 0 where everything is whole that should be, 1 where something is not.
    Verify(verify::VerifyOptions),
    /// Print stored messages readably
    ///
    /// A line a message: time, direction (< in, > out, >> sent again), session, MsgSeqNum(34), MsgType(35), flags, and
    /// the message with | for its delimiters. Flags: C counted (its number is used up), D delivered to the
    /// application, B blanked (it held a password).
    Cat(read::CatOptions),
    /// Print the last messages, and with -f those that come
    Tail(read::TailOptions),
    /// Write messages for other programs
    ///
    /// fix: the messages themselves, one behind the other, with their delimiters (0x01) and nothing between them.
    /// json: an object a line, with the fields in their order as {"tag","value"}; a value that is not UTF-8 is {"tag","hex"};
    /// a message that is no tag=value has "fields": null and "hex".
    /// csv: time,session,direction,msg_seq_num,msg_type,flags,message (RFC 4180), the message with | for its delimiters and
    /// escapes as \xNN.
    #[command(verbatim_doc_comment)]
    Export(read::ExportOptions),
    /// Find messages by MsgSeqNum(34), through the session's links and not by a walk over everything
    Seek(read::SeekOptions),
    /// Make a directory that cannot be opened open again; nothing is ever deleted
    ///
    /// Prints its plan, and carries it out with --yes. What stands in the way goes to quarantine/, each piece with a note that
    /// says how to put it back.
    Repair(repair::RepairOptions),
}

/// The directory that every command needs.
#[derive(Args, Debug)]
struct Place {
    /// The engine's data directory; without it that of --config, or fixring-data
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The engine's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why the output ended early.
enum Ended {
    /// Whoever reads us has had enough, `head` for one.
    ReaderGone,
    Output(io::Error),
    Storage(StorageError),
}

pub(super) fn journal(command: &JournalCommand) -> Exit {
    match command {
        JournalCommand::Status(options) => status::status(options),
        JournalCommand::Verify(options) => verify::verify(options),
        JournalCommand::Cat(options) => read::cat(options),
        JournalCommand::Tail(options) => read::tail(options),
        JournalCommand::Export(options) => read::export(options),
        JournalCommand::Seek(options) => read::seek(options),
        JournalCommand::Repair(options) => repair::repair(options),
    }
}

impl Place {
    /// The directory, or the exit status after its fault has been told.
    fn open(&self) -> Result<Directory, Exit> {
        let data_dir = self.data_dir()?;
        Directory::open(&data_dir).map_err(|error| refuse(&data_dir, &error))
    }

    /// Where `fixring run` with the same options has its data.
    fn data_dir(&self) -> Result<PathBuf, Exit> {
        self.outline().map(|config| config.engine.data_dir)
    }

    /// The configuration without the files that it names, which the machine that looks need not
    /// have.
    fn outline(&self) -> Result<Config, Exit> {
        load_outline(self.config.as_deref(), self.data_dir.as_deref()).map_err(|errors| {
            error_line!("{errors}");
            Exit::Configuration
        })
    }

    /// What the sessions' messages are read by. Where their dictionaries cannot be had, that is
    /// told, and it is the standard's.
    fn dialects(&self) -> Result<&'static Dialects, Exit> {
        let config = match load(self.config.as_deref(), self.data_dir.as_deref()) {
            Ok(config) => config,
            Err(errors) => {
                let outline = self.outline()?;
                error_line!("{errors}\nmessages are read by the standard's dictionaries");
                outline
            }
        };
        Ok(Dialects::of(config))
    }
}

fn refuse(data_dir: &Path, error: &CatError) -> Exit {
    let mend = match error {
        CatError::NoManifest if data_dir.join("journal-0").is_dir() => {
            ", but segments: `fixring journal repair` may make the manifest anew"
        }
        CatError::NoManifest => "; name the directory that engine.data_dir names",
        // They say it themselves.
        CatError::Manifest(_) | CatError::Storage(_) => "",
    };
    error_line!("{}: {error}{mend}", data_dir.display());
    if matches!(error, CatError::Storage(_)) { Exit::Storage } else { Exit::DataDirectory }
}

/// The journal that was asked for exists.
fn check_journal(directory: &Directory, journal: Option<u16>) -> Result<(), Exit> {
    let journals = directory.manifest().geometry.journals;
    match journal.filter(|journal| *journal >= journals) {
        Some(journal) => {
            let shown = directory.data_dir().display();
            error_line!("{shown} has no journal {journal}: use --journal 0 to {}", journals - 1);
            Err(Exit::Configuration)
        }
        None => Ok(()),
    }
}

/// How a command ends that printed until something stopped it.
fn ended(data_dir: &Path, result: Result<(), Ended>) -> Exit {
    match result {
        Ok(()) | Err(Ended::ReaderGone) => Exit::Ok,
        Err(Ended::Output(error)) => {
            error_line!("cannot write: {error}");
            Exit::Failed
        }
        Err(Ended::Storage(error)) => {
            error_line!("{}: {error}", data_dir.display());
            Exit::Storage
        }
    }
}

/// Prints a text at once.
fn print(data_dir: &Path, text: &str) -> Exit {
    use io::Write;
    ended(data_dir, io::stdout().lock().write_all(text.as_bytes()).map_err(Ended::of))
}

/// A session as people write it; of an identity that is none, its bytes.
fn name_of(identity: &[u8]) -> String {
    Identity::from_bytes(identity).map_or_else(|| identity.escape_ascii().to_string(), |identity| identity.to_string())
}

/// `-` for none.
fn time_of(time_ns: Option<u64>) -> String {
    match time_ns.map(|time_ns| (time_ns, Timestamp::from_nanosecond(i128::from(time_ns)))) {
        None => "-".into(),
        Some((_, Ok(time))) => format!("{time:.3}"),
        Some((time_ns, Err(_))) => format!("{time_ns} ns"),
    }
}

/// In the largest units that matter: `2 d 3 h`, `4 min 10 s`, `0.250 s`.
fn duration_of(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    match s {
        0..10 => format!("{:.3} s", ns as f64 / 1e9),
        10..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

fn now_ns() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

impl Ended {
    fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Output(error) }
    }
}

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_shown_in_units_that_a_person_reads() {
        let shown = [0, 250_000_000, 59_000_000_000, 250_000_000_000, 7_260_000_000_000, 200_000_000_000_000];
        let expected = ["0.000 s", "0.250 s", "59 s", "4 min 10 s", "2 h 1 min", "2 d 7 h"];
        assert_eq!(shown.map(duration_of), expected);
        assert_eq!(time_of(Some(1_500_000_000)), "1970-01-01T00:00:01.500Z");
        assert_eq!(time_of(None), "-");
    }
}
