//! What a trace of the binary's calls must keep, whatever the flush method, so that a power cut takes nothing that was promised.
//!
//! - **Release**: no message is sent before its bytes were written to a segment and that write was synced: by a descriptor that was opened with
//!   O_DSYNC, by an fdatasync(2) or fsync(2) that began after the write, or by an msync(2) with MS_SYNC of the memory that held them.
//! - **Rename**: what is renamed was synced after its last write, and the directory is synced before the thread goes on to what may depend on it.
//! - **Creation**: a file or directory that must survive has its directory synced, and its own bytes, before anything depends on it: the next
//!   manifest, the next message, for what goes to quarantine the next change of a segment, and the end of the process at the latest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::trace::Call;

/// Names in a data directory that may be gone after a power cut, and why.
const NEED_NOT_SURVIVE: &[(&str, &str)] = &[
    ("lock", "the lock goes with the process, and the file is made where it is missing"),
    ("recovery.json", "it tells of the last start, and nothing depends on it"),
    ("recovery.json.new", "as recovery.json"),
    ("flush-probe", "it is measured in and removed again"),
];

const END: usize = usize::MAX;

/// When a message may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// Mode `sync`.
    Synced,
    /// Mode `flush`: it was given to the operating system, no more.
    Written,
}

/// What was seen of one process, and what there was before it.
pub struct Seen<'a> {
    pub calls: &'a [Call],
    /// Files and directories below the observed one.
    pub before: &'a BTreeSet<String>,
}

