//! The counterparties' dictionaries that the sessions name: each file is read once, however many name it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::reader::{Reader, Section};
use super::values::Wrong;
use super::{DictionaryWarnings, Pattern, read_bounded};
use crate::dictionary::{
    Allowance, Allowances, Checks, CompileError, Dictionary, FILE_BYTES_MAX, Severity, Validator, Version, built_in,
    load_allowing,
};

/// Faults of one file that are named after its first; `fixring dictionary check` names all.
const FURTHER_FAULTS_MAX: usize = 100;
const MEND: &str = "correct the file, or allow it by dictionary_allow where that is named: fixring dictionary check says the same of it";
/// The version whose application messages have dictionaries of their own.
const FIXT: &str = "FIXT.1.1";

#[derive(Default)]
pub(super) struct Dictionaries {
    /// Those without a fault, by path and by what they are allowed.
    files: HashMap<(String, Allowances), Arc<Dictionary>>,
    warnings: Vec<DictionaryWarnings>,
    /// What a session named and the engine will be able to make its tables of.
    usable: Vec<Vec<Arc<Dictionary>>>,
}

impl Dictionaries {
    pub fn into_warnings(self) -> Vec<DictionaryWarnings> {
        self.warnings
    }

    /// The files of a session, at most one a version.
    pub fn of(
        &mut self,
        reader: &mut Reader<'_>,
        section: &Section<'_, '_>,
        begin_string: &Pattern,
    ) -> Vec<Arc<Dictionary>> {
        // Of all files, the faults behind the first of each.
        let further = RefCell::new(Vec::new());
        let files = RefCell::new(&mut self.files);
        let warnings = RefCell::new(&mut self.warnings);
        let allowed = section.parsed_one_or_more(reader, "dictionary_allow", allowance).unwrap_or_default();
        let allowed: Allowances = allowed.into_iter().collect();
        let read = |path: &str| {
            let known = files.borrow().get(&(path.into(), allowed)).cloned();
            let dictionary = match known {
                Some(dictionary) => dictionary,
                None => {
                    let (dictionary, warned) = read(path, allowed, &mut further.borrow_mut())?;
                    warnings.borrow_mut().extend(warned);
                    files.borrow_mut().insert((path.into(), allowed), Arc::clone(&dictionary));
                    dictionary
                }
            };
            check_spoken(dictionary.version(), begin_string).map(|()| dictionary)
        };
        let dictionaries = section.parsed_one_or_more(reader, "dictionary", read).unwrap_or_default();
        for what in further.take() {
            section.blame(reader, "dictionary", what, MEND);
        }
        for (at, dictionary) in dictionaries.iter().enumerate() {
            let version = dictionary.version();
            if dictionaries[..at].iter().any(|other| other.version() == version) {
                section.blame(reader, "dictionary", format!("names two of {version}"), "keep one a version");
            }
        }
        if !self.usable.contains(&dictionaries) {
            match check_compile(&dictionaries) {
                Ok(()) => self.usable.push(dictionaries.clone()),
                Err(error) => {
                    let mend = "no message of the standard needs as much: see whether the file is what it should be";
                    section.blame(reader, "dictionary", format!("cannot be used: {error}"), mend);
                }
            }
        }
        dictionaries
    }
}

type Read = (Arc<Dictionary>, Option<DictionaryWarnings>);

fn allowance(written: &str) -> Result<Allowance, Wrong> {
    let what = "is no allowance".into();
    written
        .parse()
        .map_err(|_| Wrong { what, mend: format!("use one of {}", Allowance::ALL.map(Allowance::name).join(", ")) })
}

fn read(path: &str, allowed: Allowances, further: &mut Vec<String>) -> Result<Read, Wrong> {
    let bytes = read_bounded(Path::new(path), FILE_BYTES_MAX as u64).map_err(|error| Wrong {
        what: format!("cannot be read: {error}"),
        mend: "name a dictionary in the QuickFIX XML format".into(),
    })?;
    let loaded = load_allowing(&bytes, allowed).map_err(|faults| {
        let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
        let mut told = errors.map(|fault| format!("is not a dictionary: line {}: {}", fault.line, fault.what));
        let first = told.next().unwrap_or_else(|| "is not a dictionary".into());
        further.extend(told.take(FURTHER_FAULTS_MAX).map(|what| format!("({path}) {what}")));
        Wrong { what: first, mend: MEND.into() }
    })?;
    let first = loaded.warnings.iter().next();
    let first = first.map(|first| (loaded.warnings.iter().len(), format!("line {}: {}", first.line, first.what)));
    let warned = first.map(|(count, first)| DictionaryWarnings { path: path.into(), count, first });
    Ok((Arc::new(loaded.dictionary), warned))
}

fn check_spoken(version: Version, begin_string: &Pattern) -> Result<(), Wrong> {
    let is_spoken = match begin_string {
        Pattern::Any => true,
        Pattern::Exactly(own) if own == FIXT => version.appl_ver_id().is_some() || version.name() == FIXT,
        Pattern::Exactly(own) => version.name() == own,
    };
    if is_spoken {
        return Ok(());
    }
    Err(Wrong {
        what: format!("is a dictionary of {version}, which this session does not speak"),
        mend: "name one of the session's begin_string; with FIXT.1.1, one of FIXT.1.1 or of an application version"
            .into(),
    })
}

/// Whether the engine will be able to make its tables of them.
fn check_compile(dictionaries: &[Arc<Dictionary>]) -> Result<(), CompileError> {
    let own = dictionaries.iter().find(|dictionary| dictionary.version() == Version::Fixt11);
    let transport = own.map_or_else(|| built_in(Version::Fixt11), |own| &**own);
    for dictionary in dictionaries {
        if !dictionary.version().needs_transport() {
            Validator::new(dictionary, Checks::ALL)?;
        }
        if dictionary.version().appl_ver_id().is_some() {
            Validator::with_transport(transport, dictionary, Checks::ALL)?;
        }
    }
    Ok(())
}
