//! What one key means for another: sizes that divide, addresses that collide, identities that overlap.
//!
//! A relation is judged only where the keys in it are sound, so that one mistake is one fault.

use std::net::{IpAddr, SocketAddr};

use super::reader::{Reader, Section};
use super::resolve::{COMMITS_IN_RING_MIN, MESSAGES_IN_COMMIT_MIN};
use super::values::{format_bytes, format_duration};
use super::{AcceptorConfig, ControlConfig, EngineConfig, Pattern, PersistenceConfig, SessionConfig, SessionRole};

pub(super) fn relate_sizes(
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
    if persistence.flush_interval_min > persistence.flush_interval {
        let (min, max) = (persistence.flush_interval_min, persistence.flush_interval);
        Section::blame_relation(
            reader,
            &[(section, "flush_interval_min"), (section, "flush_interval")],
            format!(
                "persistence.flush_interval_min = \"{}\" is longer than flush_interval ({})",
                format_duration(min),
                format_duration(max)
            ),
            format!("use at most \"{}\", or a flush_interval of \"{}\"", format_duration(max), format_duration(min)),
        );
    }
}

pub(super) fn relate_archive(
    reader: &mut Reader<'_>,
    (section, persistence): (&Section<'_, '_>, &PersistenceConfig),
    engine: &EngineConfig,
) {
    let has_command = section.has("archive_command");
    if section.has("archive") && has_command {
        section.blame(reader, "archive_command", "is set, and so is archive", "keep one of the two");
    }
    if persistence.archive_required && !section.has("archive") && !has_command {
        section.blame(
            reader,
            "archive_required",
            "is set, and there is no archive",
            "name a directory in archive or a program in archive_command, or set it to false",
        );
    }
    let is_sound = reader.is_sound(&[section.key("archive_command")]);
    if has_command && is_sound && !persistence.archive_command.iter().skip(1).any(|part| part.contains("{path}")) {
        let what = match persistence.archive_command.is_empty() {
            true => "names no program",
            false => "has no {path} among its arguments, so it would not know what to archive",
        };
        section.blame(reader, "archive_command", what, "write [\"program\", \"{path}\", \"{name}\"]");
    }
    if let Some(archive) = persistence.archive.as_ref().filter(|archive| archive.starts_with(&engine.data_dir)) {
        section.blame(
            reader,
            "archive",
            format!("lies in engine.data_dir ({}), so that one volume's loss would take both", archive.display()),
            "name a directory elsewhere",
        );
    }
}

pub(super) fn relate_engine(reader: &mut Reader<'_>, section: &Section<'_, '_>, engine: &EngineConfig) {
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
    if engine.pending_connections_per_address_max > engine.pending_connections_max {
        let (one, all) = (engine.pending_connections_per_address_max, engine.pending_connections_max);
        Section::blame_relation(
            reader,
            &[(section, "pending_connections_per_address_max"), (section, "pending_connections_max")],
            format!("engine.pending_connections_per_address_max = {one} is more than pending_connections_max ({all})"),
            format!("use at most {all}"),
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

pub(super) fn relate_addresses(
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

pub(super) fn relate_session(
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
pub(super) fn relate_identities(reader: &mut Reader<'_>, sections: &[Section<'_, '_>], sessions: &[SessionConfig]) {
    let keys = ["begin_string", "sender_comp_id", "target_comp_id", "role"];
    let is_sound = |reader: &Reader<'_>, section: &Section<'_, '_>| reader.is_sound(&keys.map(|key| section.key(key)));
    for (index, (section, session)) in sections.iter().zip(sessions).enumerate() {
        if !is_sound(reader, section) {
            continue;
        }
        for (other_section, other) in sections[..index].iter().zip(sessions) {
            // Cheapest first: there are as many pairs as the square of the sessions.
            if !session.identity.overlaps(&other.identity) || !is_sound(reader, other_section) {
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

pub(super) fn relate_acceptors_and_sessions(
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
