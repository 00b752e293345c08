//! Which session a Logon names: configured sessions and templates, the same table for every worker.

use std::collections::HashMap;
use std::sync::Arc;

use super::validators::Compiled;
use crate::config::{Config, IdentityPattern, IdentityValues, Pattern, PersistenceMode, SessionConfig, SessionRole};
use crate::dictionary::Dictionary;
use crate::fix::{DataFields, FieldIndex, Message, ParseError, SecretTags, parse, parse_by};
use crate::journal::{Mode, RecoveredSession, journal_of};
use crate::schedule::Schedule;
use crate::session::{Identity, Role, Settings, Validators};

/// A Logon whose readings name one session after the other has none.
const READINGS_MAX: u32 = 4;

/// What the configuration says of a session or a template, in the session layer's terms.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    pub settings: Arc<Settings>,
    pub mode: Mode,
    /// The most numbers that its lease reserves at a time.
    pub sequence_gap_max: u32,
    /// An initiator's counterparty, `host:port`, tried in order.
    pub connect: Vec<String>,
    pub reconnect_min_ns: u64,
    pub reconnect_max_ns: u64,
    pub is_template: bool,
    /// The journal that its sessions live in, where it names one.
    pub journal: Option<u16>,
    /// Its place among the configuration's sessions.
    pub index: usize,
    pub schedule: Option<Arc<Schedule>>,
    pattern: IdentityPattern,
}

/// The sessions of a [`Config`], to be looked up by what a Logon says.
#[derive(Clone, Debug)]
pub struct Directory {
    config: Config,
    /// In the order of the configuration's sessions.
    specs: Vec<SessionSpec>,
    /// Sessions without a pattern in their identity.
    exact: HashMap<Identity, usize>,
    /// The same by BeginString(8) and both CompIDs alone: a Logon may say SubIDs that nobody configured. Without this a stranger's
    /// Logon would be compared with ten thousand sessions.
    by_comp_ids: HashMap<Box<[u8]>, Vec<usize>>,
    templates: Vec<usize>,
    /// Those of all sessions, for Logons of which the session is not known yet; unset where there
    /// are none.
    data_fields: Option<DataFields>,
}

/// BeginString(8) and both CompIDs as one key; none of them holds a SOH.
fn comp_ids(identity: &Identity) -> Box<[u8]> {
    [&identity.begin_string[..], &identity.sender_comp_id, &identity.target_comp_id].join(&1).into()
}

impl Directory {
    pub fn new(config: &Config) -> Self {
        let mut compiled = Compiled::default();
        let sessions = config.sessions.iter().enumerate();
        let specs = sessions.map(|(index, session)| SessionSpec::new(config, index, session, compiled.of(session)));
        let specs: Vec<_> = specs.collect();
        let exact: HashMap<_, _> =
            specs.iter().enumerate().filter_map(|(at, spec)| Some((identity_of(&spec.pattern)?, at))).collect();
        let mut by_comp_ids: HashMap<_, Vec<usize>> = HashMap::new();
        for (identity, at) in &exact {
            by_comp_ids.entry(comp_ids(identity)).or_default().push(*at);
        }
        let templates = (0..specs.len()).filter(|at| specs[*at].is_template).collect();
        let data_fields = data_fields_of(config.sessions.iter().flat_map(|session| &session.dictionary));
        Self { config: config.clone(), specs, exact, by_comp_ids, templates, data_fields }
    }

    /// By the number of a session in a journal, what its messages are read by beyond the standard.
    pub fn data_fields_of_journal(&self, sessions: &[RecoveredSession]) -> Vec<Option<&DataFields>> {
        let own = sessions.iter().map(|session| {
            let identity = Identity::from_bytes(&session.identity)?;
            self.spec_of(&identity)?.settings.data_fields.as_ref()
        });
        own.collect()
    }

    /// What a Logon says of its session: `None` within where that can be nobody's. `None` for
    /// another message, and for one that the session's own dictionary cannot read.
    ///
    /// The session says which fields are data and is known only from the message. So the message is
    /// read as if it were any session's, or as far as the standard can read it, and again by the
    /// data fields of the session that it then names, until both readings name the same.
    pub fn peer_of_logon(&self, bytes: &[u8], index: &mut FieldIndex) -> Option<Option<Identity>> {
        let peer = |message: &Message<'_>| (message.msg_type() == b"A").then(|| Identity::of_peer(message));
        let Some(all) = &self.data_fields else {
            return parse(bytes, index).ok().and_then(|message| peer(&message));
        };
        let mut by = |bytes: &[u8], own| parse_by(bytes, index, own).map(|message| peer(&message));
        let mut named = match by(bytes, Some(all)).or_else(|_| by(bytes, None)) {
            Err(ParseError::InvalidTag { offset }) => by(&bytes[..offset as usize], None).ok()?,
            read => read.ok()?,
        };
        for _ in 0..READINGS_MAX {
            let Some((_, spec)) = named.as_ref()?.as_ref().and_then(|named| self.resolve(named, Role::Acceptor)) else {
                return named;
            };
            let own = by(bytes, spec.settings.data_fields.as_ref()).ok()?;
            if own == named {
                return named;
            }
            named = own;
        }
        None
    }

