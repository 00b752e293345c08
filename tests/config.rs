//! The configuration from outside: the commented template, defaults, and what an operator reads when a file is wrong.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fixring::config::{
    Config, ConfigErrors, IdentityValues, KEYS, Pattern, PersistenceMode, Placement, SUPPORTED_BEGIN_STRINGS,
    SessionRole, Wait,
};
use fixring::dictionary::{Version, built_in, to_xml};

const TEMPLATE: &str = include_str!("../fixring.toml");

fn parse(text: &str) -> Config {
    Config::parse(text, "fixring.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn faults(text: &str) -> Vec<String> {
    match Config::parse(text, "fixring.toml") {
        Ok(config) => panic!("no fault found: {config:?}"),
        Err(errors) => errors.to_string().lines().map(str::to_string).collect(),
    }
}

/// The one fault of a text.
fn fault(text: &str) -> String {
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].clone()
}

const INITIATOR: &str = r#"
[[session]]
begin_string = "FIX.4.4"
sender_comp_id = "VENUE"
target_comp_id = "DESK1"
role = "initiator"
connect = ["gateway.example:9880"]
"#;

/// The keys that a text sets below each section, and those that it shows in a comment.
fn keys_in(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut set, mut shown) = (BTreeSet::new(), BTreeSet::new());
    let mut section = String::new();
    for line in text.lines() {
        // A table that stands commented out has its keys behind it.
        let (header, commented) = match line.strip_prefix("# ") {
            Some(header) => (header, true),
            None => (line, false),
        };
        if header.starts_with('[') && header.ends_with(']') {
            section = header.trim_matches(['[', ']']).into();
            if section.contains('.') && !commented {
                // A table within a table is a key of that table.
                set.insert(section.clone());
            }
            continue;
        }
        let (line, keys) = match line.strip_prefix("# ") {
            Some(line) => (line, &mut shown),
            None => (line, &mut set),
        };
        if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            assert!(keys.insert(format!("{section}.{key}")), "{section}.{key} stands in the template twice");
        }
    }
    (set, shown)
}

#[test]
fn the_commented_template_equals_the_defaults() {
    assert_eq!(parse(TEMPLATE), Config::default());
    assert_eq!(parse(""), Config::default());
}

#[test]
fn the_template_documents_every_key_and_no_other() {
    let known: BTreeSet<String> =
        KEYS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}"))).collect();
    let (set, shown) = keys_in(TEMPLATE);
    let documented: BTreeSet<String> = set.union(&shown).cloned().collect();
    assert_eq!(documented, known);
    // A key that stands commented out is one without a default.
    let without_default = [
        "engine.cores",
        "engine.housekeeping_cores",
        "persistence.archive",
        "persistence.archive_command",
        "session.connect",
        "session.dictionary",
        "session.dictionary_allow",
        "session.journal",
        "session.mode",
        "session.password",
        "session.password_env",
        "session.password_file",
        "session.schedule",
        "session.schedule.days",
        "session.schedule.days_off",
        "session.schedule.end",
        "session.schedule.end_day",
        "session.schedule.reset",
        "session.schedule.reset_by",
        "session.schedule.start",
        "session.schedule.start_day",
        "session.schedule.zone",
        "session.sequence_gap_max",
        "session.username",
    ];
    assert_eq!(shown, without_default.map(str::to_string).into());
}

#[test]
fn every_commented_example_of_the_template_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let password_file = directory.path().join("password");
    fs::write(&password_file, "from a file\r\n").unwrap();
    let initiator = TEMPLATE
        .replace("[[acceptor]]\nlisten = \"127.0.0.1:9880\"\n", "")
        .replace("begin_string = \"*\"", "begin_string = \"FIXT.1.1\"")
        .replace("comp_id = \"*\"", "comp_id = \"X\"")
        .replace("role = \"acceptor\"", "role = \"initiator\"")
        .replace("workers = 1\n", "")
        .replace("/run/secrets/desk1", password_file.to_str().unwrap())
        .replace("DESK1_PASSWORD", "PATH");
    for secret in ["password_file", "password_env", "password"] {
        let mut text = initiator.clone();
        for key in ["cores", "housekeeping_cores", "connect", "mode", "sequence_gap_max", "username", secret] {
            let uncommented = text.replace(&format!("\n# {key} = "), &format!("\n{key} = "));
            assert_ne!(uncommented, text, "{key}");
            text = uncommented;
        }
        let config = parse(&text);
        let session = &config.sessions[0];
        assert_eq!(config.engine.placement, Placement::Cores(vec![2, 3]));
        assert_eq!(config.engine.housekeeping_cores, [0, 1]);
        assert_eq!((session.mode, session.sequence_gap_max), (PersistenceMode::Sync, 1024));
        assert_eq!(session.username.as_deref(), Some("desk1"));
        assert_eq!(session.connect[1].to_string(), "10.0.0.7:9880");
        let path = std::env::var("PATH").unwrap();
        let expected = match secret {
            "password_file" => "from a file",
            "password_env" => path.as_str(),
            _ => "secret",
        };
        assert_eq!(session.password.as_ref().unwrap().expose(), expected.as_bytes());
    }
}

#[test]
fn each_commented_archive_of_the_template_is_valid() {
    let with = |key: &str| parse(&TEMPLATE.replace(&format!("\n# {key} = "), &format!("\n{key} = "))).persistence;
    assert_eq!(with("archive").archive.as_deref(), Some(Path::new("/archive/fixring")));
    assert_eq!(with("archive_command").archive_command.len(), 4);
}

