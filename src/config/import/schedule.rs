//! Hours: `StartTime` and its kin as `schedule = { … }`.
//!
//! In QuickFIX a session without StartDay has a period every day (or on each of its Weekdays), with StartDay one a
//! week; at the start of each its numbers begin at 1 again. A start that equals the end makes whole days or weeks.
//! `schedule` means the same by the same values, so all that is done here is to read the forms and find the zone.

use super::ledger::{Scope, quoted};

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const TIME_MEND: &str = "write hours, minutes and seconds, such as 08:00:00";

pub(super) fn schedule(scope: &mut Scope<'_, '_, '_>) {
    if read(scope).is_some() {
        return;
    }
    // One of them is at fault, and the others say nothing without it.
    const ALL: [&str; 9] = [
        "starttime",
        "endtime",
        "startday",
        "endday",
        "weekdays",
        "timezone",
        "uselocaltime",
        "resetseqtime",
        "enableresetseqtime",
    ];
    for id in ALL.iter().filter_map(|name| scope.find(name)).collect::<Vec<_>>() {
        scope.lost(id, "the session's hours cannot be carried over: fill in schedule");
    }
}

/// `None` after a fault.
fn read(scope: &mut Scope<'_, '_, '_>) -> Option<()> {
    let mut ids = Vec::new();
    let mut table = Vec::new();
    let mut times = Vec::new();
    let is_non_stop = match scope.find("nonstopsession") {
        None => false,
        Some(id) => match scope.flag(id) {
            Some(flag) => {
                scope.same(id);
                flag
            }
            None => return None,
        },
    };
    if is_non_stop {
        for name in ["starttime", "endtime", "startday", "endday", "weekdays"] {
            if let Some(id) = scope.find(name) {
                scope.unneeded(id, "NonStopSession=Y: there are no hours");
            }
        }
    } else {
        hours(scope, &mut ids, &mut table, &mut times)?;
    }
    reset(scope, &mut ids, &mut table, &mut times)?;
    if ids.is_empty() {
        return Some(());
    }
    zone(scope, &mut ids, &mut table, &times)?;
    scope.put(&ids, "schedule", format!("{{ {} }}", table.join(", ")));
    Some(())
}

/// What a key of the schedule says.
type Table = Vec<String>;

/// `None` after a fault.
fn hours<'t>(
    scope: &mut Scope<'_, '_, 't>,
    ids: &mut Vec<usize>,
    table: &mut Table,
    times: &mut Vec<(usize, Option<&'t str>)>,
) -> Option<()> {
    let (start, end) = match (scope.find("starttime"), scope.find("endtime")) {
        (Some(start), Some(end)) => (start, end),
        // QuickFIX/Go: always.
        (None, None) => return Some(()),
        (Some(start), None) => {
            scope.fault(start, "has no EndTime beside it", "add EndTime, the same time for a whole day");
            return None;
        }
        (None, Some(end)) => {
            scope.fault(end, "has no StartTime beside it", "add StartTime, the same time for a whole day");
            return None;
        }
    };
    let days = (scope.find("startday"), scope.find("endday"), scope.find("weekdays"));
    let (start_text, end_text) = (time(scope, start, times)?, time(scope, end, times)?);
    match days {
        (None, None, None) => table.extend([key("start", &start_text), key("end", &end_text)]),
        (None, None, Some(id)) => {
            let names: Option<Vec<&str>> = scope.value(id)?.split(',').map(|text| day_named(text.trim())).collect();
            let Some(names) = names.filter(|names| !names.is_empty()) else {
                scope.fault(id, "does not name days", "write them in English, such as Mon,Tue,Wed");
                return None;
            };
            let names: Vec<String> = names.into_iter().map(quoted).collect();
            table.extend([key("start", &start_text), key("end", &end_text)]);
            table.push(format!("days = [{}]", names.join(", ")));
            ids.push(id);
        }
        (Some(first), Some(last), None) => {
            let (first_day, last_day) = (day(scope, first)?, day(scope, last)?);
            table.extend([
                key("start_day", first_day),
                key("start", &start_text),
                key("end_day", last_day),
                key("end", &end_text),
            ]);
            ids.extend([first, last]);
        }
        (_, _, Some(id)) => {
            scope.fault(
                id,
                "stands beside StartDay or EndDay",
                "remove it for a weekly session, or them for daily ones",
            );
            return None;
        }
        (Some(id), None, _) => {
            scope.fault(id, "has no EndDay beside it", "add EndDay");
            return None;
        }
        (None, Some(id), _) => {
            scope.fault(id, "has no StartDay beside it", "add StartDay");
            return None;
        }
    }
    ids.splice(0..0, [start, end]);
    Some(())
}

