//! `fixring schedule`: what the sessions' schedules mean, day by day, before anything is applied.
//!
//! Exit status: 0; 2 where the configuration is at fault.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Exit;
use crate::config::{Config, SessionConfig};
use crate::schedule::{Event, Schedule, What};

const S_PER_DAY: u64 = 86_400;

#[derive(Args, Debug)]
pub(super) struct ScheduleOptions {
    /// The configuration; without it, built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many days to look ahead
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: u32,
    /// Look ahead from this moment instead of now, such as 2026-03-06T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// For programs: a list of sessions
    #[arg(long)]
    json: bool,
}

/// One session's coming days.
#[derive(Serialize)]
struct Coming {
    /// A template shows its pattern.
    session: String,
    /// Absent where the session has none: it is non-stop and never reset.
    schedule: Option<String>,
    zone: Option<String>,
    /// Whether it may be logged on at the first moment.
    open: bool,
    events: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    event: &'static str,
    utc: String,
    local: String,
    day: String,
}

pub(super) fn schedule(options: &ScheduleOptions) -> Exit {
    let config = match &options.config {
        None => Config::default(),
        Some(path) => match Config::load_outline(path) {
            Ok(config) => config,
            Err(errors) => {
                let is_terminal = io::stderr().is_terminal();
                error_line!("{}", if is_terminal { errors.render(true) } else { errors.to_string() });
                return Exit::Configuration;
            }
        },
    };
    let from_s = u64::try_from(options.from.unwrap_or_else(Timestamp::now).as_second()).unwrap_or(0);
    let until_s = from_s + u64::from(options.days) * S_PER_DAY;
    let coming: Vec<Coming> = config.sessions.iter().map(|session| Coming::of(session, from_s, until_s)).collect();
    let text = if options.json {
        serde_json::to_string_pretty(&coming).expect("texts and truth values") + "\n"
    } else {
        coming.iter().map(|coming| coming.to_text(options.days)).collect::<Vec<_>>().join("\n")
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            error_line!("cannot write: {error}");
            Exit::Failed
        }
        Ok(()) | Err(_) => Exit::Ok,
    }
}

impl Coming {
    fn of(session: &SessionConfig, from_s: u64, until_s: u64) -> Coming {
        let name = session.identity.to_string();
        let Some(schedule) = &session.schedule else {
            return Coming { session: name, schedule: None, zone: None, open: true, events: Vec::new() };
        };
        let zone = schedule.zone();
        Coming {
            session: name,
            schedule: Some(schedule.to_string()),
            zone: Some(zone.iana_name().unwrap_or("UTC").into()),
            open: schedule.period_at(from_s).is_some(),
            events: rows(schedule, zone, from_s, until_s),
        }
    }

    fn to_text(&self, days: u32) -> String {
        let Some(schedule) = &self.schedule else {
            return format!("{}: no schedule: non-stop, never reset\n", self.session);
        };
        let now = if self.open { "open" } else { "closed" };
        let title = format!("{}: {schedule}: {now}\n", self.session);
        if self.events.is_empty() {
            return format!("{title}nothing within {days} days\n");
        }
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["event", "UTC", "local", "day"]);
        for row in &self.events {
            table.add_row([row.event, &row.utc, &row.local, &row.day]);
        }
        format!("{title}{table}\n")
    }
}

fn rows(schedule: &Schedule, zone: &TimeZone, from_s: u64, until_s: u64) -> Vec<Row> {
    // What happens at the first moment itself belongs to it.
    let events = schedule.events(from_s.saturating_sub(1));
    events.take_while(|event| event.at_s <= until_s).filter_map(|event| row(event, zone)).collect()
}

fn row(event: Event, zone: &TimeZone) -> Option<Row> {
    let moment = Timestamp::from_second(i64::try_from(event.at_s).ok()?).ok()?;
    let local = moment.to_zoned(zone.clone());
    Some(Row {
        event: match event.what {
            What::Start => "start, numbers from 1",
            What::End => "end",
            What::Reset => "reset in session",
        },
        utc: moment.to_string(),
        local: local.strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        day: local.strftime("%a").to_string(),
    })
}
