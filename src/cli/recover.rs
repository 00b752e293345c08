//! `fixring recover`: what a stopped data directory's sessions have for numbers, and the operator's word on them.
//!
//! A directory that may be older than its last use (restored from a snapshot, a clone, a copy) is held: `fixring run` waits until each of
//! its sessions has been spoken of here. The same command sets the numbers of an ordinary stopped directory.
//!
//! Exit status: 0; 1 where the directory is still held; 2 where the arguments are wrong; 3, 4 and 6 as of `run`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::Exit;
use super::run::{BuiltIn, exit_of_open, load, load_outline};
use crate::application::Application;
use crate::config::Config;
use crate::engine::archive::archive_before;
use crate::engine::{Directory, Environment, restore};
use crate::journal::archive::overwritten_by_recovery;
use crate::journal::{
    Decision, FileStorage, Manifest, OpenError, Recovered, RestoreFault, Said, Settings, Standing, Standings, decide,
    hold,
};
use crate::session::{Identity, MSG_SEQ_NUM_MAX};

#[derive(Args, Debug)]
pub(super) struct RecoverOptions {
    /// The configuration: where the rings are, and which application makes a snapshot if one is due
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The engine's data directory; overrides engine.data_dir
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The directory is restored or a copy, and is freed by the last decision
    #[arg(long)]
    restored: bool,
    /// Only hold it: `fixring run` waits until each session has been spoken of
    #[arg(long, requires = "restored", conflicts_with_all = ["session", "from_peer", "keep_numbers"])]
    hold: bool,
    /// Remove a session, as it is shown: a template's whose counterparty does not come back, or one made by mistake. One of its name
    /// then begins at 1, as a new session. Repeat it for others
    #[arg(long, value_name = "ID", conflicts_with_all = ["hold", "session", "next_out", "next_in", "from_peer", "keep_numbers"])]
    forget: Vec<String>,
    /// The session that is spoken of, as it is shown: FIX.4.4:VENUE->DESK1. Repeat it with its numbers for others
    #[arg(long, value_name = "ID")]
    session: Vec<String>,
    /// MsgSeqNum(34) of its next message, one a --session
    #[arg(long, value_name = "N", requires_all = ["session", "next_in"], value_parser = clap::value_parser!(u64).range(1..=MSG_SEQ_NUM_MAX))]
    next_out: Vec<u64>,
    /// MsgSeqNum(34) that it expects next, one a --session
    #[arg(long, value_name = "N", requires_all = ["session", "next_out"], value_parser = clap::value_parser!(u64).range(1..=MSG_SEQ_NUM_MAX))]
    next_in: Vec<u64>,
    /// The counterparty says at its next logon what it expects: of each --session, or of all that are undecided
    #[arg(long, conflicts_with_all = ["next_out", "next_in", "keep_numbers"])]
    from_peer: bool,
    /// The numbers are right as they stand: of each --session, or of all that are undecided
    #[arg(long, conflicts_with_all = ["next_out", "next_in"])]
    keep_numbers: bool,
}

