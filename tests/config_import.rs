//! QuickFIX's settings files as configurations: what is carried over, what is not and why, and what is refused.
//!
//! Three files of the kind that firms have, one of each engine's dialect, then rules one by one. Keys that this
//! version does not have yet are asked for as text, and only where it has them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fixring::config::import::{self, FILE_BYTES_MAX, Fate, Imported, Note, Options};
use fixring::config::{Config, KEYS, Pattern, PersistenceMode, SessionConfig, SessionRole};
use fixring::dictionary::{Version, built_in, to_xml};
use proptest::prelude::*;

const CPP: &str = include_str!("config_import/cpp.cfg");
const JAVA: &str = include_str!("config_import/java.cfg");
const GO: &str = include_str!("config_import/go.cfg");
/// Of every file here that holds one.
const SECRET: &str = "hunter2";

const STRICT: Options = Options { strict: true, plain_tcp: false };
const LENIENT: Options = Options { strict: false, plain_tcp: false };
const PLAIN_TCP: Options = Options { strict: true, plain_tcp: true };

/// By the strict rules, unless a test asks for others: what they import, the others import.
fn import(bytes: &[u8], name: &str) -> Result<Imported, fixring::config::ConfigErrors> {
    import::import(bytes, name, STRICT)
}

fn imported(text: &str) -> Imported {
    import(text.as_bytes(), "quickfix.cfg").unwrap_or_else(|errors| panic!("{errors}"))
}

fn imported_by(text: &str, options: Options) -> Imported {
    import::import(text.as_bytes(), "quickfix.cfg", options).unwrap_or_else(|errors| panic!("{errors}"))
}

fn lenient(text: &str) -> Imported {
    imported_by(text, LENIENT)
}

fn faults(text: &str) -> Vec<String> {
    match import(text.as_bytes(), "quickfix.cfg") {
        Ok(imported) => panic!("no fault found:\n{}", imported.toml),
        Err(errors) => errors.to_string().lines().map(str::to_string).collect(),
    }
}

fn fault(text: &str) -> String {
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].clone()
}

/// With the dictionaries that the file names, as files.
fn parsed(imported: &Imported) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let mut toml = imported.toml.clone();
    for (name, version) in [
        ("FIX44", Version::Fix44),
        ("FIXT11", Version::Fixt11),
        ("FIX50SP1", Version::Fix50Sp1),
        ("FIX42", Version::Fix42),
    ] {
        let path = directory.path().join(format!("{name}.xml"));
        fs::write(&path, to_xml(built_in(version))).unwrap();
        toml = toml.replace(&format!("spec/{name}.xml"), path.to_str().unwrap());
    }
    Config::parse(&toml, "fixring.toml").unwrap_or_else(|errors| panic!("{errors}\n{toml}"))
}

fn has_key(key: &str) -> bool {
    KEYS.iter().any(|(section, keys)| *section == "session" && keys.contains(&key))
}

/// A line of the configuration whose key may be newer than this version.
fn assert_line(imported: &Imported, key: &str, line: &str) {
    assert_eq!(imported.toml.lines().any(|other| other == line), has_key(key), "{line}\n{}", imported.toml);
}

fn fate(imported: &Imported, line: u32) -> &Note {
    imported.notes.iter().find(|note| note.line == line).unwrap_or_else(|| panic!("line {line}: {:#?}", imported.notes))
}

/// One session of an acceptor with these settings.
fn acceptor(settings: &str) -> String {
    format!(
        "[SESSION]\nConnectionType=acceptor\nBeginString=FIX.4.4\nSenderCompID=VENUE\nTargetCompID=DESK\n\
         SocketAcceptPort=5001\n{settings}"
    )
}

/// Six lines, and then these settings.
fn initiator(settings: &str) -> String {
    format!(
        "[SESSION]\nConnectionType=initiator\nBeginString=FIX.4.4\nSenderCompID=DESK\nTargetCompID=VENUE\nHeartBtInt=30\n\
         SocketConnectHost=venue.example\nSocketConnectPort=9880\n{settings}"
    )
}

fn one(text: &str) -> SessionConfig {
    let config = parsed(&imported(text));
    assert_eq!(config.sessions.len(), 1);
    config.sessions[0].clone()
}

fn one_of(imported: &Imported) -> SessionConfig {
    let config = parsed(imported);
    assert_eq!(config.sessions.len(), 1, "{}", imported.toml);
    config.sessions[0].clone()
}

fn exactly(text: &str) -> Pattern {
    Pattern::Exactly(text.into())
}

// ---- the three files

