use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday, date, time};
use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_second() as u64
}

fn rules(zone: &str) -> Rules {
    Rules { zone: Some(zone_named(zone).unwrap()), ..Rules::default() }
}

fn daily(zone: &str, start: Time, end: Time) -> Rules {
    Rules { start: Some(start), end: Some(end), ..rules(zone) }
}

fn hour(hour: i8) -> Time {
    time(hour, 0, 0, 0)
}

/// So many events after a moment, as text.
fn events(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let shown = |event: Event| format!("{:?} {}", event.what, Timestamp::from_second(event.at_s as i64).unwrap());
    schedule.events(utc(after)).take(count).map(shown).collect()
}

#[test]
fn a_day_s_hours_are_local_and_follow_daylight_saving() {
    let days = Some(Days::range(Weekday::Monday, Weekday::Friday));
    let schedule = Schedule::new(Rules { days, ..daily("America/New_York", hour(8), hour(17)) }).unwrap();
    // Clocks go forward on Sunday, 8 March 2026.
    assert_eq!(
        events(&schedule, "2026-03-06T00:00:00Z", 4),
        [
            "Start 2026-03-06T13:00:00Z",
            "End 2026-03-06T22:00:00Z",
            "Start 2026-03-09T12:00:00Z",
            "End 2026-03-09T21:00:00Z",
        ]
    );
    let standing = schedule.standing(utc("2026-03-09T12:00:00Z"));
    let period = Period { start_s: utc("2026-03-09T12:00:00Z"), end_s: utc("2026-03-09T21:00:00Z") };
    assert_eq!(standing.period, Some(period), "a start belongs to its period");
    assert_eq!(standing.boundary, Some(Event { at_s: period.start_s, what: What::Start }));
    assert_eq!(standing.next, Some(Event { at_s: period.end_s, what: What::End }));
    let closed = schedule.standing(period.end_s);
    assert_eq!((closed.period, closed.boundary), (None, None), "an end does not");
    assert_eq!(closed.next, Some(Event { at_s: utc("2026-03-10T12:00:00Z"), what: What::Start }));
}

#[test]
fn hours_that_end_before_they_start_end_on_the_next_day() {
    let days = Some(Days::NONE.with(Weekday::Friday));
    let schedule = Schedule::new(Rules { days, ..daily("UTC", hour(20), hour(4)) }).unwrap();
    assert_eq!(
        events(&schedule, "2026-01-05T00:00:00Z", 3),
        ["Start 2026-01-09T20:00:00Z", "End 2026-01-10T04:00:00Z", "Start 2026-01-16T20:00:00Z"]
    );
    assert!(schedule.period_at(utc("2026-01-10T03:59:59Z")).is_some(), "it is Saturday, and Friday's period");
}

#[test]
fn a_start_that_is_the_end_makes_whole_days_without_a_pause() {
    let schedule = Schedule::new(daily("America/New_York", hour(17), hour(17))).unwrap();
    assert_eq!(
        events(&schedule, "2026-03-06T23:00:00Z", 5),
        [
            "End 2026-03-07T22:00:00Z",
            "Start 2026-03-07T22:00:00Z",
            "End 2026-03-08T21:00:00Z",
            "Start 2026-03-08T21:00:00Z",
            "End 2026-03-09T21:00:00Z",
        ],
        "the day of the change has 23 hours"
    );
}

#[test]
fn a_skipped_start_is_taken_at_the_end_of_the_gap_and_a_repeated_one_comes_once() {
    let schedule = Schedule::new(daily("America/New_York", time(2, 30, 0, 0), time(3, 10, 0, 0))).unwrap();
    assert_eq!(
        events(&schedule, "2026-03-08T00:00:00Z", 2),
        ["Start 2026-03-08T07:00:00Z", "End 2026-03-08T07:10:00Z"]
    );
    // 01:30 comes twice on 1 November; the period runs from the first one.
    let schedule = Schedule::new(daily("America/New_York", time(1, 30, 0, 0), hour(9))).unwrap();
    assert_eq!(
        events(&schedule, "2026-11-01T00:00:00Z", 3),
        ["Start 2026-11-01T05:30:00Z", "End 2026-11-01T14:00:00Z", "Start 2026-11-02T06:30:00Z"]
    );
}

