//! The settings that the QuickFIX engines know, and what becomes of each. One table: a setting that is not in it is
//! not a QuickFIX setting that is known.

/// What becomes of a setting.
#[derive(Debug)]
pub(super) enum Rule {
    /// Carried over with others of its kind; in a session where it is not, this is why, and nothing is lost.
    Kind(&'static str),
    /// Y or N, and a key of ours.
    Flag(Flag),
    /// Already so at this value (in any case). At another it is lost, for this reason.
    Only(&'static str, &'static str),
    /// The same, where nothing is lost at another value.
    Indifferent(&'static str, &'static str),
    /// Not needed, for this reason.
    Unneeded(&'static str),
    /// Lost, for this reason.
    Lost(&'static str),
    /// Whether a session speaks TLS.
    TlsSwitch,
    /// How it does. Nobody writes it down for a session in plain TCP, so that it stands for the
    /// switch where there is none.
    Tls,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Flag {
    /// Below `[[session]]`; `validation.` before it where it is one of that table, all of which are true by default.
    pub key: &'static str,
    /// Whether Y is false.
    pub is_inverse: bool,
    /// The first BeginString(8) that has it.
    pub since: &'static str,
    /// How ours differs, where it is not the default.
    pub caveat: &'static str,
}

const fn flag(key: &'static str) -> Rule {
    Rule::Flag(Flag { key, is_inverse: false, since: "", caveat: "" })
}

const fn flag_since(key: &'static str, since: &'static str) -> Rule {
    Rule::Flag(Flag { key, is_inverse: false, since, caveat: "" })
}

const CONNECTS: Rule = Rule::Kind("an acceptor does not connect");
const LISTENS: Rule = Rule::Kind("an initiator does not listen");
const HOURS: Rule = Rule::Kind("it says nothing without StartTime and EndTime");
const DICTIONARY: Rule = Rule::Kind("it is for another BeginString");
const CREDENTIALS: Rule = Rule::Kind("only an initiator sends it: who may log on, an acceptor's application decides");
const GAP: &str = "fixring asks for a whole gap with one ResendRequest(2)";
const PROXY: &str = "fixring connects directly: put what it connects to into connect";
const EVENTS: &str = "events go to standard error";
const MESSAGES: &str = "messages are in the journal, and fixring journal cat prints them";
const LOGS: &str = "messages are in the journal (fixring journal cat prints them), events go to standard error";
const STORE: &str = "fixring has a journal of its own";
const SYSTEM: &str = "fixring leaves it to the operating system: see tuning/";
const LOCAL_ADDRESS: &str = "the operating system chooses the local address of a connection";
const CHECKS_TIMER: &str =
    "a silent counterparty gets a TestRequest(1) a fifth of HeartBtInt(108) late, and as long again";

const KNOWN: &[(&str, Rule)] = &[
    // Who: `session.rs`.
    ("ConnectionType", Rule::Kind("")),
    ("BeginString", Rule::Kind("the template is for any")),
    ("SenderCompID", Rule::Kind("the template is for any")),
    ("SenderSubID", Rule::Kind("it is empty")),
    ("SenderLocationID", Rule::Kind("it is empty")),
    ("TargetCompID", Rule::Kind("the template is for any")),
    ("TargetSubID", Rule::Kind("it is empty")),
    ("TargetLocationID", Rule::Kind("it is empty")),
    ("DefaultApplVerID", Rule::Kind("only FIXT.1.1 sends DefaultApplVerID(1137)")),
    ("AcceptorTemplate", Rule::Kind("an initiator has one counterparty")),
    ("DynamicSessions", Rule::Kind("it counts in [DEFAULT] alone")),
    ("Username", CREDENTIALS),
    ("Password", CREDENTIALS),
    ("LogonTag", CREDENTIALS),
    ("NewPassword", Rule::Lost("fixring does not change passwords")),
    ("SessionQualifier", Rule::Lost("no message carries it: each identity is one session")),
    ("DynamicQualifier", Rule::Only("N", "no message carries it: each identity is one session")),
    ("DynamicSession", Rule::Only("N", "fixring connects every initiator at its start")),
    // Where to.
    ("SocketConnectHost", CONNECTS),
    ("SocketConnectPort", CONNECTS),
    ("ReconnectInterval", CONNECTS),
    ("SocketAcceptPort", LISTENS),
    ("SocketAcceptAddress", LISTENS),
    ("SocketAcceptHost", LISTENS),
    // One of TLS is looked at in `tls.rs`.
    ("SocketConnectProtocol", Rule::Only("TCP", "fixring has TCP alone")),
    ("SocketAcceptProtocol", Rule::Only("TCP", "fixring has TCP alone")),
    ("SocketConnectSourceHost", Rule::Lost(LOCAL_ADDRESS)),
    ("SocketConnectSourcePort", Rule::Lost(LOCAL_ADDRESS)),
    ("SocketLocalHost", Rule::Lost(LOCAL_ADDRESS)),
    ("SocketLocalPort", Rule::Lost(LOCAL_ADDRESS)),
    ("HostSelectionPolicy", Rule::Lost("connect is tried in its order")),
    ("HostSelectionPolicyPriorityStartOverInterval", Rule::Lost("connect is tried in its order")),
    ("AllowedRemoteAddresses", Rule::Lost("any address may connect: let a firewall or a NetworkPolicy decide")),
    ("UseTCPProxy", Rule::Only("N", "fixring does not read the PROXY protocol")),
    // Timers.
    ("HeartBtInt", Rule::Kind("an acceptor follows the HeartBtInt(108) of its counterparty")),
    ("HeartBtIntOverride", Rule::Only("N", "an acceptor follows the HeartBtInt(108) of its counterparty")),
    ("LogonTimeout", Rule::Kind("")),
    ("LogoutTimeout", Rule::Kind("")),
    ("TestRequestDelayMultiplier", Rule::Lost(CHECKS_TIMER)),
    ("HeartBeatTimeoutMultiplier", Rule::Lost(CHECKS_TIMER)),
    ("DisableHeartBeatCheck", Rule::Only("N", "a counterparty that stays silent is always disconnected")),
    (
        "SendLogoutBeforeDisconnectFromTimeout",
        Rule::Only("N", "a counterparty that stays silent is disconnected without a Logout(5)"),
    ),
    // Hours: `schedule.rs`.
    ("StartTime", HOURS),
    ("EndTime", HOURS),
    ("StartDay", HOURS),
    ("EndDay", HOURS),
    ("Weekdays", HOURS),
    ("TimeZone", HOURS),
    ("UseLocalTime", HOURS),
    ("NonStopSession", HOURS),
    ("ResetSeqTime", Rule::Kind("EnableResetSeqTime is not Y")),
    ("EnableResetSeqTime", Rule::Kind("there is no ResetSeqTime")),
    ("LogonTime", Rule::Lost("a session may log on throughout its hours")),
    ("LogoutTime", Rule::Lost("a session is logged out at the end of its hours")),
    ("LogonDay", Rule::Lost("a session may log on throughout its hours")),
    ("LogoutDay", Rule::Lost("a session is logged out at the end of its hours")),
    // Sequence numbers.
    ("ResetOnLogon", flag("reset_on_logon")),
    ("ResetOnLogout", flag("reset_on_logout")),
    ("ResetOnDisconnect", flag("reset_on_disconnect")),
    ("ResetOnError", Rule::Only("N", "numbers are never reset because of an error")),
    ("EnableNextExpectedMsgSeqNum", flag_since("next_expected_msg_seq_num", "FIX.4.4")),
    ("SendNextExpectedMsgSeqNum", flag_since("next_expected_msg_seq_num", "FIX.4.4")),
    ("EnableLastMsgSeqNumProcessed", flag_since("last_msg_seq_num_processed", "FIX.4.2")),
    ("SendResetSeqNumFlag", Rule::Only("N", "ResetSeqNumFlag(141) is sent when numbers are reset, and then alone")),
    ("SendRedundantResendRequests", Rule::Only("N", "what has been asked for is not asked for again meanwhile")),
    ("ResendRequestChunkSize", Rule::Only("0", GAP)),
    ("MaxMessagesInResendRequest", Rule::Only("0", GAP)),
    ("ClosedResendInterval", Rule::Only("N", "EndSeqNo(16) of a ResendRequest(2) is always infinity")),
    ("UseClosedResendInterval", Rule::Only("N", "EndSeqNo(16) of a ResendRequest(2) is always infinity")),
    ("IgnorePossDupResendRequests", Rule::Only("N", "a ResendRequest(2) is answered whatever PossDupFlag(43) says")),
    ("ValidateSequenceNumbers", Rule::Only("Y", "MsgSeqNum(34) is always checked")),
    ("AllowPosDup", Rule::Only("N", "PossDupFlag(43) is the engine's to set")),
    (
        "RefreshOnLogon",
        Rule::Indifferent("N", "nobody else may write to fixring's journal: there is nothing to read again"),
    ),
    // What is checked.
    ("CheckLatency", Rule::Kind("")),
    ("MaxLatency", Rule::Kind("CheckLatency=N switches it off")),
    ("CheckCompID", flag("validation.comp_ids")),
    ("RequiresOrigSendingTime", flag("validation.orig_sending_time")),
    ("UseDataDictionary", flag("validation.enabled")),
    ("ValidateIncomingMessage", flag("validation.enabled")),
    (
        "RejectInvalidMessage",
        Rule::Flag(Flag { key: "validation.reject_invalid", is_inverse: false, since: "", caveat: "" }),
    ),
    ("AllowUnknownMsgFields", Rule::Flag(Flag { key: "validation.tags", is_inverse: true, since: "", caveat: "" })),
    ("ValidateUserDefinedFields", flag("validation.user_defined_tags")),
    ("ValidateFieldsHaveValues", flag("validation.values_present")),
    ("ValidateFieldsOutOfOrder", flag("validation.section_order")),
    ("ValidateUnorderedGroupFields", flag("validation.group_order")),
    ("ValidateLengthAndChecksum", Rule::Only("Y", "BodyLength(9) and CheckSum(10) are always checked")),
    ("ValidateChecksum", Rule::Only("Y", "CheckSum(10) is always checked")),
    ("RejectGarbledMessage", Rule::Only("N", "a garbled message is ignored, as FIX says")),
    ("DisconnectOnError", Rule::Only("N", "what an error is answered with follows FIX")),
    ("RejectMessageOnUnhandledException", Rule::Only("N", "an application that panics ends its worker")),
    (
        "FirstFieldInGroupIsDelimiter",
        Rule::Only("N", "an instance of a group begins with the dictionary's first field"),
    ),
    ("DataDictionary", DICTIONARY),
    ("TransportDataDictionary", DICTIONARY),
    ("AppDataDictionary", DICTIONARY),
    // How messages look.
    ("TimeStampPrecision", Rule::Kind("times have whole seconds before FIX.4.2")),
    ("MillisecondsInTimeStamp", Rule::Kind("TimeStampPrecision is set too")),
    ("PreserveMessageFieldsOrder", Rule::Unneeded("fields go out in the order in which the application writes them")),
    // Storage.
    (
        "FileStorePath",
        Rule::Lost(
            "fixring has a journal of its own (engine.data_dir), in which sessions begin at 1: the numbers in QuickFIX's \
             store are not taken over, so move a session when both sides reset",
        ),
    ),
    ("FileStoreSync", Rule::Kind("")),
    ("FileStoreMaxCachedMsgs", Rule::Unneeded(STORE)),
    ("ForceResendWhenCorruptedStore", Rule::Indifferent("N", STORE)),
    ("PersistMessages", Rule::Only("Y", "every message is stored, and resent when the counterparty asks for it")),
    // Sockets.
    ("SocketNodelay", Rule::Only("Y", "TCP_NODELAY is always on")),
    ("SocketTcpNoDelay", Rule::Only("Y", "TCP_NODELAY is always on")),
    ("SocketReuseAddress", Rule::Indifferent("Y", "SO_REUSEADDR is always on")),
    ("SendBufferSize", Rule::Unneeded(SYSTEM)),
    ("ReceiveBufferSize", Rule::Unneeded(SYSTEM)),
    ("SocketSendBufferSize", Rule::Unneeded(SYSTEM)),
    ("SocketReceiveBufferSize", Rule::Unneeded(SYSTEM)),
    ("SocketKeepAlive", Rule::Unneeded(SYSTEM)),
    ("SocketLinger", Rule::Unneeded(SYSTEM)),
    ("SocketOobInline", Rule::Unneeded(SYSTEM)),
    ("SocketTrafficClass", Rule::Unneeded(SYSTEM)),
    ("SocketSynchronousWrites", Rule::Unneeded("what is sent is in the journal first, and a write never waits")),
    ("SocketSynchronousWriteTimeout", Rule::Unneeded("what is sent is in the journal first, and a write never waits")),
    ("MaxScheduledWriteRequests", Rule::Indifferent("0", "what is to be sent waits in the journal, not in a queue")),
    ("InChanCapacity", Rule::Unneeded("a message is handled when it is read, and there is no queue")),
    ("SocketConnectTimeout", Rule::Lost("how long an attempt to connect may take is not configurable")),
    ("SocketTimeout", Rule::Lost("how long an attempt to connect may take is not configurable")),
    // TLS, of all the engines.
    ("SocketUseSSL", Rule::TlsSwitch),
    ("SSLEnable", Rule::TlsSwitch),
    ("KeyManagerFactoryAlgorithm", Rule::Tls),
    ("KeyStoreType", Rule::Tls),
    ("TrustManagerFactoryAlgorithm", Rule::Tls),
    ("TrustStoreType", Rule::Tls),
    ("NeedClientAuth", Rule::Tls),
    ("EnabledProtocols", Rule::Tls),
    ("CipherSuites", Rule::Tls),
    ("EndpointIdentificationAlgorithm", Rule::Tls),
    ("UseSNI", Rule::Tls),
    ("SNIHostName", Rule::Tls),
    ("SocketPrivateKeyFile", Rule::Tls),
    ("SocketPrivateKeyBytes", Rule::Tls),
    ("SocketCertificateFile", Rule::Tls),
    ("SocketCertificateBytes", Rule::Tls),
    ("SocketCAFile", Rule::Tls),
    ("SocketCABytes", Rule::Tls),
    ("SocketInsecureSkipVerify", Rule::Tls),
    ("SocketServerName", Rule::Tls),
    ("SocketMinimumTLSVersion", Rule::Tls),
    ("CertificationAuthoritiesFile", Rule::Tls),
    ("CertificationAuthoritiesDirectory", Rule::Tls),
    ("CertificateRevocationListFile", Rule::Tls),
    ("CertificateRevocationListDirectory", Rule::Tls),
    ("CertificateVerifyLevel", Rule::Tls),
    // Everything else.
    ("HttpAcceptPort", Rule::Unneeded("health and metrics are at control.listen")),
    ("ContinueInitializationOnError", Rule::Only("N", "fixring starts with a whole configuration or not at all")),
    ("LogMessageWhenSessionNotFound", Rule::Unneeded(EVENTS)),
    ("DebugFileLogPath", Rule::Unneeded(LOGS)),
    ("DebugLogFilePath", Rule::Unneeded(LOGS)),
];

/// Families whose members begin alike.
const FAMILIES: &[(&str, Rule)] = &[
    ("AppDataDictionary.", DICTIONARY),
    ("FileLog", Rule::Unneeded(LOGS)),
    ("FileInclude", Rule::Unneeded(LOGS)),
    ("ScreenLog", Rule::Unneeded(MESSAGES)),
    ("ScreenInclude", Rule::Unneeded(LOGS)),
    ("SLF4JLog", Rule::Unneeded(LOGS)),
    ("SQLLog", Rule::Unneeded(LOGS)),
    ("MongoLog", Rule::Unneeded(LOGS)),
    ("MySQLLog", Rule::Unneeded(LOGS)),
    ("PostgreSQLLog", Rule::Unneeded(LOGS)),
    ("OdbcLog", Rule::Unneeded(LOGS)),
    ("JdbcLog", Rule::Unneeded(LOGS)),
    ("SQLStore", Rule::Unneeded(STORE)),
    ("MongoStore", Rule::Unneeded(STORE)),
    ("MySQLStore", Rule::Unneeded(STORE)),
    ("PostgreSQLStore", Rule::Unneeded(STORE)),
    ("OdbcStore", Rule::Unneeded(STORE)),
    ("Jdbc", Rule::Unneeded(STORE)),
    ("Sleepycat", Rule::Unneeded(STORE)),
    ("CachedFileStore", Rule::Unneeded(STORE)),
    ("Proxy", Rule::Lost(PROXY)),
];

/// What the names of settings of TLS contain, those that are in no table included: one that is not
/// known must not make a session dial in plain TCP.
const TLS_WORDS: [&str; 6] = ["ssl", "tls", "certificat", "keystore", "truststore", "cipher"];

/// Settings that may be followed by a number: the alternates of an initiator.
const NUMBERED: [&str; 5] =
    ["SocketConnectHost", "SocketConnectPort", "SocketConnectSourceHost", "SocketConnectSourcePort", "LogonTag"];

pub(super) fn rule_of(name: &str) -> &'static Rule {
    let known = |name: &str| KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, rule)| rule);
    known(name)
        .or_else(|| number_of(name).and_then(|(stem, _)| known(stem)))
        .or_else(|| FAMILIES.iter().find(|(prefix, _)| begins_with(name, prefix)).map(|(_, rule)| rule))
        .unwrap_or(if is_of_tls(name) { &Rule::Tls } else { &Rule::Unknown })
}

fn is_of_tls(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TLS_WORDS.iter().any(|word| name.contains(word))
}

/// `SocketConnectHost2` is number 2 of `SocketConnectHost`.
pub(super) fn number_of(name: &str) -> Option<(&'static str, u32)> {
    let stem = NUMBERED.iter().find(|stem| begins_with(name, stem))?;
    let digits = &name[stem.len()..];
    let is_number =
        matches!(digits.len(), 1..=3) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    is_number.then(|| Some((*stem, digits.parse().ok()?))).flatten()
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_the_table_once() {
        for (index, (name, _)) in KNOWN.iter().enumerate() {
            assert!(!KNOWN[..index].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)), "{name}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_with_their_numbers_and_by_their_families() {
        assert!(matches!(rule_of("heartbtint"), Rule::Kind(_)));
        assert!(matches!(rule_of("SocketConnectHost12"), Rule::Kind(why) if why.contains("does not connect")));
        assert!(matches!(rule_of("JdbcURL"), Rule::Unneeded(_)));
        assert!(matches!(rule_of("AppDataDictionary.FIX.4.4"), Rule::Kind(_)));
        for name in ["", "HeartBtInt1", "SocketConnectHost0", "SocketConnectHost01", "SocketConnectHostX", "Jdb", "é"]
        {
            assert!(matches!(rule_of(name), Rule::Unknown), "{name}");
        }
        assert_eq!(number_of("SOCKETCONNECTPORT2"), Some(("SocketConnectPort", 2)));
    }

    #[test]
    fn a_flag_of_ours_is_one_of_the_configuration_or_will_be() {
        for (name, rule) in KNOWN {
            let Rule::Flag(flag) = rule else { continue };
            let key = flag.key.split('.').next().unwrap();
            let later = ["validation", "last_msg_seq_num_processed"];
            assert!(crate::config::keys::keys_of("session").contains(&key) || later.contains(&key), "{name}");
        }
    }
}