#[test]
fn a_file_of_quickfix_cpp_becomes_the_configuration_that_it_means() {
    let imported = imported(CPP);
    let config = parsed(&imported);
    assert_eq!(config.engine.logon_timeout, Duration::from_secs(20));
    assert_eq!(config.engine.logout_timeout, Duration::from_secs(5));
    let listens: Vec<String> = config.acceptors.iter().map(|acceptor| acceptor.listen.to_string()).collect();
    assert_eq!(listens, ["0.0.0.0:5001", "0.0.0.0:5002"]);
    let names: Vec<String> = config.sessions.iter().map(|session| session.identity.to_string()).collect();
    assert_eq!(names, ["FIX.4.4:VENUE->MEMBER1", "FIX.4.4:VENUE->MEMBER2/ALGO", "FIXT.1.1:VENUE->CLEARING"]);

    let [first, second, clearing] = &config.sessions[..] else { panic!("{config:#?}") };
    assert_eq!((first.role, first.sending_time_tolerance), (SessionRole::Acceptor, Duration::from_secs(30)));
    assert_eq!((second.reset_on_disconnect, second.sending_time_tolerance), (true, Duration::ZERO));
    assert!(!first.reset_on_disconnect);
    assert_eq!((clearing.role, clearing.heartbeat_seconds), (SessionRole::Initiator, 20));
    let endpoints: Vec<String> = clearing.connect.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["fix1.clearing.example:9823", "10.0.0.7:9824", "[2001:db8::7]:9825"]);
    assert_eq!(clearing.default_appl_ver_id, "8");
    let pauses = (clearing.reconnect_min, clearing.reconnect_max);
    assert_eq!(pauses, (Duration::from_secs(60), Duration::from_secs(60)));

    let daily = "schedule = { start = \"07:30:00\", end = \"18:00:00\", zone = \"Europe/London\" }";
    assert_line(&imported, "schedule", daily);
    let weekly = "schedule = { start_day = \"Sun\", start = \"17:00:00\", end_day = \"Fri\", end = \"16:30:00\", zone = \
                  \"America/New_York\" }";
    assert_line(&imported, "schedule", weekly);
    assert_line(&imported, "dictionary", "dictionary = \"spec/FIX44.xml\"");
    assert_line(&imported, "dictionary", "dictionary = [\"spec/FIXT11.xml\", \"spec/FIX50SP1.xml\"]");
    assert_line(&imported, "validation", "validation = { user_defined_tags = false }");
    assert_line(&imported, "sending_time_precision", "sending_time_precision = \"microseconds\"");

    assert_eq!(fate(&imported, 8).fate, Fate::Same, "SocketNodelay");
    assert!(fate(&imported, 12).fate == Fate::Lost && fate(&imported, 12).text.contains("sessions begin at 1"));
    assert_eq!(fate(&imported, 13).fate, Fate::Unneeded, "FileLogPath");
    let shorter = fate(&imported, 33);
    assert!(shorter.fate == Fate::Carried("engine.logout_timeout".into()) && shorter.text.contains("longest is 5s"));
    assert!(fate(&imported, 57).text.contains("without a gap"), "SocketConnectHost4");
}

#[test]
fn a_file_of_quickfix_j_becomes_the_configuration_that_it_means() {
    let imported = imported_by(JAVA, PLAIN_TCP);
    let config = parsed(&imported);
    let [broker, old, anybody] = &config.sessions[..] else { panic!("{config:#?}") };
    assert_eq!(broker.identity.to_string(), "FIX.4.4:DESK/EQ/NY->BROKER");
    assert_eq!((broker.mode, broker.next_expected_msg_seq_num), (PersistenceMode::Sync, true));
    assert_eq!((broker.username.as_deref(), old.username.as_deref()), (Some("desk1"), Some("desk2")));
    assert!(broker.password.is_none() && old.password.is_none());
    assert!(!old.next_expected_msg_seq_num, "FIX.4.0 does not have NextExpectedMsgSeqNum(789)");
    assert_eq!((broker.reconnect_min, broker.reconnect_max), (Duration::from_secs(1), Duration::from_secs(30)));
    assert!(anybody.is_template() && anybody.role == SessionRole::Acceptor);
    assert_eq!((&anybody.identity.sender_comp_id, &anybody.identity.target_comp_id), (&exactly("DESK"), &Pattern::Any));
    // The acceptor has the port that health and metrics would have.
    assert_eq!(config.acceptors[0].listen.to_string(), "127.0.0.1:9890");
    assert_eq!(config.control.listen.unwrap().to_string(), "127.0.0.1:9891");

    let hours = "schedule = { start = \"08:00:00\", end = \"17:00:00\", days = [\"Mon\", \"Tue\", \"Wed\"], zone = \
                 \"US/Eastern\" }";
    assert_line(&imported, "schedule", hours);
    let checks = "validation = { comp_ids = false, enabled = false, orig_sending_time = false }";
    assert_line(&imported, "validation", checks);
    assert_line(&imported, "sending_time_precision", "sending_time_precision = \"nanoseconds\"");
    assert_line(&imported, "last_msg_seq_num_processed", "last_msg_seq_num_processed = true");

    for (line, why) in [(16, "whole gap"), (28, "TLS"), (31, "secrets are not copied"), (42, "fields of one's own")] {
        let note = fate(&imported, line);
        assert!(note.fate == Fate::Lost && note.text.contains(why), "{note:?}");
    }
    assert!(fate(&imported, 17).text.contains("[SESSION] of line 34: FIX.4.0 does not have it"));
    assert!(imported.notes.iter().all(|note| note.fate != Fate::Unset), "ValidateIncomingMessage=N");
    assert!(imported.toml.contains("# password_file = \"/run/secrets/…\"    # the secret of line 31 is not copied"));
}

