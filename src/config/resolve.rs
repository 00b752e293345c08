//! From the text to a [`Config`]: each key with its range, then the relations between keys.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use toml::de::DeTable;

use super::errors::ConfigErrors;
use super::keys::{SUPPORTED_BEGIN_STRINGS, nearest};
use super::reader::{Reader, Section};
use super::values::{Wrong, format_bytes, format_duration, parse_endpoint, parse_listen};
use super::{
    AcceptorConfig, BuiltInApplication, Config, ControlConfig, EngineConfig, IdentityPattern, Pattern,
    PersistenceConfig, PersistenceMode, Placement, Secret, SessionConfig, SessionRole, Wait,
};

const MODES: [(&str, PersistenceMode); 3] =
    [("buffered", PersistenceMode::Buffered), ("flush", PersistenceMode::Flush), ("sync", PersistenceMode::Sync)];

/// Below it a Logon with a few custom fields would not fit.
const MESSAGE_BYTES_MIN: u32 = 1 << 10;
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
const COMMIT_BYTES_MAX: u32 = 64 << 20;
/// Rings are mapped, so both bounds are whole pages of every kind but the largest.
const RING_BYTES_MIN: u64 = 64 << 10;
const RING_BYTES_MAX: u64 = 16 << 30;
const SEGMENT_BYTES_MAX: u64 = 64 << 30;
/// One that is written, one that is ready, one that is recycled.
const SEGMENTS_MIN: u32 = 3;
const SEGMENTS_MAX: u32 = 65_536;
/// A ring holds the commit that is open, the one before it and what the flusher has not carried yet.
const COMMITS_IN_RING_MIN: u64 = 4;
/// A commit holds at least the inbound message and one answer.
const MESSAGES_IN_COMMIT_MIN: u32 = 2;
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
const ID_BYTES_MAX: usize = 64;
const SECRET_BYTES_MAX: usize = 1024;

const _: () = assert!(MESSAGE_BYTES_MAX as u64 * MESSAGES_IN_COMMIT_MIN as u64 <= COMMIT_BYTES_MAX as u64);
const _: () = assert!(COMMIT_BYTES_MAX as u64 * COMMITS_IN_RING_MIN <= RING_BYTES_MAX);
const _: () = assert!(RING_BYTES_MAX <= SEGMENT_BYTES_MAX);

pub(super) fn resolve(text: &str, name: &str) -> Result<Config, ConfigErrors> {
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
    let sessions: Vec<SessionConfig> =
        session_sections.iter().map(|section| session(&mut reader, section, persistence.mode)).collect();

    relate_sizes(&mut reader, (&engine_section, &engine), (&persistence_section, &persistence));
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
        true => vec![SessionConfig { mode: persistence.mode, ..SessionConfig::default() }],
        false => sessions,
    };
    if acceptors.is_empty() && sessions.iter().any(|session| session.role == SessionRole::Acceptor) {
        acceptors.push(AcceptorConfig::default());
    }
    Ok(Config { engine, persistence, control, acceptors, sessions, locations: reader.locations })
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
        pending_connections_max: section.number(
            reader,
            "pending_connections_max",
            1..=65_536,
            default.pending_connections_max,
        ),
        template_sessions_max: section.number(
            reader,
            "template_sessions_max",
            0..=1_000_000,
            default.template_sessions_max,
        ),
        logon_timeout: section.duration(reader, "logon_timeout", timeouts.clone(), default.logon_timeout),
        logout_timeout: section.duration(reader, "logout_timeout", timeouts.clone(), default.logout_timeout),
        probe_timeout: section.duration(reader, "probe_timeout", timeouts, default.probe_timeout),
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
    }
}