    /// The configured sessions, in a stable order, so that a new data directory numbers them the same each time.
    pub fn configured(&self) -> Vec<(&Identity, &SessionSpec)> {
        let mut sessions: Vec<_> = self.exact.iter().map(|(identity, at)| (identity, &self.specs[*at])).collect();
        sessions.sort_unstable_by_key(|(identity, _)| *identity);
        sessions
    }

    /// The session that a Logon with these ids means, and what is configured for it. Sub and location ids that are not
    /// configured are no part of its identity.
    pub fn resolve(&self, named: &Identity, role: Role) -> Option<(Identity, &SessionSpec)> {
        if let Some(at) = self.exact.get(named)
            && self.specs[*at].settings.role == role
        {
            return Some((named.clone(), &self.specs[*at]));
        }
        let values = IdentityValues {
            begin_string: &named.begin_string,
            sender_comp_id: &named.sender_comp_id,
            sender_sub_id: &named.sender_sub_id,
            sender_location_id: &named.sender_location_id,
            target_comp_id: &named.target_comp_id,
            target_sub_id: &named.target_sub_id,
            target_location_id: &named.target_location_id,
        };
        let role = match role {
            Role::Acceptor => SessionRole::Acceptor,
            Role::Initiator => SessionRole::Initiator,
        };
        let with_comp_ids = self.by_comp_ids.get(&comp_ids(named)).into_iter().flatten();
        let candidates = with_comp_ids.chain(&self.templates).copied();
        let spec = &self.specs[self.config.session_among(candidates, role, values)?];
        let pattern = &spec.pattern;
        let identity = Identity {
            sender_sub_id: pattern.sender_sub_id.as_bytes().into(),
            sender_location_id: pattern.sender_location_id.as_bytes().into(),
            target_sub_id: pattern.target_sub_id.as_bytes().into(),
            target_location_id: pattern.target_location_id.as_bytes().into(),
            ..named.clone()
        };
        // A template that overlaps a session of the other role does not hand it out: to whoever dials in as an
        // initiator's counterparty we would send our Logon, Password(554) and all.
        let taken = self.exact.get(&identity).is_some_and(|at| !std::ptr::eq(&self.specs[*at], spec));
        (!taken).then_some((identity, spec))
    }

    /// What is configured for a session that the journal knows.
    pub fn spec_of(&self, identity: &Identity) -> Option<&SessionSpec> {
        [Role::Initiator, Role::Acceptor].into_iter().find_map(|role| {
            let (resolved, spec) = self.resolve(identity, role)?;
            (resolved == *identity).then_some(spec)
        })
    }
}

impl SessionSpec {
    /// The journal that a session of these lives in, of so many.
    pub fn journal_of(&self, identity: &Identity, journals: u16) -> u16 {
        self.journal.unwrap_or_else(|| journal_of(&identity.to_bytes(), journals))
    }

