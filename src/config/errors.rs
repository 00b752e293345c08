//! The faults of a configuration file: all of them at once, each on one line that a `grep` finds, with the source
//! beneath it on a terminal.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Every fault of one file. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    name: String,
    text: String,
    faults: Vec<Fault>,
}

/// One fault. The line and column count from one; both are zero where the fault is the file itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub line: u32,
    pub column: u32,
    /// `persistence.ring_bytes`, `session[1].connect`; empty where no key is to blame.
    pub key: String,
    /// What is wrong, beginning with the key where there is one.
    pub what: String,
    /// What to do about it.
    pub mend: String,
    span: Option<Range<usize>>,
}

impl ConfigErrors {
    /// The file cannot be read at all.
    pub(super) fn of_file(name: &str, what: String, mend: String) -> ConfigErrors {
        let fault = Fault { line: 0, column: 0, key: String::new(), what, mend, span: None };
        ConfigErrors { name: name.into(), text: String::new(), faults: vec![fault] }
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// For a person: under each fault's line the place in the file. `styled` adds colours.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut output = String::new();
        for fault in &self.faults {
            let title = self.line_of(fault);
            match &fault.span {
                Some(span) if self.may_show(fault, span) => {
                    let annotation = AnnotationKind::Primary.span(span.clone()).label(fault.mend.as_str());
                    let snippet = Snippet::source(self.text.as_str()).path(self.name.as_str()).annotation(annotation);
                    let group = Level::ERROR.no_name().primary_title(title.as_str()).element(snippet);
                    output.push_str(&renderer.render(&[group]));
                }
                _ => output.push_str(&title),
            }
            output.push('\n');
        }
        output
    }

    fn line_of(&self, fault: &Fault) -> String {
        let place = match fault.line {
            0 => self.name.clone(),
            line => format!("{}:{line}:{}", self.name, fault.column),
        };
        let line = format!("{place}: {}: {}", fault.what, fault.mend);
        // A key or a value may hold any character, and one fault is one line.
        line.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }

    /// A line that holds a password is never shown. After a fault of syntax it is not known which lines those are.
    fn may_show(&self, fault: &Fault, span: &Range<usize>) -> bool {
        let has_secret = |text: &str| text.to_ascii_lowercase().contains("password");
        if fault.key.is_empty() {
            return !has_secret(&self.text);
        }
        let begin = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[span.end..].find('\n').map_or(self.text.len(), |at| span.end + at);
        !has_secret(&self.text[begin..end])
    }
}

/// One line a fault: `fixring.toml:12:17: persistence.segment_bytes = "60MiB" is not a multiple of …: use …`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.line_of(fault))?;
        }
        Ok(())
    }
}

/// The text of the file may hold passwords, so it is left out.
impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigErrors").field("name", &self.name).field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects faults while the file is walked.
pub(super) struct Faults<'t> {
    name: &'t str,
    text: &'t str,
    /// Where each line begins: a file has a place for each of its keys.
    line_starts: Vec<usize>,
    faults: Vec<Fault>,
}

impl<'t> Faults<'t> {
    pub fn new(name: &'t str, text: &'t str) -> Faults<'t> {
        let ends = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n').map(|(_, after)| after);
        Faults { name, text, line_starts: [0].into_iter().chain(ends).collect(), faults: Vec::new() }
    }

    pub fn add(&mut self, span: Range<usize>, key: &str, what: String, mend: String) {
        let (line, column) = self.line_and_column(span.start);
        let span = span.start.min(self.text.len())..span.end.min(self.text.len());
        self.faults.push(Fault { line, column, key: key.into(), what, mend, span: Some(span) });
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Both count from one; the column counts characters.
    pub fn line_and_column(&self, offset: usize) -> (u32, u32) {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let column = 1 + self.text[self.line_starts[line - 1]..offset].chars().count();
        (line as u32, column as u32)
    }

    /// In the order of the file.
    pub fn into_errors(mut self) -> ConfigErrors {
        assert!(!self.faults.is_empty());
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
        self.faults.dedup();
        ConfigErrors { name: self.name.into(), text: self.text.into(), faults: self.faults }
    }
}