#[test]
fn every_default_can_be_changed() {
    // Each key of the template, set to another value, changes the configuration: none is read and forgotten.
    let changes = [
        ("data_dir = \"fixring-data\"", "data_dir = \"elsewhere\""),
        ("workers = 1", "workers = 2"),
        ("wait = \"adaptive\"", "wait = \"spin\""),
        ("application = \"exchange\"", "application = \"echo\""),
        ("message_bytes_max = \"64KiB\"", "message_bytes_max = 32768"),
        ("commit_bytes_max = \"256KiB\"", "commit_bytes_max = \"512KiB\""),
        ("connections_max = 4096", "connections_max = 4_000"),
        ("pending_connections_max = 256", "pending_connections_max = 200"),
        ("pending_connections_per_address_max = 128", "pending_connections_per_address_max = 16"),
        ("template_sessions_max = 1024", "template_sessions_max = 0"),
        ("logon_timeout = \"10s\"", "logon_timeout = \"20s\""),
        ("logout_timeout = \"5s\"", "logout_timeout = \"500ms\""),
        ("stop_timeout = \"15s\"", "stop_timeout = \"1s\""),
        ("probe_timeout = \"2s\"", "probe_timeout = \"1s\""),
        ("lock_timeout = \"60s\"", "lock_timeout = \"10s\""),
        ("lock_memory = \"auto\"", "lock_memory = true"),
        ("stall_alarm = \"100ms\"", "stall_alarm = \"1s\""),
        ("long_turn = \"1ms\"", "long_turn = \"10us\""),
        ("trace_stages = false", "trace_stages = true"),
        ("mode = \"buffered\"", "mode = \"flush\""),
        ("ring_dir = \"/dev/shm\"", "ring_dir = \"/mnt/ring\""),
        ("ring_bytes = \"16MiB\"", "ring_bytes = \"8MiB\""),
        ("segment_bytes = \"16MiB\"", "segment_bytes = \"128MiB\""),
        ("segments = 64", "segments = 3"),
        ("flush_interval = \"1ms\"", "flush_interval = \"50us\""),
        ("flush_interval_min = \"0s\"", "flush_interval_min = \"333us\""),
        ("flush_method = \"auto\"", "flush_method = \"dsync\""),
        ("storage_latency_alarm = \"50ms\"", "storage_latency_alarm = \"1ms\""),
        ("archive_timeout = \"60s\"", "archive_timeout = \"10min\""),
        ("archive_required = false", "archive_required = true\narchive = \"/archive\""),
        ("retention_age = \"off\"", "retention_age = \"8h\""),
        ("retention_min = \"10s\"", "retention_min = \"0s\""),
        ("retention_undelivered_max = \"5min\"", "retention_undelivered_max = \"1h\""),
        ("recycle_hold_max = \"200ms\"", "recycle_hold_max = \"0s\""),
        ("sequence_gap_max = 65536", "sequence_gap_max = 64"),
        ("allow_network_filesystem = false", "allow_network_filesystem = true"),
        ("allow_tmpfs = false", "allow_tmpfs = true"),
        ("listen = \"127.0.0.1:9890\"", "listen = \"off\""),
        ("listen = \"127.0.0.1:9880\"", "listen = \"[::]:9880\""),
        ("begin_string = \"*\"", "begin_string = \"FIXT.1.1\""),
        ("sender_comp_id = \"*\"", "sender_comp_id = \"VENUE\""),
        ("target_comp_id = \"*\"", "target_comp_id = \"DESK1\""),
        ("sender_sub_id = \"\"", "sender_sub_id = \"A\""),
        ("sender_location_id = \"\"", "sender_location_id = \"A\""),
        ("target_sub_id = \"\"", "target_sub_id = \"A\""),
        ("target_location_id = \"\"", "target_location_id = \"A\""),
        ("heartbeat_seconds = 30", "heartbeat_seconds = 0"),
        ("heartbeat_seconds_max = 3600", "heartbeat_seconds_max = 1000000"),
        ("answer_in_session_reset = true", "answer_in_session_reset = false"),
        ("explain_refused_time = false", "explain_refused_time = true"),
        ("reset_on_logon = false", "reset_on_logon = true"),
        ("reset_on_logout = false", "reset_on_logout = true"),
        ("reset_on_disconnect = false", "reset_on_disconnect = true"),
        ("next_expected_msg_seq_num = false", "next_expected_msg_seq_num = true"),
        ("sending_time_tolerance = \"120s\"", "sending_time_tolerance = \"0s\""),
        ("held_messages_max = 1024", "held_messages_max = 1"),
        ("held_bytes_max = \"256KiB\"", "held_bytes_max = \"64KiB\""),
        ("resend_requests_max = 5", "resend_requests_max = 1"),
        ("sending_time_precision = \"milliseconds\"", "sending_time_precision = \"nanoseconds\""),
        ("last_msg_seq_num_processed = false", "last_msg_seq_num_processed = true"),
        ("session_status = false", "session_status = true"),
        ("resend_rejects = false", "resend_rejects = true"),
        ("secret_tags = [554, 925, 1402, 1404]", "secret_tags = [554]"),
        ("enabled = true", "enabled = false"),
        ("msg_type = true", "msg_type = false"),
        ("tags = true", "tags = false"),
        ("user_defined_tags = true", "user_defined_tags = false"),
        ("required = true", "required = false"),
        ("values_present = true", "values_present = false"),
        ("enumerated_values = true", "enumerated_values = false"),
        ("formats = true", "formats = false"),
        ("repeated_tags = true", "repeated_tags = false"),
        ("group_counts = true", "group_counts = false"),
        ("group_order = true", "group_order = false"),
        ("section_order = true", "section_order = false"),
        ("reject_invalid = true", "reject_invalid = false"),
        ("extension_packs = false", "extension_packs = true"),
        ("comp_ids = true", "comp_ids = false"),
        ("orig_sending_time = true", "orig_sending_time = false"),
        ("default_appl_ver_id = \"9\"", "default_appl_ver_id = \"7\""),
        ("reconnect_min = \"1s\"", "reconnect_min = \"2s\""),
        ("reconnect_max = \"30s\"", "reconnect_max = \"1min\""),
    ];
    for (from, to) in changes {
        let line = format!("\n{from}\n");
        assert_eq!(TEMPLATE.matches(&line).count(), 1, "{from}");
        let config = parse(&TEMPLATE.replace(&line, &format!("\n{to}\n")));
        assert_ne!(config, Config::default(), "{to}");
    }
    // The role is one that cannot change alone; the initiator's test has it. The validation is a table of those above.
    let (set, _) = keys_in(TEMPLATE);
    assert_eq!(set.len(), changes.len() + 2);
}