#[test]
fn a_file_of_quickfix_go_becomes_the_configuration_that_it_means() {
    let imported = imported(GO);
    let config = parsed(&imported);
    let [first, second, connects, anybody] = &config.sessions[..] else { panic!("{config:#?}") };
    let roles = [first, second, connects, anybody].map(|session| session.role);
    let [acceptor, initiator] = [SessionRole::Acceptor, SessionRole::Initiator];
    assert_eq!(roles, [acceptor, acceptor, initiator, acceptor]);
    assert_eq!(config.acceptors[0].listen.to_string(), "10.1.2.3:5001");
    assert_eq!(config.engine.logout_timeout, Duration::from_secs(60));
    assert_eq!((connects.heartbeat_seconds, connects.reconnect_min), (45, Duration::from_millis(500)));
    assert!(config.sessions.iter().all(|session| session.reset_on_logon));
    let identity = &anybody.identity;
    let parts = [&identity.begin_string, &identity.sender_comp_id, &identity.target_comp_id];
    assert_eq!(parts, [&Pattern::Any; 3]);
    assert_eq!(second.default_appl_ver_id, "9");

    assert_line(&imported, "schedule", "schedule = { reset = \"17:00:00\", zone = \"America/New_York\" }");
    let hours = "schedule = { start = \"00:00:00\", end = \"00:00:00\", reset = \"17:00:00\", zone = \
                 \"America/New_York\" }";
    assert_line(&imported, "schedule", hours);
    assert_line(&imported, "validation", "validation = { reject_invalid = false }");
    assert_eq!(fate(&imported, 7).fate, Fate::Carried("session.target_comp_id".into()), "DynamicSessions");
    assert_eq!(fate(&imported, 24).text, "not a QuickFIX setting that is known");
    assert!(fate(&imported, 30).text.contains("each identity is one session"));
    let unset = imported.notes.iter().find(|note| note.fate == Fate::Unset);
    assert_eq!(unset.is_some(), has_key("validation"));
}

#[test]
fn every_setting_has_one_fate_and_no_secret_is_repeated() {
    for text in [CPP, JAVA, GO] {
        let imported = imported_by(text, PLAIN_TCP);
        let settings: Vec<(u32, &str)> = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| !line.starts_with(['#', '[']) && line.contains('='))
            .map(|(line, number)| (number, line.split_once('=').unwrap().0))
            .collect();
        let notes: Vec<(u32, &str)> = imported
            .notes
            .iter()
            .filter(|note| note.fate != Fate::Unset)
            .map(|note| (note.line, note.setting.as_str()))
            .collect();
        assert_eq!(notes, settings);
        assert!(text.contains(SECRET));
        let report = imported.report("quickfix.cfg");
        for output in [&imported.toml, &report, &format!("{imported:?}")] {
            assert!(!output.contains(SECRET), "{output}");
        }
        for note in &imported.notes {
            match note.fate {
                Fate::Lost | Fate::Unset | Fate::Unneeded => {
                    assert!(!note.text.is_empty(), "{note:?}");
                    assert!(report.contains(&note.text) && report.contains(&note.setting), "{note:?}\n{report}");
                }
                Fate::Same => assert!(imported.toml.contains(&note.setting), "{note:?}"),
                Fate::Carried(_) => {}
            }
        }
    }
}

// ---- rules, one by one

#[test]
fn what_stands_at_fixrings_default_is_not_written() {
    let text = initiator(
        "ReconnectInterval=1;30\nMaxLatency=120\nCheckLatency=Y\nResetOnLogon=N\nLogonTimeout=10\nFileStoreSync=N\n\
         UseDataDictionary=Y\nCheckCompID=Y\nTimeStampPrecision=MILLIS\nAllowUnknownMsgFields=N\n",
    );
    let imported = imported(&text);
    let keys: Vec<&str> = imported.toml.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    assert_eq!(keys, ["begin_string", "sender_comp_id", "target_comp_id", "role", "connect"]);
    assert!(imported.notes.iter().filter(|note| note.line > 8).all(|note| note.fate == Fate::Same));
    assert_eq!(imported.notes.iter().filter(|note| note.fate == Fate::Same).count(), 11);
}

#[test]
fn timeouts_are_the_longest_of_all_sessions_those_of_quickfixs_defaults_included() {
    let two = |first: &str, second: &str| {
        let second = acceptor(second).replace("DESK", "DESK2");
        parsed(&imported(&format!("{}{second}", acceptor(first)))).engine
    };
    assert_eq!(two("LogonTimeout=3\n", "LogonTimeout=4\n").logon_timeout, Duration::from_secs(4));
    // The other session would have waited for ten seconds.
    assert_eq!(two("LogonTimeout=3\n", "").logon_timeout, Duration::from_secs(10));
    let short = two("LogonTimeout=1\n", "LogonTimeout=1\n");
    assert_eq!((short.logon_timeout, short.probe_timeout), (Duration::from_secs(1), Duration::from_secs(1)));
    assert_eq!(two("LogoutTimeout=1\n", "").logout_timeout, Duration::from_secs(2));
}

#[test]
fn a_setting_of_default_counts_where_a_session_has_none() {
    let text = format!("[DEFAULT]\nResetOnLogon=Y\nLogonTimeout=30\nFoo=1\n{}Foo=2\n", acceptor("ResetOnLogon=N\n"));
    assert!(!one(&text).reset_on_logon);
    let result = imported(&text);
    assert_eq!(
        (&fate(&result, 2).fate, fate(&result, 2).text.as_str()),
        (&Fate::Unneeded, "every [SESSION] has its own")
    );
    assert_eq!(fate(&result, 3).fate, Fate::Carried("engine.logon_timeout".into()));
    assert_eq!((&fate(&result, 4).fate, &fate(&result, 12).fate), (&Fate::Unneeded, &Fate::Lost));
    assert!(one(&text.replace("ResetOnLogon=N\n", "")).reset_on_logon);
}

#[test]
fn versions_go_by_name_or_number() {
    for (value, number) in [("FIX.5.0SP2", "9"), ("FIX.5.0", "7"), ("FIX.4.2", "4"), ("8", "8")] {
        let text = acceptor(&format!("DefaultApplVerID={value}\n")).replace("FIX.4.4", "FIXT.1.1");
        assert_eq!(one(&text).default_appl_ver_id, number);
    }
    let ignored = imported(&acceptor("DefaultApplVerID=nonsense\n"));
    assert_eq!(fate(&ignored, 7).fate, Fate::Unneeded);
}