/// QuickFIX/Go's reset without a disconnect.
fn reset<'t>(
    scope: &mut Scope<'_, '_, 't>,
    ids: &mut Vec<usize>,
    table: &mut Table,
    times: &mut Vec<(usize, Option<&'t str>)>,
) -> Option<()> {
    let enable = scope.find("enableresetseqtime");
    let is_enabled = match enable {
        Some(id) => scope.flag(id)?,
        None => false,
    };
    if let Some(id) = enable.filter(|_| !is_enabled) {
        scope.same(id);
    }
    if let (Some(enable), Some(at), true) = (enable, scope.find("resetseqtime"), is_enabled) {
        let text = time(scope, at, times)?;
        table.push(key("reset", &text));
        ids.extend([at, enable]);
    }
    Some(())
}

/// The zone of all its times; UTC where nothing is said.
fn zone(
    scope: &mut Scope<'_, '_, '_>,
    ids: &mut Vec<usize>,
    table: &mut Table,
    times: &[(usize, Option<&str>)],
) -> Option<()> {
    let local = scope.find("uselocaltime");
    let is_local = match local {
        Some(id) => scope.flag(id)?,
        None => false,
    };
    let named = match scope.find("timezone") {
        Some(id) => Some((id, scope.value(id)?)),
        None => None,
    };
    let zone_of = |zone: Option<&'_ str>| zone.or(named.map(|(_, zone)| zone)).map(str::to_string);
    let zones: Vec<(usize, Option<String>)> = times.iter().map(|(id, zone)| (*id, zone_of(*zone))).collect();
    let zone = zones.first().and_then(|(_, zone)| zone.clone());
    if let Some((id, _)) = zones.iter().find(|(_, other)| *other != zone) {
        scope.fault(*id, "is of another zone than the session's other time", "give all its times in one zone");
        return None;
    }
    if let Some(id) = local {
        match (is_local, &zone) {
            (false, _) => scope.same(id),
            (true, Some(_)) => scope.unneeded(id, "the zone is named"),
            (true, None) => {
                scope.fault(
                    id,
                    "means the zone of the machine, which is not in this file",
                    "write TimeZone instead, such as TimeZone=Europe/London",
                );
                return None;
            }
        }
    }
    if let Some((id, name)) = named {
        match zone.as_deref() == Some(name) {
            true => ids.push(id),
            false => scope.unneeded(id, "the times name their own zone"),
        }
    }
    let Some(zone) = zone else { return Some(()) };
    let zone = zone_of_windows(&zone).map_or(zone, str::to_string);
    if zone.is_empty() || !zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b)) {
        let id = named
            .filter(|(_, name)| *name == zone)
            .map_or_else(|| times.first().map(|(id, _)| *id), |(id, _)| Some(id))?;
        scope.fault(id, "names no time zone", "write a name such as America/New_York or UTC");
        return None;
    }
    table.push(key("zone", &zone));
    Some(())
}

