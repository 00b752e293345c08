//! The dictionaries that a configuration gives to its sessions, for who prints their messages:
//! names of fields and values, and which fields may hold the delimiter.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, IdentityValues, SessionRole};
use crate::dictionary::{Dictionary, Version, built_in};
use crate::engine::data_fields_of;
use crate::fix::DataFields;
use crate::session::Identity;

/// What one session's messages are read by.
#[derive(Default)]
pub(super) struct Dialect {
    dictionaries: Vec<Arc<Dictionary>>,
    pub data_fields: Option<DataFields>,
}

/// Of all sessions. It lives as long as the process, which prints and ends.
pub(super) struct Dialects {
    /// The last one is the standard's, of sessions that the configuration does not know.
    all: Vec<Dialect>,
    config: Config,
    known: RefCell<HashMap<Box<[u8]>, usize>>,
}

impl Dialects {
    pub fn of(config: Config) -> &'static Self {
        let mut all: Vec<Dialect> = config.sessions.iter().map(|session| Dialect::of(&session.dictionary)).collect();
        all.push(Dialect::default());
        Box::leak(Box::new(Self { all, config, known: RefCell::default() }))
    }

    /// That of the session with this identity, as the journal stores it.
    pub fn of_session(&self, identity: &[u8]) -> &Dialect {
        let known = self.known.borrow().get(identity).copied();
        let at = known.unwrap_or_else(|| {
            let at = self.find(identity).unwrap_or(self.all.len() - 1);
            self.known.borrow_mut().insert(identity.into(), at);
            at
        });
        &self.all[at]
    }

    fn find(&self, identity: &[u8]) -> Option<usize> {
        let identity = Identity::from_bytes(identity)?;
        let values = IdentityValues {
            begin_string: &identity.begin_string,
            sender_comp_id: &identity.sender_comp_id,
            sender_sub_id: &identity.sender_sub_id,
            sender_location_id: &identity.sender_location_id,
            target_comp_id: &identity.target_comp_id,
            target_sub_id: &identity.target_sub_id,
            target_location_id: &identity.target_location_id,
        };
        let among = |role| self.config.session_among(0..self.config.sessions.len(), role, values);
        [SessionRole::Initiator, SessionRole::Acceptor].into_iter().find_map(among)
    }
}

impl Dialect {
    fn of(dictionaries: &[Arc<Dictionary>]) -> Self {
        Self { dictionaries: dictionaries.to_vec(), data_fields: data_fields_of(dictionaries) }
    }

    /// The session's own dictionary of the version, or the standard's.
    pub fn dictionary(&self, version: Version) -> &Dictionary {
        let own = self.dictionaries.iter().find(|dictionary| dictionary.version() == version);
        own.map_or_else(|| built_in(version), |own| &**own)
    }

    /// What a message of FIXT.1.1 is of whose ApplVerID(1128) is not known.
    pub fn application_version(&self) -> Version {
        let mut own = self
            .dictionaries
            .iter()
            .map(|dictionary| dictionary.version())
            .filter(|version| version.appl_ver_id().is_some());
        own.next().unwrap_or(Version::Fix50Sp2)
    }

    /// Whether the session may carry messages of this version over FIXT.1.1.
    pub fn carries(&self, version: Version) -> bool {
        version.needs_transport() || self.dictionaries.iter().any(|dictionary| dictionary.version() == version)
    }
}