#[test]
fn hours_that_never_end_are_no_schedule() {
    let imported = imported(&acceptor("NonStopSession=Y\nStartTime=00:00:00\nEndTime=00:00:00\nUseLocalTime=N\n"));
    assert!(!imported.toml.contains("schedule = "));
    assert_eq!((&fate(&imported, 7).fate, &fate(&imported, 8).fate), (&Fate::Same, &Fate::Unneeded));
}

#[test]
fn a_daily_session_in_utc_is_a_schedule_without_days_and_zone() {
    let imported = imported(&acceptor("StartTime=08:00:00\nEndTime=08:00:00\n"));
    assert_line(&imported, "schedule", "schedule = { start = \"08:00:00\", end = \"08:00:00\" }");
    parsed(&imported);
}

#[test]
fn a_dictionary_that_quickfix_does_not_use_is_not_used() {
    let text =
        acceptor("UseDataDictionary=N\nDataDictionary=spec/FIX44.xml\nValidateFieldsHaveValues=N\nCheckCompID=N\n");
    let imported = imported(&text);
    assert!(!imported.toml.contains("dictionary ="));
    assert_line(&imported, "validation", "validation = { comp_ids = false, enabled = false }");
    assert!(fate(&imported, 8).text.contains("UseDataDictionary=N") && fate(&imported, 8).fate == Fate::Unneeded);
    assert!(fate(&imported, 9).text.contains("UseDataDictionary=N") && fate(&imported, 9).fate == Fate::Unneeded);
}

#[test]
fn faults_name_the_line_and_the_mend() {
    let cases = [
        (acceptor("").replace("acceptor", "both"), ":2:1: ConnectionType=both", "acceptor nor initiator"),
        (
            acceptor("").replace("FIX.4.4", "FIX.5.0SP2"),
            ":3:1:",
            "BeginString=FIXT.1.1 and DefaultApplVerID=FIX.5.0SP2",
        ),
        (acceptor("").replace("FIX.4.4", "FIX44"), ":3:1:", "write one of FIX.4.0, "),
        (acceptor("").replace("=DESK", "=*"), ":5:1: TargetCompID=*", "AcceptorTemplate=Y"),
        (acceptor("").replace("=DESK", "="), ":5:1: TargetCompID=", "1 to 64 characters"),
        (acceptor("").replace("5001", "70000"), ":6:1: SocketAcceptPort=70000", "1 to 65535"),
        (acceptor("").replace("SocketAcceptPort=5001\n", ""), ":1:1:", "SocketAcceptPort"),
        (acceptor("SocketAcceptAddress=venue.example\n"), ":7:1:", "not an IP address"),
        (acceptor("CheckLatency=maybe\n"), ":7:1: CheckLatency=maybe", "write Y or N"),
        (acceptor("MaxLatency=-1\n"), ":7:1:", "1 to 3600"),
        (acceptor("LogonTimeout=0\n"), ":7:1:", "1 to 3600"),
        (acceptor("StartTime=08:00:00\n"), ":7:1:", "add EndTime"),
        (acceptor("StartTime=8h\nEndTime=09:00:00\n"), ":7:1:", "such as 08:00:00"),
        (acceptor("StartTime=08:00:00\nEndTime=09:00:00\nStartDay=Mon\n"), ":9:1:", "add EndDay"),
        (acceptor("StartTime=08:00:00\nEndTime=09:00:00\nWeekdays=lundi\n"), ":9:1:", "in English"),
        (acceptor("StartTime=08:00:00\nEndTime=09:00:00\nUseLocalTime=Y\n"), ":9:1:", "TimeZone=Europe/London"),
        (acceptor("StartTime=08:00:00 UTC\nEndTime=09:00:00\n"), ":8:1:", "one zone"),
        (acceptor("TimeStampPrecision=TENTHS\n"), ":7:1:", "write SECONDS"),
        (acceptor("ResetOnLogon=${RESET}\n"), ":7:1:", "variables"),
        (initiator("").replace("HeartBtInt=30", "HeartBtInt=soon"), ":6:1: HeartBtInt=soon", "whole seconds"),
        (initiator("").replace("HeartBtInt=30\n", ""), ":1:1:", "HeartBtInt"),
        (initiator("").replace("venue.example", "venue example"), ":7:1:", "host name"),
        (initiator("SocketConnectHost1=other.example\n"), ":1:1:", "SocketConnectPort1"),
        (initiator("ReconnectInterval=1;x\n"), ":9:1:", "3x5;30"),
        (
            initiator("").replace("ConnectionType=initiator\n", "SocketAcceptPort=1\n"),
            ":1:1:",
            "ConnectionType=acceptor",
        ),
    ];
    for (text, place, mend) in cases {
        let fault = fault(&text);
        assert!(fault.starts_with(&format!("quickfix.cfg{place}")) && fault.contains(mend), "{fault}");
    }
}

#[test]
fn a_fault_of_default_is_told_once_and_those_of_other_lines_beside_it() {
    let sessions = [acceptor(""), acceptor("MaxLatency=0\n").replace("DESK", "DESK2")].concat();
    let faults = faults(&format!("[DEFAULT]\nCheckCompID=maybe\n{sessions}"));
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].starts_with("quickfix.cfg:2:1: CheckCompID=maybe"));
    assert!(faults[1].starts_with("quickfix.cfg:15:1: MaxLatency=0"));
}

