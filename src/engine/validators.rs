//! The validators of all configured sessions, compiled at start-up: one for each version, dictionary and set of checks,
//! however many sessions and templates use it.

use std::sync::{Arc, OnceLock};

use crate::config::{Pattern, SessionConfig};
use crate::dictionary::{self, Checks, Dictionary, FixtValidator, Validator, built_in, built_in_latest};
use crate::session::{MessageValidator, Validators, Version};

/// Application versions that a FIXT.1.1 session carries where the configuration names no dictionary.
const FIXT_APPLICATIONS: [dictionary::Version; 3] =
    [dictionary::Version::Fix50, dictionary::Version::Fix50Sp1, dictionary::Version::Fix50Sp2];

/// What nearly all sessions use, made once a process: it is several ms of work for the newest versions.
static STANDARD: [OnceLock<Arc<MessageValidator>>; Version::ALL.len()] =
    [const { OnceLock::new() }; Version::ALL.len()];

/// What is compiled already.
#[derive(Default)]
pub(super) struct Compiled {
    validators: Vec<(Key, Arc<MessageValidator>)>,
}

#[derive(Clone, PartialEq)]
struct Key {
    version: Version,
    checks: Checks,
    extension_packs: bool,
    /// Of the session's own dictionaries, those that this version uses.
    own: Vec<Arc<Dictionary>>,
}

impl Compiled {
    /// What a session or template validates by; nothing where its validation is switched off.
    pub fn of(&mut self, session: &SessionConfig) -> Validators {
        let mut validators = Validators::default();
        if session.validation.enabled {
            let speaks = |version: &Version| match &session.identity.begin_string {
                Pattern::Any => true,
                Pattern::Exactly(begin_string) => begin_string.as_bytes() == version.begin_string(),
            };
            for version in Version::ALL.into_iter().filter(speaks) {
                validators.set(version, self.validator(version, session));
            }
        }
        validators
    }

    fn validator(&mut self, version: Version, session: &SessionConfig) -> Arc<MessageValidator> {
        let own = session.dictionary.iter().filter(|dictionary| uses(version, dictionary.version())).cloned().collect();
        // They are FIX.5.0SP2's.
        let extension_packs = session.validation.extension_packs && version.has_default_appl_ver_id();
        let key = Key { version, checks: session.validation.checks, extension_packs, own };
        if let Some((_, validator)) = self.validators.iter().find(|(compiled, _)| *compiled == key) {
            return Arc::clone(validator);
        }
        let validator = if key.own.is_empty() && key.checks == Checks::ALL && !key.extension_packs {
            Arc::clone(STANDARD[version as usize].get_or_init(|| Arc::new(compile(&key))))
        } else {
            Arc::new(compile(&key))
        };
        self.validators.push((key, Arc::clone(&validator)));
        validator
    }
}

/// The dictionary of a session-layer version, transport included.
fn of_session(version: Version) -> dictionary::Version {
    match version {
        Version::Fix40 => dictionary::Version::Fix40,
        Version::Fix41 => dictionary::Version::Fix41,
        Version::Fix42 => dictionary::Version::Fix42,
        Version::Fix43 => dictionary::Version::Fix43,
        Version::Fix44 => dictionary::Version::Fix44,
        Version::Fixt11 => dictionary::Version::Fixt11,
    }
}

fn uses(version: Version, dictionary: dictionary::Version) -> bool {
    dictionary == of_session(version) || version.has_default_appl_ver_id() && dictionary.appl_ver_id().is_some()
}

fn compile(key: &Key) -> MessageValidator {
    let own = |version| key.own.iter().find(|dictionary| dictionary.version() == version).map(|own| &**own);
    let version = of_session(key.version);
    let session = own(version).unwrap_or_else(|| built_in(version));
    const FITS: &str = "the configuration has tried its own dictionaries, and a test the built-in ones";
    if !key.version.has_default_appl_ver_id() {
        return MessageValidator::Whole(Box::new(Validator::new(session, key.checks).expect(FITS)));
    }
    let applications = key.own.iter().map(|own| &**own).filter(|own| own.version().appl_ver_id().is_some());
    let mut applications: Vec<&Dictionary> = applications.collect();
    if applications.is_empty() {
        let standard = if key.extension_packs { built_in_latest } else { built_in };
        applications = FIXT_APPLICATIONS.map(standard).into();
    }
    MessageValidator::Fixt(FixtValidator::new(session, &applications, key.checks).expect(FITS))
}