    fn new(config: &Config, index: usize, session: &SessionConfig, validators: Validators) -> Self {
        let ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let settings = Settings {
            role: match session.role {
                SessionRole::Acceptor => Role::Acceptor,
                SessionRole::Initiator => Role::Initiator,
            },
            heartbeat_interval_s: session.heartbeat_seconds,
            heart_bt_int_s_max: session.heartbeat_seconds_max,
            logon_timeout_ns: ns(config.engine.logon_timeout),
            logout_timeout_ns: ns(config.engine.logout_timeout),
            probe_timeout_ns: ns(config.engine.probe_timeout),
            sending_time_tolerance_ns: ns(session.sending_time_tolerance),
            answers_reset_in_session: session.answer_in_session_reset,
            explains_refused_time: session.explain_refused_time,
            reset_on_logon: session.reset_on_logon,
            reset_on_logout: session.reset_on_logout,
            reset_on_disconnect: session.reset_on_disconnect,
            reset_by_schedule: session.schedule.is_some(),
            reset_in_session: session.schedule.as_ref().is_some_and(|schedule| schedule.reset_by().is_some()),
            next_expected_msg_seq_num: session.next_expected_msg_seq_num,
            held_messages_max: session.held_messages_max,
            held_bytes_max: session.held_bytes_max,
            resend_requests_max: session.resend_requests_max,
            validators,
            reject_invalid: session.validation.reject_invalid,
            data_fields: data_fields_of(&session.dictionary),
            check_comp_ids: session.validation.comp_ids,
            check_orig_sending_time: session.validation.orig_sending_time,
            last_msg_seq_num_processed: session.last_msg_seq_num_processed,
            session_status: session.session_status,
            resend_rejects: session.resend_rejects,
            secrets: SecretTags::new(&session.secret_tags),
            precision: session.sending_time_precision,
            default_appl_ver_id: session.default_appl_ver_id.as_bytes().into(),
            username: session.username.as_ref().map(|username| username.as_bytes().into()),
            password: session.password.as_ref().map(|password| password.expose().into()),
            message_bytes_max: config.engine.message_bytes_max,
            ..Settings::default()
        };
        Self {
            settings: Arc::new(settings),
            mode: mode_of(session.mode),
            sequence_gap_max: session.sequence_gap_max,
            connect: session.connect.iter().map(ToString::to_string).collect(),
            reconnect_min_ns: ns(session.reconnect_min),
            reconnect_max_ns: ns(session.reconnect_max),
            is_template: session.is_template(),
            journal: session.journal,
            index,
            schedule: session.schedule.clone(),
            pattern: session.identity.clone(),
        }
    }
}

/// What dictionaries declare of fields that may hold the delimiter, beyond the standard.
pub fn data_fields_of<'d>(dictionaries: impl IntoIterator<Item = &'d Arc<Dictionary>>) -> Option<DataFields> {
    let pairs = dictionaries.into_iter().flat_map(|dictionary| dictionary.data_pairs()).copied();
    Some(DataFields::new(pairs)).filter(|fields| !fields.is_empty())
}

/// The identity that a pattern stands for, unless a part of it is "*".
fn identity_of(pattern: &IdentityPattern) -> Option<Identity> {
    let exactly = |pattern: &Pattern| match pattern {
        Pattern::Any => None,
        Pattern::Exactly(value) => Some(Box::from(value.as_bytes())),
    };
    Some(Identity {
        begin_string: exactly(&pattern.begin_string)?,
        sender_comp_id: exactly(&pattern.sender_comp_id)?,
        sender_sub_id: pattern.sender_sub_id.as_bytes().into(),
        sender_location_id: pattern.sender_location_id.as_bytes().into(),
        target_comp_id: exactly(&pattern.target_comp_id)?,
        target_sub_id: pattern.target_sub_id.as_bytes().into(),
        target_location_id: pattern.target_location_id.as_bytes().into(),
    })
}

/// A session that the configuration names in full.
pub(crate) struct Identified {
    pub identity_bytes: usize,
    pub journal: u16,
}

/// All of them, and in which of so many journals they live.
pub(crate) fn identified(config: &Config, journals: u16) -> Vec<Identified> {
    let named =
        config.sessions.iter().filter_map(|session| Some((identity_of(&session.identity)?.to_bytes(), session)));
    let in_journal = named.map(|(identity, session)| Identified {
        identity_bytes: identity.len(),
        journal: session.journal.unwrap_or_else(|| journal_of(&identity, journals)),
    });
    in_journal.collect()
}

