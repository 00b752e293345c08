//! The system calls of the real binary, observed: each flush method makes a message durable before it is sent, and what is renamed or made and must
//! survive is synced, file and directory.
//!
//! A small library (`durable_calls/observe.c`, built with the C compiler that links Rust programs) is loaded into the binary and writes down its calls;
//! `durable_calls/rules.rs` judges them, and its own tests show that a missing call is found.

#[path = "kill/client.rs"]
mod client;
#[path = "kill/engine.rs"]
mod engine;
#[path = "durable_calls/rules.rs"]
mod rules;
#[path = "durable_calls/trace.rs"]
mod trace;
#[path = "kill/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use client::Client;
use engine::whole::Wholeness;
use engine::{Running, free_port};
use rules::{Release, Seen};
use wire::Party;

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };

/// A directory whose part `observed` is watched; rings, which no power cut leaves, lie beside it.
struct Observed {
    directory: tempfile::TempDir,
    port: u16,
}

impl Drop for Observed {
    fn drop(&mut self) {
        Wholeness::default().check(&self.data_dir());
    }
}

struct Setup<'a> {
    mode: &'a str,
    flush_method: &'a str,
    /// More keys; ROOT is the observed directory.
    persistence: &'a str,
}

impl Observed {
    fn new(setup: &Setup<'_>) -> Self {
        let Setup { mode, flush_method, persistence } = setup;
        let observed = Self { directory: tempfile::tempdir().expect("a temporary directory"), port: free_port() };
        fs::create_dir(observed.root()).unwrap();
        let persistence = persistence.replace("ROOT", observed.root().to_str().unwrap());
        let text = format!(
            "[engine]\ndata_dir = {:?}\nwait = \"park\"\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\ntemplate_sessions_max = 4\n\
             [persistence]\nallow_tmpfs = true\nmode = \"{mode}\"\nring_dir = {:?}\nring_bytes = \"64KiB\"\nsegment_bytes = \"64KiB\"\n\
             segments = 4\nflush_method = \"{flush_method}\"\n{persistence}\n[control]\nlisten = \"off\"\n\
             [[acceptor]]\nlisten = \"127.0.0.1:{}\"\n[[session]]\nbegin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n",
            observed.data_dir(),
            observed.path().join("rings"),
            observed.port
        );
        fs::write(observed.path().join("fixring.toml"), text).unwrap();
        observed
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn root(&self) -> PathBuf {
        self.path().join("observed")
    }

    /// Neither it nor the directory above it is there before the first start.
    fn data_dir(&self) -> PathBuf {
        self.root().join("volume/data")
    }

    fn log(&self) -> PathBuf {
        self.path().join("calls")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
        command.args(arguments);
        command
            .env("LD_PRELOAD", library())
            .env("FIXRING_OBSERVE_LOG", self.log())
            .env("FIXRING_OBSERVE_ROOT", self.root());
        command
    }

    fn present(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut left = vec![self.root()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.insert(path.to_str().unwrap().to_owned());
        }
        found
    }

    /// One life of a process, judged. The answer is how many messages it has sent.
    fn judged(&self, release: Release, live: impl FnOnce()) -> usize {
        let before = self.present();
        let _ = fs::remove_file(self.log());
        live();
        let text = fs::read_to_string(self.log())
            .expect("the library was loaded into the binary, which links to libc dynamically");
        let calls = trace::parse(&text);
        let seen = Seen { calls: &calls, before: &before };
        let faults = seen.faults(release);
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        // Otherwise a name was made or changed by a call that is not observed.
        assert_eq!(seen.after(), self.present());
        seen.sent()
    }

    /// Starts the engine, trades, and stops it or kills it.
    fn trade(&self, client: &mut Client, orders: u64, release: Release, is_killed: bool) {
        let sent = self.judged(release, || {
            let config = self.path().join("fixring.toml");
            let mut engine = Running::of(self.command(&["run", "--config", config.to_str().unwrap()]));
            engine.until_ready();
            client.log_on();
            let enough = client.answered() + orders;
            // One at a time, then several on their way.
            for window in [1, 8] {
                let until = enough - if window == 1 { orders / 2 } else { 0 };
                client.until("reports", |client| {
                    while client.unanswered() < window {
                        client.send_order();
                    }
                    client.answered() >= until
                });
            }
            client.ask_again();
            client.until("all reports", |client| client.unanswered() == 0);
            if is_killed {
                engine.kill();
                client.drain();
                return;
            }
            client.log_out();
            client.check_complete();
            engine.terminate();
            let (status, log) = engine.until_ended();
            assert_eq!(status.code(), Some(0), "{log}");
        });
        assert!(sent as u64 > orders, "{sent} messages were seen");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut output = None;
        self.judged(Release::Synced, || output = Some(self.command(arguments).output().expect("the binary starts")));
        output.unwrap()
    }
}

/// Builds the library once a process; several processes leave the same one.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let built = directory.join(format!("observe-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durable_calls/observe.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let done = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&built)
            .arg(&source)
            .arg("-ldl")
            .output();
        let done =
            done.unwrap_or_else(|error| panic!("{compiler}, which links Rust programs too, cannot be run: {error}"));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let library = directory.join("observe.so");
        fs::rename(&built, &library).unwrap();
        library
    })
}

