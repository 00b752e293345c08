//! From local dates and times to moments, periods and events.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::AmbiguousOffset;

use super::{Event, Hours, Period, Schedule, Standing, What};

/// A period that holds a moment started at most so many dates before: a week, and the dates that a zone may skip or repeat.
const REACH_DAYS: i32 = 9;
/// How many dates ahead a start or a reset is looked for: weekly, with every date off that the schedule's bound allows.
const AHEAD_DAYS: i32 = 7 * (super::DAYS_OFF_MAX as i32 + 2);

impl Schedule {
    /// How the schedule stands at this moment.
    pub fn standing(&self, at_s: u64) -> Standing {
        let Some(period) = self.period_at(at_s) else {
            let next = self.next_start(at_s).map(|at_s| Event { at_s, what: What::Start });
            return Standing { period: None, boundary: None, next };
        };
        let start = (self.hours != Hours::NonStop).then_some(Event { at_s: period.start_s, what: What::Start });
        let reset = |at_s| Event { at_s, what: What::Reset };
        let boundary = self.last_reset(at_s, period).map(reset).or(start);
        let end = (period.end_s != u64::MAX).then_some(Event { at_s: period.end_s, what: What::End });
        let next = self.next_reset(at_s, period).map(reset).or(end);
        Standing { period: Some(period), boundary, next }
    }

    /// The period that this moment is in.
    pub fn period_at(&self, at_s: u64) -> Option<Period> {
        if self.hours == Hours::NonStop {
            return Some(Period { start_s: 0, end_s: u64::MAX });
        }
        // Periods are in order, so that the last to have started is the only one that may go on.
        let started = self.dates_back(at_s).find_map(|date| self.period_of(date).filter(|it| it.start_s <= at_s));
        started.filter(|period| at_s < period.end_s)
    }

    /// What comes after this moment, in order. Where one period follows another without a pause, its start comes after the other's
    /// end.
    pub fn events(&self, after_s: u64) -> Events<'_> {
        Events { schedule: self, after_s, start_is_due: false }
    }

    fn next_start(&self, after_s: u64) -> Option<u64> {
        self.dates_ahead(after_s).find_map(|date| Some(self.period_of(date)?.start_s).filter(|start| *start > after_s))
    }

    fn last_reset(&self, at_s: u64, period: Period) -> Option<u64> {
        self.reset?;
        let reset = self.dates_back(at_s).find_map(|date| self.reset_of(date).filter(|reset| *reset <= at_s));
        let is_within = |reset: &u64| *reset > period.start_s;
        match self.hours {
            // A reset may lie further back than a week: on a few days of the week alone, or behind many days off.
            Hours::NonStop if reset.is_none() => {
                let date = self.local_date(at_s);
                (REACH_DAYS..AHEAD_DAYS).find_map(|back| self.reset_of(plus_days(date, -back)?))
            }
            _ => reset.filter(is_within),
        }
    }

    fn next_reset(&self, after_s: u64, period: Period) -> Option<u64> {
        self.reset?;
        let reset = self.dates_ahead(after_s).find_map(|date| self.reset_of(date).filter(|reset| *reset > after_s));
        reset.filter(|reset| *reset > period.start_s && *reset < period.end_s)
    }

    /// The period that starts on this date, if one does.
    fn period_of(&self, date: Date) -> Option<Period> {
        let (start, length_days, end) = match self.hours {
            Hours::NonStop => return None,
            Hours::Daily { start, end } if self.days.has(date.weekday()) => (start, i32::from(end <= start), end),
            Hours::Weekly { start_day, start, length_days, end } if start_day == date.weekday() => {
                (start, i32::from(length_days), end)
            }
            Hours::Daily { .. } | Hours::Weekly { .. } => return None,
        };
        if self.is_off(date) {
            return None;
        }
        let start_s = self.moment(date, start)?;
        let end_s = self.moment(plus_days(date, length_days)?, end)?;
        (start_s < end_s).then_some(Period { start_s, end_s })
    }

    /// The in-session reset of this date, if there is one. Whether a period is open is the caller's affair.
    fn reset_of(&self, date: Date) -> Option<u64> {
        let is_day = self.hours != Hours::NonStop || self.days.has(date.weekday());
        if !is_day || self.is_off(date) {
            return None;
        }
        self.moment(date, self.reset?)
    }

    fn is_off(&self, date: Date) -> bool {
        self.days_off.binary_search(&date).is_ok()
    }

    /// See the module's header on daylight saving.
    fn moment(&self, date: Date, time: Time) -> Option<u64> {
        let local = date.to_datetime(time);
        let moment = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
            AmbiguousOffset::Gap { before, after } => {
                // Read with the later offset, a skipped time lies before the gap's moment.
                let earlier = after.to_timestamp(local).ok()?;
                let end = self.zone.following(earlier).next().map(|transition| transition.timestamp());
                end.or_else(|| before.to_timestamp(local).ok())?
            }
        };
        u64::try_from(moment.as_second()).ok()
    }

    fn local_date(&self, at_s: u64) -> Date {
        let second = i64::try_from(at_s).unwrap_or(i64::MAX).min(Timestamp::MAX.as_second());
        let moment = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        self.zone.to_datetime(moment).date()
    }

    /// Newest first. It begins with the next date: where a clock that is put back repeats the end of a day, the next one has
    /// begun already.
    fn dates_back(&self, at_s: u64) -> impl Iterator<Item = Date> {
        let date = self.local_date(at_s);
        (-1..REACH_DAYS).filter_map(move |back| plus_days(date, -back))
    }

    fn dates_ahead(&self, at_s: u64) -> impl Iterator<Item = Date> {
        let date = self.local_date(at_s);
        (-1..AHEAD_DAYS).filter_map(move |ahead| plus_days(date, ahead))
    }
}

/// `None` beyond the year 9999.
fn plus_days(date: Date, days: i32) -> Option<Date> {
    date.checked_add(jiff::Span::new().days(days)).ok()
}

/// See [`Schedule::events`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    schedule: &'a Schedule,
    after_s: u64,
    /// A period has ended at this very moment, and another starts.
    start_is_due: bool,
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.start_is_due) {
            return Some(Event { at_s: self.after_s, what: What::Start });
        }
        let event = self.schedule.standing(self.after_s).next?;
        self.after_s = event.at_s;
        self.start_is_due = event.what == What::End
            && self.schedule.period_at(event.at_s).is_some_and(|period| period.start_s == event.at_s);
        Some(event)
    }
}
