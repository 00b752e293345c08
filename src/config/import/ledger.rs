//! What has become of each setting, and what is wrong with it, over all the sessions that it counts for.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::read::{File, Section};
use super::{Fate, Note, Options};
use crate::config::errors::Faults;
use crate::config::keys::keys_of;

/// How much of a value a fault repeats.
const SHOWN_CHARS_MAX: usize = 60;

pub(super) struct Ledger<'f, 't> {
    pub file: &'f File<'t>,
    pub options: Options,
    pub faults: Faults<'f>,
    /// A setting of [DEFAULT] has its fault once, not once a session.
    told: BTreeSet<(usize, String)>,
    tallies: Vec<Tally>,
    /// About what the file does not say.
    pub remarks: Vec<Note>,
}

/// The fates of one setting: a setting of [DEFAULT] may have several.
#[derive(Clone, Default)]
pub(super) struct Tally {
    carried: Option<(String, String)>,
    is_same: bool,
    unneeded: Option<String>,
    /// Why, and the first [SESSION] where.
    lost: Option<(String, u32)>,
}

impl<'f, 't> Ledger<'f, 't> {
    pub fn new(file: &'f File<'t>, faults: Faults<'f>, options: Options) -> Ledger<'f, 't> {
        let mut tallies: Vec<Tally> = file.settings.iter().map(|_| Tally::default()).collect();
        for (id, why) in &file.void {
            tallies[*id].unneeded = Some(why.clone());
        }
        let lost = |(line, why): &(u32, String)| Note {
            line: *line,
            setting: "this line".into(),
            fate: Fate::Lost,
            text: why.clone(),
        };
        let remarks = file.ignored.iter().map(lost).collect();
        Ledger { file, options, faults, told: BTreeSet::new(), tallies, remarks }
    }

    pub fn same(&mut self, id: usize) {
        self.tallies[id].is_same = true;
    }

    pub fn carried(&mut self, id: usize, key: &str) {
        let caveat = self.tallies[id].carried.take().map(|(_, caveat)| caveat).unwrap_or_default();
        self.tallies[id].carried = Some((key.into(), caveat));
    }

    /// Carried over, but with a difference.
    pub fn carried_but(&mut self, id: usize, key: &str, caveat: impl Into<String>) {
        self.tallies[id].carried = Some((key.into(), caveat.into()));
    }

    /// A setting that cannot be carried over: a fault of the file, or with the others of its kind
    /// in the report. `what` follows the setting; `line` is that of the section that it was looked
    /// at for.
    pub fn fault(&mut self, id: usize, line: u32, what: &str, mend: impl Into<String>) {
        let setting = &self.file.settings[id];
        let said = self.said(id, what);
        if !self.options.strict {
            self.tallies[id].lost.get_or_insert_with(|| (format!("{said}: {}", mend.into()), line));
        } else if self.told.insert((id, what.into())) {
            self.faults.add(setting.span.clone(), setting.name, said, mend.into());
        }
    }

    /// `Name=value what`, the name and the value shortened and printable.
    pub fn said(&self, id: usize, what: &str) -> String {
        let setting = &self.file.settings[id];
        format!("{}={} {what}", printable(setting.name), printable(setting.value))
    }

    /// A fault of the file in any case.
    pub fn refuse_tls(&mut self, id: usize, others: usize, mend: &str) {
        let setting = &self.file.settings[id];
        if self.told.insert((id, "tls".into())) {
            // The value may be a secret.
            let name = printable(setting.name);
            let also = if others > 0 { format!(" (with {others} more settings of TLS)") } else { String::new() };
            let what = format!("{name} asks for TLS{also}, and this session would go out in plain TCP");
            self.faults.add(setting.span.start..setting.span.start, "password", what, mend.into());
        }
    }

    /// Of settings whose values nobody may read.
    pub fn fault_unshown(&mut self, id: usize, line: u32, what: &str, mend: impl Into<String>) {
        let setting = &self.file.settings[id];
        if !self.options.strict {
            self.tallies[id].lost.get_or_insert_with(|| (format!("{what}: {}", mend.into()), line));
        } else if self.told.insert((id, what.into())) {
            // No span to show either.
            let begin = setting.span.start;
            self.faults.add(begin..begin, "password", format!("{} {what}", setting.name), mend.into());
        }
    }