impl Seen<'_> {
    /// Everything that is against a rule, in words.
    pub fn faults(&self, release: Release) -> Vec<String> {
        let mut faults = self.released_early(release);
        faults.extend(
            self.calls.iter().filter(|call| call.is("rename") && call.is_done()).flat_map(|call| self.rename(call)),
        );
        faults.extend(self.creations().iter().flat_map(|(path, call)| self.creation(path, call)));
        faults
    }

    /// The files and directories that there are after all calls.
    pub fn after(&self) -> BTreeSet<String> {
        let mut present = self.before.clone();
        for call in self.calls.iter().filter(|call| call.is_done()) {
            match call.name.as_str() {
                "open" if call.flags & libc::O_CREAT != 0 => drop(present.insert(call.path.clone())),
                "mkdir" => drop(present.insert(call.path.clone())),
                "unlink" => drop(present.remove(&call.path)),
                "rename" => {
                    present.remove(&call.path);
                    present.insert(call.second.clone());
                }
                _ => {}
            }
        }
        present
    }

    /// How many whole messages were sent.
    pub fn sent(&self) -> usize {
        self.calls.iter().filter(|call| call.is("send")).map(|call| messages(&call.bytes).len()).sum()
    }

    fn released_early(&self, release: Release) -> Vec<String> {
        let stored = self.stored(release);
        let mut faults = Vec::new();
        for send in self.calls.iter().filter(|call| call.is("send")) {
            for message in messages(&send.bytes) {
                let since = stored.get(message).copied();
                if since.is_none_or(|since| since > send.began) {
                    let what = String::from_utf8_lossy(message).replace('\x01', "|");
                    let why = match since {
                        None => "its bytes were never made durable".to_owned(),
                        Some(since) => format!("its bytes were durable only at line {since}"),
                    };
                    faults.push(format!("line {}: sent early, {why}: {what}", send.began));
                }
            }
        }
        faults
    }

    /// Each message that is in a segment, and the line from which on it is safe.
    fn stored(&self, release: Release) -> HashMap<&[u8], usize> {
        let mut stored: HashMap<&[u8], usize> = HashMap::new();
        let is_segment = |call: &&Call| call.is_done() && is_segment(&call.path);
        for write in self.calls.iter().filter(is_segment) {
            let Some(ended) = write.ended else { continue };
            let since = match write.name.as_str() {
                "msync" if write.flags & libc::MS_SYNC != 0 => Some(ended),
                "write" if write.result as u64 != write.length => None,
                "write" if release == Release::Written || write.flags & libc::O_DSYNC != 0 => Some(ended),
                "write" => self.synced(&write.path, ended),
                _ => None,
            };
            let Some(since) = since else { continue };
            for message in messages(&write.bytes) {
                stored.entry(message).and_modify(|first| *first = since.min(*first)).or_insert(since);
            }
        }
        stored
    }

    /// The line at which the first sync of this file or directory had ended that began after a line.
    fn synced(&self, path: &str, after: usize) -> Option<usize> {
        let syncs = self.calls.iter().filter(|call| call.is("fsync") || call.is("fdatasync") || call.is("msync"));
        let of_it = syncs.filter(|call| call.path == path && call.began > after && call.is_done());
        of_it.filter_map(|call| call.ended).min()
    }

    fn rename(&self, rename: &Call) -> Vec<String> {
        let mut faults = Vec::new();
        if need_not_survive(&rename.second) {
            return faults;
        }
        // The name may have been another file's before.
        let named_since =
            self.calls.iter().filter(|call| call.is("rename") && call.path == rename.path && call.began < rename.began);
        let named_since = named_since.map(|call| call.began).max().unwrap_or(0);
        if let Some(fault) = self.content_unsynced(&rename.path, named_since, rename.began) {
            faults.push(format!("line {}: {} is renamed to {}, and {fault}", rename.began, rename.path, rename.second));
        }
        let ended = rename.ended.unwrap_or(END);
        let mut directory = |path: &str, deadline: usize| {
            let parent = parent(path);
            if self.synced(parent, ended).is_none_or(|synced| synced > deadline) {
                faults.push(format!(
                    "line {}: {path} has its name by a rename, and {parent} is not synced in time",
                    rename.began
                ));
            }
        };
        let next =
            self.calls.iter().filter(|call| call.thread == rename.thread && call.began > ended && is_consequence(call));
        directory(&rename.second, next.map(|call| call.began).min().unwrap_or(END));
        if parent(&rename.path) != parent(&rename.second) {
            directory(&rename.path, self.deadline(&rename.path, ended));
        }
        faults
    }

    /// What was made and not there before, in this place.
    fn creations(&self) -> BTreeMap<&str, &Call> {
        let mut present = self.before.clone();
        let mut created = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.is_done()) {
            let makes = call.is("mkdir") || (call.is("open") && call.flags & libc::O_CREAT != 0);
            if makes && present.insert(call.path.clone()) {
                created.insert(call.path.as_str(), call);
            }
            if call.is("rename") {
                present.insert(call.second.clone());
            }
            if call.is("rename") || call.is("unlink") {
                present.remove(&call.path);
                created.remove(call.path.as_str());
            }
        }
        created
    }

    fn creation(&self, path: &str, creation: &Call) -> Vec<String> {
        let mut faults = Vec::new();
        if need_not_survive(path) {
            return faults;
        }
        let ended = creation.ended.unwrap_or(END);
        let deadline = self.deadline(path, ended);
        let parent = parent(path);
        if self.synced(parent, ended).is_none_or(|synced| synced > deadline) {
            faults.push(format!("line {}: {path} is made, and {parent} is not synced in time", creation.began));
        }
        // What a segment holds is the release's affair.
        if !is_segment(path)
            && let Some(fault) = self.content_unsynced(path, creation.began, deadline)
        {
            faults.push(format!("line {}: {path} is made, and {fault}", creation.began));
        }
        faults
    }

    /// What was written to a file between two lines, and not synced before the second.
    fn content_unsynced(&self, path: &str, from: usize, to: usize) -> Option<String> {
        let changes = self.calls.iter().filter(|call| call.path == path && (call.is("write") || call.is("truncate")));
        let last = changes.filter(|call| (from..to).contains(&call.began)).max_by_key(|call| call.began)?;
        let synced = self.synced(path, last.ended.unwrap_or(END));
        if synced.is_some_and(|synced| synced < to) {
            return None;
        }
        Some(format!("what was written to it at line {} is not synced in time", last.began))
    }

    /// The line at which something may first depend on a name.
    fn deadline(&self, path: &str, after: usize) -> usize {
        let is_aside = path.contains("/quarantine");
        let depends = |call: &&Call| {
            call.began > after
                && (call.is("send")
                    || (call.is("rename") && call.second.ends_with("/manifest"))
                    || (is_aside && is_segment(&call.path) && changes(call)))
        };
        self.calls.iter().filter(depends).map(|call| call.began).min().unwrap_or(END)
    }
}

