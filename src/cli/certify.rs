//! `fixring certify`: plays the conformance scenarios against an acceptor and says which rules it keeps.
//!
//! Exit status: 0 where nothing failed, 1 where something did, 2 for wrong usage, 4 where a report cannot be written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Exit, print};
use crate::certify::{Case, Feature, Report, Scenario, Target, VERSIONS, Verdict, library, play, reach, script};
use crate::config::{Endpoint, endpoint};
use crate::dictionary::Version;

/// More files in a directory are not scenarios.
const FILES_MAX: usize = 1_000;

/// Play conformance scenarios against a FIX acceptor, this one or a counterparty's
///
/// Each scenario is a conversation about one rule of the session protocol: it logs on, misbehaves, and looks at the answer.
/// NEVER against a production session: it sends wrong messages and orders, and resets sequence numbers. Without `--has reset`
/// each scenario logs on with ResetSeqNumFlag(141).
///
/// Exit status: 0 where nothing failed, 1 where something did, 2 for wrong usage, 4 where a report cannot be written.
#[derive(clap::Args, Debug)]
pub(super) struct CertifyOptions {
    /// The acceptor
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "list", value_parser = endpoint)]
    connect: Option<Endpoint>,
    /// FIX.4.0 to FIX.4.4, or FIX.5.0, FIX.5.0SP1, FIX.5.0SP2 over FIXT.1.1
    #[arg(long, visible_alias = "begin-string", default_value = "FIX.4.4", value_parser = version)]
    version: Version,
    /// Ours. With a "*" each scenario has a session of its own, and they are played side by side
    #[arg(long, value_name = "ID", required_unless_present = "list", value_parser = text)]
    sender_comp_id: Option<String>,
    /// The acceptor's
    #[arg(long, value_name = "ID", required_unless_present = "list", value_parser = text)]
    target_comp_id: Option<String>,
    /// What the acceptor offers, with commas: see --help. Scenarios that need something else are skipped
    #[arg(long, value_name = "FEATURES", value_delimiter = ',', long_help = has_help())]
    has: Vec<Feature>,
    /// Only scenarios whose name or rule contains this
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Scenarios of your own (*.rule) instead of those built in
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// Username(553) of each Logon, from FIX.4.3 on
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// The environment variable that holds Password(554)
    #[arg(long, value_name = "VARIABLE")]
    password_env: Option<String>,
    /// HeartBtInt(108) of the scenarios that are about time
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    heartbeat: u32,
    /// How long an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    timeout: u64,
    /// Write a page for people
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the outcomes as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// List the scenarios, what each is about and what it needs
    #[arg(long)]
    list: bool,
}

/// How many scenarios with sessions of their own are played at a time.
const SIDE_BY_SIDE: usize = 8;

pub(super) fn version(text: &str) -> Result<Version, String> {
    let version: Version = text.parse().map_err(|error| format!("{error}"))?;
    if VERSIONS.contains(&version) {
        Ok(version)
    } else {
        Err(format!("{version} carries the messages of FIX.5.0, FIX.5.0SP1 or FIX.5.0SP2: name one of these"))
    }
}

/// A field's value: what is sent is to be a message of FIX.
pub(super) fn text(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a field of FIX has no empty value: give one".into()),
        _ if text.chars().any(char::is_control) => Err("it holds a control character: leave that out".into()),
        _ => Ok(text.into()),
    }
}

fn has_help() -> String {
    let mut help = "What the acceptor offers, with commas. Scenarios that need something else are skipped.".to_string();
    for feature in Feature::ALL {
        help.push_str(&format!("\n  {feature}: {}", feature.meaning()));
    }
    help
}

