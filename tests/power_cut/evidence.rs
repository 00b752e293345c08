//! What the medium holds after a cut, against what the client was told.
//!
//! The image is copied, the copy's ext4 journal is replayed as a mount would, and the data directory is taken out of it with
//! debugfs: nothing is mounted and nobody need be root. What is looked at is what the cut left, before the engine has had a
//! chance to mend anything.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixring::journal::cat::Cat;
use fixring::journal::{Kind, flags};

use crate::client::Client;
use crate::wire::Fields;

/// Debian has these where a user's PATH may not look.
const SBIN: &str = "/usr/sbin:/sbin";

/// What was compared and found.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Held {
    /// Acknowledged orders, each with its report, that are there byte for byte.
    pub orders: u64,
    /// Messages of the engine's that are.
    pub messages: u64,
    /// Of either, those whose segment has been recycled since.
    pub recycled: u64,
}

/// Compares; the error says what was acknowledged and is not there.
pub fn check(image: &Path, scratch: &Path, client: &Client) -> Result<Held, String> {
    let data_dir = extract(image, scratch)?;
    let journal = Journal::read(&data_dir)?;
    let mut held = Held::default();
    for (number, message) in client.received() {
        if journal.is_recycled(&journal.outbound, number) {
            held.recycled += 1;
            continue;
        }
        let Some(stored) = journal.outbound.get(&number) else {
            return Err(format!(
                "message {number} was received and is not on the volume: {}",
                in_words(&bytes(message))
            ));
        };
        let is_same = match message.is_set(43) {
            // It came again first: what was stored is the original, whose header differs.
            true => fields(stored).content() == message.content(),
            false => *stored == bytes(message),
        };
        if !is_same {
            let (received, stored) = (in_words(&bytes(message)), in_words(stored));
            return Err(format!("message {number} was received as {received}, and the volume has {stored}"));
        }
        held.messages += 1;
    }
    for order in client.answered_orders(0) {
        let number = order.msg_seq_num;
        if journal.is_recycled(&journal.inbound, number) {
            held.recycled += 1;
            continue;
        }
        let body = order.body.replace('|', "\x01");
        let Some(stored) = journal.inbound.get(&number) else {
            return Err(format!("order {number} was answered and is not on the volume: {}", order.body));
        };
        // The header says when and how often it was sent; what follows it is the order.
        if !String::from_utf8_lossy(stored).contains(&format!("\x01{body}10=")) {
            return Err(format!("order {number} was {}, and the volume has {}", order.body, in_words(stored)));
        }
        held.orders += 1;
    }
    Ok(held)
}

/// The data directory, copied out of the image. It may be missing where the cut came before it was made.
fn extract(image: &Path, scratch: &Path) -> Result<PathBuf, String> {
    let copy = scratch.join("after-the-cut.img");
    let to = scratch.join("after-the-cut");
    let _ = fs::remove_dir_all(&to);
    fs::create_dir(&to).map_err(|error| format!("{to:?}: {error}"))?;
    run("cp", &["--sparse=always".as_ref(), image.as_ref(), copy.as_ref()], &[0])?;
    // 1: the filesystem was changed, which to replay its journal is.
    run("e2fsck", &["-E".as_ref(), "journal_only".as_ref(), "-y".as_ref(), copy.as_ref()], &[0, 1])?;
    let damage = run("e2fsck", &["-f".as_ref(), "-n".as_ref(), copy.as_ref()], &[0]).err();
    let request = format!("rdump /data {}", to.display());
    run("debugfs", &["-R".as_ref(), request.as_ref(), copy.as_ref()], &[0])?;
    match damage {
        Some(damage) => Err(format!("the filesystem did not survive, so the disk broke its promise to it: {damage}")),
        None => Ok(to.join("data")),
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr], good: &[i32]) -> Result<(), String> {
    let path = format!("{}:{SBIN}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {text}", output.status))
}

/// The messages of the one session, by MsgSeqNum(34).
#[derive(Default)]
struct Journal {
    outbound: HashMap<u64, Vec<u8>>,
    /// As it was counted.
    inbound: HashMap<u64, Vec<u8>>,
    /// Where the oldest segment begins that still holds what it held.
    first_position: u64,
}

impl Journal {
    fn read(data_dir: &Path) -> Result<Self, String> {
        let mut journal = Self::default();
        if !data_dir.join("manifest").exists() {
            // The cut came before the directory was whole; whoever was told something is missed by the comparison.
            return Ok(journal);
        }
        let records = Cat::open(data_dir).map_err(|error| format!("the journal cannot be read: {error}"))?;
        for (at, record) in records.enumerate() {
            let record = record.map_err(|error| format!("the journal cannot be read: {error}"))?;
            if at == 0 {
                journal.first_position = record.position;
            }
            let number = record.header.msg_seq_num;
            let before = match record.header.kind {
                Kind::Outbound => journal.outbound.insert(number, record.payload.to_vec()),
                Kind::Inbound if record.header.has(flags::COUNTED) => {
                    journal.inbound.insert(number, record.payload.to_vec())
                }
                _ => continue,
            };
            if before.is_some() {
                return Err(format!(
                    "number {number} stands twice in the journal, the second time at {}",
                    record.position
                ));
            }
        }
        Ok(journal)
    }

    /// Whether a number is older than all that is kept, in a journal that has begun to recycle.
    fn is_recycled(&self, kept: &HashMap<u64, Vec<u8>>, number: u64) -> bool {
        self.first_position > 0 && kept.keys().min().is_some_and(|oldest| number < *oldest)
    }
}

fn in_words(message: &[u8]) -> String {
    String::from_utf8_lossy(message).replace('\x01', "|")
}

fn fields(message: &[u8]) -> Fields {
    let text = String::from_utf8_lossy(message);
    let field = |field: &str| field.split_once('=').map(|(tag, value)| (tag.parse().unwrap_or(0), value.to_owned()));
    Fields(text.split_terminator('\x01').filter_map(field).collect())
}

fn bytes(message: &Fields) -> Vec<u8> {
    message.0.iter().flat_map(|(tag, value)| format!("{tag}={value}\x01").into_bytes()).collect()
}