/// Whether a thread's earlier rename must be durable before this.
fn is_consequence(call: &Call) -> bool {
    match call.name.as_str() {
        "rename" => !need_not_survive(&call.second),
        "unlink" => !need_not_survive(&call.path),
        "send" => true,
        _ => is_segment(&call.path) && changes(call),
    }
}

fn changes(call: &Call) -> bool {
    ["write", "msync", "truncate", "allocate", "rename"].contains(&call.name.as_str())
}

fn is_segment(path: &str) -> bool {
    path.ends_with(".seg") && !path.contains("/quarantine/") && !need_not_survive(path)
}

fn need_not_survive(path: &str) -> bool {
    path.split('/').any(|part| NEED_NOT_SURVIVE.iter().any(|(name, _)| *name == part))
}

fn parent(path: &str) -> &str {
    Path::new(path).parent().and_then(Path::to_str).unwrap_or("/")
}

/// The whole FIX messages in some bytes.
pub fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"8=FIX";
    const END: &[u8] = b"\x0110=";
    let find = |from: usize, what: &[u8]| {
        let at = bytes.get(from..)?.windows(what.len()).position(|window| window == what)?;
        Some(from + at)
    };
    let mut messages = Vec::new();
    let mut at = 0;
    while let Some(start) = find(at, BEGIN) {
        at = start + 1;
        // CheckSum(10) has three digits and a delimiter.
        let end = find(start, END).map(|end| end + END.len() + 4);
        let next = find(at, BEGIN);
        if let Some(end) = end.filter(|end| *end <= bytes.len() && next.is_none_or(|next| next >= *end)) {
            messages.push(&bytes[start..end]);
            at = end;
        }
    }
    messages
}

/// Traces as the binary's would be, each whole and then with one call less.
mod tests {
    use super::*;

    const DATA: &str = "/t/data";
    const SEGMENT: &str = "/t/data/journal-0/segment-0.seg";
    const MESSAGE: &[u8] = b"8=FIX.4.4\x019=5\x0135=0\x0110=123\x01";

    fn call(thread: u64, name: &str, path: &str) -> Call {
        Call { thread, name: name.into(), path: path.into(), ..Call::default() }
    }

    fn renamed(from: &str, to: &str) -> Call {
        Call { second: to.into(), ..call(1, "rename", from) }
    }

    fn made(path: &str) -> Call {
        Call { flags: libc::O_CREAT | libc::O_RDWR, result: 5, ..call(1, "open", path) }
    }

    fn with(call: Call, flags: i32) -> Call {
        let bytes = [b"header", MESSAGE, b"\0\0"].concat();
        Call { flags, length: bytes.len() as u64, result: bytes.len() as i64, bytes, ..call }
    }

    fn sent() -> Call {
        Call { bytes: MESSAGE.to_vec(), result: 1, ..call(2, "send", "") }
    }

    /// One after the other, in their order.
    fn faults(calls: &[Call], release: Release) -> Vec<String> {
        let in_order = |(at, call): (usize, &Call)| Call { began: 2 * at + 1, ended: Some(2 * at + 2), ..call.clone() };
        let calls: Vec<Call> = calls.iter().enumerate().map(in_order).collect();
        let before = [DATA, "/t/data/journal-0", SEGMENT].map(str::to_owned).into();
        Seen { calls: &calls, before: &before }.faults(release)
    }

    /// Each of these calls but the last is needed: without it there is a fault.
    fn all_are_needed(calls: &[Call]) {
        assert_eq!(faults(calls, Release::Synced), Vec::<String>::new());
        for at in 0..calls.len() - 1 {
            let mut less = calls.to_vec();
            let left_out = less.remove(at);
            assert!(!faults(&less, Release::Synced).is_empty(), "nobody missed {left_out:?}");
        }
    }

