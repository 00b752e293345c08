//! `cat`, `tail`, `export` and `seek`: stored messages, some or all of them, in one form or another.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::super::Exit;
use super::filter::{Filter, FilterOptions};
use super::render::{Form, Format};
use super::{Ended, Place, ended, filter, name_of};
use crate::journal::StorageError;
use crate::journal::inspect::seek::{Wanted, seek as find};
use crate::journal::inspect::{CatRecord, Directory, JournalReader, Merged, Next, Skipped, Start};

#[derive(Args, Debug)]
pub(in crate::cli) struct CatOptions {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    look: Look,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Wait for more at the end
    #[arg(short, long)]
    follow: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct TailOptions {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    look: Look,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    lines: u32,
    /// Wait for more
    #[arg(short, long)]
    follow: bool,
}

#[derive(Args, Debug)]
struct Look {
    /// A field a line, with the names of fields and values
    #[arg(long)]
    pretty: bool,
    /// Also what is no message: incarnations, segments' state records, sessions' definitions and numbers, clean stops
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ExportOptions {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filter: FilterOptions,
    #[arg(long, value_enum)]
    format: Format,
    /// A new file, for this user alone; standard output without it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SeekOptions {
    #[command(flatten)]
    place: Place,
    /// The session, as it is shown: FIX.4.4:VENUE->DESK1
    #[arg(long, value_name = "ID")]
    session: String,
    /// in or out
    #[arg(long, value_enum)]
    direction: SeekWay,
    /// The first MsgSeqNum(34)
    #[arg(long, value_name = "N")]
    from: u64,
    /// The last one; the same without it
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Of an epoch before: each reset of the numbers begins a new one
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// A field a line, with the names of fields and values
    #[arg(long)]
    pretty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum SeekWay {
    In,
    Out,
}

/// How often a journal is looked at that is being followed.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// A message longer than any ring's commit has no more fields than this.
const FIELDS_MAX: u32 = 1 << 18;

pub(in crate::cli) fn cat(options: &CatOptions) -> Exit {
    let run = || {
        let directory = options.place.open()?;
        let dialects = options.place.dialects()?;
        let mut filter = options.filter.over(&directory, dialects, options.look.all)?;
        let mut output = BufWriter::new(io::stdout().lock());
        let mut form = Form::of(options.look.pretty, dialects);
        let printed =
            readers(&directory, &options.filter, options.filter.start()).map_err(Ended::from).and_then(|readers| {
                let merged = Merged::new(readers);
                let limit = options.limit.unwrap_or(u64::MAX);
                print(merged, options.follow, limit, &mut filter, &mut form, &mut output)
            });
        let printed = printed.and_then(|()| output.flush().map_err(Ended::of));
        Ok(ended(directory.data_dir(), printed))
    };
    run().unwrap_or_else(|exit| exit)
}

pub(in crate::cli) fn tail(options: &TailOptions) -> Exit {
    let run = || {
        let directory = options.place.open()?;
        let dialects = options.place.dialects()?;
        let mut filter = options.filter.over(&directory, dialects, options.look.all)?;
        let mut output = BufWriter::new(io::stdout().lock());
        let mut form = Form::of(options.look.pretty, dialects);
        let printed = print_tail(options, &directory, &mut filter, &mut form, &mut output);
        let printed = printed.and_then(|()| output.flush().map_err(Ended::of));
        Ok(ended(directory.data_dir(), printed))
    };
    run().unwrap_or_else(|exit| exit)
}

pub(in crate::cli) fn export(options: &ExportOptions) -> Exit {
    let run = || {
        let directory = options.place.open()?;
        let dialects = options.place.dialects()?;
        let mut filter = options.filter.over(&directory, dialects, false)?;
        let output: Box<dyn Write> = match &options.output {
            None => Box::new(io::stdout().lock()),
            // Orders are confidential, and an older export is not overwritten unseen.
            Some(path) => match File::options().write(true).create_new(true).mode(0o600).open(path) {
                Ok(file) => Box::new(file),
                Err(error) => {
                    error_line!("{}: cannot be made: {error}; name a file that is not there yet", path.display());
                    return Err(Exit::Configuration);
                }
            },
        };
        let mut output = BufWriter::new(output);
        let mut form = Form::export(options.format, FIELDS_MAX, dialects);
        let printed =
            readers(&directory, &options.filter, options.filter.start()).map_err(Ended::from).and_then(|readers| {
                form.begin(&mut output).map_err(Ended::of)?;
                let limit = options.limit.unwrap_or(u64::MAX);
                print(Merged::new(readers), false, limit, &mut filter, &mut form, &mut output)
            });
        let printed = printed.and_then(|()| output.flush().map_err(Ended::of));
        Ok(ended(directory.data_dir(), printed))
    };
    run().unwrap_or_else(|exit| exit)
}

pub(in crate::cli) fn seek(options: &SeekOptions) -> Exit {
    let run = || {
        let directory = options.place.open()?;
        let data_dir = directory.data_dir();
        let identity = filter::session(&directory, &options.session)?;
        let to = options.to.unwrap_or(options.from);
        if to < options.from {
            error_line!("--to {to} is before --from {}", options.from);
            return Err(Exit::Configuration);
        }
        let outbound = options.direction == SeekWay::Out;
        let wanted = Wanted { outbound, from: options.from, to, epoch: options.epoch };
        let found = match find(&directory, |candidate| *candidate == *identity, wanted) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(Exit::Configuration),
            Err(error) => return Ok(ended(data_dir, Err(error.into()))),
        };
        if found.is_empty() {
            let lowest =
                found.lowest.map_or_else(|| "none".to_owned(), |lowest| format!("{lowest} and those after it"));
            error_line!(
                "{} has no such message: of epoch {} the journal still has {lowest}",
                name_of(&identity),
                found.epoch
            );
            return Err(Exit::Configuration);
        }
        if found.is_cut_off {
            error_line!(
                "of epoch {} the journal has only MsgSeqNum(34) {} and those after it: what came before is overwritten",
                found.epoch,
                found.lowest.unwrap_or_default()
            );
        }
        let mut output = BufWriter::new(io::stdout().lock());
        let mut form = Form::of(options.pretty, options.place.dialects()?);
        let print = || -> Result<(), Ended> {
            for record in found.records() {
                form.write(&record?, &mut output).map_err(Ended::of)?;
            }
            output.flush().map_err(Ended::of)
        };
        Ok(ended(data_dir, print()))
    };
    run().unwrap_or_else(|exit| exit)
}

fn readers(directory: &Directory, options: &FilterOptions, start: Start) -> Result<Vec<JournalReader>, StorageError> {
    options.journals(directory).map(|journal| JournalReader::new(directory, journal, start)).collect()
}

/// Prints what fits until the end, or for ever.
fn print(
    mut merged: Merged,
    follows: bool,
    limit: u64,
    filter: &mut Filter<'_>,
    form: &mut Form,
    output: &mut BufWriter<impl Write>,
) -> Result<(), Ended> {
    let mut printed = 0;
    if follows {
        merged.follow();
    }
    while printed < limit {
        match merged.next()? {
            Next::Record(record) => {
                if filter.matches(&record) {
                    form.write(&record, output).map_err(Ended::of)?;
                    printed += 1;
                } else if !follows && filter.is_over(&record) {
                    break;
                }
            }
            Next::Skipped(skipped) => {
                output.flush().map_err(Ended::of)?;
                tell(&skipped);
            }
            Next::End if follows => {
                output.flush().map_err(Ended::of)?;
                std::thread::sleep(FOLLOW_INTERVAL);
            }
            Next::End => break,
        }
    }
    Ok(())
}

fn tell(skipped: &Skipped) {
    let Skipped { journal, from, to, overwritten } = skipped;
    let bytes = to - from;
    if *overwritten {
        error_line!(
            "journal {journal}: the engine has overwritten {bytes} bytes from position {from} on meanwhile; going on at {to}"
        );
    } else {
        error_line!(
            "journal {journal}: {bytes} bytes from position {from} on are not whole; going on at {to} (see `fixring journal verify`)"
        );
    }
}

/// The last records that fit, found from the newest segment backwards, and then what comes.
fn print_tail(
    options: &TailOptions,
    directory: &Directory,
    filter: &mut Filter<'_>,
    form: &mut Form,
    output: &mut BufWriter<impl Write>,
) -> Result<(), Ended> {
    let wanted = options.lines as usize;
    let mut last: Vec<CatRecord> = Vec::new();
    let mut followers = Vec::new();
    for journal in options.filter.journals(directory) {
        let mut found: VecDeque<CatRecord> = VecDeque::new();
        let mut limit = None;
        let mut follower = None;
        // The newest first. An older segment is read only where the newer ones had too few.
        for segment in JournalReader::segments(directory, journal)?.into_iter().rev() {
            let mut reader = JournalReader::new(directory, journal, Start::Segment(segment))?;
            let mut piece = VecDeque::new();
            let room = wanted - found.len().min(wanted);
            loop {
                match reader.next()? {
                    Next::Record(record) if limit.is_some_and(|limit| record.position >= limit) => break,
                    Next::Record(record) => {
                        if filter.matches(&record) {
                            piece.push_back(record);
                            if piece.len() > room {
                                piece.pop_front();
                            }
                        }
                    }
                    Next::Skipped(skipped) => tell(&skipped),
                    Next::End => break,
                }
            }
            limit = Some(segment * directory.manifest().geometry.segment_bytes);
            follower.get_or_insert(reader);
            while let Some(record) = piece.pop_back() {
                found.push_front(record);
            }
            if found.len() >= wanted {
                break;
            }
        }
        last.extend(found);
        followers.push(match follower {
            Some(reader) => reader,
            // Nothing has reached the volume yet.
            None => JournalReader::new(directory, journal, Start::Oldest)?,
        });
    }
    last.sort_by_key(|record| (record.header.time_ns, record.journal, record.position));
    for record in last.iter().skip(last.len().saturating_sub(wanted)) {
        form.write(record, output).map_err(Ended::of)?;
    }
    if options.follow {
        print(Merged::new(followers), true, u64::MAX, filter, form, output)?;
    }
    Ok(())
}