#[test]
fn a_default_appl_ver_id_is_a_number_or_the_name_of_a_version() {
    let with = |value: &str| {
        INITIATOR.replace("\"FIX.4.4\"", "\"FIXT.1.1\"") + &format!("\ndefault_appl_ver_id = \"{value}\"\n")
    };
    for (value, number) in [("9", "9"), ("FIX.5.0SP2", "9"), ("FIX50SP2", "9"), ("FIX.5.0", "7"), ("FIX.4.4", "6")] {
        assert_eq!(parse(&with(value)).sessions[0].default_appl_ver_id, number, "{value}");
    }
    for value in ["", "10", "1", "FIXT.1.1", "FIX.6.0"] {
        let errors = Config::parse(&with(value), "x").unwrap_err().to_string();
        assert!(errors.contains("default_appl_ver_id") && errors.contains("FIX.5.0SP2"), "{errors}");
    }
}

#[test]
fn an_initiator_opens_no_acceptor() {
    let config = parse(INITIATOR);
    assert_eq!(config.acceptors, []);
    assert_eq!(config.sessions.len(), 1);
    assert_eq!(config.sessions[0].role, SessionRole::Initiator);
    assert_eq!(config.sessions[0].identity.to_string(), "FIX.4.4:VENUE->DESK1");
    assert!(!config.sessions[0].is_template());
}

#[test]
fn a_session_follows_the_mode_of_persistence_or_names_its_own() {
    let text = format!("[persistence]\nmode = \"flush\"\n{INITIATOR}");
    assert_eq!(parse(&text).sessions[0].mode, PersistenceMode::Flush);
    assert_eq!(parse(&format!("{text}mode = \"sync\"\n")).sessions[0].mode, PersistenceMode::Sync);
    let default_session = parse("[persistence]\nmode = \"flush\"\n").sessions[0].mode;
    assert_eq!(default_session, PersistenceMode::Flush);
}

#[test]
fn a_session_follows_the_sequence_gap_of_persistence_or_names_its_own() {
    let text = format!("[persistence]\nsequence_gap_max = 100\n{INITIATOR}");
    assert_eq!(parse(&text).sessions[0].sequence_gap_max, 100);
    assert_eq!(parse(&format!("{text}sequence_gap_max = 64\n")).sessions[0].sequence_gap_max, 64);
    assert_eq!(parse("[persistence]\nsequence_gap_max = 100\n").sessions[0].sequence_gap_max, 100);
}

#[test]
fn the_data_dir_of_the_command_line_wins() {
    let config = parse("[engine]\ndata_dir = \"a\"\n");
    assert_eq!(config.place_of("engine.data_dir"), "fixring.toml:2: engine.data_dir");
    let config = config.with_data_dir("b");
    assert_eq!(config.engine.data_dir, Path::new("b"));
    assert_eq!(config.place_of("engine.data_dir"), "engine.data_dir");
}

