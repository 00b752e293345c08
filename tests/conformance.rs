//! The table of conformance: every scenario of `tests/conformance/` against the real binary over TCP, in each version that
//! its rule is about. Each has a session of its own, so that they run side by side.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output};
use std::time::Duration;

use engine::{Place, SMALL, Setup};
use fixring::certify::{Case, Feature, Report, Scenario, Target, VERSIONS, Verdict, library, play};
use fixring::dictionary::Version;

/// Our TargetCompID(56): the engine's own.
const ENGINE: &str = "FIXRING";
/// Most of them wait for a beat or two, and do nothing else.
const SIDE_BY_SIDE: usize = 48;
/// A Heartbeat is due after one beat, a TestRequest after 1.2: an engine that waits for its core so
/// long between the two may send the second alone.
const BEAT_S: u32 = 4;

/// `application = "echo"` with sessions as scenarios need them.
fn place(sessions: &str) -> Place {
    Place::new(&Setup {
        mode: "buffered",
        // A connection that was heard within probe_timeout is not probed, however long a second
        // Logon waits for its turn.
        engine: "application = \"echo\"\ncommit_bytes_max = \"64KiB\"\nmessage_bytes_max = \"16KiB\"\n\
                 logon_timeout = \"60s\"\nprobe_timeout = \"60s\"\n",
        ring_bytes: "16MiB",
        segment_bytes: "16MiB",
        sessions,
    })
}

fn sessions_are_reset(scenario: &Scenario) -> bool {
    !scenario.needs.contains(&Feature::Persistent)
}

/// What the engine offers in the session that `session` configures.
fn features_of(scenario: &Scenario) -> Vec<Feature> {
    let absent = if sessions_are_reset(scenario) { Feature::Persistent } else { Feature::Reset };
    Feature::ALL.into_iter().filter(|feature| *feature != absent).collect()
}

fn session(scenario: &Scenario, version: Version, counterparty: &str) -> String {
    let begin_string = if version.needs_transport() { Version::Fixt11 } else { version };
    let mut text = format!(
        "[[session]]\nbegin_string = \"{begin_string}\"\nsender_comp_id = \"{ENGINE}\"\n\
         target_comp_id = \"{counterparty}\"\nheld_bytes_max = \"16KiB\"\nheld_messages_max = 64\n"
    );
    if sessions_are_reset(scenario) {
        text.push_str("reset_on_logon = true\n");
    }
    if scenario.needs.contains(&Feature::LastProcessed) {
        text.push_str("last_msg_seq_num_processed = true\n");
    }
    if scenario.needs.contains(&Feature::NextExpected) {
        text.push_str("next_expected_msg_seq_num = true\n");
    }
    if let Some(id) = version.appl_ver_id().filter(|_| version.needs_transport()) {
        let _ = writeln!(text, "default_appl_ver_id = \"{}\"", String::from_utf8_lossy(id));
    }
    text
}

#[test]
fn every_rule_is_kept_in_every_version_that_it_is_about() {
    let scenarios = library::scenarios().unwrap_or_else(|error| panic!("{error}"));
    let mut sessions = String::new();
    let mut cases = Vec::new();
    for (at, scenario) in scenarios.iter().enumerate() {
        for version in VERSIONS.into_iter().filter(|version| scenario.versions.has(*version)) {
            let counterparty = format!("PARTY-{at}-{}", cases.len());
            sessions.push_str(&session(scenario, version, &counterparty));
            cases.push((scenario, version, counterparty));
        }
    }
    let place = place(&sessions);
    let engine = place.start_ready();
    let cases: Vec<Case<'_>> = cases
        .into_iter()
        .map(|(scenario, version, counterparty)| Case {
            scenario,
            target: Target {
                address: format!("127.0.0.1:{}", place.port),
                version,
                sender_comp_id: counterparty,
                target_comp_id: ENGINE.to_string(),
                has: features_of(scenario),
                is_new: true,
                username: None,
                password: None,
                heartbeat_s: BEAT_S,
                timeout: Duration::from_secs(60),
            },
        })
        .collect();
    let outcomes = play(&cases, SIDE_BY_SIDE, &|_| {});
    let report = Report { title: "this build".into(), when: "now".into(), outcomes };
    // Past the harness's capture: the table is what the test is for.
    let _ = std::io::stderr().write_all(report.text().as_bytes());
    if let Some(file) = std::env::var_os("FIXRING_CONFORMANCE_HTML") {
        std::fs::write(file, report.html()).unwrap();
    }
    place.assert_whole();
    for (case, outcome) in cases.iter().zip(&report.outcomes) {
        if let Verdict::Skipped(reason) = &outcome.verdict {
            let of_the_file = case.scenario.skip_reason(case.target.version);
            assert_eq!(of_the_file, Some(reason.as_str()), "{}: the engine lacks what it needs", outcome.rule);
        }
    }
    let failed: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.failure_text().is_some()).collect();
    let names: BTreeSet<_> = failed.iter().map(|outcome| format!("{} {}", outcome.name, outcome.version)).collect();
    drop(engine);
    assert!(names.is_empty(), "{} failed: {names:?}", names.len());
}

