//! The settings file as it stands: sections, settings, where each one is, and which of two with one name counts.
//!
//! The engines read their files each in a way of its own. Where all of them read something alike it is read so here;
//! where they differ, either nothing depends on it or it is a fault:
//!
//! - Names of sections and settings in any case (QuickFIX/J's sections, QuickFIX/C++'s settings).
//! - A setting that stands twice in a section has its last value (all of them).
//! - A comment is a line that begins with `#`, or what follows a section's name with one
//!   (QuickFIX/J); a `#` within a value is part of it (all of them).
//! - The first `=` ends the name, and spaces around name and value are dropped.
//! - What stands before the first section is ignored (QuickFIX/C++ and QuickFIX/J).
//! - A second `[DEFAULT]` is ignored by one and counts for another: a fault.
//! - A line that is none of these things, and a section of another name with all that it holds, is
//!   ignored (all of them) and said, or is a fault where the import is strict.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::known::{Rule, rule_of};
use crate::config::errors::{ConfigErrors, Faults};

/// Ten times what a firm with a thousand sessions writes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// QuickFIX/C++ stops reading at a line of 1,024.
const LINE_BYTES_MAX: usize = 4096;
const SECTION_SETTINGS_MAX: usize = 512;
const SESSIONS_MAX: usize = 4096;

/// One `Name=Value`.
pub(super) struct Setting<'t> {
    pub name: &'t str,
    pub value: &'t str,
    pub line: u32,
    pub span: Range<usize>,
    pub rule: &'static Rule,
}

/// What a section sets: the place in [`File::settings`] of each setting that counts, by its name in small letters.
#[derive(Default)]
pub(super) struct Section {
    pub line: u32,
    pub span: Range<usize>,
    pub settings: BTreeMap<String, usize>,
}

pub(super) struct File<'t> {
    pub settings: Vec<Setting<'t>>,
    pub default: Section,
    pub sessions: Vec<Section>,
    /// Settings that count nowhere, and why.
    pub void: Vec<(usize, String)>,
    /// Lines that are none, and why.
    pub ignored: Vec<(u32, String)>,
}

/// The bytes as text, if they are not too many. What is not UTF-8 is a comment as a rule, in the
/// encoding of a Windows editor; the engines do not look. A strict import refuses it.
pub(super) fn text<'t>(bytes: &'t [u8], name: &str, is_strict: bool) -> Result<Cow<'t, str>, ConfigErrors> {
    if bytes.len() > FILE_BYTES_MAX {
        let what = format!("is longer than {FILE_BYTES_MAX} bytes");
        return Err(ConfigErrors::of_file(name, what, "divide it into files of fewer sessions".into()));
    }
    let utf_16 = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) if bytes.starts_with(b"\xff\xfe") => Ok(utf_16(u16::from_le_bytes)),
        Err(_) if bytes.starts_with(b"\xfe\xff") => Ok(utf_16(u16::from_be_bytes)),
        Err(_) if !is_strict => Ok(Cow::Owned(bytes.iter().copied().map(char::from).collect())),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            let what = format!("line {line} is not UTF-8");
            Err(ConfigErrors::of_file(name, what, "save the file as UTF-8 text".into()))
        }
    }
}

pub(super) fn read<'t>(text: &'t str, is_strict: bool, faults: &mut Faults<'_>) -> File<'t> {
    let mut reading = Reading {
        file: File {
            settings: Vec::new(),
            default: Section::default(),
            sessions: Vec::new(),
            void: Vec::new(),
            ignored: Vec::new(),
        },
        place: Place::Nowhere,
    };
    let mut begin = 0;
    for (index, whole) in text.split('\n').enumerate() {
        let span = begin..begin + whole.len();
        begin = span.end + 1;
        // A byte order mark is how some editors begin a file.
        let line = if index == 0 { whole.trim_start_matches('\u{feff}') } else { whole }.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if whole.len() > LINE_BYTES_MAX {
            let what = format!("this line is longer than {LINE_BYTES_MAX} bytes");
            faults.add(span, "", what, "divide it: QuickFIX reads shorter lines too".into());
            return reading.file;
        }
        let number = index as u32 + 1;
        match reading.line(line, number, span.clone()) {
            Ok(()) => {}
            Err(Wrong::Ignored(what, mend)) if !is_strict => {
                reading.file.ignored.push((number, format!("{what}: {mend}")));
            }
            Err(Wrong::Ignored(what, mend)) => faults.add(span, "", what.into(), mend.into()),
            Err(Wrong::Fault(what, mend)) => faults.add(span, "", what, mend),
        }
    }
    if reading.file.sessions.is_empty() && faults.is_empty() {
        faults.add(0..0, "", "the file has no [SESSION]".into(), "add one for each counterparty".into());
    }
    reading.file
}

