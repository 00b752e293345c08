//! What is wrong with a dictionary file: all of it at once, each fault on one line that a `grep` finds.

use std::fmt;

/// How many faults are kept. A file with more is of another kind altogether.
const FAULTS_MAX: usize = 1_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub severity: Severity,
    /// Both count from one; zero where the fault is the file itself.
    pub line: u32,
    pub column: u32,
    pub what: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The file can be used, and says something that its author may not have meant.
    Warning,
    /// The file cannot be used.
    Error,
}

/// The faults of one file, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    /// Those that were found after the list was full.
    left_out: u32,
    errors: u32,
}

impl Faults {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.faults.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// One line a fault: `FIX44.xml:12:3: error: …`.
    pub fn report<'f>(&'f self, file: &'f str) -> impl fmt::Display + 'f {
        fmt::from_fn(move |f| {
            for fault in &self.faults {
                f.write_str(file)?;
                if fault.line > 0 {
                    write!(f, ":{}:{}", fault.line, fault.column)?;
                }
                let severity = match fault.severity {
                    Severity::Warning => "warning",
                    Severity::Error => "error",
                };
                // A name in the file may hold any character, and one fault is one line.
                let what: String = fault.what.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                writeln!(f, ": {severity}: {what}")?;
            }
            match self.left_out {
                0 => Ok(()),
                left_out => writeln!(f, "{file}: {left_out} more"),
            }
        })
    }

    pub(super) fn add(&mut self, severity: Severity, (line, column): (u32, u32), what: String) {
        self.errors += u32::from(severity == Severity::Error);
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { severity, line, column, what });
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn sort(&mut self) {
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
    }
}