    #[test]
    fn a_message_that_is_sent_without_write_or_sync_is_found_with_each_method() {
        let write = with(call(1, "write", SEGMENT), libc::O_RDWR);
        all_are_needed(&[write.clone(), call(1, "fdatasync", SEGMENT), sent()]);
        all_are_needed(&[with(call(1, "write", SEGMENT), libc::O_DSYNC), sent()]);
        all_are_needed(&[with(call(1, "msync", SEGMENT), libc::MS_SYNC), sent()]);
        // The method left out, a sync that failed or was of another file, one that came before the write or after the send.
        let failed = Call { result: -1, ..call(1, "fdatasync", SEGMENT) };
        let other = call(1, "fdatasync", "/t/data/journal-0/segment-1.seg");
        for calls in [
            vec![with(call(1, "write", SEGMENT), libc::O_DIRECT), sent()],
            vec![with(call(1, "msync", SEGMENT), libc::MS_ASYNC), sent()],
            vec![write.clone(), failed, sent()],
            vec![write.clone(), other, sent()],
            vec![call(1, "fdatasync", SEGMENT), write.clone(), sent()],
            vec![write.clone(), sent(), call(1, "fdatasync", SEGMENT)],
        ] {
            assert_eq!(faults(&calls, Release::Synced).len(), 1, "{calls:?}");
        }
        assert!(faults(&[write.clone(), sent()], Release::Written).is_empty());
        assert_eq!(faults(&[sent(), write], Release::Written).len(), 1);
    }

    #[test]
    fn a_sync_that_overlaps_the_send_or_the_write_proves_nothing() {
        let at = |call: Call, began, ended| Call { began, ended, ..call };
        let write = at(with(call(1, "write", SEGMENT), libc::O_RDWR), 1, Some(3));
        let before = BTreeSet::new();
        for (sync, send) in [((2, Some(4)), 5), ((4, Some(6)), 5), ((4, None), 5)] {
            let calls = [write.clone(), at(call(2, "fdatasync", SEGMENT), sync.0, sync.1), at(sent(), send, Some(7))];
            assert_eq!(Seen { calls: &calls, before: &before }.faults(Release::Synced).len(), 1, "{sync:?}");
        }
    }

    #[test]
    fn a_rename_without_the_sync_of_file_or_directory_is_found() {
        let (new, manifest) = ("/t/data/manifest.new", "/t/data/manifest");
        let write = || Call { result: 9, ..call(1, "write", new) };
        let whole = [made(new), write(), call(1, "fsync", new), renamed(new, manifest), call(1, "fsync", DATA)];
        assert!(faults(&whole, Release::Synced).is_empty());
        for left_out in [2, 4] {
            let mut less = whole.to_vec();
            less.remove(left_out);
            assert_eq!(faults(&less, Release::Synced).len(), 1, "{left_out}");
        }
        // What depends on it comes before the directory's sync.
        let early = [&whole[..4], &[with(call(1, "write", SEGMENT), 0)], &whole[4..]].concat();
        assert_eq!(faults(&early, Release::Synced).len(), 1);
        // What may be lost needs neither.
        let report = "/t/data/recovery.json";
        assert!(faults(&[made(report), renamed(report, report)], Release::Synced).is_empty());
    }

    #[test]
    fn a_creation_whose_directory_is_not_synced_is_found_and_so_is_one_that_comes_too_late() {
        let aside = "/t/data/quarantine";
        let file = "/t/data/quarantine/ring";
        let write = || Call { result: 9, ..call(1, "write", file) };
        let overwrite = with(call(1, "write", SEGMENT), 0);
        let syncs = [call(1, "fsync", file), call(1, "fsync", aside), call(1, "fsync", DATA)];
        let made_both = [call(1, "mkdir", aside), made(file), write()];
        let whole = [&made_both[..], &syncs, std::slice::from_ref(&overwrite)].concat();
        assert!(faults(&whole, Release::Synced).is_empty());
        for left_out in 3..6 {
            let mut less = whole.clone();
            less.remove(left_out);
            assert_eq!(faults(&less, Release::Synced).len(), 1, "{left_out}");
        }
        let late = [&made_both[..], &[overwrite], &syncs].concat();
        assert_eq!(faults(&late, Release::Synced).len(), 3);
        assert_eq!(faults(&[call(1, "mkdir", "/t/data/deeper")], Release::Synced).len(), 1);
        assert!(faults(&[made("/t/data/lock")], Release::Synced).is_empty());
    }
}