#[test]
fn a_logon_belongs_to_the_single_session_before_the_template() {
    let config = parse(
        r#"
        [[session]]
        begin_string = "*"
        sender_comp_id = "VENUE"
        target_comp_id = "*"
        [[session]]
        begin_string = "FIX.4.4"
        sender_comp_id = "VENUE"
        target_comp_id = "DESK1"
        [[session]]
        begin_string = "FIX.4.4"
        sender_comp_id = "VENUE"
        target_comp_id = "DESK1"
        target_sub_id = "ALGO"
        "#,
    );
    let identity = |begin_string: &'static str, target: &'static str, target_sub: &'static str| IdentityValues {
        begin_string: begin_string.as_bytes(),
        sender_comp_id: b"VENUE",
        target_comp_id: target.as_bytes(),
        target_sub_id: target_sub.as_bytes(),
        ..IdentityValues::default()
    };
    let index = |identity| config.session_for(SessionRole::Acceptor, identity);
    assert_eq!(index(identity("FIX.4.4", "DESK1", "ALGO")), Some(2));
    assert_eq!(index(identity("FIX.4.4", "DESK1", "OTHER")), Some(1));
    assert_eq!(index(identity("FIX.4.4", "DESK2", "")), Some(0));
    assert_eq!(index(identity("FIX.4.2", "DESK1", "")), Some(0));
    assert_eq!(index(identity("FIX.4.5", "DESK1", "")), None);
    assert_eq!(index(IdentityValues { sender_comp_id: b"OTHER", ..identity("FIX.4.4", "DESK1", "") }), None);
    assert_eq!(config.session_for(SessionRole::Initiator, identity("FIX.4.4", "DESK1", "")), None);
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let line = fault("[persistence]\n\nsegment_byte = \"64MiB\"\n");
    assert_eq!(line, "fixring.toml:3:1: persistence.segment_byte is not a key: did you mean segment_bytes?");
    let line = fault("[engine]\nring_dir = \"/dev/shm\"\n");
    assert_eq!(line, "fixring.toml:2:1: engine.ring_dir is not a key: it belongs below [persistence]");
    let line = fault("[persistance]\nmode = \"sync\"\n");
    assert_eq!(line, "fixring.toml:1:2: persistance is not a section: did you mean [persistence]?");
    let line = fault("data_dir = \"x\"\n");
    assert_eq!(line, "fixring.toml:1:1: data_dir is not a section: move it below [engine]");
    assert!(fault("[engine]\nzzz = 1\n").contains("the keys of [engine] are data_dir, workers"));
}

#[test]
fn a_size_that_does_not_divide_says_which_would() {
    let text = "[persistence]\nring_bytes = \"16MiB\"\nsegment_bytes = \"60MiB\"\n";
    assert_eq!(
        fault(text),
        "fixring.toml:3:17: persistence.segment_bytes = \"60MiB\" is not a multiple of ring_bytes (16MiB): \
         use \"48MiB\" or \"64MiB\""
    );
    // Where the file sets the other key alone, that is where the fault lies.
    let line = fault("[persistence]\nring_bytes = \"128MiB\"\n");
    assert!(line.starts_with("fixring.toml:2:14: persistence.segment_bytes = \"16MiB\" is not a multiple"), "{line}");
}