#[test]
fn sessions_that_fixring_could_not_tell_apart_are_refused() {
    let twice = format!("{}{}", acceptor(""), acceptor(""));
    assert!(fault(&twice).contains(":7:1: this [SESSION] has the identity of that of line 1"));
    let by_qualifier = format!("{}{}", initiator("SessionQualifier=A\n"), initiator("SessionQualifier=B\n"));
    assert!(fault(&by_qualifier).contains("differs from that of line 1 by its SessionQualifier alone"));
    // What only the configuration's own reader sees comes with the place in the settings file.
    let template = "AcceptorTemplate=Y\n";
    let templates = [acceptor(template), acceptor(template).replace("FIX.4.4", "*")].concat().replace("=DESK", "=*");
    let fault = fault(&templates);
    assert!(fault.starts_with("quickfix.cfg:12:1: fixring would refuse this: target_comp_id = \"*\" makes"), "{fault}");
}

#[test]
fn a_zone_that_is_not_known_is_a_fault_of_the_setting_that_names_it() {
    let sessions = [acceptor(""), acceptor("").replace("DESK", "DESK2")].concat();
    let text = format!("[DEFAULT]\nStartTime=08:00:00\nEndTime=17:00:00\nTimeZone=Europe/Londn\n{sessions}");
    match has_key("schedule") {
        true => {
            assert!(fault(&text).starts_with("quickfix.cfg:4:1: fixring would refuse this: schedule.zone"), "{text}")
        }
        false => assert!(fate(&imported(&text), 4).text.contains("no session.schedule")),
    }
    assert!(fault(&text.replace("Europe/Londn", "Europe London")).contains(":4:1: TimeZone=Europe London names no"));
}

#[test]
fn a_file_that_cannot_be_one_is_refused() {
    assert!(import(b"[SESSION]\n\xff\n", "q").unwrap_err().to_string().contains("line 2 is not UTF-8"));
    assert!(import(&vec![b'#'; FILE_BYTES_MAX + 1], "q").unwrap_err().to_string().contains("longer than"));
    assert!(fault("").contains("no [SESSION]"));
    assert!(faults("[SESSION]\nTargetCompID\n")[0].contains(":2:1:"));
}

// ---- TLS

#[test]
fn a_session_of_tls_is_refused_however_the_file_asks_for_it() {
    let of_each_engine = [
        "SocketUseSSL=Y",
        "SocketUseSSL=yes",
        "SocketUseSSL=true",
        "SocketUseSSL=${USE_SSL}",
        "SSLEnable=Y",
        "SocketKeyStore=keys.jks",
        "SocketKeyStorePassword=hunter2",
        "SocketTrustStore=trusted.jks",
        "TrustStoreType=PKCS12",
        "NeedClientAuth=Y",
        "EnabledProtocols=TLSv1.3",
        "CipherSuites=TLS_AES_256_GCM_SHA384",
        "UseSNI=Y",
        "SSLServerName=venue.example",
        "SSLCertificate=desk.pfx",
        "SSLCertificatePassword=hunter2",
        "SSLCACertificate=ca.cer",
        "SSLProtocols=Tls12",
        "SocketPrivateKeyFile=desk.key",
        "SocketCertificateFile=desk.crt",
        "SocketCAFile=ca.crt",
        "SocketMinimumTLSVersion=TLS12",
        "ServerCertificateFile=venue.crt",
        "ClientCertificateKeyFile=desk.key",
        "CertificationAuthoritiesFile=ca.crt",
        "SSLCipherSuite=HIGH",
        "CertificateVerifyLevel=2",
        // Of no engine that is known.
        "UseTLS=Y",
        "TlsPinnedCert=ab:cd",
        "SocketConnectProtocol=SSL",
    ];
    for line in of_each_engine {
        let of_default = format!("[DEFAULT]\n{line}\n{}", initiator(""));
        for text in [initiator(&format!("{line}\n")), acceptor(&format!("{line}\n")), of_default] {
            for options in [STRICT, LENIENT] {
                let Err(errors) = import::import(text.as_bytes(), "quickfix.cfg", options) else { panic!("{text}") };
                let told = errors.to_string();
                assert!(told.contains("asks for TLS") && told.contains("--plain-tcp"), "{told}");
                assert!(!told.contains(SECRET) && !errors.render(true).contains(SECRET), "{told}");
            }
            let plain = imported_by(&text, Options { strict: false, plain_tcp: true });
            let asked = plain.notes.iter().find(|note| note.setting == line.split_once('=').unwrap().0).unwrap();
            assert!(asked.fate == Fate::Lost && asked.text.contains("TLS proxy"), "{asked:?}");
            assert_eq!(parsed(&plain).sessions.len(), 1);
        }
    }
}

#[test]
fn a_session_that_says_it_has_no_tls_is_imported_with_what_is_left_of_it() {
    for lines in [
        "SocketUseSSL=N\nSocketKeyStore=keys.jks\nSocketKeyStorePassword=hunter2\n",
        "SSLEnable=n\nSSLCertificate=desk.pfx\n",
        "NeedClientAuth=N\nSocketKeyStore=\n",
    ] {
        let imported = imported(&initiator(lines));
        assert!(imported.notes.iter().all(|note| note.fate != Fate::Lost), "{:#?}", imported.notes);
    }
    // One of two sessions is enough: the file is one.
    let two = format!("{}{}", initiator(""), initiator("SocketUseSSL=Y\n").replace("VENUE", "VENUE2"));
    assert!(import(two.as_bytes(), "q").unwrap_err().to_string().starts_with("q:17:1: SocketUseSSL asks for TLS"));
    // What a session says of itself goes before [DEFAULT].
    let text = format!("[DEFAULT]\nSocketUseSSL=Y\n{}", initiator("SocketUseSSL=N\n"));
    imported(&text);
}

// ---- what cannot be carried over

