//! `fixring journal cat`: the stored messages as text, one line each, while the engine runs or after.
//!
//! It only reads: no lock, no mapping, nothing repaired. A line is meant for a person and for grep; the fields are
//! separated by blanks, and the message comes last, its delimiters as `|`.
//!
//! Exit status: 0; 2 where the session or journal that was asked for does not exist; 3 where the directory is not a
//! data directory of ours; 4 where reading failed.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Exit;
use crate::fix::SOH;
use crate::journal::cat::{Cat, CatError, CatRecord};
use crate::journal::{IncarnationStart, Kind, StoredNumbers, flags};
use crate::session::Identity;

#[derive(Subcommand, Debug)]
pub(super) enum JournalCommand {
    /// Print stored messages readably, while the engine runs or after
    ///
    /// A line a message: time, direction (< in, > out, >> sent again), session, MsgSeqNum(34), MsgType(35), flags, and
    /// the message with | for its delimiters. Flags: C counted (its number is used up), D delivered to the
    /// application, B blanked (it held a password).
    Cat(CatOptions),
}

#[derive(Args, Debug)]
pub(super) struct CatOptions {
    /// The engine's data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Only this session, as it is shown: FIX.4.4:VENUE->DESK1
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only this journal
    #[arg(long, value_name = "N")]
    journal: Option<u16>,
    /// Also what is no message: incarnations, segments' state records, sessions' definitions and numbers, clean stops
    #[arg(long)]
    all: bool,
}

/// Why the output ended early.
enum Ended {
    /// Whoever reads us has had enough, `head` for one.
    ReaderGone,
    Output(io::Error),
    Journal(CatError),
}

pub(super) fn journal(command: &JournalCommand) -> Exit {
    let JournalCommand::Cat(options) = command;
    cat(options)
}

fn cat(options: &CatOptions) -> Exit {
    let shown = options.data_dir.display();
    let cat = match Cat::open(&options.data_dir) {
        Ok(cat) => cat,
        Err(error) => {
            let mend = match error {
                CatError::NoManifest => "; name the directory that engine.data_dir names",
                // These say it themselves.
                CatError::Manifest(_) | CatError::Storage(_) => "",
            };
            eprintln!("{shown}: {error}{mend}");
            return Exit::DataDirectory;
        }
    };
    let journals = cat.manifest().geometry.journals;
    if let Some(journal) = options.journal.filter(|journal| *journal >= journals) {
        eprintln!("{shown} has no journal {journal}: use --journal 0 to {}", journals - 1);
        return Exit::Configuration;
    }
    let mut output = BufWriter::new(io::stdout().lock());
    let mut known = BTreeSet::new();
    let printed = print(cat, options, &mut known, &mut output).and_then(|()| output.flush().map_err(Ended::of));
    match printed {
        Ok(()) | Err(Ended::ReaderGone) => {}
        Err(Ended::Output(error)) => {
            eprintln!("cannot write: {error}");
            return Exit::Failed;
        }
        Err(Ended::Journal(error)) => {
            eprintln!("{shown}: {error}");
            return Exit::Storage;
        }
    }
    if let Some(session) = options.session.as_ref().filter(|session| !known.contains(*session)) {
        let known: Vec<_> = known.into_iter().collect();
        eprintln!(
            "{shown} has no session {session}: it has {}",
            if known.is_empty() { "none".into() } else { known.join(", ") }
        );
        return Exit::Configuration;
    }
    Exit::Ok
}

/// Prints what was asked for. `known` collects the sessions that the records name.
fn print(cat: Cat, options: &CatOptions, known: &mut BTreeSet<String>, output: &mut impl Write) -> Result<(), Ended> {
    for record in cat {
        let record = record.map_err(Ended::Journal)?;
        let session = name_of(&record);
        if options.session.is_some() && !session.is_empty() && !known.contains(&session) {
            known.insert(session.clone());
        }
        let asked_for = options.journal.is_none_or(|journal| journal == record.journal)
            && options.session.as_ref().is_none_or(|asked| *asked == session)
            && (options.all || direction(record.header.kind).is_some());
        if asked_for {
            writeln!(output, "{}", line(&record, &session)).map_err(Ended::of)?;
        }
    }
    Ok(())
}

/// The record in one line.
fn line(record: &CatRecord, session: &str) -> String {
    let header = &record.header;
    // What is written before the first turn of a worker has no time.
    let time = match Timestamp::from_nanosecond(i128::from(header.time_ns)) {
        Ok(_) if header.time_ns == 0 => "-".into(),
        Ok(time) => format!("{time:.9}"),
        Err(_) => header.time_ns.to_string(),
    };
    let Some(direction) = direction(header.kind) else {
        let what = describe(record);
        let session = if session.is_empty() { String::new() } else { format!(" {session}") };
        return format!("{time} --{session} journal {} at {}: {what}", record.journal, record.position);
    };
    let msg_type = crate::fix::raw_field(&record.payload, crate::fix::tags::MSG_TYPE).unwrap_or(b"?");
    let flag = |bit, letter| if header.has(bit) { letter } else { '-' };
    format!(
        "{time} {direction:<2} {session} {} {} {}{}{} {}",
        header.msg_seq_num,
        msg_type.escape_ascii(),
        flag(flags::COUNTED, 'C'),
        flag(flags::DELIVERED, 'D'),
        flag(flags::SECRET_BLANKED, 'B'),
        readable(&record.payload),
    )
}

/// `None` for records that are no messages.
fn direction(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Inbound => Some("<"),
        Kind::Outbound => Some(">"),
        Kind::Replay => Some(">>"),
        Kind::Pad | Kind::SessionDefined | Kind::Numbers | Kind::IncarnationStart | Kind::State | Kind::CleanStop => {
            None
        }
    }
}

fn describe(record: &CatRecord) -> String {
    let header = &record.header;
    match header.kind {
        Kind::IncarnationStart => match IncarnationStart::of(&record.payload) {
            Some(start) => format!(
                "incarnation {} starts, after {} stop",
                header.incarnation,
                if start.after_clean_stop { "a clean" } else { "no clean" }
            ),
            None => format!("incarnation {} starts", header.incarnation),
        },
        Kind::SessionDefined => format!("session {} is defined", header.session),
        Kind::Numbers => match StoredNumbers::of(&record.payload) {
            Some(numbers) => {
                format!("numbers: next out {}, next in {}, epoch {}", numbers.next_out, numbers.next_in, numbers.epoch)
            }
            None => "numbers".into(),
        },
        Kind::State => format!("state of all sessions and the application, {} bytes", record.payload.len()),
        Kind::CleanStop => "clean stop".into(),
        Kind::Pad | Kind::Inbound | Kind::Outbound | Kind::Replay => String::new(),
    }
}

fn name_of(record: &CatRecord) -> String {
    Identity::from_bytes(&record.identity).map_or_else(String::new, |identity| identity.to_string())
}

/// The delimiters as `|`; what would break the line or the terminal, as escapes.
fn readable(message: &[u8]) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message {
        match byte {
            &SOH => text.push('|'),
            b'\\' => text.push('\\'),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.extend(byte.escape_ascii().map(char::from)),
        }
    }
    text
}

impl Ended {
    fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Output(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_its_data_fields_hold() {
        assert_eq!(readable(b"35=B\x0195=3\x0196=a\nb\x0158=50 % \\ off\x01"), r"35=B|95=3|96=a\nb|58=50 % \ off|");
    }
}
