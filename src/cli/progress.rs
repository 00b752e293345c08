//! How far a long command has come, on standard error: a bar for a person, else a line now and
//! then. Results go to standard output alone.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Between two lines where nobody sees a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const NOT_KNOWN: &str = "time left not known yet";

pub(super) struct Progress {
    name: &'static str,
    /// `None` where standard error is no terminal.
    bar: Option<ProgressBar>,
    total: u64,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Of a command that has so many steps, about alike.
    pub fn new(name: &'static str, total: u64) -> Self {
        let style = bar_style("{bar:30} {pos} of {len}, {left}: {msg}");
        let bar = io::stderr().is_terminal().then(|| ProgressBar::new(total).with_style(style));
        let now = Instant::now();
        Self { name, bar, total, began: now, told: now }
    }

    /// So many steps are done, and what comes next or has come.
    pub fn at(&mut self, done: u64, what: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(what());
                bar.set_position(done);
            }
            None if self.told.elapsed() >= LINE_INTERVAL => {
                self.told = Instant::now();
                error_line!("{}", line(self.name, done, self.total, self.began.elapsed(), &what()));
            }
            None => {}
        }
    }

    /// Nothing of it is left on the terminal.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How a bar looks whose template knows `{left}` besides the usual names: how long the rest takes,
/// once something is done by which it can be told.
pub(super) fn bar_style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("a template of known names");
    style.with_key("left", |state: &ProgressState, into: &mut dyn fmt::Write| {
        // A bar has nobody to tell of a line that cannot be written.
        let _ = into.write_str(&match state.pos() {
            0 => NOT_KNOWN.into(),
            _ => format!("{} left", shown(state.eta())),
        });
    })
}

fn line(name: &str, done: u64, total: u64, elapsed: Duration, what: &str) -> String {
    let left = match done {
        0 => NOT_KNOWN.into(),
        _ => format!("about {} left", shown(elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64))),
    };
    format!("{name}: {done} of {total}, {what}; {} gone, {left}", shown(elapsed))
}

fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_done_and_how_long_the_rest_takes() {
        let told = line("bench wire", 5, 20, Duration::from_secs(100), "bare TCP");
        assert_eq!(told, "bench wire: 5 of 20, bare TCP; 1 min 40 s gone, about 5 min 0 s left");
        assert!(
            line("simulate", 0, 9, Duration::from_secs(4_000), "").ends_with("1 h 6 min gone, time left not known yet")
        );
    }
}