#[test]
fn a_period_that_lies_in_a_gap_is_not_there() {
    let schedule = Schedule::new(daily("America/New_York", time(2, 10, 0, 0), time(2, 50, 0, 0))).unwrap();
    assert_eq!(events(&schedule, "2026-03-07T12:00:00Z", 1), ["Start 2026-03-09T06:10:00Z"]);
    // Samoa had no 30 December 2011.
    let schedule = Schedule::new(daily("Pacific/Apia", hour(8), hour(17))).unwrap();
    let starts: Vec<_> = schedule.events(utc("2011-12-29T00:00:00Z")).filter(|it| it.what == What::Start).collect();
    assert_eq!(starts[0].at_s, utc("2011-12-29T18:00:00Z"), "the 29th");
    assert_eq!(starts[1].at_s, utc("2011-12-30T18:00:00Z"), "the 31st, 24 hours later");
}

#[test]
fn a_week_goes_from_a_day_to_a_day() {
    let week = Rules {
        start_day: Some(Weekday::Sunday),
        end_day: Some(Weekday::Friday),
        reset: Some(hour(17)),
        ..daily("America/New_York", hour(17), hour(17))
    };
    let schedule = Schedule::new(week).unwrap();
    assert_eq!(
        events(&schedule, "2026-01-03T00:00:00Z", 7),
        [
            "Start 2026-01-04T22:00:00Z",
            "Reset 2026-01-05T22:00:00Z",
            "Reset 2026-01-06T22:00:00Z",
            "Reset 2026-01-07T22:00:00Z",
            "Reset 2026-01-08T22:00:00Z",
            "End 2026-01-09T22:00:00Z",
            "Start 2026-01-11T22:00:00Z",
        ],
        "a reset at the start or the end is that start or end"
    );
    let standing = schedule.standing(utc("2026-01-07T00:00:00Z"));
    assert_eq!(standing.boundary, Some(Event { at_s: utc("2026-01-06T22:00:00Z"), what: What::Reset }));
}

#[test]
fn a_whole_week_follows_another_without_a_pause() {
    let day = Some(Weekday::Sunday);
    let schedule = Schedule::new(Rules { start_day: day, end_day: day, ..daily("UTC", hour(0), hour(0)) }).unwrap();
    assert_eq!(
        events(&schedule, "2026-01-05T00:00:00Z", 3),
        ["End 2026-01-11T00:00:00Z", "Start 2026-01-11T00:00:00Z", "End 2026-01-18T00:00:00Z"]
    );
    let schedule = Schedule::new(Rules { start_day: day, end_day: day, ..daily("UTC", hour(8), hour(9)) }).unwrap();
    assert_eq!(
        events(&schedule, "2026-01-05T00:00:00Z", 2),
        ["Start 2026-01-11T08:00:00Z", "End 2026-01-11T09:00:00Z"],
        "an hour a week"
    );
}

#[test]
fn a_non_stop_session_is_reset_on_its_days_and_not_on_days_off() {
    let schedule = Schedule::new(Rules {
        reset: Some(hour(17)),
        days: Some(Days::range(Weekday::Monday, Weekday::Friday)),
        days_off: vec![date(2026, 1, 6)],
        reset_by: Some(ResetBy::Acceptor),
        ..rules("Europe/London")
    })
    .unwrap();
    assert_eq!(
        events(&schedule, "2026-01-03T00:00:00Z", 3),
        ["Reset 2026-01-05T17:00:00Z", "Reset 2026-01-07T17:00:00Z", "Reset 2026-01-08T17:00:00Z"]
    );
    let standing = schedule.standing(utc("2026-01-07T16:59:59Z"));
    assert_eq!(standing.boundary, Some(Event { at_s: utc("2026-01-05T17:00:00Z"), what: What::Reset }));
    assert_eq!(schedule.reset_by(), Some(ResetBy::Acceptor));
}

#[test]
fn the_last_reset_is_found_behind_many_days_off() {
    let holidays = (6..31).map(|day| date(2026, 1, day)).collect();
    let schedule = Schedule::new(Rules { reset: Some(hour(17)), days_off: holidays, ..rules("UTC") }).unwrap();
    let standing = schedule.standing(utc("2026-01-30T00:00:00Z"));
    assert_eq!(standing.boundary.unwrap().at_s, utc("2026-01-05T17:00:00Z"));
    assert_eq!(standing.next.unwrap().at_s, utc("2026-01-31T17:00:00Z"));
}