/// Each row: the text, where the fault is, what must stand in its line.
#[test]
fn every_fault_has_its_place_its_key_and_its_mend() {
    let session = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK1\"\n";
    let of_session = |line: &str| format!("{session}{line}\n");
    let of_initiator = |line: &str| format!("{}{line}\n", INITIATOR.trim_start());
    let rows: Vec<(String, &str, &[&str])> = vec![
        // Types and forms.
        ("[engine]\nworkers = \"two\"".into(), "2:11", &["engine.workers = \"two\"", "use 1 to 64"]),
        ("[engine]\nworkers = 0".into(), "2:11", &["engine.workers = 0 is out of range", "use 1 to 64"]),
        ("[engine]\nworkers = 99999999999999999999999".into(), "2:11", &["use 1 to 64"]),
        ("[engine]\nmessage_bytes_max = 1.5".into(), "2:21", &["is not a size"]),
        ("[engine]\nmessage_bytes_max = \"1MB\"".into(), "2:21", &["use \"1MiB\""]),
        ("[engine]\nmessage_bytes_max = -5".into(), "2:21", &["is not a size"]),
        ("[engine]\nlogon_timeout = 10".into(), "2:17", &["has no unit", "\"10s\" or \"10ms\""]),
        ("[engine]\nlogon_timeout = \"10\"".into(), "2:17", &["has no unit"]),
        ("[engine]\nlogon_timeout = \"0s\"".into(), "2:17", &["out of range", "\"1ms\" to \"3600s\""]),
        ("[engine]\nwait = \"adaptve\"".into(), "2:8", &["did you mean \"adaptive\"?"]),
        ("[engine]\nwait = \"zzz\"".into(), "2:8", &["use one of \"spin\", \"adaptive\", \"park\""]),
        ("[engine]\nwait = 3".into(), "2:8", &["is not a text", "quotes"]),
        ("[engine]\ndata_dir = \"\"".into(), "2:12", &["engine.data_dir", "name a directory"]),
        ("[engine]\ncores = 3".into(), "2:9", &["is not a list", "[2, 3]"]),
        ("[engine]\ncores = []".into(), "2:9", &["names no core"]),
        ("[engine]\ncores = [1, 1]".into(), "2:13", &["twice"]),
        ("[engine]\ncores = [1, -1]".into(), "2:13", &["is not the number of a core"]),
        ("[engine]\nworkers = 2\ncores = [1]".into(), "2:11", &["and so is cores", "remove workers"]),
        ("[control]\nlisten = \"localhost:9890\"".into(), "2:10", &["\"127.0.0.1:9890\""]),
        ("[control]\nlisten = false".into(), "2:10", &["is not a text"]),
        ("[[control]]\nlisten = \"off\"".into(), "1:1", &["write [control]"]),
        ("[acceptor]\nlisten = \"127.0.0.1:9880\"".into(), "1:1", &["write [[acceptor]]"]),
        ("[[acceptor]]".into(), "1:1", &["acceptor[0].listen is missing"]),
        ("acceptor = [3]".into(), "1:13", &["is not a table"]),
        ("engine = 3".into(), "1:10", &["engine is not a table"]),
        // Relations.
        ("[engine]\ncommit_bytes_max = \"100KiB\"".into(), "2:20", &["less than twice", "at least \"128KiB\""]),
        ("[engine]\ncommit_bytes_max = \"5MiB\"".into(), "2:20", &["four times", "at least \"32MiB\""]),
        (
            "[persistence]\nring_bytes = \"24MiB\"\nsegment_bytes = \"48MiB\"".into(),
            "2:14",
            &["\"16MiB\" or \"32MiB\""],
        ),
        ("[persistence]\nsegments = 2".into(), "2:12", &["use 3 to"]),
        (
            "[persistence]\narchive_required = true".into(),
            "2:20",
            &["there is no archive", "name a directory in archive"],
        ),
        (
            "[persistence]\narchive = \"/a\"\narchive_command = [\"cp\", \"{path}\"]".into(),
            "3:19",
            &["and so is archive", "keep one of the two"],
        ),
        ("[persistence]\narchive_command = [\"cp\"]".into(), "2:19", &["has no {path}", "\"{path}\", \"{name}\""]),
        ("[persistence]\narchive_command = []".into(), "2:19", &["names no program"]),
        ("[persistence]\narchive_command = \"cp\"".into(), "2:19", &["is not a list"]),
        ("[persistence]\narchive = \"fixring-data/archive\"".into(), "2:11", &["lies in engine.data_dir", "elsewhere"]),
        ("[persistence]\nretention_age = \"10ms\"".into(), "2:17", &["out of range", "\"off\""]),
        ("[persistence]\nretention_age = \"never\"".into(), "2:17", &["is not a duration"]),
        ("[persistence]\nrecycle_hold_max = \"1min\"".into(), "2:20", &["out of range", "\"10s\""]),
        ("[engine]\nconnections_max = 10".into(), "2:19", &["pending_connections_max = 256 is more than"]),
        ("[persistence]\nflush_method = \"fsync\"".into(), "2:16", &["did you mean \"msync\"", "\"auto\""]),
        (
            "[persistence]\nflush_interval_min = \"2ms\"".into(),
            "2:22",
            &["longer than flush_interval (1ms)", "at most \"1ms\""],
        ),
        ("[engine]\nprobe_timeout = \"11s\"".into(), "2:17", &["longer than logon_timeout (10s)"]),
        (of_session("held_bytes_max = \"1KiB\""), "5:18", &["engine.message_bytes_max (64KiB)", "\"64KiB\""]),
        (of_initiator("reconnect_min = \"31s\""), "7:17", &["longer than reconnect_max (30s)"]),
        // Addresses.
        (
            "[[acceptor]]\nlisten = \"127.0.0.1:1\"\n[[acceptor]]\nlisten = \"0.0.0.0:1\"\n[[session]]\n\
             begin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\""
                .into(),
            "4:10",
            &["another [[acceptor]]"],
        ),
        ("[[acceptor]]\nlisten = \"127.0.0.1:9890\"".into(), "2:10", &["[control] too"]),
        ("[control]\nlisten = \"127.0.0.1:9880\"".into(), "2:10", &["default acceptor"]),
        ("[[acceptor]]\nlisten = \"0.0.0.0:9880\"".into(), "2:10", &["no [[session]] says who may log on"]),
        (of_initiator("[[acceptor]]\nlisten = \"127.0.0.1:1\""), "8:10", &["no [[session]] has role = \"acceptor\""]),
        // Sessions.
        (session.replace("target_comp_id = \"DESK1\"\n", ""), "1:1", &["session[0].target_comp_id is missing"]),
        (session.replace("FIX.4.4", "FIX.5.0SP2"), "2:16", &["FIXT.1.1"]),
        (session.replace("FIX.4.4", "FIX.4.5"), "2:16", &["is not a supported version"]),
        (session.replace("FIX.4.4", "FIX44"), "2:16", &["did you mean \"FIX.4.4\"?"]),
        (session.replace("DESK1", "DESK*"), "4:18", &["\"*\" alone"]),
        (session.replace("DESK1", "DESK\\u0001"), "4:18", &["printable ASCII"]),
        (session.replace("DESK1", &"D".repeat(65)), "4:18", &["1 to 64 characters"]),
        (of_session("target_sub_id = \"*\""), "5:17", &["leave the key out"]),
        (of_session("sequence_gap_max = 63"), "5:20", &["use 64 to 1000000000"]),
        (of_session("role = \"initator\""), "5:8", &["did you mean \"initiator\"?"]),
        (of_session("role = \"initiator\""), "1:1", &["names no endpoint", "connect = [\"host:port\"]"]),
        (of_session("connect = [\"x:1\"]"), "5:11", &["is set on an acceptor", "role = \"initiator\""]),
        (of_session("username = \"x\""), "5:12", &["is set on an acceptor"]),
        (of_session("default_appl_ver_id = \"9\""), "5:23", &["only FIXT.1.1"]),
        (of_session("reset_on_logon = \"yes\""), "5:18", &["true or false"]),
        (of_session("heartbeat_seconds = 1000001"), "5:21", &["use 0 to 1000000"]),
        (
            of_session("next_expected_msg_seq_num = true").replace("FIX.4.4", "FIX.4.2"),
            "5:29",
            &["NextExpectedMsgSeqNum(789)", "FIX.4.2"],
        ),
        (of_initiator("").replace("gateway.example:9880", "gateway.example"), "6:12", &["has no port"]),
        (of_initiator("").replace("\"DESK1\"", "\"*\""), "4:18", &["an initiator cannot be one"]),
        (of_initiator("password_file = \"/nonexistent/x\""), "7:17", &["cannot be read"]),
        (of_initiator("password_file = \"/dev/zero\""), "7:17", &["longer than"]),
        (of_initiator("password_env = \"FIXRING_TEST_UNSET\""), "7:16", &["is not set"]),
        (of_initiator("password = \"a\"\npassword_env = \"PATH\""), "8:16", &["and so is password", "keep one"]),
        (format!("{session}{session}"), "8:18", &["the same session as session[0]", "FIX.4.4:VENUE->DESK1"]),
        (
            session.replace("DESK1", "*") + &session.replace("VENUE", "*"),
            "8:18",
            &["overlaps session[0]", "could belong to either"],
        ),
        (
            format!("{session}target_sub_id = \"A\"\n{session}sender_sub_id = \"B\"\n"),
            "9:18",
            &["as well as to session[0]"],
        ),
        // Syntax.
        ("[engine]\nworkers = ".into(), "2:", &["this is not TOML"]),
        ("[engine]\nworkers = 1\nworkers = 2".into(), "3:1", &["this is not TOML", "duplicate key"]),
    ];
    for (text, place, parts) in rows {
        let line = fault(&text);
        assert!(line.starts_with(&format!("fixring.toml:{place}")), "{text}\ngave {line}");
        for part in parts {
            assert!(line.contains(part), "{text}\ngave {line}\nwithout {part}");
        }
    }
}