pub(super) fn recover(options: &RecoverOptions) -> Exit {
    let config = match load_outline(options.config.as_deref(), options.data_dir.as_deref()) {
        Ok(config) => config,
        Err(errors) => {
            error_line!("{errors}");
            return Exit::Configuration;
        }
    };
    match try_recover(options, &config) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_recover(options: &RecoverOptions, config: &Config) -> Result<Exit, Exit> {
    let data_dir = &config.engine.data_dir;
    if options.hold {
        hold(data_dir).map_err(|error| failed(RestoreFault::Open(error)))?;
    }
    let ring_dir = options.config.is_some().then_some(&*config.persistence.ring_dir);
    let read = || Standings::read(data_dir, ring_dir).map_err(|error| failed(RestoreFault::Open(error)));
    let before = read()?;
    let decisions = decisions(options, &before).map_err(|why| {
        error_line!("{why}");
        Exit::Configuration
    })?;
    let Some(decisions) = decisions else {
        print(config, &before);
        return Ok(if before.manifest.last_use.held.is_empty() { Exit::Ok } else { Exit::Failed });
    };
    // The application is replayed, which reads by the sessions' dictionaries.
    let config = &load(options.config.as_deref(), options.data_dir.as_deref()).map_err(|errors| {
        error_line!("{errors}");
        Exit::Configuration
    })?;
    let settings = settings(options, config, &before);
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    let snapshot = |recovered: &Recovered<FileStorage>| snapshot(config, &before, recovered);
    let archive = |storage: &FileStorage, manifest: &Manifest, journal: u16, end: u64| {
        if options.config.is_some() {
            return archive_before(config, storage, manifest, journal, end);
        }
        overwritten_by_recovery(storage, manifest, journal, end)?.first().map_or(Ok(()), |segment| {
            Err(OpenError::Archive(format!(
                "segment {segment} of journal {journal} would be overwritten, and whether it has to be archived before (persistence.archive_required) is not known: name the configuration with --config"
            )))
        })
    };
    decide(&settings, &decisions, options.restored, now_ns, snapshot, archive).map_err(failed)?;
    let after = read()?;
    print(config, &after);
    Ok(if after.manifest.last_use.held.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn failed(fault: RestoreFault) -> Exit {
    match fault {
        RestoreFault::Open(error) => {
            error_line!("{error}");
            exit_of_open(&error)
        }
        RestoreFault::Snapshot(why) => {
            error_line!(
                "a segment's head is due, and the application's state for it cannot be made ({why}): name the configuration with --config, whose engine.application wrote it"
            );
            Exit::DataDirectory
        }
    }
}

/// What the arguments say, session by session; `None` where they say nothing.
fn decisions(options: &RecoverOptions, standings: &Standings) -> Result<Option<Vec<Said>>, String> {
    let blanket = match (options.from_peer, options.keep_numbers) {
        (true, _) => Some(Decision::FromPeer),
        (_, true) => Some(Decision::Keep),
        _ => None,
    };
    if !options.forget.is_empty() {
        let forget = |_| Decision::Forget;
        return named(&options.forget, standings, forget).map(Some);
    }
    if options.session.is_empty() {
        let Some(decision) = blanket else { return Ok(None) };
        if !options.restored {
            return Err("name the sessions with --session, or say --restored for all of them".into());
        }
        // Where all have been decided, or none is there, the directory itself is still to be freed.
        let undecided = standings.sessions.iter().filter(|standing| !standing.is_decided);
        let of = |standing: &Standing| Said { journal: standing.journal, number: standing.session.number, decision };
        return Ok(Some(undecided.map(of).collect()));
    }
    let counts = (options.next_out.len(), options.next_in.len());
    if blanket.is_none() && counts != (options.session.len(), options.session.len()) {
        return Err(format!(
            "{} --session, {} --next-out and {} --next-in: give each session both numbers, or say --from-peer or --keep-numbers",
            options.session.len(),
            counts.0,
            counts.1
        ));
    }
    let numbers = |at: usize| Decision::Numbers { next_out: options.next_out[at], next_in: options.next_in[at] };
    named(&options.session, standings, |at| blanket.unwrap_or_else(|| numbers(at))).map(Some)
}

/// What is said of sessions by their names; `decision` is of the name at a place.
fn named(names: &[String], standings: &Standings, decision: impl Fn(usize) -> Decision) -> Result<Vec<Said>, String> {
    let mut decisions: Vec<Said> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let found = standings.sessions.iter().find(|standing| name_of(standing) == *name);
        let Some(Standing { journal, session, .. }) = found else {
            let known: Vec<String> = standings.sessions.iter().map(name_of).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(format!("there is no session {name}: the directory has {known}"));
        };
        let said = Said { journal: *journal, number: session.number, decision: decision(at) };
        if decisions.iter().any(|other| (other.journal, other.number) == (said.journal, said.number)) {
            return Err(format!("session {name} is named twice: once is enough"));
        }
        decisions.push(said);
    }
    Ok(decisions)
}

fn name_of(standing: &Standing) -> String {
    let identity = &standing.session.identity;
    Identity::from_bytes(identity).map_or_else(|| identity.escape_ascii().to_string(), |identity| identity.to_string())
}

/// The directory's own sizes count, whatever a configuration says; the rings are where it says, or where they were.
fn settings(options: &RecoverOptions, config: &Config, standings: &Standings) -> Settings {
    let manifest = &standings.manifest;
    let ring_dir = match options.config {
        Some(_) => config.persistence.ring_dir.clone(),
        None => PathBuf::from(&manifest.ring_dir),
    };
    let message_bytes_max = u64::from(config.engine.message_bytes_max).min(manifest.geometry.commit_bytes_max() / 2);
    Settings {
        data_dir: config.engine.data_dir.clone(),
        ring_dir,
        geometry: manifest.geometry,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: crate::engine::flush_choice(config),
        message_bytes_max: message_bytes_max as u32,
        resend_messages_max: 1,
        clock: || 0,
    }
}

fn snapshot(config: &Config, standings: &Standings, recovered: &Recovered<FileStorage>) -> Result<Vec<u8>, String> {
    let geometry = standings.manifest.geometry;
    let environment = Environment {
        journal: recovered.report.journal,
        incarnation: recovered.report.incarnation,
        snapshot_bytes_max: geometry.snapshot_bytes_max() as u32,
    };
    let mut application = BuiltIn::new(config.engine.application, environment);
    let directory = Directory::new(config);
    let own = directory.data_fields_of_journal(&recovered.sessions);
    restore(&mut application, recovered, geometry.commit_bytes_max() as u32, &own).map_err(|error| match error {
        Ok(error) => error.0.to_string(),
        Err(error) => error.to_string(),
    })?;
    let mut state = Vec::new();
    application.snapshot(&mut state);
    Ok(state)
}

fn print(config: &Config, standings: &Standings) {
    let shown = config.engine.data_dir.display();
    let held = &standings.manifest.last_use.held;
    if held.is_empty() {
        print_line!("{shown}: not held, incarnation {}", standings.manifest.incarnation);
    } else {
        print_line!("{shown}: held: {held}");
    }
    let names: Vec<String> = standings.sessions.iter().map(name_of).collect();
    let width = names.iter().map(String::len).chain(["session".len()]).max().unwrap_or_default();
    print_line!("{:width$}  {:>10}  {:>10}  {:>5}  {:>10}  state", "session", "next out", "next in", "epoch", "lease");
    for (name, standing) in names.iter().zip(&standings.sessions) {
        let session = &standing.session;
        let state = match (held.is_empty(), standing.is_decided, session.next_out_from_peer) {
            (_, _, true) => "next out from the peer, at its next logon",
            (true, _, false) => "",
            (false, true, false) => "decided",
            (false, false, false) => "undecided",
        };
        print_line!(
            "{name:width$}  {:>10}  {:>10}  {:>5}  {:>10}  {state}",
            session.next_out,
            session.next_in,
            session.epoch,
            session.lease
        );
    }
    if !held.is_empty() {
        print_line!(
            "\nUncertain of an undecided session: its counterparty may have seen numbers from next out on, which must not\n\
             be used again. What it has sent from next in on is asked for again and comes as PossDup, and what this engine\n\
             had executed of it may be executed again. A session that a template has made since the copy is not known at all\n\
             and begins at 1. Say, for each session,\n\
             \x20 fixring recover --restored --data-dir {shown} --session ID --next-out N --next-in N\n\
             with --from-peer or --keep-numbers in place of the numbers, and without --session for all that are undecided."
        );
    }
}