struct Reading<'t> {
    file: File<'t>,
    place: Place,
}

/// What is wrong with a line, and the remedy.
enum Wrong {
    /// The QuickFIX engines all take no notice of it.
    Ignored(&'static str, &'static str),
    Fault(String, String),
}

/// The section that settings belong to.
#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    /// One that is neither of the two.
    Unknown,
    Default,
    Session,
}

impl<'t> Reading<'t> {
    fn line(&mut self, line: &'t str, number: u32, span: Range<usize>) -> Result<(), Wrong> {
        if let Some(name) = section_name(line) {
            return self.section(name, number, span);
        }
        if line.starts_with('[') {
            // Settings of one session must not come to be those of the session before.
            self.place = Place::Unknown;
            return Err(Wrong::Ignored("this line names no section", "write [SESSION], and nothing behind it"));
        }
        let Some((name, value)) = line.split_once('=') else {
            let what = "it is no section, no setting and no comment";
            return Err(Wrong::Ignored(what, "write Name=Value, or begin it with #"));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            return Err(Wrong::Ignored("it has no name before the \"=\"", "write Name=Value"));
        }
        self.setting(Setting { name, value, line: number, span, rule: rule_of(name) })
    }

    fn section(&mut self, name: &str, line: u32, span: Range<usize>) -> Result<(), Wrong> {
        let section = Section { line, span, settings: BTreeMap::new() };
        if name.eq_ignore_ascii_case("SESSION") {
            if self.file.sessions.len() == SESSIONS_MAX {
                let mend = "divide the file into several".into();
                return Err(Wrong::Fault(format!("this is [SESSION] number {}", SESSIONS_MAX + 1), mend));
            }
            self.file.sessions.push(section);
            self.place = Place::Session;
            return Ok(());
        }
        // Whatever it is, what follows is no part of the section before.
        self.place = Place::Unknown;
        if !name.eq_ignore_ascii_case("DEFAULT") {
            return Err(Wrong::Ignored("this section is not known", "the sections are [DEFAULT] and [SESSION]"));
        }
        self.place = Place::Default;
        if self.file.default.line != 0 {
            return Err(Wrong::Fault(
                format!("this is a second [DEFAULT], after that of line {}", self.file.default.line),
                "put all of it into one: the QuickFIX engines do not agree on what a second one means".into(),
            ));
        }
        self.file.default = section;
        Ok(())
    }

    fn setting(&mut self, setting: Setting<'t>) -> Result<(), Wrong> {
        let id = self.file.settings.len();
        let section = match self.place {
            Place::Nowhere | Place::Unknown => {
                let why = match self.place {
                    Place::Nowhere => "stands before the first section, where QuickFIX ignores it",
                    _ => "its section is not known, and it is ignored",
                };
                self.file.void.push((id, why.into()));
                self.file.settings.push(setting);
                return Ok(());
            }
            Place::Default => &mut self.file.default,
            Place::Session => self.file.sessions.last_mut().expect("a [SESSION] has been opened"),
        };
        if section.settings.len() == SECTION_SETTINGS_MAX {
            let what = format!("its section has more than {SECTION_SETTINGS_MAX} settings");
            return Err(Wrong::Fault(what, "remove some".into()));
        }
        if let Some(earlier) = section.settings.insert(setting.name.to_ascii_lowercase(), id) {
            self.file.void.push((earlier, format!("is set again in line {}, and the last one counts", setting.line)));
        }
        self.file.settings.push(setting);
        Ok(())
    }
}