#[test]
fn a_day_off_drops_the_period_that_starts_on_it_and_no_other() {
    let schedule =
        Schedule::new(Rules { days_off: vec![date(2026, 12, 25)], ..daily("UTC", hour(20), hour(4)) }).unwrap();
    assert_eq!(
        events(&schedule, "2026-12-24T12:00:00Z", 3),
        ["Start 2026-12-24T20:00:00Z", "End 2026-12-25T04:00:00Z", "Start 2026-12-26T20:00:00Z"]
    );
}

#[test]
fn rules_that_do_not_fit_together_name_the_key_to_mend() {
    let full = daily("UTC", hour(8), hour(17));
    let faults = [
        (Rules { start: None, ..full.clone() }, "start"),
        (Rules { end: None, ..full.clone() }, "end"),
        (Rules { end_day: Some(Weekday::Friday), ..full.clone() }, "start_day"),
        (Rules { start_day: Some(Weekday::Friday), ..full.clone() }, "end_day"),
        (Rules { start_day: Some(Weekday::Friday), ..rules("UTC") }, "start"),
        (rules("UTC"), "reset"),
        (Rules { days: Some(Days::NONE), ..full.clone() }, "days"),
        (Rules { reset_by: Some(ResetBy::Acceptor), ..full.clone() }, "reset_by"),
        (
            Rules {
                days: Some(Days::ALL),
                start_day: Some(Weekday::Monday),
                end_day: Some(Weekday::Friday),
                ..full.clone()
            },
            "days",
        ),
        (Rules { days_off: vec![date(2026, 1, 1); DAYS_OFF_MAX + 1], ..full }, "days_off"),
    ];
    for (rules, key) in faults {
        assert_eq!(Schedule::new(rules.clone()).unwrap_err().key, key, "{rules:?}");
    }
}

#[test]
fn a_schedule_says_in_a_line_what_it_is() {
    let shown = |rules| Schedule::new(rules).unwrap().to_string();
    let days = Some(Days::range(Weekday::Monday, Weekday::Friday));
    let hours = daily("America/New_York", hour(8), hour(17));
    assert_eq!(
        shown(Rules { days, days_off: vec![date(2026, 1, 1)], ..hours.clone() }),
        "Mon..Fri, 08:00:00 to 17:00:00, 1 days off, America/New_York"
    );
    assert_eq!(
        shown(Rules { start_day: Some(Weekday::Sunday), end_day: Some(Weekday::Friday), ..hours }),
        "Sun 08:00:00 to Fri 17:00:00, America/New_York"
    );
    assert_eq!(
        shown(Rules { reset: Some(hour(17)), ..Rules::default() }),
        "non-stop, reset at 17:00:00 every day, UTC"
    );
    assert_eq!(Days::NONE.with(Weekday::Monday).with(Weekday::Friday).to_string(), "Mon, Fri");
}

#[test]
fn a_schedule_comes_to_an_end_with_the_calendar() {
    let schedule = Schedule::new(daily("UTC", hour(8), hour(17))).unwrap();
    for at_s in [0, utc("9999-12-30T00:00:00Z"), u64::MAX] {
        schedule.standing(at_s);
    }
    assert!(schedule.events(utc("9999-12-30T00:00:00Z")).count() < 5);
}

const ZONES: [&str; 8] = [
    "America/New_York",
    "Europe/London",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "UTC",
    // The clock is put back, or was, over midnight.
    "America/Havana",
    "Africa/Casablanca",
];

fn any_time() -> impl Strategy<Value = Time> {
    // Often at hours that changes of the clock touch.
    prop_oneof![(0..4i8), (0..24i8)].prop_flat_map(|hour| {
        (Just(hour), prop_oneof![Just(0), Just(30), 0..60i8], prop_oneof![Just(0), 0..60i8])
            .prop_map(|(hour, minute, second)| time(hour, minute, second, 0))
    })
}

fn any_day() -> impl Strategy<Value = Weekday> {
    (0..7i8).prop_map(|day| Weekday::from_monday_zero_offset(day).unwrap())
}

#[derive(Clone, Debug)]
struct Case {
    rules: Rules,
    days: Days,
    from: Date,
}

