//! From the text to a [`Config`]: each key with its range, then the relations between keys.

use std::env;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::dictionaries::Dictionaries;
use super::errors::ConfigErrors;
use super::keys::VALIDATION;
use super::reader::{Reader, Section};
use super::relations::{
    relate_acceptors_and_sessions, relate_addresses, relate_archive, relate_engine, relate_identities, relate_session,
    relate_sizes,
};
use super::schedule::schedule;
use super::texts::{
    CREDENTIAL_BYTES_MAX, parse_appl_ver_id, parse_argument, parse_begin_string, parse_comp_id, parse_path,
    parse_qualifier, parse_username,
};
use super::values::{Wrong, parse_endpoint, parse_listen, parse_retention_age};
use super::{
    AcceptorConfig, BuiltInApplication, Config, ControlConfig, EngineConfig, IdentityPattern, LockMemory, OtherFiles,
    Pattern, PersistenceConfig, PersistenceMode, Placement, SEQUENCE_GAP_MIN, Secret, SessionConfig, SessionRole,
    ValidationConfig, Wait, read_bounded,
};
use crate::dictionary::Checks;
use crate::fix::Precision;
use crate::journal::FlushMethod;

const MODES: [(&str, PersistenceMode); 3] =
    [("buffered", PersistenceMode::Buffered), ("flush", PersistenceMode::Flush), ("sync", PersistenceMode::Sync)];

const FLUSH_METHODS: [(&str, Option<FlushMethod>); 4] = [
    ("auto", None),
    ("fdatasync", Some(FlushMethod::Fdatasync)),
    ("dsync", Some(FlushMethod::Dsync)),
    ("msync", Some(FlushMethod::Msync)),
];

const PRECISIONS: [(&str, Precision); 4] = [
    ("seconds", Precision::Seconds),
    ("milliseconds", Precision::Millis),
    ("microseconds", Precision::Micros),
    ("nanoseconds", Precision::Nanos),
];

/// Below it a Logon with a few custom fields would not fit.
const MESSAGE_BYTES_MIN: u32 = 1 << 10;
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
const COMMIT_BYTES_MAX: u32 = 64 << 20;
/// Rings are mapped, so both bounds are whole pages of every kind but the largest.
const RING_BYTES_MIN: u64 = 64 << 10;
const RING_BYTES_MAX: u64 = 2 << 30;
const SEGMENT_BYTES_MAX: u64 = 64 << 30;
/// One that is written, one that is ready, one that is recycled.
const JOURNAL_MAX: u32 = crate::journal::JOURNALS_MAX as u32 - 1;
const SEGMENTS_MIN: u32 = 3;
const SEGMENTS_MAX: u32 = 65_536;
/// A ring holds the commit that is open, the one before it and what the flusher has not carried yet.
pub(super) const COMMITS_IN_RING_MIN: u64 = 4;
/// A commit holds at least the inbound message and one answer.
pub(super) const MESSAGES_IN_COMMIT_MIN: u32 = 2;
/// Longer than a resend of the largest ring's worth takes, and shorter than any heartbeat interval in use.
const RECYCLE_HOLD_MAX: Duration = Duration::from_secs(10);
/// Nobody is slowed for another's messages for longer.
const RETENTION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Up to eleven days; 0 is no heartbeats.
const HEARTBEAT_SECONDS: RangeInclusive<u32> = 0..=1_000_000;
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

const _: () = assert!(MESSAGE_BYTES_MAX as u64 * MESSAGES_IN_COMMIT_MIN as u64 <= COMMIT_BYTES_MAX as u64);
/// What `sequence_gap_max` may be.
const SEQUENCE_GAPS_MAX: RangeInclusive<u32> = SEQUENCE_GAP_MIN..=1_000_000_000;
const _: () = assert!(COMMIT_BYTES_MAX as u64 * COMMITS_IN_RING_MIN <= RING_BYTES_MAX);
const _: () = assert!(RING_BYTES_MAX <= SEGMENT_BYTES_MAX);

