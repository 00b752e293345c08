//! What `observe.c` has written down, as calls.

use std::collections::HashMap;

/// One call, with the lines of the trace at which it began and had ended. Of two calls the one that ended before the other began was first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub thread: u64,
    pub name: String,
    pub path: String,
    /// Where a rename leads.
    pub second: String,
    /// Of open(2), msync(2), or of the open file that is written.
    pub flags: i32,
    pub offset: i64,
    pub length: u64,
    pub bytes: Vec<u8>,
    pub began: usize,
    /// `None` where the process was killed meanwhile.
    pub ended: Option<usize>,
    pub result: i64,
}

impl Call {
    /// It has ended without an error.
    pub fn is_done(&self) -> bool {
        self.ended.is_some() && self.result >= 0
    }

    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// # Panics
/// When the text is no trace. A last line that was cut short by a kill is let pass.
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<u64, usize> = HashMap::new();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (at, line) in whole.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |field: usize| -> i64 { fields[field].parse().unwrap_or_else(|_| panic!("line {at}: {line}")) };
        let thread = number(0) as u64;
        match (fields[1], fields.len()) {
            ("B", 9) => {
                let text = |field: usize| String::from_utf8(unhex(fields[field])).expect("paths of the test are text");
                let before = open.insert(thread, calls.len());
                assert!(before.is_none(), "line {at}: a thread makes one call at a time");
                calls.push(Call {
                    thread,
                    name: fields[2].to_owned(),
                    path: text(3),
                    second: text(4),
                    flags: number(5) as i32,
                    offset: number(6),
                    length: number(7) as u64,
                    bytes: unhex(fields[8]),
                    began: at,
                    ended: None,
                    result: 0,
                });
            }
            ("E", 4) => {
                let call = &mut calls[open.remove(&thread).unwrap_or_else(|| panic!("line {at}: no call began"))];
                assert_eq!(call.name, fields[2], "line {at}");
                (call.ended, call.result) = (Some(at), number(3));
            }
            _ => panic!("line {at} is none of a trace: {line}"),
        }
    }
    calls
}

fn unhex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hexadecimal") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn a_trace_is_read_with_calls_that_overlap_and_one_that_never_ends() {
    let text = "7 B fsync 2f61 - 2 0 0 -\n8 B send - - 0 0 3 383d46\n7 E fsync 0\n8 E send 3\n7 B rename 2f61 2f62 0 0 0 -\n7 E ren";
    let calls = parse(text);
    let brief: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.began, call.ended, call.result)).collect();
    assert_eq!(brief, [("fsync", 0, Some(2), 0), ("send", 1, Some(3), 3), ("rename", 4, None, 0)]);
    assert_eq!((calls[1].bytes.as_slice(), calls[2].second.as_str()), (&b"8=F"[..], "/b"));
}