#[test]
fn a_setting_that_cannot_be_carried_over_is_listed_and_the_rest_is_imported() {
    let text = acceptor(
        "CheckLatency=maybe\nMaxLatency=-1\nStartTime=8h\nEndTime=09:00:00\nResetOnLogon=Y\nTimeStampPrecision=TENTHS\n\
         DataDictionary=${HOME}/FIX44.xml\nno line at all\n[Notes]\nresetOnLogout=Y\n",
    );
    let imported = lenient(&text);
    let session = one_of(&imported);
    assert!(session.reset_on_logon && !session.reset_on_logout && session.schedule.is_none());
    for (line, why) in [
        (7, "CheckLatency=maybe is neither Y nor N: write Y or N"),
        (8, "MaxLatency=-1 is no number of seconds"),
        (9, "StartTime=8h is not a time of the day"),
        (10, "hours cannot be carried over"),
        (12, "TimeStampPrecision=TENTHS is no precision"),
        (13, "holds a variable"),
        (14, "no section, no setting and no comment"),
        (15, "section is not known"),
    ] {
        let note = fate(&imported, line);
        assert!(note.fate == Fate::Lost && note.text.contains(why), "{note:?}");
        assert!(imported.report("quickfix.cfg").contains(&format!("quickfix.cfg:{line}: ")), "{line}");
    }
    assert!(fate(&imported, 16).fate == Fate::Unneeded && fate(&imported, 16).text.contains("not known"));
    // Strict as before: each is a fault of the whole file.
    assert!(faults(&text).len() >= 2);
}

#[test]
fn a_session_that_cannot_be_imported_is_left_out_and_the_others_are_not() {
    let good = acceptor("");
    for (bad, why) in [
        (acceptor("").replace("FIX.4.4", "FIX.5.0SP2"), "DefaultApplVerID=FIX.5.0SP2"),
        (acceptor("").replace("=DESK", "=${DESK}"), "holds a variable"),
        (acceptor("").replace("TargetCompID=DESK\n", ""), "no TargetCompID"),
        (acceptor("").replace("=DESK", "=DESK2").replace("5001", "70000"), "is not a port"),
        (acceptor("").replace("acceptor", "both"), "acceptor nor initiator"),
        (initiator("").replace("SocketConnectHost=venue.example\n", ""), "no SocketConnectHost"),
        (acceptor("FileStorePath=x\n"), "the identity of that of line 1"),
        (acceptor("").replace("=DESK", "=*"), "no counterparty's CompID"),
    ] {
        let imported = lenient(&format!("{good}{bad}"));
        assert_eq!(one_of(&imported).identity.to_string(), "FIX.4.4:VENUE->DESK");
        let note = fate(&imported, 7);
        assert_eq!((note.setting.as_str(), &note.fate), ("[SESSION]", &Fate::Lost));
        assert!(note.text.contains("left out") && note.text.contains(why), "{note:?}");
        let own = imported.notes.iter().filter(|note| note.line > 7);
        assert!(own.clone().count() > 3 && own.clone().all(|note| note.text == "its [SESSION] is left out"), "{own:?}");
        // Alone there is nothing to import, and what is wrong is a fault.
        if !why.contains("identity") {
            assert!(import::import(bad.as_bytes(), "q", LENIENT).unwrap_err().to_string().contains(why));
        }
    }
}

#[test]
fn what_only_the_configurations_reader_refuses_is_left_out_too() {
    let text = format!(
        "[DEFAULT]\nStartTime=08:00:00\nEndTime=17:00:00\n{}{}",
        acceptor("TimeZone=Europe/Londn\n"),
        acceptor("TimeZone=Europe/London\n").replace("DESK", "DESK2")
    );
    let imported = lenient(&text);
    let config = parsed(&imported);
    assert!(config.sessions[0].schedule.is_none() && config.sessions[1].schedule.is_some());
    assert!(fate(&imported, 10).text.contains("fixring would refuse this: schedule.zone"), "{:?}", fate(&imported, 10));
    assert_eq!(fate(&imported, 2).fate, Fate::Carried("session.schedule".into()));
    // Two templates that overlap: the second goes.
    let template = "AcceptorTemplate=Y\n";
    let templates = [acceptor(template), acceptor(template).replace("FIX.4.4", "*")].concat().replace("=DESK", "=*");
    assert_eq!(parsed(&lenient(&templates)).sessions.len(), 1);
}