pub(super) fn resolve(text: &str, name: &str, other_files: OtherFiles) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(text, name);
    let (root, syntax_errors) = DeTable::parse_recoverable(text);
    for error in syntax_errors {
        let what = format!("this is not TOML: {}", error.message());
        let span = error.span().unwrap_or(0..0);
        reader.faults.add(span, "", what, "see https://toml.io for the form of the file".into());
    }
    if !reader.faults.is_empty() {
        // What a broken text seems to set says nothing about what it was meant to set.
        return Err(reader.faults.into_errors());
    }
    let root = root.get_ref();
    reader.unknown_sections(root);

    let engine_section = reader.section(root, "engine");
    let persistence_section = reader.section(root, "persistence");
    let control_section = reader.section(root, "control");
    let acceptor_sections = reader.sections(root, "acceptor");
    let session_sections = reader.sections(root, "session");

    let engine = engine(&mut reader, &engine_section);
    let persistence = persistence(&mut reader, &persistence_section);
    let control = control(&mut reader, &control_section);
    let acceptors: Vec<Option<SocketAddr>> = acceptor_sections
        .iter()
        .map(|section| match section.has("listen") {
            true => section.parsed(&mut reader, "listen", parse_listen),
            false => {
                section.blame(&mut reader, "listen", "is missing", "name an address, such as \"127.0.0.1:9880\"");
                None
            }
        })
        .collect();
    let mut dictionaries = (other_files == OtherFiles::Read).then(Dictionaries::default);
    let sessions: Vec<SessionConfig> =
        session_sections.iter().map(|section| session(&mut reader, section, &persistence, &mut dictionaries)).collect();

    relate_sizes(&mut reader, (&engine_section, &engine), (&persistence_section, &persistence));
    relate_archive(&mut reader, (&persistence_section, &persistence), &engine);
    relate_engine(&mut reader, &engine_section, &engine);
    relate_addresses(&mut reader, (&control_section, &control), (&acceptor_sections, &acceptors));
    for (section, session) in session_sections.iter().zip(&sessions) {
        relate_session(&mut reader, section, session, (&engine_section, &engine));
    }
    relate_identities(&mut reader, &session_sections, &sessions);
    relate_acceptors_and_sessions(&mut reader, (&acceptor_sections, &acceptors), &sessions);

    if !reader.faults.is_empty() {
        return Err(reader.faults.into_errors());
    }
    let mut acceptors: Vec<AcceptorConfig> =
        acceptors.into_iter().flatten().map(|listen| AcceptorConfig { listen }).collect();
    let sessions = match sessions.is_empty() {
        true => {
            let (mode, sequence_gap_max) = (persistence.mode, persistence.sequence_gap_max);
            vec![SessionConfig { mode, sequence_gap_max, ..SessionConfig::default() }]
        }
        false => sessions,
    };
    if acceptors.is_empty() && sessions.iter().any(|session| session.role == SessionRole::Acceptor) {
        acceptors.push(AcceptorConfig::default());
    }
    let dictionary_warnings = dictionaries.map(Dictionaries::into_warnings).unwrap_or_default();
    Ok(Config { engine, persistence, control, acceptors, sessions, dictionary_warnings, locations: reader.locations })
}

