//! `fixring journal verify`.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;

use super::super::Exit;
use super::super::progress::bar_style;
use super::{Place, check_journal, print, refuse, time_of};
use crate::journal::in_words;
use crate::journal::inspect::verify::{JournalVerified, Verified, verify as walk};

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyOptions {
    #[command(flatten)]
    place: Place,
    /// Only this journal
    #[arg(long, value_name = "N")]
    journal: Option<u16>,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// Faults that are printed for people; --json has more.
const SHOWN_MAX: usize = 20;

pub(in crate::cli) fn verify(options: &VerifyOptions) -> Exit {
    let run = || {
        let directory = options.place.open()?;
        check_journal(&directory, options.journal)?;
        let bar = io::stderr().is_terminal().then(progress_bar);
        let mut progress = |done: u64, total: u64| {
            if let Some(bar) = &bar {
                bar.set_length(total);
                bar.set_position(done);
            }
        };
        let verified = walk(&directory, options.journal, &mut progress);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        verified
            .map(|verified| (verified, directory.data_dir().to_path_buf()))
            .map_err(|error| refuse(directory.data_dir(), &error.into()))
    };
    let (verified, data_dir) = match run() {
        Ok(verified) => verified,
        Err(exit) => return exit,
    };
    let output = match options.json {
        false => text(&verified),
        true => match serde_json::to_string_pretty(&verified) {
            Ok(text) => text + "\n",
            Err(error) => {
                error_line!("{error}");
                return Exit::Internal;
            }
        },
    };
    match print(&data_dir, &output) {
        Exit::Ok if !verified.is_whole => Exit::Failed,
        exit => exit,
    }
}

fn progress_bar() -> ProgressBar {
    ProgressBar::new(0).with_style(bar_style("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {left}"))
}

fn text(verified: &Verified) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let beside = if verified.is_running == Some(true) { ", beside the running engine" } else { "" };
    let _ = writeln!(text, "{}{beside}", verified.data_dir);
    for journal in &verified.journals {
        journal_text(&mut text, journal);
    }
    let faults: u64 = verified.journals.iter().map(|journal| journal.faults_count).sum();
    let verdict = match faults {
        0 => "whole: every record that should be there is there, and nothing contradicts it".to_owned(),
        1 => "NOT WHOLE: 1 fault".to_owned(),
        faults => format!("NOT WHOLE: {faults} faults"),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

fn journal_text(text: &mut String, journal: &JournalVerified) {
    let _ = writeln!(
        text,
        "\njournal {}: positions {} to {}",
        journal.journal, journal.first_position, journal.end_position
    );
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "segment",
        "slot",
        "state",
        "first",
        "end",
        "commits",
        "records",
        "messages",
        "padding",
        "not whole",
        "from",
        "to",
    ]);
    for segment in &journal.segments {
        table.add_row([
            segment.segment.to_string(),
            segment.slot.to_string(),
            segment.state.to_owned(),
            segment.first_position.to_string(),
            segment.end_position.to_string(),
            segment.tally.commits.to_string(),
            segment.tally.records.to_string(),
            segment.tally.messages.to_string(),
            in_words(segment.tally.pad_bytes),
            in_words(segment.hole_bytes),
            time_of(segment.tally.first_time_ns),
            time_of(segment.tally.last_time_ns),
        ]);
    }
    for column in [0, 1, 3, 4, 5, 6, 7, 8, 9] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        let _ = writeln!(text, "   {}", line.trim_end());
    }
    if let Some(ring) = &journal.ring {
        let _ = writeln!(
            text,
            "    the ring beyond position {}: {} commits, {} messages",
            journal.segments_end_position, ring.commits, ring.messages
        );
    }
    for note in &journal.notes {
        let _ = writeln!(text, "    note: {note}");
    }
    for fault in journal.faults.iter().take(SHOWN_MAX) {
        let place = fault.position.map_or_else(String::new, |position| format!(" at position {position}"));
        let _ = writeln!(text, "    FAULT{place}: {}", fault.what);
    }
    if journal.faults_count as usize > SHOWN_MAX {
        let _ = writeln!(text, "    and {} more: see --json", journal.faults_count as usize - SHOWN_MAX);
    }
}
