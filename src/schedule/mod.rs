//! When a session may be logged on, and when its numbers begin again: a pure calendar.
//!
//! A [`Schedule`] reads no clock and no file and keeps no state: each answer depends on the time that it is asked for. The
//! configuration makes it, the engine's worker asks it when a timer fires, `fixring schedule` prints what it says. That a session
//! is reset exactly once is the worker's affair: it compares when the numbers began with [`Standing::boundary`].
//!
//! A *period* is the time from a start to an end, in which a session may be logged on. Its numbers begin at its start. Three kinds
//! of hours make them:
//!
//! * daily: a period on each of `days`. Where the end is not later in the day than the start, it is on the next day; with both the
//!   same, periods follow each other without a pause.
//! * weekly: one period a week, from a day and a time to a day and a time. Where both are the same moment of the week, weeks follow
//!   each other without a pause.
//! * non-stop: one period without beginning and end.
//!
//! An *in-session reset* begins the numbers again at a time of the day without a disconnect, in non-stop sessions or within a
//! period; one at a period's very start or end is that start or end.
//!
//! On a day off no period starts and no in-session reset happens. The night session that began the day before goes on.
//!
//! # Daylight saving
//!
//! All times are local to the schedule's zone. Its data is compiled in, so that every machine agrees on it. Of a local time that
//! comes twice, the first is meant. One that is skipped is taken at the end of the gap: with a start at 02:30 in New York, the period
//! of the second Sunday of March starts at 03:00. (Other rules add the gap's length, which makes 02:30 later than 03:10 on that
//! day.) So a later local time is never an earlier moment, and from that it follows that periods are in order, never overlap and
//! never come twice. A period that a gap leaves no time for is not there, and neither is a reset that one has moved onto another.

mod calendar;

use std::fmt;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

pub use calendar::Events;

/// Dates off of one schedule, at most: a century of holidays.
pub const DAYS_OFF_MAX: usize = 1_000;

/// See the module's header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    zone: TimeZone,
    hours: Hours,
    reset: Option<Time>,
    reset_by: ResetBy,
    days: Days,
    /// Ascending.
    days_off: Box<[Date]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hours {
    NonStop,
    Daily {
        start: Time,
        end: Time,
    },
    Weekly {
        start_day: Weekday,
        start: Time,
        /// From the start's date to the end's: 0 to 7.
        length_days: i8,
        end: Time,
    },
}

/// Who sends the Logon(A) with ResetSeqNumFlag(141) at an in-session reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResetBy {
    #[default]
    Initiator,
    Acceptor,
}

/// Days of the week.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days(u8);

/// What a schedule is made of. What does not fit together is a [`Fault`].
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub start: Option<Time>,
    pub end: Option<Time>,
    pub start_day: Option<Weekday>,
    pub end_day: Option<Weekday>,
    /// Unset: every day.
    pub days: Option<Days>,
    pub days_off: Vec<Date>,
    pub reset: Option<Time>,
    pub reset_by: Option<ResetBy>,
    /// Unset: UTC.
    pub zone: Option<TimeZone>,
}

/// Rules that make no schedule: which key is to blame, and the mend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub key: &'static str,
    /// Follows the key.
    pub what: &'static str,
    pub mend: &'static str,
}

/// From a start, which belongs to it, to an end, which does not. In s of Unix time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    pub start_s: u64,
    /// `u64::MAX` where there is none.
    pub end_s: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    End,
    Start,
    /// In session.
    Reset,
}

/// Something that a schedule brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// s of Unix time.
    pub at_s: u64,
    pub what: What,
}

/// How a schedule stands at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The period that it is in; `None` outside the hours.
    pub period: Option<Period>,
    /// Numbers that began before this are to begin again: the period's start, or the last in-session reset since. `None` outside
    /// the hours, and where nothing ever begins.
    pub boundary: Option<Event>,
    /// What comes next, after this moment. Outside the hours that is a start. `None` where the calendar holds nothing for years.
    pub next: Option<Event>,
}