fn engine(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> EngineConfig {
    let default = EngineConfig::default();
    let timeouts = TIMEOUT_MIN..=TIMEOUT_MAX;
    let workers = section.number(reader, "workers", 1..=64, default.placement.worker_count());
    let placement = match section.cores(reader, "cores") {
        None => Placement::Workers(workers),
        Some(_) if section.has("workers") => {
            section.blame(reader, "workers", "is set, and so is cores", "remove workers: there is one on each core");
            Placement::Workers(workers)
        }
        Some(cores) if cores.is_empty() => {
            section.blame(reader, "cores", "names no core", "name one core a worker, or set workers = 1 instead");
            Placement::Workers(workers)
        }
        Some(cores) => Placement::Cores(cores),
    };
    let pending_connections_max =
        section.number(reader, "pending_connections_max", 1..=65_536, default.pending_connections_max);
    EngineConfig {
        data_dir: section.parsed(reader, "data_dir", parse_path).unwrap_or(default.data_dir),
        placement,
        housekeeping_cores: section.cores(reader, "housekeeping_cores").unwrap_or_default(),
        wait: section.choice(
            reader,
            "wait",
            &[("spin", Wait::Spin), ("adaptive", Wait::Adaptive), ("park", Wait::Park)],
            default.wait,
        ),
        application: section.choice(
            reader,
            "application",
            &[("exchange", BuiltInApplication::Exchange), ("echo", BuiltInApplication::Echo)],
            default.application,
        ),
        message_bytes_max: section.size_u32(
            reader,
            "message_bytes_max",
            MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX,
            default.message_bytes_max,
        ),
        commit_bytes_max: section.size_u32(
            reader,
            "commit_bytes_max",
            MESSAGE_BYTES_MIN * MESSAGES_IN_COMMIT_MIN..=COMMIT_BYTES_MAX,
            default.commit_bytes_max,
        ),
        connections_max: section.number(reader, "connections_max", 1..=65_536, default.connections_max),
        pending_connections_max,
        pending_connections_per_address_max: section.number(
            reader,
            "pending_connections_per_address_max",
            1..=65_536,
            pending_connections_max.div_ceil(2),
        ),
        template_sessions_max: section.number(
            reader,
            "template_sessions_max",
            0..=1_000_000,
            default.template_sessions_max,
        ),
        logon_timeout: section.duration(reader, "logon_timeout", timeouts.clone(), default.logon_timeout),
        logout_timeout: section.duration(reader, "logout_timeout", timeouts.clone(), default.logout_timeout),
        stop_timeout: section.duration(reader, "stop_timeout", timeouts.clone(), default.stop_timeout),
        probe_timeout: section.duration(reader, "probe_timeout", timeouts.clone(), default.probe_timeout),
        lock_timeout: section.duration(reader, "lock_timeout", timeouts, default.lock_timeout),
        lock_memory: match section.flag_or_auto(reader, "lock_memory") {
            None => LockMemory::Auto,
            Some(true) => LockMemory::Always,
            Some(false) => LockMemory::Never,
        },
        // A worker that sleeps wakes every 10 ms, see `engine::threads`.
        stall_alarm: section.duration(
            reader,
            "stall_alarm",
            Duration::from_millis(20)..=Duration::from_secs(60),
            default.stall_alarm,
        ),
        long_turn: section.duration(
            reader,
            "long_turn",
            Duration::from_micros(1)..=Duration::from_secs(60),
            default.long_turn,
        ),
        trace_stages: section.flag(reader, "trace_stages", default.trace_stages),
    }
}

fn persistence(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> PersistenceConfig {
    let default = PersistenceConfig::default();
    let flush_intervals = Duration::from_micros(10)..=Duration::from_secs(1);
    PersistenceConfig {
        mode: section.choice(reader, "mode", &MODES, default.mode),
        ring_dir: section.parsed(reader, "ring_dir", parse_path).unwrap_or(default.ring_dir),
        ring_bytes: section.size(reader, "ring_bytes", RING_BYTES_MIN..=RING_BYTES_MAX, default.ring_bytes),
        segment_bytes: section.size(reader, "segment_bytes", RING_BYTES_MIN..=SEGMENT_BYTES_MAX, default.segment_bytes),
        segments: section.number(reader, "segments", SEGMENTS_MIN..=SEGMENTS_MAX, default.segments),
        flush_interval: section.duration(reader, "flush_interval", flush_intervals, default.flush_interval),
        flush_interval_min: section.duration(
            reader,
            "flush_interval_min",
            Duration::ZERO..=Duration::from_secs(1),
            default.flush_interval_min,
        ),
        flush_method: section.choice(reader, "flush_method", &FLUSH_METHODS, default.flush_method),
        storage_latency_alarm: section.duration(
            reader,
            "storage_latency_alarm",
            Duration::from_micros(100)..=Duration::from_secs(60),
            default.storage_latency_alarm,
        ),
        archive: section.parsed(reader, "archive", parse_path),
        archive_command: section.parsed_list(reader, "archive_command", parse_argument).unwrap_or_default(),
        archive_timeout: section.duration(
            reader,
            "archive_timeout",
            Duration::from_secs(1)..=TIMEOUT_MAX,
            default.archive_timeout,
        ),
        archive_required: section.flag(reader, "archive_required", default.archive_required),
        retention_age: section.parsed(reader, "retention_age", parse_retention_age).unwrap_or(default.retention_age),
        retention_min: section.duration(reader, "retention_min", Duration::ZERO..=RETENTION_MAX, default.retention_min),
        retention_undelivered_max: section.duration(
            reader,
            "retention_undelivered_max",
            Duration::ZERO..=RETENTION_MAX,
            default.retention_undelivered_max,
        ),
        recycle_hold_max: section.duration(
            reader,
            "recycle_hold_max",
            Duration::ZERO..=RECYCLE_HOLD_MAX,
            default.recycle_hold_max,
        ),
        sequence_gap_max: section.number(reader, "sequence_gap_max", SEQUENCE_GAPS_MAX, default.sequence_gap_max),
        allow_network_filesystem: section.flag(reader, "allow_network_filesystem", default.allow_network_filesystem),
        allow_tmpfs: section.flag(reader, "allow_tmpfs", default.allow_tmpfs),
    }
}

fn control(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> ControlConfig {
    let listen = section.parsed(reader, "listen", |text| match text {
        "off" => Ok(None),
        address => parse_listen(address).map(Some),
    });
    ControlConfig { listen: listen.unwrap_or(ControlConfig::default().listen) }
}

fn session(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    persistence: &PersistenceConfig,
    dictionaries: &mut Option<Dictionaries>,
) -> SessionConfig {
    let default = SessionConfig::default();
    let role = section.choice(
        reader,
        "role",
        &[("acceptor", SessionRole::Acceptor), ("initiator", SessionRole::Initiator)],
        default.role,
    );
    let identity = identity(reader, section, role);
    let pauses = TIMEOUT_MIN..=TIMEOUT_MAX;
    let (dictionary, password) = match dictionaries {
        Some(dictionaries) => (dictionaries.of(reader, section, &identity.begin_string), password(reader, section)),
        None => Default::default(),
    };
    SessionConfig {
        identity,
        role,
        connect: section.parsed_list(reader, "connect", parse_endpoint).unwrap_or_default(),
        heartbeat_seconds: section.number(reader, "heartbeat_seconds", HEARTBEAT_SECONDS, default.heartbeat_seconds),
        heartbeat_seconds_max: section.number(
            reader,
            "heartbeat_seconds_max",
            HEARTBEAT_SECONDS,
            default.heartbeat_seconds_max,
        ),
        journal: section.has("journal").then(|| section.number(reader, "journal", 0..=JOURNAL_MAX, 0) as u16),
        mode: section.choice(reader, "mode", &MODES, persistence.mode),
        sequence_gap_max: section.number(reader, "sequence_gap_max", SEQUENCE_GAPS_MAX, persistence.sequence_gap_max),
        answer_in_session_reset: section.flag(reader, "answer_in_session_reset", default.answer_in_session_reset),
        reset_on_logon: section.flag(reader, "reset_on_logon", default.reset_on_logon),
        reset_on_logout: section.flag(reader, "reset_on_logout", default.reset_on_logout),
        reset_on_disconnect: section.flag(reader, "reset_on_disconnect", default.reset_on_disconnect),
        next_expected_msg_seq_num: section.flag(reader, "next_expected_msg_seq_num", default.next_expected_msg_seq_num),
        sending_time_tolerance: section.duration(
            reader,
            "sending_time_tolerance",
            Duration::ZERO..=TIMEOUT_MAX,
            default.sending_time_tolerance,
        ),
        explain_refused_time: section.flag(reader, "explain_refused_time", default.explain_refused_time),
        held_messages_max: section.number(reader, "held_messages_max", 1..=1_000_000, default.held_messages_max),
        held_bytes_max: section.size_u32(reader, "held_bytes_max", MESSAGE_BYTES_MIN..=1 << 30, default.held_bytes_max),
        resend_requests_max: section.number(reader, "resend_requests_max", 1..=1_000_000, default.resend_requests_max),
        sending_time_precision: section.choice(
            reader,
            "sending_time_precision",
            &PRECISIONS,
            default.sending_time_precision,
        ),
        last_msg_seq_num_processed: section.flag(
            reader,
            "last_msg_seq_num_processed",
            default.last_msg_seq_num_processed,
        ),
        session_status: section.flag(reader, "session_status", default.session_status),
        resend_rejects: section.flag(reader, "resend_rejects", default.resend_rejects),
        secret_tags: section.secret_tags(reader, "secret_tags").unwrap_or(default.secret_tags),
        dictionary,
        validation: validation(reader, section),
        default_appl_ver_id: section
            .parsed(reader, "default_appl_ver_id", parse_appl_ver_id)
            .unwrap_or(default.default_appl_ver_id),
        username: section.parsed(reader, "username", parse_username),
        password,
        reconnect_min: section.duration(reader, "reconnect_min", pauses.clone(), default.reconnect_min),
        reconnect_max: section.duration(reader, "reconnect_max", pauses, default.reconnect_max),
        schedule: schedule(reader, section),
    }
}

fn validation(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> ValidationConfig {
    let Some(section) = section.table(reader, "validation", VALIDATION) else {
        return ValidationConfig::default();
    };
    let extension_packs = section.flag(reader, "extension_packs", false);
    let mut flag = |key| section.flag_or_alias(reader, key, true);
    ValidationConfig {
        enabled: flag("enabled"),
        checks: Checks {
            msg_type: flag("msg_type"),
            tags: flag("tags"),
            user_defined_tags: flag("user_defined_tags"),
            required: flag("required"),
            values_present: flag("values_present"),
            enumerated_values: flag("enumerated_values"),
            formats: flag("formats"),
            repeated_tags: flag("repeated_tags"),
            group_counts: flag("group_counts"),
            group_order: flag("group_order"),
            section_order: flag("section_order"),
        },
        reject_invalid: flag("reject_invalid"),
        extension_packs,
        comp_ids: flag("comp_ids"),
        orig_sending_time: flag("orig_sending_time"),
    }
}

fn identity(reader: &mut Reader<'_>, section: &Section<'_, '_>, role: SessionRole) -> IdentityPattern {
    let mut pattern = |key: &str, parse: fn(&str) -> Result<Pattern, Wrong>, example: &str| {
        if !section.has(key) {
            let mend = match role {
                SessionRole::Acceptor => {
                    format!("name it, such as {key} = \"{example}\", or \"*\" for any")
                }
                SessionRole::Initiator => format!("name it, such as {key} = \"{example}\""),
            };
            section.blame(reader, key, "is missing", mend);
            return Pattern::Any;
        }
        let pattern = section.parsed(reader, key, parse).unwrap_or(Pattern::Any);
        if pattern == Pattern::Any && role == SessionRole::Initiator && reader.is_sound(&[section.key(key)]) {
            section.blame(
                reader,
                key,
                "makes a template, and an initiator cannot be one",
                format!("name it, such as {key} = \"{example}\""),
            );
        }
        pattern
    };
    let begin_string = pattern("begin_string", parse_begin_string, "FIX.4.4");
    let sender_comp_id = pattern("sender_comp_id", parse_comp_id, "VENUE");
    let target_comp_id = pattern("target_comp_id", parse_comp_id, "DESK1");
    let mut qualifier = |key: &str| section.parsed(reader, key, parse_qualifier).unwrap_or_default();
    IdentityPattern {
        begin_string,
        sender_comp_id,
        sender_sub_id: qualifier("sender_sub_id"),
        sender_location_id: qualifier("sender_location_id"),
        target_comp_id,
        target_sub_id: qualifier("target_sub_id"),
        target_location_id: qualifier("target_location_id"),
    }
}

/// From whichever of the three keys is set.
fn password(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Secret> {
    let set: Vec<&str> =
        ["password", "password_file", "password_env"].into_iter().filter(|key| section.has(key)).collect();
    if set.len() > 1 {
        section.blame(reader, set[1], format!("is set, and so is {}", set[0]), "keep one of them");
        return None;
    }
    let key = *set.first()?;
    let value = section.text(reader, key)?.to_string();
    let read = match key {
        "password" => Ok(value.into_bytes()),
        "password_file" => read_bounded(Path::new(&value), CREDENTIAL_BYTES_MAX as u64 * 2)
            // Editors and `kubectl create secret` from a file leave a line end that is no part of the password.
            .map(|bytes| bytes.trim_ascii_end().to_vec())
            .map_err(|error| Wrong {
                what: format!("cannot be read: {error}"),
                mend: "name a file that the user of fixring can read".into(),
            }),
        _ => env::var(&value).map(String::into_bytes).map_err(|_| Wrong {
            what: "names an environment variable that is not set".into(),
            mend: "set that variable for the process".into(),
        }),
    };
    let checked = read.and_then(|bytes| match bytes.len() {
        0 => Err(Wrong { what: "gives an empty password".into(), mend: "give one, or remove the key".into() }),
        length if length > CREDENTIAL_BYTES_MAX => Err(Wrong {
            what: "gives a password that is too long".into(),
            mend: format!("use at most {CREDENTIAL_BYTES_MAX} bytes"),
        }),
        _ if bytes.contains(&0x01) => Err(Wrong {
            what: "gives a password with a SOH character".into(),
            mend: "FIX cannot carry it: choose another".into(),
        }),
        _ => Ok(bytes),
    });
    match checked {
        Ok(bytes) => Some(Secret::new(bytes)),
        Err(wrong) => {
            section.blame(reader, key, wrong.what, wrong.mend);
            None
        }
    }
}
