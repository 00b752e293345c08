//! `fixring journal status`.

use std::fmt::Write;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::super::Exit;
use super::{Place, duration_of, name_of, now_ns, print, refuse, time_of};
use crate::journal::in_words;
use crate::journal::inspect::status::{JournalStatus, RingStatus, SessionStatus, Status, status as look};
use crate::journal::report::RecoveryFile;

#[derive(Args, Debug)]
pub(in crate::cli) struct StatusOptions {
    #[command(flatten)]
    place: Place,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn status(options: &StatusOptions) -> Exit {
    let directory = match options.place.open() {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    let data_dir = directory.data_dir();
    match look(&directory, &name_of) {
        Err(error) => refuse(data_dir, &error.into()),
        Ok(status) if options.json => match serde_json::to_string_pretty(&status) {
            Ok(text) => print(data_dir, &(text + "\n")),
            Err(error) => {
                error_line!("{error}");
                Exit::Internal
            }
        },
        Ok(status) => print(data_dir, &text(&status, now_ns())),
    }
}

fn text(status: &Status, now_ns: u64) -> String {
    let mut text = String::new();
    let running = match (status.is_running, status.pid) {
        (Some(true), Some(pid)) => format!("yes, process {pid} holds the lock"),
        (Some(true), None) => "yes, the lock is held".to_owned(),
        (Some(false), _) => "no".to_owned(),
        (None, _) => "the lock cannot be read".to_owned(),
    };
    let segments = format!(
        "{} of {} for each of {} journals; rings of {} in {}",
        status.segments,
        in_words(status.segment_bytes),
        status.journals.len(),
        in_words(status.ring_bytes),
        status.ring_dir
    );
    let rows = [
        ("data directory", status.data_dir.clone()),
        ("uuid", status.uuid.clone()),
        ("format", status.format_version.to_string()),
        ("incarnation", status.incarnation.to_string()),
        ("running", running),
        ("segments", segments),
    ];
    for (name, value) in rows {
        row(&mut text, name, &value);
    }
    for journal in &status.journals {
        journal_text(&mut text, journal, status, now_ns);
    }
    match &status.last_recovery {
        Some(recovery) => recovery_text(&mut text, recovery),
        None => text.push_str("\nlast recovery\n    no report: no start of this version has been here\n"),
    }
    if !status.quarantined.is_empty() {
        text.push_str("\nquarantine\n");
        for file in &status.quarantined {
            let when = time_of(file.modified_s.map(|s| s.saturating_mul(1_000_000_000)));
            let _ = writeln!(text, "    {when}  {:>14}  {}", in_words(file.bytes), file.name.escape_debug());
        }
    }
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name:<20}{value}");
}

fn journal_text(text: &mut String, journal: &JournalStatus, status: &Status, now_ns: u64) {
    let _ = writeln!(text, "\njournal {}", journal.journal);
    let shown = |position: Option<u64>| position.map_or_else(|| "none".to_owned(), |position| position.to_string());
    let retention = match (journal.oldest_time_ns, journal.newest_time_ns) {
        (Some(oldest), Some(newest)) => {
            let newest_ago = duration_of(now_ns.saturating_sub(newest));
            format!(
                "{} to {} ({}; the newest {newest_ago} ago)",
                time_of(Some(oldest)),
                time_of(Some(newest)),
                duration_of(newest.saturating_sub(oldest))
            )
        }
        _ => "no messages".to_owned(),
    };
    let rows = [
        ("    kept", format!("positions {} to {}", shown(journal.oldest_position), journal.end_position)),
        ("    messages", retention),
        (
            "    newest state",
            format!(
                "at {}, then {} commits of {} records",
                shown(journal.state_position),
                journal.commits,
                journal.records
            ),
        ),
        ("    ring", ring_text(journal.ring.as_ref())),
        ("    segments", segments_text(journal, status)),
    ];
    for (name, value) in rows {
        row(text, name, &value);
    }
    if journal.sessions.is_empty() {
        text.push_str("    no sessions\n");
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["session", "next out", "next in", "epoch", "lease", "last out", "last in"]);
    for session in &journal.sessions {
        table.add_row(session_row(session));
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        let _ = writeln!(text, "   {}", line.trim_end());
    }
}

fn session_row(session: &SessionStatus) -> [String; 7] {
    let lease = if session.lease == 0 { "-".to_owned() } else { session.lease.to_string() };
    [
        session.session.clone(),
        session.next_out.to_string(),
        session.next_in.to_string(),
        session.epoch.to_string(),
        lease,
        time_of(session.last_out_time_ns),
        time_of(session.last_in_time_ns),
    ]
}

fn ring_text(ring: Option<&RingStatus>) -> String {
    let Some(ring) = ring else { return "none".to_owned() };
    if let Some(why) = &ring.why {
        return format!("not used: {why}");
    }
    format!(
        "appended {}, written {}, synced {}: {} would go with the node",
        ring.appended_position,
        ring.written_position,
        ring.synced_position,
        in_words(ring.appended_position.saturating_sub(ring.synced_position))
    )
}

fn segments_text(journal: &JournalStatus, status: &Status) -> String {
    let states = [
        ("data", "hold records"),
        ("empty", "are zero-written for later"),
        ("allocated", "are allocated only"),
        ("missing", "ARE MISSING"),
        ("foreign", "ARE NOT OURS"),
        ("unreadable", "HAVE NO READABLE HEAD"),
    ];
    let mut parts = Vec::new();
    for (state, words) in states {
        let with: Vec<_> = journal.segments.iter().filter(|segment| segment.state == state).collect();
        if with.is_empty() {
            continue;
        }
        let is_wrong = words.starts_with(|letter: char| letter.is_uppercase());
        let which: Vec<_> = with.iter().take(8).map(|segment| format!("segment-{}.seg", segment.slot)).collect();
        let which = if is_wrong { format!(" ({})", which.join(" ")) } else { String::new() };
        parts.push(format!("{} {words}{which}", with.len()));
    }
    let short = journal.segments.iter().filter(|one| one.file_bytes.is_some_and(|bytes| bytes < status.segment_bytes));
    match short.count() {
        0 => {}
        count => parts.push(format!("{count} ARE TOO SHORT")),
    }
    parts.join(", ")
}

fn recovery_text(text: &mut String, recovery: &RecoveryFile) {
    let _ = writeln!(
        text,
        "\nlast recovery       incarnation {}, {}, took {}",
        recovery.incarnation,
        time_of(Some(recovery.time_ns)),
        duration_of(recovery.duration_ns)
    );
    for journal in &recovery.journals {
        let stop = if journal.incarnation_before == 0 {
            "a new journal"
        } else if journal.clean_stop {
            "after a clean stop"
        } else {
            "after an unclean stop"
        };
        let _ = writeln!(text, "    journal {}: {stop}, went on at {}", journal.journal, journal.end_position);
        let ring = match &journal.ring_why {
            Some(why) => format!("{}: {why}", journal.ring),
            None => journal.ring.clone(),
        };
        let _ = writeln!(
            text,
            "        {} commits of {} records read; ring {ring}; carried {}, discarded {}, heads skipped {}{}",
            journal.commits,
            journal.records,
            in_words(journal.carried_bytes),
            in_words(journal.discarded_bytes),
            journal.heads_skipped,
            if journal.may_have_lost { "; MESSAGES MAY HAVE BEEN LOST" } else { "" }
        );
        for session in &journal.sessions {
            let lease = if session.lease == 0 { String::new() } else { format!(", lease {}", session.lease) };
            let _ = writeln!(
                text,
                "        {}: next out {}, next in {}, epoch {}{lease}",
                session.session, session.next_out, session.next_in, session.epoch
            );
        }
    }
}
