//! `[session.schedule]`: local times, days and a zone, and how they are written.

use std::sync::Arc;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use super::keys::nearest;
use super::reader::{Reader, Section};
use super::values::Wrong;
use crate::schedule::{Days, ResetBy, Rules, Schedule, day_name, zone_named, zone_names};

pub(super) const SECTION: &str = "session.schedule";

/// The schedule of a session, if it has one and it is whole.
pub(super) fn schedule(reader: &mut Reader<'_>, session: &Section<'_, '_>) -> Option<Arc<Schedule>> {
    let section = session.table(reader, "schedule", SECTION)?;
    let rules = Rules {
        start: section.parsed(reader, "start", parse_time),
        end: section.parsed(reader, "end", parse_time),
        start_day: section.parsed(reader, "start_day", parse_day),
        end_day: section.parsed(reader, "end_day", parse_day),
        days: days(reader, &section),
        days_off: section.parsed_list(reader, "days_off", parse_date).unwrap_or_default(),
        reset: section.parsed(reader, "reset", parse_time),
        reset_by: section.has("reset_by").then(|| {
            let names = [("initiator", ResetBy::Initiator), ("acceptor", ResetBy::Acceptor)];
            section.choice(reader, "reset_by", &names, ResetBy::default())
        }),
        zone: section.parsed(reader, "zone", parse_zone),
    };
    // What a key with a fault would have meant is not known, so that nothing is said of how it fits the others.
    let keys = super::keys::keys_of(SECTION);
    if !reader.is_sound(&keys.iter().map(|key| section.key(key)).collect::<Vec<_>>()) {
        return None;
    }
    match Schedule::new(rules) {
        Ok(schedule) => Some(Arc::new(schedule)),
        Err(fault) => {
            section.blame(reader, fault.key, fault.what, fault.mend);
            None
        }
    }
}

