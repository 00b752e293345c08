//! `fixring check`: says what is wrong with the configuration and with this machine for it, before `run` would.
//!
//! It reads, binds ports for a moment and makes unnamed files; it leaves nothing behind and changes nothing. Each line
//! is one finding: `ok`, `warning` or `wrong`, where it comes from, what it is, and the mend.
//!
//! Exit status: 0 where nothing is wrong (warnings may be), 2 where something is.

mod journals;
mod machine;
mod memory;
mod retention;
mod spread;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::Exit;
use crate::config::{Config, SessionRole};

pub use machine::check_machine;
pub(in crate::cli) use machine::files_needed;

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub level: Level,
    /// `fixring.toml:12: engine.data_dir`, or the key alone where the file does not set it.
    pub place: String,
    pub what: String,
    /// Empty where all is well.
    pub mend: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Ok,
    Warning,
    Wrong,
}

/// Reads the configuration (the defaults without one), checks it and the machine, prints the findings.
pub fn check(config_path: Option<&Path>, data_dir: Option<&Path>) -> Exit {
    let mut output = io::stdout().lock();
    let config = match config_path.map_or_else(|| Ok(Config::default()), Config::load) {
        Ok(config) => config,
        Err(errors) => {
            let is_terminal = io::stdout().is_terminal();
            let text = if is_terminal { errors.render(true) } else { format!("{errors}\n") };
            // A reader that has gone away changes nothing of the outcome.
            let _ = output.write_all(text.as_bytes());
            return Exit::Configuration;
        }
    };
    let config = match data_dir {
        Some(data_dir) => config.with_data_dir(data_dir),
        None => config,
    };
    let mut findings = vec![summary(config_path, &config)];
    findings.extend(check_machine(&config));
    report(&findings, &mut output)
}

/// Prints findings and concludes.
pub fn report(findings: &[Finding], output: &mut impl Write) -> Exit {
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Wrong => "wrong",
        };
        let mend = if finding.mend.is_empty() { String::new() } else { format!(": {}", finding.mend) };
        let _ = writeln!(output, "{level:<7} {}: {}{mend}", finding.place, finding.what);
    }
    match findings.iter().any(|finding| finding.level == Level::Wrong) {
        true => Exit::Configuration,
        false => Exit::Ok,
    }
}

fn summary(config_path: Option<&Path>, config: &Config) -> Finding {
    let templates = config.sessions.iter().filter(|session| session.is_template()).count();
    let initiators = config.sessions.iter().filter(|session| session.role == SessionRole::Initiator).count();
    Finding {
        level: Level::Ok,
        place: config_path.map_or("the built-in defaults".into(), |path| path.display().to_string()),
        what: format!(
            "workers: {}, acceptors: {}, sessions: {} (templates: {templates}, initiators: {initiators})",
            config.engine.placement.worker_count(),
            config.acceptors.len(),
            config.sessions.len(),
        ),
        mend: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_configuration_is_status_2() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(check(Some(&directory.path().join("missing.toml")), None), Exit::Configuration);
    }
}