fn any_case() -> impl Strategy<Value = Case> {
    let weekly = proptest::option::of((any_day(), any_day()));
    let days =
        proptest::collection::vec(any_day(), 1..7).prop_map(|days| days.into_iter().fold(Days::NONE, Days::with));
    let from = (2000..2045i16, 1..366i16)
        .prop_map(|(year, day)| date(year, 1, 1).checked_add(jiff::Span::new().days(i64::from(day))).unwrap());
    let offs = proptest::collection::vec(0..400i64, 0..20);
    (0..ZONES.len(), any_time(), any_time(), weekly, days, from, offs, proptest::option::of(any_time())).prop_map(
        |(zone, start, end, weekly, days, from, offs, reset)| {
            let days_off = offs.into_iter().map(|day| from.checked_add(jiff::Span::new().days(day)).unwrap()).collect();
            let days = weekly.map_or(days, |(start_day, _)| Days::NONE.with(start_day));
            let rules = Rules {
                days: weekly.is_none().then_some(days),
                start_day: weekly.map(|(day, _)| day),
                end_day: weekly.map(|(_, day)| day),
                days_off,
                reset,
                ..daily(ZONES[zone], start, end)
            };
            Case { rules, days, from }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Over 400 days from any date of 45 years: what comes, comes in order, once, on its days.
    #[test]
    fn periods_are_in_order_never_overlap_and_never_come_twice(case in any_case()) {
        let Case { rules, days, from } = case;
        let schedule = Schedule::new(rules.clone()).unwrap();
        let zone = schedule.zone().clone();
        let first_s = from.to_zoned(zone.clone()).unwrap().timestamp().as_second() as u64;
        let last_s = first_s + 400 * 86_400;
        let mut open: Option<u64> = schedule.period_at(first_s).map(|period| period.start_s);
        let mut started_on: Option<Date> = None;
        let mut before: Option<Event> = None;
        for event in schedule.events(first_s).take_while(|event| event.at_s < last_s) {
            if let Some(before) = before {
                let adjoins = before.what == What::End && event.what == What::Start;
                prop_assert!(before.at_s < event.at_s || (adjoins && before.at_s == event.at_s), "{before:?} {event:?}");
            }
            match event.what {
                What::Start => {
                    prop_assert_eq!(open, None);
                    open = Some(event.at_s);
                    // A skipped start may be moved to the next date; the local date of its period is at most one earlier.
                    let local = zone.to_datetime(Timestamp::from_second(event.at_s as i64).unwrap());
                    let start = rules.start.unwrap();
                    let date = if local.time() >= start { local.date() } else { local.date().yesterday().unwrap() };
                    prop_assert!(days.has(date.weekday()) && !rules.days_off.contains(&date), "{event:?} {date}");
                    prop_assert!(started_on.is_none_or(|before| before < date), "two periods on {date}");
                    started_on = Some(date);
                }
                What::End => {
                    let start_s = open.take();
                    prop_assert!(start_s.is_some_and(|start_s| start_s < event.at_s), "{event:?}");
                }
                What::Reset => prop_assert!(open.is_some_and(|start_s| start_s < event.at_s)),
            }
            before = Some(event);
        }
    }

    /// What is asked of a moment agrees with what the events before and after it say.
    #[test]
    fn how_a_schedule_stands_agrees_with_its_events(case in any_case(), moments in proptest::collection::vec(0..60 * 86_400u64, 8)) {
        let schedule = Schedule::new(case.rules).unwrap();
        let first_s = case.from.to_zoned(schedule.zone().clone()).unwrap().timestamp().as_second() as u64;
        let events: Vec<Event> = schedule.events(first_s).take_while(|event| event.at_s < first_s + 80 * 86_400).collect();
        let exact = events.iter().take(8).map(|event| event.at_s);
        for at_s in moments.into_iter().map(|offset| first_s + offset).chain(exact) {
            let standing = schedule.standing(at_s);
            let next = events.iter().find(|event| event.at_s > at_s);
            prop_assert_eq!(standing.next.filter(|next| next.at_s < first_s + 80 * 86_400), next.copied(), "at {}", at_s);
            let Some(last) = events.iter().rfind(|event| event.at_s <= at_s) else { continue };
            match last.what {
                What::End => prop_assert_eq!(standing.boundary, None),
                What::Start | What::Reset => prop_assert_eq!(standing.boundary, Some(*last)),
            }
            prop_assert_eq!(standing.period.is_some(), last.what != What::End);
        }
    }
}