/// `["Mon", "Wed"]`, or a text: `"Mon..Fri"`, `"Mon"`.
fn days(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Days> {
    if section.is_list("days") {
        let days = section.parsed_list(reader, "days", parse_days)?;
        return Some(days.into_iter().fold(Days::NONE, Days::and));
    }
    section.parsed(reader, "days", parse_days)
}

fn parse_days(text: &str) -> Result<Days, Wrong> {
    match text.split_once("..") {
        Some((first, last)) => Ok(Days::range(parse_day(first.trim())?, parse_day(last.trim())?)),
        None => Ok(Days::NONE.with(parse_day(text)?)),
    }
}

fn parse_day(text: &str) -> Result<Weekday, Wrong> {
    let mut days = Weekday::Monday.cycle_forward().take(7);
    let is_named = |day: &Weekday| {
        let (short, whole) = (day_name(*day), format!("{day:?}"));
        text.eq_ignore_ascii_case(short) || text.eq_ignore_ascii_case(&whole)
    };
    days.find(is_named).ok_or_else(|| Wrong {
        what: "is not a day of the week".into(),
        mend: "use Mon, Tue, Wed, Thu, Fri, Sat or Sun, in quotes; \"Mon..Fri\" where several may stand".into(),
    })
}

/// `"08:00:00"`, `"08:00"`.
fn parse_time(text: &str) -> Result<Time, Wrong> {
    const MEND: &str = "write hours, minutes and seconds of a day, such as \"08:00:00\"";
    let wrong = |mend: &str| Wrong { what: "is not a time of the day".into(), mend: mend.into() };
    let parts: Vec<&str> = text.split(':').collect();
    if !matches!(parts.len(), 2 | 3) || parts.iter().any(|part| part.len() != 2) {
        return Err(wrong(MEND));
    }
    let number = |at: usize| match parts.get(at) {
        None => Some(0),
        Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => part.parse::<i8>().ok(),
        Some(_) => None,
    };
    let (Some(hour), Some(minute), Some(second)) = (number(0), number(1), number(2)) else {
        return Err(wrong(MEND));
    };
    if (hour, minute, second) == (24, 0, 0) {
        return Err(wrong(
            "write midnight as \"00:00:00\": an end that is not later than the start is on the next day",
        ));
    }
    Time::new(hour, minute, second, 0).map_err(|_| wrong(MEND))
}

/// `"2026-12-25"`.
fn parse_date(text: &str) -> Result<Date, Wrong> {
    let is_shaped = text.len() == 10 && text.bytes().enumerate().all(|(at, b)| (b == b'-') == matches!(at, 4 | 7));
    let date = if is_shaped { text.parse().ok() } else { None };
    date.ok_or_else(|| Wrong {
        what: "is not a date".into(),
        mend: "write year, month and day, such as \"2026-12-25\"".into(),
    })
}

fn parse_zone(text: &str) -> Result<TimeZone, Wrong> {
    if let Some(zone) = zone_named(text) {
        return Ok(zone);
    }
    let names = zone_names();
    let mend = match near_zones(text, &names) {
        near if near.is_empty() => {
            "use a name of the IANA time zone database, such as \"America/New_York\" or \"UTC\"".into()
        }
        near => format!("did you mean {}?", near.join(" or ")),
    };
    Err(Wrong { what: "is not a time zone".into(), mend })
}

/// The zones that may have been meant: by their whole name, by their city's ("New York"), up to three.
fn near_zones(text: &str, names: &[String]) -> Vec<String> {
    const NEAR_MAX: usize = 3;
    let wanted = text.trim().replace(' ', "_").to_ascii_lowercase();
    let city_of = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    // "America/Newyork", "New York", "newyork"
    let bare = |city: &str| city.replace('_', "");
    let wanted_city = bare(&city_of(&wanted));
    let mut near: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.contains('/') && bare(&city_of(name)) == wanted_city)
        .collect();
    near.truncate(NEAR_MAX);
    if near.is_empty() {
        near.extend(nearest(&wanted, names.iter().map(String::as_str)));
    }
    near.iter().map(|name| format!("\"{name}\"")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_day_has_two_digits_a_part() {
        assert_eq!(parse_time("08:00:00").unwrap(), jiff::civil::time(8, 0, 0, 0));
        assert_eq!(parse_time("23:59").unwrap(), jiff::civil::time(23, 59, 0, 0));
        for text in
            ["", "8:00", "08", "08:00:00.5", "24:00:00", "12:60:00", "12:00:60", "+8:00:00", "08:00:00Z", "aa:bb"]
        {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(parse_time("24:00:00").unwrap_err().mend.contains("00:00:00"));
    }

    #[test]
    fn days_are_named_short_or_whole_and_may_be_a_range() {
        assert_eq!(parse_days("Mon..Fri").unwrap().to_string(), "Mon..Fri");
        assert_eq!(parse_days("sunday").unwrap(), Days::NONE.with(Weekday::Sunday));
        assert_eq!(parse_days("Fri..Mon").unwrap().to_string(), "Mon, Fri, Sat, Sun");
        for text in ["", "Mo", "Mon-Fri", "Mon...Fri", "..", "Mon..", "Mon, Tue"] {
            assert!(parse_days(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_is_a_year_a_month_and_a_day() {
        assert_eq!(parse_date("2026-12-25").unwrap(), jiff::civil::date(2026, 12, 25));
        for text in ["", "25.12.2026", "2026-13-01", "2026-02-30", "20261225", "2026-12-25T00:00:00", "2026-1-1"] {
            assert!(parse_date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_zone_that_is_not_known_is_answered_with_those_that_may_be_meant() {
        assert!(parse_zone("America/New_York").is_ok() && parse_zone("UTC").is_ok());
        for (text, near) in [
            ("New York", "\"America/New_York\""),
            ("America/NewYork", "\"America/New_York\""),
            ("Europe/Londn", "\"Europe/London\""),
            ("EST5DTT", "\"EST5EDT\""),
        ] {
            let wrong = parse_zone(text).unwrap_err();
            assert!(wrong.mend.contains(near), "{text}: {}", wrong.mend);
        }
        for text in ["", "@@@@", "../../etc/passwd", "/etc/localtime"] {
            assert!(parse_zone(text).is_err(), "{text}");
        }
    }
}