// ---- fixring certify

const ANYBODY: &str = "[[session]]\nbegin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n";

fn certify(port: u16, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["certify", "--connect", &format!("127.0.0.1:{port}"), "--target-comp-id", ENGINE])
        .args(more)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn certify_reports_what_passed_what_failed_and_what_was_skipped() {
    let place = place(ANYBODY);
    let _engine = place.start_ready();
    let (html, json) = (place.path().join("report.html"), place.path().join("report.json"));
    let reports = ["--html", html.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let passing = ["--sender-comp-id", "CERTIFY-*", "--has", "echo", "--only", "resend-"];
    let output = certify(place.port, &[&passing[..], &reports].concat());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains("gap fill") && said.contains("passed") && said.contains("0 failed"), "{said}");
    assert!(said.contains("needs persistent"), "{said}");
    let outcome: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(outcome["totals"]["passed"].as_u64() > Some(5) && outcome["totals"]["failed"] == 0, "{outcome}");
    assert!(std::fs::read_to_string(&html).unwrap().contains("FIX.4.4"));

    // A scenario of the user's own, in one session that resets by ResetSeqNumFlag(141).
    let own = place.path().join("own.rule");
    std::fs::write(&own, "rule: Never so\nsource: none\nversions: all\nlogon\nsend 1 112=A\nexpect 0 112=B\n").unwrap();
    let directory = place.path().to_str().unwrap();
    let failing = ["--sender-comp-id", "ONE", "--version", "FIX.5.0SP1", "--scenarios", directory];
    let output = certify(place.port, &failing);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("own.rule:6: expect 0 112=B") && said.contains("> 8=FIXT.1.1|"), "{said}");
    assert!(said.contains("1 failed"), "{said}");
}

/// README's own command failed two rules against README's own engine, which takes any CompIDs, and
/// said of what nobody had asked for that the engine does not have it.
#[test]
fn certify_as_readme_has_it_passes_against_an_engine_without_a_configuration() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let command = readme.lines().find(|line| line.contains("fixring certify --connect")).expect("README has it");
    let command = command.split('#').next().unwrap();
    let place = Place::new(&SMALL);
    let _engine = place.start_ready();
    let address = format!("127.0.0.1:{}", place.port);
    let html = place.path().join("report.html");
    let word = |word: &str| match word {
        "127.0.0.1:9880" => address.clone(),
        "report.html" => html.to_str().unwrap().to_string(),
        word => word.to_string(),
    };
    let words = command.split_whitespace().skip(1).map(word);
    let mut certify = Command::new(env!("CARGO_BIN_EXE_fixring"));
    let output = certify.args(words).args(["--heartbeat", &BEAT_S.to_string()]).output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.contains(" 0 failed") && html.exists(), "{said}");
    assert!(said.contains("not played without --has") && said.contains("echo ("), "{said}");
}