#[test]
fn sessions_that_differ_are_no_duplicates() {
    let session = |target: &str, rest: &str| {
        format!(
            "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"{target}\"\n{rest}\n"
        )
    };
    let config = parse(
        &[
            session("*", ""),
            session("DESK1", ""),
            session("DESK1", "target_sub_id = \"A\""),
            session("DESK1", "target_sub_id = \"B\""),
            session("DESK2", ""),
        ]
        .concat(),
    );
    assert_eq!(config.sessions.len(), 5);
    assert_eq!(config.sessions[0].identity.target_comp_id, Pattern::Any);
}

#[test]
fn all_faults_of_a_file_are_told_at_once_in_its_order() {
    let lines = faults(
        "[engine]\nworkers = 0\nwait = \"spn\"\n[persistence]\nring_bytes = \"17MB\"\nsegment_bytes = \"60MiB\"\n\
         [[session]]\nrole = \"initiator\"\n",
    );
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    // ring_bytes has no value to relate segment_bytes to, so that is not judged.
    assert_eq!(
        places,
        [
            "fixring.toml:2:11",
            "fixring.toml:3:8",
            "fixring.toml:5:14",
            "fixring.toml:7:1",
            "fixring.toml:7:1",
            "fixring.toml:7:1",
            "fixring.toml:7:1"
        ],
        "{lines:#?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fixring.toml");
    let line = Config::load(&path).unwrap_err().to_string();
    assert!(line.starts_with(&format!("{}: ", path.display())) && line.contains("--config"), "{line}");
    fs::write(&path, b"[engine]\nwait = \"\xff\"\n").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("line 2 is not UTF-8"));
    let endless = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(endless.contains("longer than 16MiB"), "{endless}");
    fs::write(&path, TEMPLATE).unwrap();
    assert_eq!(Config::load(&path).unwrap(), Config::default());
}

#[test]
fn a_rendered_fault_begins_with_its_one_line_and_shows_the_source() {
    let errors = Config::parse("[engine]\nwait = \"adaptve\"\n", "fixring.toml").unwrap_err();
    for styled in [false, true] {
        let text = errors.render(styled);
        assert!(text.lines().count() > 3, "{text}");
        assert!(text.contains("wait = \"adaptve\""), "{text}");
    }
    let text = errors.render(false);
    assert_eq!(text.lines().next().unwrap(), errors.to_string(), "{text}");
}