/// Two lives: a new directory, and one that is recovered after a kill. `None` of it is left out where the filesystem has no direct I/O.
fn two_lives(mode: &str, flush_method: &str, release: Release) {
    let observed = Observed::new(&Setup { mode, flush_method, persistence: "" });
    if flush_method == "dsync" && !has_direct_io(observed.path()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true, and the temporary directory has no O_DIRECT");
        eprintln!("SKIPPED: the filesystem of {:?} has no O_DIRECT, which dsync needs", observed.path());
        return;
    }
    let mut client = Client::new(PARTY, observed.port);
    observed.trade(&mut client, 120, release, true);
    observed.trade(&mut client, 400, release, false);
}

fn has_direct_io(directory: &Path) -> bool {
    let path = directory.join("direct");
    fs::write(&path, [0; 4096]).unwrap();
    fs::File::options().read(true).custom_flags(libc::O_DIRECT).open(&path).is_ok()
}

#[test]
fn with_fdatasync_nothing_is_sent_that_is_not_synced() {
    two_lives("sync", "fdatasync", Release::Synced);
}

#[test]
fn with_dsync_nothing_is_sent_that_is_not_synced() {
    two_lives("sync", "dsync", Release::Synced);
}

#[test]
fn with_msync_nothing_is_sent_that_is_not_synced() {
    two_lives("sync", "msync", Release::Synced);
}

#[test]
fn in_flush_mode_nothing_is_sent_that_is_not_written() {
    two_lives("flush", "fdatasync", Release::Written);
}

/// The note of what was measured, and whatever method it led to.
#[test]
fn with_a_measured_method_names_and_messages_are_synced() {
    two_lives("sync", "auto", Release::Synced);
}

/// A copy and its checksum, or for a command the note of what was archived last; and the segment that is overwritten afterwards.
#[test]
fn what_an_archive_is_made_of_is_synced_with_its_names() {
    for target in ["archive = \"ROOT/archive\"", "archive_command = [\"/bin/true\", \"{path}\"]"] {
        let persistence = format!("{target}\narchive_required = true");
        let observed = Observed::new(&Setup { mode: "sync", flush_method: "fdatasync", persistence: &persistence });
        let archive = observed.root().join("archive");
        fs::create_dir(&archive).unwrap();
        let mut client = Client::new(PARTY, observed.port);
        observed.trade(&mut client, 600, Release::Synced, false);
        let proofs = match target.starts_with("archive =") {
            true => fs::read_dir(&archive)
                .unwrap()
                .flatten()
                .filter(|entry| entry.path().extension() == Some("sha256".as_ref()))
                .count(),
            false => usize::from(observed.data_dir().join("journal-0/archived").exists()),
        };
        assert!(proofs > 0, "{target}: nothing was archived");
    }
}

#[test]
fn what_recovery_puts_into_quarantine_is_synced_before_anything_is_written() {
    let observed = Observed::new(&Setup { mode: "sync", flush_method: "fdatasync", persistence: "" });
    let mut client = Client::new(PARTY, observed.port);
    observed.trade(&mut client, 50, Release::Synced, false);
    // A ring whose header nobody knows.
    let rings = fs::read_dir(observed.path().join("rings")).unwrap();
    rings.flatten().for_each(|ring| flip(&ring.path(), 20));
    let mut client = Client::new(Party { sender: "DESK2", ..PARTY }, observed.port);
    observed.trade(&mut client, 50, Release::Synced, false);
    assert!(observed.data_dir().join("quarantine").is_dir());
}

#[test]
fn what_repair_and_recover_change_is_synced_and_what_they_replace_is_safe_before() {
    let observed = Observed::new(&Setup { mode: "sync", flush_method: "fdatasync", persistence: "" });
    let mut client = Client::new(PARTY, observed.port);
    observed.trade(&mut client, 200, Release::Synced, false);
    let data_dir = observed.data_dir();
    let (data_dir, config) = (data_dir.to_str().unwrap(), observed.path().join("fixring.toml"));
    let rings = observed.path().join("rings");
    let segment = |slot: u32| observed.data_dir().join(format!("journal-0/segment-{slot}.seg"));
    let damages: [(&str, &dyn Fn()); 3] = [
        // The UUID in it.
        ("a segment of another directory", &|| flip(&segment(0), 64 + 16)),
        ("a missing segment", &|| fs::remove_file(segment(0)).unwrap()),
        ("the manifest", &|| flip(&observed.data_dir().join("manifest"), 100)),
    ];
    let aside = || fs::read_dir(observed.data_dir().join("quarantine")).map_or(0, Iterator::count);
    let repair = |name: &str, damage: &dyn Fn()| {
        damage();
        let kept = aside();
        let ring = ["--ring-bytes", "65536", "--ring-dir", rings.to_str().unwrap()];
        let output = observed.run(&[&["journal", "repair", "--data-dir", data_dir, "--yes"][..], &ring].concat());
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(aside() > kept || name.contains("missing"), "{name}: {output:?}");
    };
    damages.iter().for_each(|(name, damage)| repair(name, damage));
    let config = ["recover", "--config", config.to_str().unwrap()];
    // 1 says that it is held.
    for (word, status) in [(["--restored", "--hold"], 1), (["--restored", "--keep-numbers"], 0)] {
        let output = observed.run(&[&config[..], &word].concat());
        assert_eq!(output.status.code(), Some(status), "{word:?}: {output:?}");
    }
    // Pieces of segments that nothing can bring back.
    fs::remove_dir_all(&rings).unwrap();
    repair("every head", &|| (0..4).for_each(|slot| flip(&segment(slot), 70)));
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}