#[test]
fn one_command_sends_an_order_and_a_port_where_nothing_listens_is_one_line_and_status_2() {
    let place = Place::new(&SMALL);
    let engine = place.start_ready();
    let address = format!("127.0.0.1:{}", place.port);
    let order = |more: &[&str]| {
        let mut order = Command::new(env!("CARGO_BIN_EXE_fixring"));
        order.args(["order", "--connect", &address]).args(more).output().unwrap()
    };
    for version in ["FIX.4.0", "FIX.4.4", "FIX.5.0SP2"] {
        let output = order(&["--version", version, "--symbol", "ABC", "--side", "sell"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
        assert!(said.contains("|55=ABC|54=2|") && said.contains("|35=8|"), "{said}");
    }
    let output = order(&["--price", "dear"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("expected ExecutionReport(8), but Reject(3) came"), "{output:?}");
    drop(engine);
    let certified = certify(place.port, &["--sender-comp-id", "DESK"]);
    for output in [order(&[]), certified] {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).lines().count() == 1 && output.stdout.is_empty(), "{output:?}");
        assert!(text(&output.stderr).contains(&address) && text(&output.stderr).contains("--connect"), "{output:?}");
    }
}

/// Each was said to be a port where no acceptor runs.
#[test]
fn what_is_no_address_is_said_to_be_none() {
    for (address, what) in [
        ("127.0.0.1", "it has no port: use a form such as"),
        ("venue", "it has no port: use a form such as"),
        (":9880", "it has no host name: use a form such as"),
        ("127.0.0.1:99999", "it has no port between 1 and 65535: use a form such as"),
        ("::1:9880", "put the IPv6 address in brackets: \"[::1]:9880\""),
    ] {
        for more in [&["order"][..], &["certify", "--sender-comp-id", "X", "--target-comp-id", "Y"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
            let output = command.args(more).args(["--connect", address]).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(text(&output.stderr).contains(what), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn what_no_field_can_carry_is_wrong_usage_and_is_not_sent() {
    let ids = ["--connect", "127.0.0.1:1", "--sender-comp-id", "X", "--target-comp-id", "Y"];
    for (at, value, what) in
        [(3, "", "no empty value"), (5, "", "no empty value"), (3, "A\u{1}56=Z", "a control character")]
    {
        for command in ["order", "certify"] {
            let mut arguments = ids;
            arguments[at] = value;
            let output = Command::new(env!("CARGO_BIN_EXE_fixring")).arg(command).args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(text(&output.stderr).contains(what), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn certify_lists_its_scenarios_and_refuses_wrong_usage_with_the_mend() {
    let list = Command::new(env!("CARGO_BIN_EXE_fixring")).args(["certify", "--list"]).output().unwrap();
    assert_eq!(list.status.code(), Some(0));
    let scenarios = library::scenarios().unwrap();
    assert!(scenarios.iter().all(|scenario| text(&list.stdout).contains(&scenario.name)), "{}", text(&list.stdout));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("odd.rule"), "rule: x\nsource: y\nversions: all\nlogin\n").unwrap();
    let path = directory.path().to_str().unwrap();
    for (arguments, mend) in [
        (&["--sender-comp-id", "X", "--only", "no-such"][..], "see --list"),
        (&["--sender-comp-id", "X", "--scenarios", path], "odd.rule:4: \"login\" is no step: write one of connect"),
        (&["--sender-comp-id", "X", "--password-env", "NO_SUCH_VARIABLE_HERE"], "export it"),
        (&["--sender-comp-id", "X", "--version", "FIXT.1.1"], "name one of these"),
        (&["--sender-comp-id", "X", "--has", "luck"], "write one of echo"),
    ] {
        let output = certify(1, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(mend), "{}", text(&output.stderr));
    }
}

#[test]
fn a_password_is_sent_and_stands_in_no_report() {
    let place = place(ANYBODY);
    let _engine = place.start_ready();
    let own = place.path().join("own.rule");
    std::fs::write(&own, "rule: Never so\nsource: none\nversions: all\nlogon\nexpect 1\n").unwrap();
    let (html, json) = (place.path().join("report.html"), place.path().join("report.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["certify", "--connect", &format!("127.0.0.1:{}", place.port), "--target-comp-id", ENGINE])
        .args([
            "--sender-comp-id",
            "ONE",
            "--username",
            "desk-user",
            "--password-env",
            "SECRET_OF_TEST",
            "--timeout",
            "1",
        ])
        .args(["--scenarios", place.path().to_str().unwrap()])
        .args(["--html", html.to_str().unwrap(), "--json", json.to_str().unwrap()])
        .env("SECRET_OF_TEST", "certify_s3cr3t")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = [text(&output.stdout), std::fs::read_to_string(html).unwrap(), std::fs::read_to_string(json).unwrap()];
    for said in said {
        assert!(said.contains("553=desk-user|554=***|") && !said.contains("s3cr3t"), "{said}");
    }
}