#[test]
fn no_password_is_ever_shown() {
    let shown = |errors: ConfigErrors| format!("{errors} {errors:?} {} {}", errors.render(false), errors.render(true));
    let initiator = INITIATOR.trim_start();
    let long = "hunter2".repeat(200);
    for text in [
        format!("{initiator}password = \"{long}\"\n"),
        format!("{initiator}password = [\"hunter2\"]\n"),
        format!("{initiator}password = \"hunter2\"\npassword_env = \"PATH\"\n"),
        format!("{initiator}password = \"hunter2\"\npasword = \"x\"\n"),
        format!("{initiator}password_env = \"hunter2\"\n"),
        format!("{initiator}password_file = \"hunter2\"\n"),
        format!("{initiator}password = \"hunter2\n"),
        format!("{initiator}password = \"\"\"\nhunter2\n"),
        "session = [{ role = \"initator\", password = \"hunter2\" }]\n".into(),
        "[[session]]\nrole = \"acceptor\"\npassword = \"hunter2\"\n".into(),
    ] {
        let text = shown(Config::parse(&text, "fixring.toml").unwrap_err());
        assert!(!text.contains("hunter2"), "{text}");
    }
    let config = parse(&format!("{initiator}password = \"hunter2\"\n"));
    assert_eq!(config.sessions[0].password.as_ref().unwrap().expose(), b"hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn no_text_panics_the_parser_or_its_errors() {
    // Each prefix of the template, and the template with each byte replaced, by a fixed sequence of replacements.
    let replacements = ["\"", "[", "]", "\n", "=", "*", "9", "µ", "\u{1}", "'''"];
    let mut looked_at = 0;
    for (count, (at, character)) in TEMPLATE.char_indices().enumerate() {
        let replacement = replacements[count % replacements.len()];
        let changed = format!("{}{replacement}{}", &TEMPLATE[..at], &TEMPLATE[at + character.len_utf8()..]);
        // Whole files are slow to take apart, and comments teach little: one in seventeen.
        for text in [&TEMPLATE[..at], &changed] {
            if count % 17 == 0
                && let Err(errors) = Config::parse(text, "fixring.toml")
            {
                assert!(!errors.render(false).is_empty());
                assert_eq!(errors.to_string().lines().count(), errors.faults().len());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = Config::default();
    assert_eq!(config.acceptors[0].listen, "127.0.0.1:9880".parse::<SocketAddr>().unwrap());
    assert_eq!(config.control.listen, Some("127.0.0.1:9890".parse().unwrap()));
    assert_eq!(config.engine.data_dir, Path::new("fixring-data"));
    assert_eq!(config.engine.wait, Wait::Adaptive);
    assert_eq!(config.persistence.flush_interval, Duration::from_millis(1));
    assert!(config.sessions[0].is_template());
    for version in SUPPORTED_BEGIN_STRINGS {
        let identity = IdentityValues {
            begin_string: version.as_bytes(),
            sender_comp_id: b"ANY",
            target_comp_id: b"BODY",
            ..IdentityValues::default()
        };
        assert_eq!(config.session_for(SessionRole::Acceptor, identity), Some(0));
    }
}

/// A FIX.4.4 session with this schedule, on the fourth line.
fn scheduled(schedule: &str) -> String {
    format!(
        "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK1\"\n{schedule}\n"
    )
}

#[test]
fn a_schedule_is_an_inline_table_or_one_of_its_own() {
    let inline = scheduled(
        r#"schedule = { start = "08:00", end = "17:00:00", zone = "America/New_York", days = ["Mon", "Wed..Fri"] }"#,
    );
    let table = scheduled(
        "[session.schedule]\nstart = \"08:00:00\"\nend = \"17:00\"\nzone = \"America/New_York\"\n\
         days = [\"Wed\", \"Thu\", \"Fri\", \"Mon\"]\n",
    );
    let (inline, table) = (parse(&inline), parse(&table));
    assert_eq!(inline, table);
    let schedule = inline.sessions[0].schedule.as_ref().unwrap();
    assert_eq!(schedule.to_string(), "Mon, Wed, Thu, Fri, 08:00:00 to 17:00:00, America/New_York");
    assert_eq!(inline.place_of("session[0].schedule.start"), "fixring.toml:5: session[0].schedule.start");
    assert_eq!(parse(&scheduled("")).sessions[0].schedule, None);
}

#[test]
fn every_commented_example_of_a_schedule_is_valid() {
    let uncommented = |text: &str, key: &str| {
        let line = text.replace(&format!("\n# {key}"), &format!("\n{key}"));
        assert_ne!(line, text, "{key}");
        line
    };
    let inline = parse(&uncommented(TEMPLATE, "schedule = "));
    assert_eq!(
        inline.sessions[0].schedule.as_ref().unwrap().to_string(),
        "Mon..Fri, 08:00:00 to 17:00:00, America/New_York"
    );
    let mut table = uncommented(TEMPLATE, "[session.schedule]");
    for key in ["start = ", "end = ", "days_off = ", "reset = ", "reset_by = ", "zone = "] {
        table = uncommented(&table, key);
    }
    let daily = parse(&uncommented(&table, "days = "));
    assert_eq!(
        daily.sessions[0].schedule.as_ref().unwrap().to_string(),
        "Mon..Fri, 08:00:00 to 17:00:00, reset at 17:00:00, 2 days off, America/New_York"
    );
    let weekly = parse(&uncommented(&uncommented(&table, "start_day = "), "end_day = "));
    assert_eq!(
        weekly.sessions[0].schedule.as_ref().unwrap().to_string(),
        "Sun 08:00:00 to Fri 17:00:00, reset at 17:00:00, 2 days off, America/New_York"
    );
}

#[test]
fn each_fault_of_a_schedule_names_its_line_its_key_and_the_mend() {
    let rows: [(&str, &str, &[&str]); 14] = [
        ("schedule = \"always\"", "5:12", &["schedule", "is not a table"]),
        ("schedule = {}", "5:12", &["schedule.reset is missing", "add hours or a reset"]),
        ("schedule = { start = \"8:00\", end = \"17:00\" }", "5:22", &["schedule.start = \"8:00\"", "\"08:00:00\""]),
        ("schedule = { start = \"08:00\" }", "5:12", &["schedule.end is missing", "add end"]),
        ("schedule = { start = \"08:00\", end = \"24:00\" }", "5:37", &["write midnight as \"00:00:00\""]),
        (
            "schedule = { star = \"08:00\", reset = \"17:00\" }",
            "5:14",
            &["schedule.star is not a key", "did you mean start?"],
        ),
        ("schedule = { reset = \"17:00\", zone = \"New York\" }", "5:38", &["is not a time zone", "America/New_York"]),
        ("schedule = { reset = \"17:00\", days = [] }", "5:38", &["days = [] names no day"]),
        ("schedule = { reset = \"17:00\", days = [\"Mon\", \"Tu\"] }", "5:46", &["\"Tu\" is not a day of the week"]),
        ("schedule = { reset = \"17:00\", days = \"Mon..Fry\" }", "5:38", &["is not a day of the week"]),
        ("schedule = { reset = \"17:00\", days_off = [\"25.12.2026\"] }", "5:43", &["is not a date", "2026-12-25"]),
        (
            "schedule = { reset = \"17:00\", reset_by = \"us\" }",
            "5:42",
            &["is not known", "\"initiator\", \"acceptor\""],
        ),
        ("schedule = { start = \"08:00\", end = \"17:00\", reset_by = \"acceptor\" }", "5:57", &["reset is not"]),
        ("start = \"08:00\"", "5:1", &["start is not a key", "it belongs below [session.schedule]"]),
    ];
    for (schedule, place, parts) in rows {
        let line = fault(&scheduled(schedule));
        assert!(line.starts_with(&format!("fixring.toml:{place}:")), "{schedule}\ngave {line}");
        for part in parts {
            assert!(line.contains(part), "{schedule}\ngave {line}\nwithout {part}");
        }
    }
    assert!(fault("[schedule]\nreset = \"17:00\"\n").contains("move it below [[session]]"));
}

// ---- dictionaries and validation

fn of_dictionaries(begin_string: &str, key: &str) -> String {
    format!("[[session]]\nbegin_string = \"{begin_string}\"\nsender_comp_id = \"A\"\ntarget_comp_id = \"B\"\n{key}\n")
}

#[test]
fn a_counterparty_s_dictionary_is_read_and_a_faulty_one_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let fix44 = to_xml(built_in(Version::Fix44));
    let own = file("own.xml", &fix44);
    let config = parse(&of_dictionaries("FIX.4.4", &format!("dictionary = \"{own}\"")));
    assert_eq!(*config.sessions[0].dictionary[0], *built_in(Version::Fix44));

    let (transport, application) =
        (file("t.xml", &to_xml(built_in(Version::Fixt11))), file("a.xml", &to_xml(built_in(Version::Fix50Sp1))));
    let both = format!("dictionary = [\"{transport}\", \"{application}\"]");
    let versions: Vec<Version> = parse(&of_dictionaries("FIXT.1.1", &both)).sessions[0]
        .dictionary
        .iter()
        .map(|dictionary| dictionary.version())
        .collect();
    assert_eq!(versions, [Version::Fixt11, Version::Fix50Sp1]);

    let broken = file("broken.xml", "<fix type='FIX' major='4' minor='4'>\n<header>\n<nonsense/>\n");
    let cases = [
        ("FIX.4.4", format!("dictionary = \"{broken}\""), "is not a dictionary: line "),
        ("FIX.4.4", "dictionary = \"nowhere.xml\"".into(), "cannot be read"),
        ("FIX.4.2", format!("dictionary = \"{own}\""), "a dictionary of FIX.4.4, which this session does not speak"),
        ("FIX.4.4", format!("dictionary = [\"{own}\", \"{own}\"]"), "names two of FIX.4.4"),
        ("FIX.4.4", "dictionary = 44".into(), "is not a list"),
    ];
    for (begin_string, key, what) in cases {
        let line = fault(&of_dictionaries(begin_string, &key));
        assert!(line.starts_with("fixring.toml:5:") && line.contains(what), "{line}");
    }
    let two = "<fix type='FIX' major='4' minor='4'>\n<header/>\n<messages>\n<message name='X' msgtype='X' msgcat='app'>\n\
               <field name='Nada' required='N'/>\n<field name='Nil' required='N'/>\n</message>\n</messages>\n<trailer/>\n\
               <components/>\n<fields/>\n</fix>\n";
    let two = file("two.xml", two);
    let lines = faults(&of_dictionaries("FIX.4.4", &format!("dictionary = \"{two}\"")));
    let told = |line: u32| lines.iter().any(|fault| fault.contains(&format!("is not a dictionary: line {line}: ")));
    assert!(told(5) && told(6), "{lines:#?}");
}

#[test]
fn a_check_is_known_by_quickfix_s_name_too() {
    let validation =
        |key: &str| parse(&of_dictionaries("FIX.4.4", &format!("validation = {{ {key} }}"))).sessions[0].validation;
    assert!(!validation("AllowUnknownMsgFields = true").checks.tags, "the other way round");
    assert!(validation("AllowUnknownMsgFields = \"N\"").checks.tags);
    assert!(!validation("ValidateFieldsOutOfOrder = \"N\"").checks.section_order);
    assert!(!validation("UseDataDictionary = false").enabled);
    assert!(!validation("CheckCompID = false").comp_ids);
    let both = fault(&of_dictionaries("FIX.4.4", "validation = { enabled = true, UseDataDictionary = true }"));
    assert!(both.contains("UseDataDictionary is set, and so is enabled, which is the same"), "{both}");
    let wrong = fault(&of_dictionaries("FIX.4.4", "validation = { CheckCompID = 1 }"));
    assert!(wrong.contains("CheckCompID = 1 is not a truth value"), "{wrong}");
    let unknown = fault(&of_dictionaries("FIX.4.4", "validation = { comp_id = true }"));
    assert!(unknown.contains("session[0].validation.comp_id is not a key: did you mean comp_ids?"), "{unknown}");
    let no_table = fault(&of_dictionaries("FIX.4.4", "validation = true"));
    assert!(no_table.contains("is not a table"), "{no_table}");
}

#[test]
fn a_session_may_name_its_journal_which_is_a_small_number() {
    let with = |value: &str| INITIATOR.replace("role =", &format!("journal = {value}\nrole ="));
    assert_eq!(parse(INITIATOR).sessions[0].journal, None);
    assert_eq!(parse(&with("3")).sessions[0].journal, Some(3));
    let fault = fault(&with("5000"));
    assert!(fault.contains("session[0].journal") && fault.contains("use 0 to 255"), "{fault}");
}