    /// The fates so far of these settings, for [`Ledger::restore`].
    pub fn fates(&self, ids: impl Iterator<Item = usize>) -> Vec<(usize, Tally)> {
        ids.map(|id| (id, self.tallies[id].clone())).collect()
    }

    pub fn restore(&mut self, fates: Vec<(usize, Tally)>) {
        fates.into_iter().for_each(|(id, tally)| self.tallies[id] = tally);
    }

    /// Not carried over after all, at least not here.
    pub fn revoke(&mut self, id: usize, line: u32, why: String, is_carried_elsewhere: bool) {
        let tally = &mut self.tallies[id];
        if !is_carried_elsewhere {
            tally.carried = None;
        }
        tally.lost.get_or_insert((why, line));
    }

    /// One note a setting, in the order of the file, and the remarks.
    pub fn into_notes(self) -> Vec<Note> {
        let mut notes: Vec<Note> = self
            .file
            .settings
            .iter()
            .zip(self.tallies)
            .map(|(setting, tally)| {
                let (fate, text) = tally.fate();
                Note { line: setting.line, setting: printable(setting.name), fate, text }
            })
            .collect();
        notes.extend(self.remarks);
        notes.sort_by_key(|note| note.line);
        notes
    }
}

impl Tally {
    fn fate(self) -> (Fate, String) {
        match self {
            Tally { carried: Some((key, caveat)), lost, .. } => {
                let lost = lost.map(|(why, line)| format!("not in the [SESSION] of line {line}: {why}"));
                let texts: Vec<String> = [caveat].into_iter().filter(|text| !text.is_empty()).chain(lost).collect();
                (Fate::Carried(key), texts.join("; "))
            }
            Tally { lost: Some((why, _)), .. } => (Fate::Lost, why),
            Tally { is_same: true, .. } => (Fate::Same, String::new()),
            Tally { unneeded: Some(why), .. } => (Fate::Unneeded, why),
            _ => (Fate::Unneeded, "every [SESSION] has its own".into()),
        }
    }
}

/// Names come from outside and go into comments and onto a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut printable: String =
        text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        printable.push('…');
    }
    printable
}

/// `N` and what else means it.
pub(super) fn is_no(value: &str) -> bool {
    ["N", "NO", "FALSE", "0", "OFF"].iter().any(|no| value.eq_ignore_ascii_case(no))
}