/// What stands between the brackets: `[SESSION]`, `[ session ] # the second desk`. QuickFIX/J takes
/// no notice of what follows.
fn section_name(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with(['#', ';', '/'])).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File<'_> {
        let mut faults = Faults::new("quickfix.cfg", text);
        let file = read(text, true, &mut faults);
        assert!(faults.is_empty(), "{}", faults.into_errors());
        file
    }

    fn fault(text: &str) -> String {
        let mut faults = Faults::new("quickfix.cfg", text);
        read(text, true, &mut faults);
        faults.into_errors().to_string()
    }

    #[test]
    fn names_are_in_any_case_and_spaces_around_them_do_not_matter() {
        let file = file(
            "\u{feff}[Default]\r\n  HeartBtInt = 30 \r\n\r\n# note\r\n[ session ]\t # note]\r\nTargetCompID=A=#B\r\n",
        );
        assert_eq!(file.default.line, 1);
        let setting = &file.settings[file.default.settings["heartbtint"]];
        assert_eq!((setting.name, setting.value, setting.line), ("HeartBtInt", "30", 2));
        assert_eq!(file.sessions[0].line, 5);
        assert_eq!(file.settings[file.sessions[0].settings["targetcompid"]].value, "A=#B");
    }

    #[test]
    fn the_last_of_two_counts_and_what_is_in_no_section_does_not() {
        let file = file("Stray=1\n[SESSION]\nHeartBtInt=1\nHEARTBTINT=2\n");
        assert_eq!(file.settings[file.sessions[0].settings["heartbtint"]].value, "2");
        let void: Vec<_> = file.void.iter().map(|(id, why)| (file.settings[*id].line, why.as_str())).collect();
        assert_eq!(void[0].0, 1);
        assert_eq!(void[1], (3, "is set again in line 4, and the last one counts"));
    }

    #[test]
    fn what_is_no_settings_file_is_a_fault_with_its_line() {
        for (text, place, what) in [
            ("", ":1:1:", "no [SESSION]"),
            ("[DEFAULT]\nA=1\n", ":1:1:", "no [SESSION]"),
            ("[SESSION]\nnonsense\n", ":2:1:", "no section, no setting"),
            ("[SESSION]\n=1\n", ":2:1:", "no name"),
            ("[SESSIONS]\nA=1\n", ":1:1:", "not known"),
            ("[SESSION]\n[SESSION\nA=1\n", ":2:1:", "names no section"),
            ("[SESSION] two\nA=1\n", ":1:1:", "names no section"),
            ("[DEFAULT]\n[SESSION]\n[DEFAULT]\n", ":3:1:", "second [DEFAULT], after that of line 1"),
        ] {
            let fault = fault(text);
            assert!(fault.starts_with(&format!("quickfix.cfg{place}")) && fault.contains(what), "{fault}");
        }
        let long = format!("[SESSION]\nA={}\n", "x".repeat(LINE_BYTES_MAX));
        assert!(fault(&long).contains(":2:1: this line is longer"));
        let many: String = (0..=SECTION_SETTINGS_MAX).map(|n| format!("A{n}=1\n")).collect();
        assert!(fault(&format!("[SESSION]\n{many}")).contains("more than 512 settings"));
        assert!(fault(&"[SESSION]\n".repeat(SESSIONS_MAX + 1)).contains(":4097:1:"));
    }

    #[test]
    fn a_file_that_is_too_long_or_no_text_is_refused() {
        assert!(
            text(&vec![b'a'; FILE_BYTES_MAX + 1], "q", false).unwrap_err().to_string().contains("longer than 1048576")
        );
        assert_eq!(text(b"# Z\xfcrich", "q", false).unwrap(), "# Z\u{fc}rich");
        assert_eq!(text(b"\xff\xfe[\0]\0", "q", true).unwrap(), "\u{feff}[]");
        assert_eq!(text(b"\xfe\xff\0[\0]", "q", true).unwrap(), "\u{feff}[]");
        assert!(text(b"[SESSION]\n\xff", "q", true).unwrap_err().to_string().starts_with("q: line 2 is not UTF-8"));
    }
}
