//! Texts with a form of their own: paths, versions, CompIDs, names.

use std::path::PathBuf;

use super::Pattern;
use super::keys::{SUPPORTED_BEGIN_STRINGS, nearest};
use super::values::Wrong;
use crate::dictionary::Version;

/// CompIDs, SubIDs and LocationIDs; as long as a session's identity may have them.
const ID_BYTES_MAX: usize = 64;
/// Of a Username(553) or Password(554).
pub(super) const CREDENTIAL_BYTES_MAX: usize = 1024;

pub(super) fn parse_path(text: &str) -> Result<PathBuf, Wrong> {
    match text.is_empty() || text.contains('\0') {
        true => Err(Wrong { what: "is not a path".into(), mend: "name a directory".into() }),
        false => Ok(PathBuf::from(text)),
    }
}

/// One of a command's.
pub(super) fn parse_argument(text: &str) -> Result<String, Wrong> {
    match text.contains('\0') {
        true => Err(Wrong { what: "holds a NUL".into(), mend: "remove it".into() }),
        false => Ok(text.into()),
    }
}

pub(super) fn parse_begin_string(text: &str) -> Result<Pattern, Wrong> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    if SUPPORTED_BEGIN_STRINGS.contains(&text) {
        return Ok(Pattern::Exactly(text.into()));
    }
    let all = SUPPORTED_BEGIN_STRINGS.map(|known| format!("\"{known}\"")).join(", ");
    let mend = if text.to_ascii_uppercase().starts_with("FIX.5") {
        "FIX 5.0 and later speak over the session protocol \"FIXT.1.1\": use that, and default_appl_ver_id".into()
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

pub(super) fn parse_comp_id(text: &str) -> Result<Pattern, Wrong> {
    match text {
        "*" => Ok(Pattern::Any),
        _ if text.contains('*') => Err(Wrong {
            what: "holds a \"*\" beside other characters".into(),
            mend: "use \"*\" alone for any CompID, or the whole CompID".into(),
        }),
        _ => check_id(text).map(|()| Pattern::Exactly(text.into())),
    }
}

pub(super) fn parse_qualifier(text: &str) -> Result<String, Wrong> {
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

/// ApplVerID(1128), as its number or by the version's name: FIX.4.0 is 2, FIX.5.0SP2 is 9.
pub(super) fn parse_appl_ver_id(text: &str) -> Result<String, Wrong> {
    let named = Version::of_appl_ver_name(text).and_then(Version::appl_ver_id);
    let number = named.and_then(|number| std::str::from_utf8(number).ok());
    number.map(String::from).ok_or_else(|| Wrong {
        what: "is not an ApplVerID(1128)".into(),
        mend: "use \"FIX.5.0\" or \"7\", \"FIX.5.0SP1\" or \"8\", \"FIX.5.0SP2\" or \"9\"".into(),
    })
}

pub(super) fn parse_username(text: &str) -> Result<String, Wrong> {
    match text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX || text.contains('\x01') {
        true => Err(Wrong {
            what: "is not a user name".into(),
            mend: format!("use 1 to {CREDENTIAL_BYTES_MAX} characters without SOH"),
        }),
        false => Ok(text.into()),
    }
}