impl Schedule {
    pub fn new(rules: Rules) -> Result<Schedule, Fault> {
        let fault = |key, what, mend| Err(Fault { key, what, mend });
        let Rules { start, end, start_day, end_day, days, mut days_off, reset, reset_by, zone } = rules;
        let hours = match (start, end, start_day, end_day) {
            (None, None, None, None) => Hours::NonStop,
            (Some(start), Some(end), None, None) => Hours::Daily { start, end },
            (Some(start), Some(end), Some(start_day), Some(end_day)) => {
                let days = start_day.until(end_day);
                let length_days = if days == 0 && end <= start { 7 } else { days };
                Hours::Weekly { start_day, start, length_days, end }
            }
            (None, ..) => return fault("start", "is missing", "add start = \"08:00:00\", or remove the other hours"),
            (_, None, ..) => return fault("end", "is missing", "add end = \"17:00:00\", or remove the other hours"),
            (.., None, Some(_)) => {
                return fault("start_day", "is missing", "add start_day = \"Sun\", or remove end_day");
            }
            (.., Some(_), None) => return fault("end_day", "is missing", "add end_day = \"Fri\", or remove start_day"),
        };
        match hours {
            Hours::NonStop if reset.is_none() => {
                return fault(
                    "reset",
                    "is missing, and so are start and end",
                    "add hours or a reset, or remove schedule",
                );
            }
            Hours::Weekly { .. } if days.is_some() => {
                return fault("days", "is set, and so is start_day", "remove days: start_day and end_day say when");
            }
            _ => {}
        }
        if reset.is_none() && reset_by.is_some() {
            return fault("reset_by", "is set, and reset is not", "add reset = \"17:00:00\", or remove reset_by");
        }
        let days = days.unwrap_or(Days::ALL);
        if days == Days::NONE {
            return fault("days", "names no day", "name one, such as \"Mon\", or leave days out for every day");
        }
        if days_off.len() > DAYS_OFF_MAX {
            return fault("days_off", "names too many dates", "name at most 1000, and leave out what is past");
        }
        days_off.sort_unstable();
        days_off.dedup();
        Ok(Schedule {
            zone: zone.unwrap_or(TimeZone::UTC),
            hours,
            reset,
            reset_by: reset_by.unwrap_or_default(),
            days,
            days_off: days_off.into(),
        })
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Who begins an in-session reset; `None` where there is none.
    pub fn reset_by(&self) -> Option<ResetBy> {
        self.reset.map(|_| self.reset_by)
    }
}

/// A time zone by its name, from the data that is compiled in.
pub fn zone_named(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// The names that [`zone_named`] knows.
pub fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

impl Days {
    pub const NONE: Days = Days(0);
    pub const ALL: Days = Days(0x7f);

    pub fn with(self, day: Weekday) -> Days {
        Days(self.0 | 1 << day.to_monday_zero_offset())
    }

    pub fn and(self, other: Days) -> Days {
        Days(self.0 | other.0)
    }

    /// From the first to the last, both of them, over the end of the week where need be.
    pub fn range(first: Weekday, last: Weekday) -> Days {
        (0..=first.until(last)).fold(Days::NONE, |days, offset| days.with(first.wrapping_add(offset)))
    }

    pub fn has(self, day: Weekday) -> bool {
        self.0 & 1 << day.to_monday_zero_offset() != 0
    }
}

/// As the configuration writes it.
pub fn day_name(day: Weekday) -> &'static str {
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day.to_monday_zero_offset() as usize]
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Weekday::Monday.cycle_forward().take(7).filter(|day| self.has(*day)).collect();
        let is_run = names.len() > 2 && names.windows(2).all(|pair| pair[0].next() == pair[1]);
        match (&names[..], is_run) {
            (all, _) if all.len() == 7 => f.write_str("every day"),
            ([first, .., last], true) => write!(f, "{}..{}", day_name(*first), day_name(*last)),
            (names, _) => f.write_str(&names.iter().map(|day| day_name(*day)).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hours {
            Hours::NonStop => f.write_str("non-stop")?,
            Hours::Daily { start, end } => write!(f, "{}, {start} to {end}", self.days)?,
            Hours::Weekly { start_day, start, length_days, end } => {
                let end_day = start_day.wrapping_add(length_days);
                write!(f, "{} {start} to {} {end}", day_name(start_day), day_name(end_day))?;
            }
        }
        if let Some(reset) = self.reset {
            write!(f, ", reset at {reset}")?;
            if self.hours == Hours::NonStop {
                write!(f, " {}", self.days)?;
            }
        }
        if !self.days_off.is_empty() {
            write!(f, ", {} days off", self.days_off.len())?;
        }
        write!(f, ", {}", self.zone.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests;
