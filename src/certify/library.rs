//! The scenarios that are built into the binary.

use super::script::{Scenario, ScriptError};

macro_rules! files {
    ($($name:literal)*) => {
        /// Name and text of each file of `tests/conformance/`, in the order in which they are played.
        pub const FILES: &[(&str, &str)] = &[$((
            concat!("tests/conformance/", $name, ".rule"),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/", $name, ".rule")),
        )),*];
    };
}

files! {
    "logon-accepted"
    "logon-not-first"
    "logon-too-high"
    "logon-too-low"
    "logon-too-high-later"
    "logon-carries-on"
    "logon-heartbeat-missing"
    "logon-heartbeat-negative"
    "logon-heartbeat-no-number"
    "logon-no-number"
    "logon-reset-flag"
    "logon-reset-in-session"
    "logon-second"
    "logon-sender-unknown"
    "logon-target-unknown"
    "logon-begin-string"
    "logon-clock"
    "logon-body-length"
    "logon-no-default-appl-ver-id"
    "number-in-order"
    "number-too-low"
    "number-too-low-poss-dup"
    "number-too-high"
    "number-too-high-once"
    "number-too-high-processed"
    "number-missing"
    "resend-all"
    "resend-admin"
    "resend-part"
    "resend-part-admin"
    "resend-beyond"
    "resend-infinity-by-number"
    "resend-repeated"
    "resend-both-sides"
    "resend-after-reconnect"
    "gap-fill-in-order"
    "gap-fill-too-high"
    "gap-fill-too-low-poss-dup"
    "gap-fill-too-low"
    "gap-fill-new-low"
    "gap-fill-new-equal"
    "reset-high"
    "reset-equal"
    "reset-low"
    "poss-dup-no-orig-sending-time"
    "poss-dup-orig-sending-time-later"
    "poss-dup-new"
    "poss-dup-application"
    "test-request-answered"
    "test-request-no-id"
    "heartbeat-sent"
    "heartbeat-none"
    "heartbeat-test-request"
    "heartbeat-timeout"
    "logout-answered"
    "garbled-check-sum"
    "garbled-body-length"
    "garbled-first-three"
    "garbled-no-msg-type"
    "garbled-gap"
    "msg-type-invalid"
    "msg-type-unsupported"
    "comp-id-sender"
    "comp-id-target"
    "begin-string-in-session"
    "clock-slow"
    "clock-fast"
    "sending-time-missing"
    "sending-time-malformed"
    "reject-received"
    "poss-resend-seen"
    "poss-resend-new"
    "body-order-free"
    "header-order-free"
    "field-unknown"
    "field-user-defined"
    "field-not-of-message"
    "field-required"
    "field-empty"
    "field-enumerated"
    "field-format"
    "field-repeated"
    "field-section-order"
    "group-count"
    "group-empty"
    "group-order"
    "route-reversed"
    "route-reversed-location"
    "resent-rejected"
    "appl-ver-id-unknown"
    "last-processed"
    "next-expected-too-high"
    "next-expected-resend"
}

/// All of them, read.
pub fn scenarios() -> Result<Vec<Scenario>, ScriptError> {
    FILES.iter().map(|(file, text)| Scenario::parse(file, text)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_file_of_tests_conformance_is_built_in() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
        let found: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".rule"))
            .map(|name| format!("tests/conformance/{name}"))
            .collect();
        let built_in: BTreeSet<String> = FILES.iter().map(|(file, _)| file.to_string()).collect();
        assert_eq!(built_in.len(), FILES.len(), "one stands twice in the list");
        assert_eq!(built_in, found);
    }

    #[test]
    fn each_scenario_can_be_read_and_has_a_rule_of_its_own() {
        let scenarios = scenarios().unwrap_or_else(|error| panic!("{error}"));
        let rules: BTreeSet<_> = scenarios.iter().map(|scenario| &scenario.rule).collect();
        assert_eq!(rules.len(), scenarios.len(), "two scenarios have the same rule");
    }
}