#[test]
fn forms_that_one_of_the_engines_reads_are_read() {
    let hours = "StartTime=00:00:00\nEndTime=00:00:00\n";
    for (first, last) in [("Mon.", "Fri."), ("mo", "FR"), ("MONDAY", "friday"), ("Mon", "Fri")] {
        let text = acceptor(&format!("{hours}StartDay={first}\nEndDay = {last}\n"));
        assert!(imported(&text).toml.contains("start_day = \"Mon\"") && one(&text).schedule.is_some(), "{first}");
    }
    for precision in ["Microsecond", "Microseconds", "MICROS", "micro", "6", " Micros "] {
        let imported = imported(&acceptor(&format!("TimestampPrecision={precision}\n")));
        assert_line(&imported, "sending_time_precision", "sending_time_precision = \"microseconds\"");
    }
    for yes in ["Y", "y", "Yes", "TRUE"] {
        assert!(one(&acceptor(&format!("resetonlogon = {yes}\n"))).reset_on_logon);
    }
    let commented = acceptor("").replace("[SESSION]", "[Session] # the first desk");
    assert_eq!(one(&commented).identity.to_string(), "FIX.4.4:VENUE->DESK");
    let of_windows = acceptor("StartTime=08:00:00\nEndTime=17:00:00\nTimeZone=Eastern Standard Time\n");
    assert!(imported(&of_windows).toml.contains("zone = \"America/New_York\""));
    assert!(one(&of_windows).schedule.is_some());
    for name in ["FIX50SP2", "FIX.5.0SP2", "9"] {
        let text = acceptor(&format!("DefaultApplVerID={name}\n")).replace("FIX.4.4", "FIXT.1.1");
        assert_eq!(one(&text).default_appl_ver_id, "9");
    }
    for (value, seconds) in [("0", 0), ("7200", 7200), ("60s", 60), (" 30 ", 30)] {
        let text = initiator("").replace("HeartBtInt=30", &format!("HeartBtInt={value}"));
        assert_eq!(one(&text).heartbeat_seconds, seconds);
    }
    // A zone behind the time, with any space or none.
    for end in ["17:00:00Europe/London", "17:00:00\tEurope/London", "17:00:00  Europe/London"] {
        let text = acceptor(&format!("StartTime=08:00:00 Europe/London\nEndTime={end}\n"));
        assert!(imported(&text).toml.contains("zone = \"Europe/London\"") && one(&text).schedule.is_some(), "{end}");
    }
    // Bytes of a Windows editor in a comment, and its "Unicode".
    let latin = [&b"# Z\xfcrich\n"[..], acceptor("").as_bytes()].concat();
    assert!(import::import(&latin, "q", LENIENT).is_ok() && import(&latin, "q").is_err());
    let utf_16: Vec<u8> = format!("\u{feff}{}", acceptor("")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(import(&utf_16, "q").is_ok());
    // Without HeartBtInt there is fixring's own.
    let without = lenient(&initiator("").replace("HeartBtInt=30\n", ""));
    assert_eq!(one_of(&without).heartbeat_seconds, SessionConfig::default().heartbeat_seconds);
    assert!(without.report("q").contains("HeartBtInt: not set: "));
}

/// Found on the binary: the settings behind "[SESSION" were those of the session before it.
#[test]
fn a_section_that_cannot_be_read_does_not_change_the_session_before_it() {
    for broken in ["[SESSION", "[SESSION] two", "[SESION]"] {
        let text =
            acceptor("") + &format!("{broken}\nBeginString=FIX.4.4\nSenderCompID=A\nTargetCompID=C\nResetOnLogon=Y\n");
        let imported = lenient(&text);
        assert_eq!(one_of(&imported).identity.to_string(), "FIX.4.4:VENUE->DESK", "{broken}");
        assert!(!one_of(&imported).reset_on_logon);
        assert!(imported.report("q").contains("this line: lost: "), "{}", imported.report("q"));
    }
    let two = acceptor("")
        + "[SESSION]; the other\nConnectionType=acceptor\nSocketAcceptPort=5001\nBeginString=FIX.4.4\nSenderCompID=A\nTargetCompID=C\n";
    assert_eq!(parsed(&lenient(&two)).sessions.len(), 2);
}

#[test]
fn an_alternate_that_is_no_address_does_not_take_the_session_with_it() {
    for alternate in ["SocketConnectHost1=\nSocketConnectPort1=", "SocketConnectHost1=b.example\nSocketConnectPort1=x"]
    {
        let imported = lenient(&initiator(&format!("{alternate}\n")));
        assert_eq!(one_of(&imported).connect.len(), 1);
        assert!(imported.report("q").contains("lost: alternates count up"), "{}", imported.report("q"));
    }
}

#[test]
fn a_large_file_is_soon_done_and_its_report_stays_short() {
    let sessions: String = (0..1024)
        .map(|n| acceptor("").replace("=DESK", &format!("=DESK{n}")).replace("SocketAcceptPort=5001\n", ""))
        .collect();
    let defaults: String = (0..400).map(|n| format!("Name{n}=1\n")).collect();
    let text = format!("[DEFAULT]\nSocketAcceptPort=5001\n{defaults}{sessions}");
    let imported = imported(&text);
    assert_eq!(parsed(&imported).sessions.len(), 1024);
    let report = imported.report("quickfix.cfg");
    assert!(report.contains("Name7 and 392 more: lost") && report.lines().count() <= 3, "{report}");
}

// ---- the binary

fn fixring(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring")).args(["config", "import"]).args(arguments).output().unwrap()
}

#[test]
fn the_command_writes_a_new_file_and_says_what_is_left_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (cfg, toml) = (directory.path().join("quickfix.cfg"), directory.path().join("fixring.toml"));
    fs::write(&cfg, initiator("SocketUseSSL=Y\nPassword=hunter2\n")).unwrap();
    let output = fixring(&[&cfg, Path::new("--output"), &toml]);
    assert_eq!(output.status.code(), Some(2), "a session of TLS is none of plain TCP");
    assert!(!toml.exists() && output.stdout.is_empty());
    let output = fixring(&[&cfg, Path::new("--plain-tcp"), Path::new("--output"), &toml]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(output.stdout.is_empty() && !stderr.contains(SECRET));
    let place = cfg.display();
    assert!(stderr.contains(&format!("{place}:9: SocketUseSSL: lost: fixring speaks plain TCP")), "{stderr}");
    assert!(stderr.contains(&format!("fixring check --config {}", toml.display())), "{stderr}");
    let config = Config::load(&toml).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.sessions[0].identity.to_string(), "FIX.4.4:DESK->VENUE");

    // Again: what somebody has edited since is not overwritten.
    let output = fixring(&[&cfg, Path::new("--plain-tcp"), Path::new("--output"), &toml]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is there already"));
    // Without --output it is what goes to standard output.
    let output = fixring(&[&cfg, Path::new("--plain-tcp")]);
    assert_eq!(output.stdout, fs::read(&toml).unwrap());
}

#[test]
fn the_command_refuses_what_it_cannot_read_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (cfg, toml) = (directory.path().join("quickfix.cfg"), directory.path().join("fixring.toml"));
    let refused = || {
        let output = fixring(&[&cfg, Path::new("--strict"), Path::new("--output"), &toml]);
        assert_eq!(output.status.code(), Some(2));
        assert!(!toml.exists());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused().contains("cannot be read"));
    fs::write(&cfg, acceptor("MaxLatency=soon\nPassword=hunter2\n")).unwrap();
    let stderr = refused();
    assert!(stderr.contains(":7:1: MaxLatency=soon") && !stderr.contains(SECRET), "{stderr}");
    // Not so strict, the line is listed and the rest is there.
    let output = fixring(&[&cfg, Path::new("--output"), &toml]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains(":7: MaxLatency: lost: MaxLatency=soon") && !stderr.contains(SECRET), "{stderr}");
    assert_eq!(Config::load(&toml).unwrap().sessions.len(), 1);
}

