//! An archive that is a command: it is called once for each sealed segment, and has archived it when it ends with status 0.
//!
//! No shell stands between: the arguments are passed as they are, with `{path}` replaced by the segment's file, `{name}` by its name in an
//! archive and `{sha256}` by its checksum. The file is the live one: a command that reads it while it is recycled finds that the checksum
//! differs, and where the archive is required it is not recycled. What was archived last stands in `journal-<n>/archived`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::task::Poll;

use uuid::Uuid;

use super::{ArchiveTarget, Holding, SealedSegment, checksum_line, prefix};
use crate::journal::{FileStorage, Geometry, file_storage};
use crate::sys::file::read_small;
use crate::sys::process::kill_group;

/// Of what a command that failed said, for the log.
const SAID_BYTES_MAX: u64 = 400;
/// A checksum and a name.
const PROOF_BYTES_MAX: u64 = 1024;

pub struct ArchiveCommand {
    arguments: Vec<String>,
    timeout_ns: u64,
    prefix: String,
    storage: FileStorage,
    journal: u16,
    geometry: Geometry,
    running: Option<Running>,
}

struct Running {
    child: Child,
    since_ns: u64,
    stderr: File,
}

impl ArchiveCommand {
    /// `arguments` begins with the program.
    pub fn new(
        arguments: &[String],
        timeout_ns: u64,
        data_dir: &Path,
        geometry: Geometry,
        (uuid, timeline): (Uuid, Uuid),
        journal: u16,
    ) -> Self {
        Self {
            arguments: arguments.to_vec(),
            timeout_ns,
            prefix: prefix(uuid, timeline, journal),
            storage: FileStorage::open(data_dir, geometry),
            journal,
            geometry,
            running: None,
        }
    }

    fn start(&mut self, segment: &SealedSegment, sha256: &str, now_ns: u64) -> io::Result<Running> {
        let (slot, _) = self.geometry.slot(self.journal, segment.number * self.geometry.segment_bytes);
        let path = fs::canonicalize(self.storage.segment_path(slot))?;
        let fill = |argument: &String| {
            argument
                .replace("{path}", &path.to_string_lossy())
                .replace("{name}", &segment.name)
                .replace("{sha256}", sha256)
        };
        let mut arguments = self.arguments.iter().map(fill);
        let program = arguments.next().unwrap_or_default();
        let stderr = tempfile::tempfile()?;
        let child = Command::new(&program)
            .args(arguments)
            // What accelerates our sockets is not for others.
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.try_clone()?)
            // Of its own, so that what it has started ends with it.
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program} cannot be started: {error}")))?;
        Ok(Running { child, since_ns: now_ns, stderr })
    }

    fn proof(&self) -> PathBuf {
        self.storage.journal_dir(self.journal).join("archived")
    }

    /// Checksum and name of what was archived last.
    fn last(&self) -> io::Result<Option<(String, String)>> {
        let text = match read_small(&self.proof(), PROOF_BYTES_MAX) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut words = text.split_whitespace().map(str::to_owned);
        Ok(words.next().zip(words.next()))
    }
}

impl ArchiveTarget for ArchiveCommand {
    /// It goes through the segments in their order, so that one name speaks for all before it: in its own timeline.
    fn holding(&mut self, segment: &SealedSegment) -> io::Result<Holding> {
        let last = self.last()?;
        let name = last.as_ref().and_then(|(_, name)| name.strip_prefix(&self.prefix));
        let number = name.and_then(|name| name.split('-').next()).and_then(|number| number.parse::<u64>().ok());
        Ok(match number {
            Some(number) if segment.number < number => Holding::Whole,
            Some(number) if segment.number == number => Holding::Something,
            _ => Holding::Nothing,
        })
    }

    fn holds(&mut self, segment: &SealedSegment, sha256: &str) -> io::Result<bool> {
        let last = self.last()?;
        Ok(last
            .is_some_and(|(found, name)| found == sha256 && (name == segment.name || name == segment.beside(sha256))))
    }

    fn begin(&mut self, _segment: &SealedSegment) -> io::Result<()> {
        self.abandon();
        Ok(())
    }

    /// The command reads for itself.
    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, segment: &SealedSegment, sha256: &str, now_ns: u64) -> Poll<io::Result<()>> {
        let running = match &mut self.running {
            Some(running) => running,
            None => match self.start(segment, sha256, now_ns) {
                Ok(running) => self.running.insert(running),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        let status = match running.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) if now_ns.saturating_sub(running.since_ns) < self.timeout_ns => return Poll::Pending,
            Ok(None) => {
                self.abandon();
                let seconds = self.timeout_ns / 1_000_000_000;
                let why = format!("{} has not ended after {seconds} s and was killed", self.arguments[0]);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        let said = said(&mut running.stderr);
        self.running = None;
        if !status.success() {
            let why = format!("{} ended with {status}: {said}", self.arguments[0]);
            return Poll::Ready(Err(io::Error::other(why)));
        }
        let line = checksum_line(sha256, &segment.name);
        Poll::Ready(file_storage::replace(&self.proof(), line.as_bytes()).map_err(io::Error::other))
    }

    fn abandon(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended by itself; either way it is reaped.
            let _ = kill_group(&running.child);
            let _ = running.child.wait();
        }
    }
}

impl Drop for ArchiveCommand {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The end of what it wrote to stderr, in one line.
fn said(stderr: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = stderr.seek(SeekFrom::End(0)).unwrap_or(0);
    // What cannot be read is not said.
    let _ = stderr.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES_MAX)));
    let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() { "it said nothing".into() } else { said }
}