pub(crate) fn mode_of(mode: PersistenceMode) -> Mode {
    match mode {
        PersistenceMode::Buffered => Mode::Buffered,
        PersistenceMode::Flush => Mode::Flush,
        PersistenceMode::Sync => Mode::Sync,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in review: the template fitted the initiator's own counterparty, whose dial-in was then given the
    /// initiator's session.
    #[test]
    fn a_template_does_not_hand_out_an_initiator_s_session() {
        let text = r#"
            [[session]]
            begin_string = "FIX.4.4"
            sender_comp_id = "VENUE"
            target_comp_id = "DESK1"
            role = "initiator"
            connect = ["127.0.0.1:1"]
            [[session]]
            begin_string = "FIX.4.4"
            sender_comp_id = "VENUE"
            target_comp_id = "*"
        "#;
        let directory = Directory::new(&Config::parse(text, "test").unwrap());
        let mut desk1 = Identity::new(b"FIX.4.4", b"VENUE", b"DESK1");
        assert!(directory.resolve(&desk1, Role::Acceptor).is_none());
        desk1.target_sub_id = Box::from(&b"SUB"[..]);
        assert!(directory.resolve(&desk1, Role::Acceptor).is_none(), "nor with a SubID that nobody configured");
        let desk2 = Identity::new(b"FIX.4.4", b"VENUE", b"DESK2");
        assert!(directory.resolve(&desk2, Role::Acceptor).is_some_and(|(_, spec)| spec.is_template));
    }

    #[test]
    fn a_logon_with_sub_ids_finds_the_session_that_names_most_of_them_or_none_or_a_template() {
        let text = r#"
            [[session]]
            begin_string = "FIX.4.4"
            sender_comp_id = "VENUE"
            target_comp_id = "DESK1"
            [[session]]
            begin_string = "FIX.4.4"
            sender_comp_id = "VENUE"
            target_comp_id = "DESK1"
            target_sub_id = "ALGO"
            journal = 1
            [[session]]
            begin_string = "*"
            sender_comp_id = "VENUE"
            target_comp_id = "*"
            journal = 2
        "#;
        let directory = Directory::new(&Config::parse(text, "test").unwrap());
        let mut named = Identity::new(b"FIX.4.4", b"VENUE", b"DESK1");
        let journal = |named: &Identity| {
            let (identity, spec) = directory.resolve(named, Role::Acceptor)?;
            assert_eq!(directory.spec_of(&identity).map(|spec| spec.index), Some(spec.index));
            Some((spec.index, spec.journal_of(&identity, 1)))
        };
        assert_eq!(journal(&named), Some((0, 0)), "by the hash");
        named.target_sub_id = Box::from(&b"DESK"[..]);
        assert_eq!(journal(&named), Some((0, 0)));
        named.target_sub_id = Box::from(&b"ALGO"[..]);
        assert_eq!(journal(&named), Some((1, 1)));
        named.target_comp_id = Box::from(&b"DESK2"[..]);
        assert_eq!(journal(&named), Some((2, 2)));
        named.sender_comp_id = Box::from(&b"OTHER"[..]);
        assert_eq!(journal(&named), None);
    }

    /// Two dictionaries that disagree: 5001 announces the data of 5002 in one, and is a number in
    /// the other.
    #[test]
    fn a_logon_is_read_by_the_dictionary_of_the_session_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, kind: &str| {
            let fields =
                format!("<field number='5001' name='A' type='{kind}'/><field number='5002' name='B' type='DATA'/>");
            let fields = if kind == "LENGTH" { fields } else { fields.replace("DATA", "STRING") };
            let xml = crate::dictionary::to_xml(crate::dictionary::built_in(crate::dictionary::Version::Fix44));
            let path = folder.path().join(name);
            std::fs::write(&path, xml.replace("<fields>", &format!("<fields>{fields}"))).unwrap();
            path
        };
        let (data, plain) = (write("data.xml", "LENGTH"), write("plain.xml", "INT"));
        let session = |target: &str, file: &std::path::Path| {
            let ids = format!("sender_comp_id = \"VENUE\"\ntarget_comp_id = \"{target}\"");
            format!("[[session]]\nbegin_string = \"FIX.4.4\"\n{ids}\ndictionary = \"{}\"\n", file.display())
        };
        let with_sub = session("PLAIN", &plain) + "target_sub_id = \"ALGO\"\n";
        let text = [session("DATA", &data), session("PLAIN", &plain), with_sub].concat();
        let directory = Directory::new(&Config::parse(&text, "test").unwrap());
        let mut index = FieldIndex::with_capacity(64);
        let mut named = |sender: &str, body: &str| {
            let text = format!("8=FIX.4.4|9=1|35=A|49={sender}|56=VENUE|34=1|{body}98=0|108=30|10=000|");
            let bytes = text.replace('|', "\x01").into_bytes();
            directory.peer_of_logon(&bytes, &mut index)?.map(|identity| identity.to_string())
        };
        let of = |session: &str| Some(session.to_owned());
        // Data that hides whose it is from nobody who knows that it is data.
        for blob in ["5001=5|5002=a|b=c|", "5001=8|5002=a|50=ALG|", "5001=6|5002=a|50=b|", "5001=4|5002=a||||"] {
            assert_eq!(named("DATA", blob), of("FIX.4.4:VENUE->DATA"), "{blob}");
        }
        // A number in front of a text, which another session's dictionary takes for a length.
        for body in ["5001=3|5002=abcdef|50=ALGO|", "5001=10|5002=ab|50=ALGO|", "5001=x|5002=ab|50=ALGO|"] {
            assert_eq!(named("PLAIN", body), of("FIX.4.4:VENUE->PLAIN/ALGO"), "{body}");
        }
        assert_eq!(named("PLAIN", "5001=5|5002=a|b=c|"), None, "its own dictionary cannot read it");
        assert_eq!(named("DATA", "5001=9|5002=a|"), None);
        assert_eq!(named("STRANGER", "5001=9|5002=a|"), of("FIX.4.4:VENUE->STRANGER"));
    }
}