pub(super) fn is_yes(value: &str) -> bool {
    ["Y", "YES", "TRUE", "1", "ON"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// One line of a `[[session]]`.
pub(super) struct Entry {
    pub key: &'static str,
    /// As TOML.
    pub value: String,
    /// Of the setting, in the settings file.
    pub line: u32,
    /// The settings that it comes from.
    pub ids: Vec<usize>,
    /// Shown as an example that has to be filled in.
    pub is_comment: bool,
}

/// One session while it is made: its settings over those of [DEFAULT], and what has come of them.
pub(super) struct Scope<'l, 'f, 't> {
    pub ledger: &'l mut Ledger<'f, 't>,
    /// Unset for the template that [DEFAULT] alone makes.
    own: Option<&'f Section>,
    all: Rc<[(&'f str, usize)]>,
    settled: BTreeSet<usize>,
    pub entries: Vec<Entry>,
    /// Why there can be no such session, where the others are imported all the same.
    pub unusable: Vec<String>,
}

impl<'l, 'f, 't> Scope<'l, 'f, 't> {
    pub fn new(ledger: &'l mut Ledger<'f, 't>, own: Option<&'f Section>) -> Scope<'l, 'f, 't> {
        let of_own = own.into_iter().flat_map(|own| &own.settings);
        let is_inherited = |name: &String| !own.is_some_and(|own| own.settings.contains_key(name));
        let inherited = ledger.file.default.settings.iter().filter(|(name, _)| is_inherited(name));
        let all = of_own.chain(inherited).map(|(name, id)| (name.as_str(), *id)).collect();
        Scope { ledger, own, all, settled: BTreeSet::new(), entries: Vec::new(), unusable: Vec::new() }
    }

    pub fn section(&self) -> &'f Section {
        self.own.unwrap_or(&self.ledger.file.default)
    }

    pub fn is_template_of_default(&self) -> bool {
        self.own.is_none()
    }

    /// The setting of a name, in small letters, that counts here.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.find_own(name).or_else(|| self.ledger.file.default.settings.get(name).copied())
    }

    /// Set here and not inherited.
    pub fn find_own(&self, name: &str) -> Option<usize> {
        self.own.and_then(|own| own.settings.get(name)).copied()
    }

    /// All that count here, by their names in small letters.
    pub fn all(&self) -> Rc<[(&'f str, usize)]> {
        self.all.clone()
    }

    pub fn is_settled(&self, id: usize) -> bool {
        self.settled.contains(&id)
    }

    /// The value, if there is one. A variable is known to QuickFIX's process alone.
    pub fn value(&mut self, id: usize) -> Option<&'t str> {
        let value = self.ledger.file.settings[id].value;
        if ["${", "$(", "%{"].iter().any(|begin| value.contains(begin)) {
            self.fault(id, "holds a variable", "write its value: fixring does not know QuickFIX's variables");
            return None;
        }
        Some(value)
    }

    /// The value of a setting that the session cannot be without.
    pub fn needed_value(&mut self, id: usize) -> Option<&'t str> {
        let value = self.value(id);
        if value.is_none() {
            self.unusable.push(self.ledger.said(id, "holds a variable"));
        }
        value
    }

    /// Y or N.
    pub fn flag(&mut self, id: usize) -> Option<bool> {
        match self.value(id)? {
            value if is_yes(value) => Some(true),
            value if is_no(value) => Some(false),
            _ => {
                self.fault(id, "is neither Y nor N", "write Y or N");
                None
            }
        }
    }

    pub fn carried(&mut self, id: usize, key: &str) {
        self.settled.insert(id);
        self.ledger.carried(id, key);
    }

    pub fn carried_but(&mut self, id: usize, key: &str, caveat: impl Into<String>) {
        self.settled.insert(id);
        self.ledger.carried_but(id, key, caveat);
    }

    pub fn same(&mut self, id: usize) {
        self.settled.insert(id);
        self.ledger.same(id);
    }

    pub fn unneeded(&mut self, id: usize, why: impl Into<String>) {
        self.settled.insert(id);
        self.ledger.tallies[id].unneeded.get_or_insert_with(|| why.into());
    }

    pub fn lost(&mut self, id: usize, why: impl Into<String>) {
        self.settled.insert(id);
        let line = self.section().line;
        self.ledger.tallies[id].lost.get_or_insert_with(|| (why.into(), line));
    }

    pub fn fault(&mut self, id: usize, what: &str, mend: impl Into<String>) {
        self.settled.insert(id);
        let line = self.section().line;
        self.ledger.fault(id, line, what, mend);
    }

    /// A fault without whose remedy there is no such session.
    pub fn fault_of_session(&mut self, id: usize, what: &str, mend: impl Into<String>) {
        let mend = mend.into();
        self.unusable.push(format!("{}: {mend}", self.ledger.said(id, what)));
        self.fault(id, what, mend);
    }

    /// A setting that the session cannot be without.
    pub fn missing(&mut self, name: &str, mend: &str) {
        let section = self.section();
        let what = format!("this section and [DEFAULT] have no {name}");
        match self.ledger.options.strict {
            true => self.ledger.faults.add(section.span.clone(), name, what, mend.into()),
            false => self.unusable.push(format!("{what}: {mend}")),
        }
    }

    /// Writes a key of `[[session]]`, if this version has it, and settles what it comes from.
    pub fn put(&mut self, ids: &[usize], key: &'static str, value: String) -> bool {
        let is_known = keys_of("session").contains(&key);
        for &id in ids {
            match is_known {
                true => self.carried(id, &format!("session.{key}")),
                false => self.lost(id, format!("this version of fixring has no session.{key}")),
            }
        }
        if is_known {
            let line = ids.first().map_or(0, |&id| self.ledger.file.settings[id].line);
            self.entries.push(Entry { key, value, line, ids: ids.into(), is_comment: false });
        }
        is_known
    }

    /// The same, where the value is not what fixring does anyway.
    pub fn put_unless(&mut self, ids: &[usize], key: &'static str, value: String, default: &str) {
        if value == default {
            ids.iter().for_each(|&id| self.same(id));
        } else {
            self.put(ids, key, value);
        }
    }
}

/// A TOML text.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