fn control(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> ControlConfig {
    let listen = section.parsed(reader, "listen", |text| match text {
        "off" => Ok(None),
        address => parse_listen(address).map(Some),
    });
    ControlConfig { listen: listen.unwrap_or(ControlConfig::default().listen) }
}

fn session(reader: &mut Reader<'_>, section: &Section<'_, '_>, mode: PersistenceMode) -> SessionConfig {
    let default = SessionConfig::default();
    let role = section.choice(
        reader,
        "role",
        &[("acceptor", SessionRole::Acceptor), ("initiator", SessionRole::Initiator)],
        default.role,
    );
    let identity = identity(reader, section, role);
    let pauses = TIMEOUT_MIN..=TIMEOUT_MAX;
    SessionConfig {
        identity,
        role,
        connect: section.parsed_list(reader, "connect", parse_endpoint).unwrap_or_default(),
        heartbeat_seconds: section.number(reader, "heartbeat_seconds", 1..=3600, default.heartbeat_seconds),
        mode: section.choice(reader, "mode", &MODES, mode),
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
        held_messages_max: section.number(reader, "held_messages_max", 1..=1_000_000, default.held_messages_max),
        held_bytes_max: section.size_u32(reader, "held_bytes_max", MESSAGE_BYTES_MIN..=1 << 30, default.held_bytes_max),
        default_appl_ver_id: section
            .parsed(reader, "default_appl_ver_id", parse_appl_ver_id)
            .unwrap_or(default.default_appl_ver_id),
        username: section.parsed(reader, "username", parse_username),
        password: password(reader, section),
        reconnect_min: section.duration(reader, "reconnect_min", pauses.clone(), default.reconnect_min),
        reconnect_max: section.duration(reader, "reconnect_max", pauses, default.reconnect_max),
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
        "password_file" => fs::read(&value)
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
        length if length > SECRET_BYTES_MAX => Err(Wrong {
            what: "gives a password that is too long".into(),
            mend: format!("use at most {SECRET_BYTES_MAX} bytes"),
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

fn relate_sizes(
    reader: &mut Reader<'_>,
    (engine_section, engine): (&Section<'_, '_>, &EngineConfig),
    (section, persistence): (&Section<'_, '_>, &PersistenceConfig),
) {
    let commit = u64::from(engine.commit_bytes_max);
    let message = u64::from(engine.message_bytes_max);
    let (ring, segment) = (persistence.ring_bytes, persistence.segment_bytes);
    let commit_min = message * u64::from(MESSAGES_IN_COMMIT_MIN);
    if commit < commit_min {
        Section::blame_relation(
            reader,
            &[(engine_section, "commit_bytes_max"), (engine_section, "message_bytes_max")],
            format!(
                "engine.commit_bytes_max = \"{}\" is less than twice message_bytes_max ({})",
                format_bytes(commit),
                format_bytes(message)
            ),
            format!("use at least \"{}\"", format_bytes(commit_min)),
        );
    }
    if !ring.is_power_of_two() {
        let below = 1u64 << ring.ilog2();
        section.blame(
            reader,
            "ring_bytes",
            "is not a power of two",
            format!("use \"{}\" or \"{}\"", format_bytes(below), format_bytes(below * 2)),
        );
    }
    let ring_min = commit * COMMITS_IN_RING_MIN;
    if ring < ring_min {
        Section::blame_relation(
            reader,
            &[(section, "ring_bytes"), (engine_section, "commit_bytes_max")],
            format!(
                "persistence.ring_bytes = \"{}\" is less than four times engine.commit_bytes_max ({})",
                format_bytes(ring),
                format_bytes(commit)
            ),
            format!("use a ring of at least \"{}\"", format_bytes(ring_min.next_power_of_two())),
        );
    }
    if !segment.is_multiple_of(ring) {
        let below = segment / ring * ring;
        let mend = match below {
            0 => format!("use \"{}\"", format_bytes(ring)),
            _ => format!("use \"{}\" or \"{}\"", format_bytes(below), format_bytes(below + ring)),
        };
        Section::blame_relation(
            reader,
            &[(section, "segment_bytes"), (section, "ring_bytes")],
            format!(
                "persistence.segment_bytes = \"{}\" is not a multiple of ring_bytes ({})",
                format_bytes(segment),
                format_bytes(ring)
            ),
            mend,
        );
    }
}

fn relate_engine(reader: &mut Reader<'_>, section: &Section<'_, '_>, engine: &EngineConfig) {
    if engine.pending_connections_max > engine.connections_max {
        Section::blame_relation(
            reader,
            &[(section, "pending_connections_max"), (section, "connections_max")],
            format!(
                "engine.pending_connections_max = {} is more than connections_max ({})",
                engine.pending_connections_max, engine.connections_max
            ),
            format!("use at most {}", engine.connections_max),
        );
    }
    if engine.probe_timeout > engine.logon_timeout {
        Section::blame_relation(
            reader,
            &[(section, "probe_timeout"), (section, "logon_timeout")],
            format!(
                "engine.probe_timeout = \"{}\" is longer than logon_timeout ({}), so the second Logon would never be let in",
                format_duration(engine.probe_timeout),
                format_duration(engine.logon_timeout)
            ),
            format!("use at most \"{}\"", format_duration(engine.logon_timeout)),
        );
    }
}

fn relate_addresses(
    reader: &mut Reader<'_>,
    (control_section, control): (&Section<'_, '_>, &ControlConfig),
    (sections, acceptors): (&[Section<'_, '_>], &[Option<SocketAddr>]),
) {
    const MEND: &str = "give each listener a port of its own";
    for (index, (section, listen)) in sections.iter().zip(acceptors).enumerate() {
        let Some(listen) = listen else { continue };
        if acceptors[..index].iter().flatten().any(|other| collide(other, listen)) {
            section.blame(reader, "listen", "is the address of another [[acceptor]] too", MEND);
        }
        if control.listen.is_some_and(|control| collide(&control, listen)) {
            Section::blame_relation(
                reader,
                &[(section, "listen"), (control_section, "listen")],
                format!("{} = \"{listen}\" is the address of [control] too", section.key("listen")),
                MEND,
            );
        }
    }
    let default = AcceptorConfig::default().listen;
    if acceptors.is_empty() && control.listen.is_some_and(|control| collide(&control, &default)) {
        control_section.blame(reader, "listen", "is the address of the default acceptor too", MEND);
    }
}

/// Whether two listeners cannot both be bound. Port 0 is another port each time; an unspecified IPv6 address takes
/// IPv4 too.
fn collide(a: &SocketAddr, b: &SocketAddr) -> bool {
    let covers = |wide: &IpAddr, other: &IpAddr| match wide {
        IpAddr::V4(address) => address.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(address) => address.is_unspecified(),
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(&a.ip(), &b.ip()) || covers(&b.ip(), &a.ip()))
}

fn relate_session(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    session: &SessionConfig,
    (engine_section, engine): (&Section<'_, '_>, &EngineConfig),
) {
    match session.role {
        SessionRole::Initiator if session.connect.is_empty() && reader.is_sound(&[section.key("connect")]) => {
            section.blame(
                reader,
                "connect",
                "names no endpoint, and an initiator needs one",
                "add connect = [\"host:port\"]",
            );
        }
        SessionRole::Acceptor => {
            for (key, why) in [
                ("connect", "an acceptor waits for its peer"),
                ("username", "only an initiator sends it"),
                ("password", "only an initiator sends it"),
                ("password_file", "only an initiator sends it"),
                ("password_env", "only an initiator sends it"),
            ] {
                if section.has(key) {
                    let mend = format!("remove it, or set role = \"initiator\": {why}");
                    section.blame(reader, key, "is set on an acceptor", mend);
                }
            }
        }
        SessionRole::Initiator => {}
    }
    if let Pattern::Exactly(begin_string) = &session.identity.begin_string {
        if session.next_expected_msg_seq_num && begin_string.as_str() < "FIX.4.4" {
            section.blame(
                reader,
                "next_expected_msg_seq_num",
                format!("needs NextExpectedMsgSeqNum(789), which {begin_string} does not have"),
                "set it to false, or use FIX.4.4 or FIXT.1.1",
            );
        }
        if section.has("default_appl_ver_id") && begin_string != "FIXT.1.1" {
            section.blame(
                reader,
                "default_appl_ver_id",
                format!("is set on {begin_string}, and only FIXT.1.1 sends DefaultApplVerID(1137)"),
                "remove it",
            );
        }
    }
    if session.held_bytes_max < engine.message_bytes_max {
        Section::blame_relation(
            reader,
            &[(section, "held_bytes_max"), (engine_section, "message_bytes_max")],
            format!(
                "{} = \"{}\" is less than engine.message_bytes_max ({}), so some messages could not be held at all",
                section.key("held_bytes_max"),
                format_bytes(session.held_bytes_max.into()),
                format_bytes(engine.message_bytes_max.into())
            ),
            format!("use at least \"{}\"", format_bytes(engine.message_bytes_max.into())),
        );
    }
    if session.reconnect_min > session.reconnect_max {
        Section::blame_relation(
            reader,
            &[(section, "reconnect_min"), (section, "reconnect_max")],
            format!(
                "{} = \"{}\" is longer than reconnect_max ({})",
                section.key("reconnect_min"),
                format_duration(session.reconnect_min),
                format_duration(session.reconnect_max)
            ),
            format!("use at most \"{}\"", format_duration(session.reconnect_max)),
        );
    }
}

/// An inbound Logon must belong to one `[[session]]`, and a journal must hold each identity once.
fn relate_identities(reader: &mut Reader<'_>, sections: &[Section<'_, '_>], sessions: &[SessionConfig]) {
    let keys = ["begin_string", "sender_comp_id", "target_comp_id", "role"];
    let is_sound = |reader: &Reader<'_>, section: &Section<'_, '_>| reader.is_sound(&keys.map(|key| section.key(key)));
    for (index, (section, session)) in sections.iter().zip(sessions).enumerate() {
        if !is_sound(reader, section) {
            continue;
        }
        for (other_section, other) in sections[..index].iter().zip(sessions) {
            if !is_sound(reader, other_section) || !session.identity.overlaps(&other.identity) {
                continue;
            }
            let other_name = other_section.key("target_comp_id");
            let other_name = other_name.trim_end_matches(".target_comp_id");
            if session.identity == other.identity && !session.is_template() {
                section.blame(
                    reader,
                    "target_comp_id",
                    format!("makes {} the same session as {other_name}", session.identity),
                    "remove one of the two, or tell them apart by CompID, SubID or LocationID",
                );
            } else if session.is_template() && other.is_template() {
                section.blame(
                    reader,
                    "target_comp_id",
                    format!(
                        "makes a template, {}, that overlaps {other_name}, {}: a counterparty could belong to either",
                        session.identity, other.identity
                    ),
                    "narrow one of the two until no identity fits both",
                );
            } else if session.role == other.role && session.identity.specificity() == other.identity.specificity() {
                section.blame(
                    reader,
                    "target_comp_id",
                    format!(
                        "makes {}, which a message could belong to as well as to {other_name}, {}",
                        session.identity, other.identity
                    ),
                    "name the same SubIDs and LocationIDs in both",
                );
            }
        }
    }
}

fn relate_acceptors_and_sessions(
    reader: &mut Reader<'_>,
    (sections, acceptors): (&[Section<'_, '_>], &[Option<SocketAddr>]),
    sessions: &[SessionConfig],
) {
    for (section, listen) in sections.iter().zip(acceptors) {
        let Some(listen) = listen else { continue };
        if sessions.is_empty() && !listen.ip().is_loopback() {
            section.blame(
                reader,
                "listen",
                "is open to other machines, and no [[session]] says who may log on",
                "add a [[session]] for each counterparty, or one with \"*\" if anybody may",
            );
        }
        if !sessions.is_empty() && sessions.iter().all(|session| session.role == SessionRole::Initiator) {
            section.blame(
                reader,
                "listen",
                "waits for counterparties, and no [[session]] has role = \"acceptor\"",
                "add such a session, or remove the [[acceptor]]",
            );
        }
    }
}

fn parse_path(text: &str) -> Result<PathBuf, Wrong> {
    match text.is_empty() || text.contains('\0') {
        true => Err(Wrong { what: "is not a path".into(), mend: "name a directory".into() }),
        false => Ok(PathBuf::from(text)),
    }
}

fn parse_begin_string(text: &str) -> Result<Pattern, Wrong> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    if SUPPORTED_BEGIN_STRINGS.contains(&text) {
        return Ok(Pattern::Exactly(text.into()));
    }
    let all = SUPPORTED_BEGIN_STRINGS.map(|known| format!("\"{known}\"")).join(", ");
    let mend = if text.to_ascii_uppercase().starts_with("FIX.5") {
        "FIX 5.0 and later speak over the session protocol \"FIXT.1.1\": use that, and default_appl_ver_id".into()
    } else if matches!(text, "FIX.4.0" | "FIX.4.1" | "FIX.4.3") {
        format!("use one of {all}, or \"*\" in a template")
    } else {
        match nearest(text, SUPPORTED_BEGIN_STRINGS) {
            Some(near) => {
                format!("did you mean \"{near}\"? It is one of {all}, or \"*\" in a template")
            }
            None => format!("use one of {all}, or \"*\" in a template"),
        }
    };
    Err(Wrong { what: "is not a supported version".into(), mend })
}

fn parse_comp_id(text: &str) -> Result<Pattern, Wrong> {
    match text {
        "*" => Ok(Pattern::Any),
        _ if text.contains('*') => Err(Wrong {
            what: "holds a \"*\" beside other characters".into(),
            mend: "use \"*\" alone for any CompID, or the whole CompID".into(),
        }),
        _ => check_id(text).map(|()| Pattern::Exactly(text.into())),
    }
}

fn parse_qualifier(text: &str) -> Result<String, Wrong> {
    match text {
        // The template writes the empty default out.
        "" => Ok(String::new()),
        "*" => Err(Wrong { what: "cannot be a pattern".into(), mend: "leave the key out: any value fits then".into() }),
        _ => check_id(text).map(|()| text.into()),
    }
}

fn check_id(text: &str) -> Result<(), Wrong> {
    let wrong = |what: &str, mend: String| Err(Wrong { what: what.into(), mend });
    if text.is_empty() || text.len() > ID_BYTES_MAX {
        return wrong("is not an identifier", format!("use 1 to {ID_BYTES_MAX} characters"));
    }
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) || text.trim() != text {
        return wrong("is not an identifier", "use printable ASCII without spaces at the ends".into());
    }
    Ok(())
}

/// ApplVerID(1128): FIX.4.0 is 2, FIX.5.0SP2 is 9.
fn parse_appl_ver_id(text: &str) -> Result<String, Wrong> {
    match text.as_bytes() {
        [b'2'..=b'9'] => Ok(text.into()),
        _ => Err(Wrong {
            what: "is not an ApplVerID(1128)".into(),
            mend: "use \"7\" for FIX.5.0, \"8\" for FIX.5.0SP1 or \"9\" for FIX.5.0SP2".into(),
        }),
    }
}

fn parse_username(text: &str) -> Result<String, Wrong> {
    match text.is_empty() || text.len() > SECRET_BYTES_MAX || text.contains('\x01') {
        true => Err(Wrong {
            what: "is not a user name".into(),
            mend: format!("use 1 to {SECRET_BYTES_MAX} characters without SOH"),
        }),
        false => Ok(text.into()),
    }
}