/// The zones of financial centres under the names that Windows, and QuickFIX/n with it, has for
/// them.
fn zone_of_windows(name: &str) -> Option<&'static str> {
    const ZONES: [(&str, &str); 20] = [
        ("AUS Eastern Standard Time", "Australia/Sydney"),
        ("Central European Standard Time", "Europe/Warsaw"),
        ("Central Europe Standard Time", "Europe/Budapest"),
        ("Central Standard Time", "America/Chicago"),
        ("China Standard Time", "Asia/Shanghai"),
        ("E. South America Standard Time", "America/Sao_Paulo"),
        ("Eastern Standard Time", "America/New_York"),
        ("GMT Standard Time", "Europe/London"),
        ("Greenwich Standard Time", "Atlantic/Reykjavik"),
        ("India Standard Time", "Asia/Kolkata"),
        ("Korea Standard Time", "Asia/Seoul"),
        ("New Zealand Standard Time", "Pacific/Auckland"),
        ("Pacific Standard Time", "America/Los_Angeles"),
        ("Romance Standard Time", "Europe/Paris"),
        ("Russian Standard Time", "Europe/Moscow"),
        ("Singapore Standard Time", "Asia/Singapore"),
        ("South Africa Standard Time", "Africa/Johannesburg"),
        ("Tokyo Standard Time", "Asia/Tokyo"),
        ("Turkey Standard Time", "Europe/Istanbul"),
        ("W. Europe Standard Time", "Europe/Berlin"),
    ];
    ZONES.iter().find(|(windows, _)| windows.eq_ignore_ascii_case(name)).map(|(_, zone)| *zone)
}

fn key(name: &str, text: &str) -> String {
    format!("{name} = {}", quoted(text))
}

/// `08:00:00`; in QuickFIX/J also `08:00:00 Europe/London`, with any space or none.
fn time<'t>(scope: &mut Scope<'_, '_, 't>, id: usize, times: &mut Vec<(usize, Option<&'t str>)>) -> Option<String> {
    let text = scope.value(id)?;
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')).unwrap_or(text.len());
    let (clock, zone) = (&text[..end], text[end..].trim());
    let Some(time) = clock_time(clock) else {
        scope.fault(id, "is not a time of the day", TIME_MEND);
        return None;
    };
    times.push((id, Some(zone).filter(|zone| !zone.is_empty())));
    Some(time)
}

/// Hours, minutes and seconds; fractions only if they are none.
fn clock_time(text: &str) -> Option<String> {
    let whole = text.split_once('.').map_or(Some(text), |(whole, fraction)| {
        (!fraction.is_empty() && fraction.bytes().all(|b| b == b'0')).then_some(whole)
    })?;
    let parts: Vec<&str> = whole.split(':').collect();
    let [hour, minute, second] = parts[..] else { return None };
    let number = |text: &str, max: u8| {
        let is_number = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u8>().ok().filter(|number| is_number && *number <= max)
    };
    Some(format!("{:02}:{:02}:{:02}", number(hour, 23)?, number(minute, 59)?, number(second, 59)?))
}

fn day(scope: &mut Scope<'_, '_, '_>, id: usize) -> Option<&'static str> {
    let day = day_named(scope.value(id)?);
    if day.is_none() {
        scope.fault(id, "is not a day of the week", "write it in English, such as Sun or Sunday");
    }
    day
}

/// Two letters are enough for QuickFIX/C++ and QuickFIX/n; other languages' names must not be taken
/// for English ones.
fn day_named(text: &str) -> Option<&'static str> {
    let text = text.trim_end_matches('.').trim_end();
    if text.eq_ignore_ascii_case("weds") {
        return Some("Wed");
    }
    let is_meant = |day: &&str| text.len() >= 2 && day.get(..text.len()).is_some_and(|b| b.eq_ignore_ascii_case(text));
    DAYS.iter().find(|day| is_meant(day)).map(|day| &day[..3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_parts_and_no_fraction() {
        assert_eq!(clock_time("8:00:05").as_deref(), Some("08:00:05"));
        assert_eq!(clock_time("08:00:00.000").as_deref(), Some("08:00:00"));
        for text in ["", "08:00", "24:00:00", "08:00:00.5", "08:00:00.", "+8:00:00", "08:60:00", "::", "008:00:00"] {
            assert_eq!(clock_time(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_english_and_may_be_short() {
        for (text, day) in [("su", "Sun"), ("MON", "Mon"), ("Mon.", "Mon"), ("Thurs", "Thu"), ("saturday", "Sat")] {
            assert_eq!(day_named(text), Some(day));
        }
        for text in ["", "s", "lundi", "sundays", "montag", "é"] {
            assert_eq!(day_named(text), None, "{text}");
        }
    }
}