pub(super) fn certify(options: &CertifyOptions) -> Exit {
    let scenarios = match scenarios(options) {
        Ok(scenarios) => scenarios,
        Err(what) => return refused(&what),
    };
    if options.list {
        return list(&scenarios);
    }
    let (Some(connect), Some(sender), Some(target)) =
        (&options.connect, &options.sender_comp_id, &options.target_comp_id)
    else {
        return refused("--connect, --sender-comp-id and --target-comp-id are needed");
    };
    let password = match options.password_env.as_deref().map(|name| (name, std::env::var(name))) {
        None => None,
        Some((_, Ok(password))) => Some(password),
        Some((name, Err(_))) => {
            return refused(&format!("--password-env {name}: there is no such variable: export it"));
        }
    };
    let connect = connect.to_string();
    if let Err(what) = reach(&connect, Duration::from_secs(options.timeout)) {
        return refused(&format!("{what}: start the acceptor, or name its address with --connect"));
    }
    let begun = jiff::Timestamp::now();
    let one_session = !sender.contains('*');
    let target = |at: usize| Target {
        address: connect.clone(),
        version: options.version,
        sender_comp_id: sender.replace('*', &format!("{:X}-{at}", begun.as_second())),
        target_comp_id: target.clone(),
        has: options.has.clone(),
        is_new: !one_session,
        username: options.username.clone(),
        password: password.clone(),
        heartbeat_s: options.heartbeat,
        timeout: Duration::from_secs(options.timeout),
    };
    let concerned = scenarios.iter().filter(|scenario| scenario.versions.has(options.version));
    let cases: Vec<Case<'_>> =
        concerned.enumerate().map(|(at, scenario)| Case { scenario, target: target(at) }).collect();
    let watched = std::io::stderr().is_terminal();
    let outcomes = play(&cases, if one_session { 1 } else { SIDE_BY_SIDE }, &|outcome| {
        if watched {
            error_line!("{:<8} {}", outcome.verdict.word(), outcome.rule);
        }
    });
    let begin_string = if options.version.needs_transport() { " over FIXT.1.1" } else { "" };
    let report = Report {
        title: format!("{}{begin_string}, {sender} to {} at {connect}", options.version, target(0).target_comp_id),
        when: format!("{}, by fixring {}", begun.strftime("%Y-%m-%d %H:%M:%S UTC"), env!("CARGO_PKG_VERSION")),
        outcomes,
    };
    print(&report.text());
    if let Some(hint) = has_hint(&cases) {
        print(&hint);
    }
    for (file, text) in [(&options.html, Report::html as fn(&Report) -> String), (&options.json, Report::json)] {
        if let Some(file) = file
            && let Err(error) = fs::write(file, text(&report))
        {
            error_line!("{}: cannot be written: {error}", file.display());
            return Exit::Storage;
        }
    }
    let failed = report.outcomes.iter().any(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    if failed { Exit::Failed } else { Exit::Ok }
}

/// Which features were not named, and how many scenarios each would have had played.
fn has_hint(cases: &[Case<'_>]) -> Option<String> {
    let mut wanted = BTreeMap::<Feature, usize>::new();
    for Case { scenario, target } in cases {
        let missing = scenario.needs.iter().filter(|need| !target.has.contains(need));
        missing.for_each(|missing| *wanted.entry(*missing).or_default() += 1);
    }
    let list = |(feature, count): (&Feature, &usize)| format!("{feature} ({count})");
    let wanted = wanted.iter().map(list).collect::<Vec<_>>();
    (!wanted.is_empty()).then(|| {
        format!(
            "not played without --has, which names what the acceptor offers: {}; `fixring certify --help` explains each\n",
            wanted.join(", ")
        )
    })
}

fn refused(what: &str) -> Exit {
    error_line!("{what}");
    Exit::Configuration
}

fn scenarios(options: &CertifyOptions) -> Result<Vec<Scenario>, String> {
    let mut scenarios = match &options.scenarios {
        None => library::scenarios().map_err(|error| error.to_string())?,
        Some(directory) => of_directory(directory)?,
    };
    if let Some(pattern) = &options.only {
        scenarios
            .retain(|scenario| scenario.name.contains(pattern.as_str()) || scenario.rule.contains(pattern.as_str()));
        if scenarios.is_empty() {
            return Err(format!("--only {pattern}: no scenario has that in its name or rule: see --list"));
        }
    }
    Ok(scenarios)
}

fn of_directory(directory: &Path) -> Result<Vec<Scenario>, String> {
    let failed = |error: std::io::Error| format!("{}: cannot be read: {error}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "rule") {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(format!("{}: more than {FILES_MAX} scenarios: split the directory", directory.display()));
        }
    }
    if files.is_empty() {
        return Err(format!("{}: no scenario (*.rule) in it", directory.display()));
    }
    files.sort();
    files.iter().map(|file| of_file(file)).collect()
}

fn of_file(file: &Path) -> Result<Scenario, String> {
    let name = file.display();
    let failed = |error: std::io::Error| format!("{name}: cannot be read: {error}");
    // A file that is too long is not read to find that out.
    let length = fs::metadata(file).map_err(failed)?.len();
    if length > script::FILE_BYTES_MAX as u64 {
        return Err(format!("{name}: longer than {} bytes: split it", script::FILE_BYTES_MAX));
    }
    let text = fs::read_to_string(file).map_err(failed)?;
    Scenario::parse(&name.to_string(), &text).map_err(|error| error.to_string())
}

fn list(scenarios: &[Scenario]) -> Exit {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(["scenario", "rule", "versions", "needs"]);
    for scenario in scenarios {
        let needs: Vec<_> = scenario.needs.iter().map(|need| need.name()).collect();
        table.add_row([scenario.name.clone(), scenario.rule.clone(), scenario.versions.to_string(), needs.join(", ")]);
    }
    let _ = writeln!(std::io::stdout().lock(), "{table}");
    Exit::Ok
}