// ---- whatever the file says

/// Settings as they are meant, or nearly.
fn setting() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "ConnectionType",
        "BeginString",
        "SenderCompID",
        "TargetCompID",
        "TargetSubID",
        "SocketConnectHost",
        "SocketConnectPort",
        "SocketConnectHost1",
        "SocketConnectPort1",
        "SocketAcceptPort",
        "SocketAcceptAddress",
        "HeartBtInt",
        "ReconnectInterval",
        "StartTime",
        "EndTime",
        "StartDay",
        "EndDay",
        "TimeZone",
        "NonStopSession",
        "MaxLatency",
        "CheckLatency",
        "LogonTimeout",
        "ResetOnLogon",
        "EnableNextExpectedMsgSeqNum",
        "Username",
        "Password",
        "LogonTag",
        "DefaultApplVerID",
        "DynamicSessions",
        "AcceptorTemplate",
        "TimeStampPrecision",
        "UseDataDictionary",
        "CheckCompID",
        "FileStoreSync",
        "Weekdays",
        "ResetSeqTime",
        "EnableResetSeqTime",
        "Nonsense",
    ]);
    let values = prop::sample::select(vec![
        "acceptor",
        "initiator",
        "FIX.4.0",
        "FIX.4.4",
        "FIXT.1.1",
        "A",
        "B",
        "*",
        "",
        "Y",
        "N",
        "0",
        "1",
        "30",
        "9880",
        "9890",
        "10.0.0.1",
        "::1",
        "host.example",
        "08:00:00",
        "17:00:00",
        "Mon",
        "Fri,Sat",
        "UTC",
        "553=x",
        "554=x",
        "FIX.5.0SP2",
        "MICROS",
        "3x5;10",
        "\"\\\u{7f}",
        "é",
    ]);
    (names, values).prop_map(|(name, value)| format!("{name}={value}\n"))
}

/// A whole section that is right by itself, and settings that may spoil it.
fn section() -> impl Strategy<Value = String> {
    let base =
        prop_oneof![Just(acceptor("")), Just(initiator("")), Just("[SESSION]\n".into()), Just("[DEFAULT]\n".into())];
    (base, prop::collection::vec(setting(), 0..6), "[A-D]").prop_map(|(base, settings, id)| {
        format!("{}{}", base.replace("=DESK\n", &format!("=DESK{id}\n")), settings.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_are_imported_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = import(&bytes, "quickfix.cfg");
        let _ = import::import(&bytes, "quickfix.cfg", LENIENT);
    }

    #[test]
    fn text_of_any_kind_is_imported_or_refused(text in "([\\[\\]#=\\nA-Za-z0-9.*é \\t]|\\PC){0,200}", name in "\\PC{0,20}") {
        for options in [STRICT, LENIENT] {
            if let Ok(imported) = import::import(text.as_bytes(), &name, options) {
                prop_assert!(Config::parse(&imported.toml, "fixring.toml").is_ok());
            }
        }
    }

    #[test]
    fn what_is_imported_loads(sections in prop::collection::vec(section(), 1..5)) {
        let text = sections.concat();
        let of_strict = import(text.as_bytes(), "quickfix.cfg").ok();
        for options in [STRICT, LENIENT] {
            match import::import(text.as_bytes(), "quickfix.cfg", options) {
                Ok(imported) => {
                    let loaded = Config::parse(&imported.toml, "fixring.toml");
                    prop_assert!(loaded.is_ok(), "{}\n{}\n{}", loaded.unwrap_err(), text, imported.toml);
                    prop_assert!(imported.notes.iter().filter(|note| note.fate != Fate::Unset).count() <= text.lines().count());
                    prop_assert!(of_strict.is_none() || of_strict.as_ref() == Some(&imported));
                }
                Err(errors) => prop_assert!(!errors.faults().is_empty() && of_strict.is_none()),
            }
        }
    }

    #[test]
    fn one_session_with_any_settings_loads_or_is_refused(settings in prop::collection::vec(setting(), 0..5)) {
        for (text, options) in [acceptor(&settings.concat()), initiator(&settings.concat())]
            .into_iter()
            .flat_map(|text| [(text.clone(), STRICT), (text, LENIENT)])
        {
            if let Ok(imported) = import::import(text.as_bytes(), "quickfix.cfg", options) {
                let loaded = Config::parse(&imported.toml, "fixring.toml");
                prop_assert!(loaded.is_ok(), "{}\n{}\n{}", loaded.unwrap_err(), text, imported.toml);
                prop_assert!(imported.notes.iter().all(|note| note.line > 0));
            }
        }
    }
}
