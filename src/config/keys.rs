//! The names that a configuration file may use. The reader refuses to ask for a key that is not listed here, and
//! `tests/config.rs` proves that the commented `fixring.toml` documents each one, so the three cannot drift apart.

/// What `begin_string` may say. `"*"` in a template stands for any of them.
pub const SUPPORTED_BEGIN_STRINGS: [&str; 6] = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"];

/// Sections and their keys. `acceptor` and `session` are lists of tables; `session.schedule` is a table within a session.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "engine",
        &[
            "data_dir",
            "workers",
            "cores",
            "housekeeping_cores",
            "wait",
            "application",
            "message_bytes_max",
            "commit_bytes_max",
            "connections_max",
            "pending_connections_max",
            "pending_connections_per_address_max",
            "template_sessions_max",
            "logon_timeout",
            "logout_timeout",
            "stop_timeout",
            "probe_timeout",
            "lock_timeout",
            "lock_memory",
            "stall_alarm",
            "long_turn",
            "trace_stages",
        ],
    ),
    (
        "persistence",
        &[
            "mode",
            "ring_dir",
            "ring_bytes",
            "segment_bytes",
            "segments",
            "flush_interval",
            "flush_interval_min",
            "flush_method",
            "storage_latency_alarm",
            "archive",
            "archive_command",
            "archive_timeout",
            "archive_required",
            "retention_age",
            "retention_min",
            "retention_undelivered_max",
            "recycle_hold_max",
            "sequence_gap_max",
            "allow_network_filesystem",
            "allow_tmpfs",
        ],
    ),
    ("control", &["listen"]),
    ("acceptor", &["listen"]),
    (
        "session",
        &[
            "begin_string",
            "sender_comp_id",
            "sender_sub_id",
            "sender_location_id",
            "target_comp_id",
            "target_sub_id",
            "target_location_id",
            "role",
            "connect",
            "heartbeat_seconds",
            "heartbeat_seconds_max",
            "journal",
            "mode",
            "sequence_gap_max",
            "answer_in_session_reset",
            "reset_on_logon",
            "reset_on_logout",
            "reset_on_disconnect",
            "next_expected_msg_seq_num",
            "sending_time_tolerance",
            "explain_refused_time",
            "held_messages_max",
            "held_bytes_max",
            "resend_requests_max",
            "sending_time_precision",
            "last_msg_seq_num_processed",
            "session_status",
            "resend_rejects",
            "secret_tags",
            "dictionary",
            "dictionary_allow",
            "validation",
            "default_appl_ver_id",
            "username",
            "password",
            "password_file",
            "password_env",
            "reconnect_min",
            "reconnect_max",
            "schedule",
        ],
    ),
    (
        VALIDATION,
        &[
            "enabled",
            "msg_type",
            "tags",
            "user_defined_tags",
            "required",
            "values_present",
            "enumerated_values",
            "formats",
            "repeated_tags",
            "group_counts",
            "group_order",
            "section_order",
            "reject_invalid",
            "extension_packs",
            "comp_ids",
            "orig_sending_time",
        ],
    ),
    ("session.schedule", &["start", "end", "start_day", "end_day", "days", "days_off", "reset", "reset_by", "zone"]),
];

/// The table within a `[[session]]`.
pub(super) const VALIDATION: &str = "session.validation";

/// Another engine's name for a key of ours.
pub(super) struct Alias {
    pub section: &'static str,
    pub name: &'static str,
    pub key: &'static str,
    /// Its `true` is our `false`.
    pub is_inverse: bool,
}

/// The names that users of the QuickFIX engines know.
pub(super) const ALIASES: [Alias; 9] = [
    of_validation("UseDataDictionary", "enabled", false),
    of_validation("RejectInvalidMessage", "reject_invalid", false),
    of_validation("AllowUnknownMsgFields", "tags", true),
    of_validation("ValidateUserDefinedFields", "user_defined_tags", false),
    of_validation("ValidateFieldsHaveValues", "values_present", false),
    of_validation("ValidateUnorderedGroupFields", "group_order", false),
    of_validation("ValidateFieldsOutOfOrder", "section_order", false),
    of_validation("CheckCompID", "comp_ids", false),
    of_validation("RequiresOrigSendingTime", "orig_sending_time", false),
];

const fn of_validation(name: &'static str, key: &'static str, is_inverse: bool) -> Alias {
    Alias { section: VALIDATION, name, key, is_inverse }
}

/// The keys of a section.
pub(super) fn keys_of(section: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

/// The nearest of some names, if one is near enough to have been meant.
pub(super) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
