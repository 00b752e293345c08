//! The configuration: one TOML file, read once at start-up into types that cannot hold a wrong value.
//!
//! [`Config::load`] answers either a whole [`Config`], every key resolved to its type and every relation between keys
//! checked, or [`ConfigErrors`] with *all* faults of the file, each with its line, its key and the mend. Nothing
//! later re-checks what is checked here. What only the machine can tell (does the core exist, is the port free, has
//! the volume room) is no part of it: `fixring check` and the start of the engine ask that.
//!
//! Who calls it: the command line, the engine's builder, tests. It opens no socket and no data directory. The only
//! files that it reads are the configuration itself and those named by `password_file` and `dictionary`.
//!
//! Why the file is walked as a spanned TOML table and not deserialized into structs: a derived deserializer stops
//! at the first fault, and the operator would meet the others one restart at a time.

mod dictionaries;
mod errors;
pub mod import;
mod keys;
mod reader;
mod relations;
mod resolve;
mod schedule;
mod texts;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::dictionary::{Checks, Dictionary};
use crate::fix::{Precision, SECRET_TAGS};
use crate::journal::FlushMethod;

pub use errors::{ConfigErrors, Fault};
pub use keys::{KEYS, SUPPORTED_BEGIN_STRINGS};
pub(crate) use values::endpoint;
pub use values::{format_bytes, format_duration};

use crate::schedule::Schedule;
use crate::session::write_party;

/// The least that `sequence_gap_max` may be: what a sequence lease reserves at a time.
pub const SEQUENCE_GAP_MIN: u32 = 64;
/// Three quarters of it are 10,000 messages a second for five seconds: a volume that does not answer for so long is not noticed.
const SEQUENCE_GAP_MAX: u32 = 65_536;
/// Room for tens of thousands of sessions.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What the whole process does, resolved. [`Config::default`] is what runs with no file at all.
#[derive(Clone, Debug)]
pub struct Config {
    pub engine: EngineConfig,
    pub persistence: PersistenceConfig,
    pub control: ControlConfig,
    pub acceptors: Vec<AcceptorConfig>,
    pub sessions: Vec<SessionConfig>,
    /// What the sessions' dictionaries say that their authors may not have meant: of each file that
    /// says anything, how much.
    pub dictionary_warnings: Vec<DictionaryWarnings>,
    locations: Locations,
}

/// See [`Config::dictionary_warnings`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DictionaryWarnings {
    pub path: String,
    pub count: usize,
    /// The first of them, with its line.
    pub first: String,
}

/// `[engine]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineConfig {
    /// Where manifest, lock and segments live. Relative to the working directory.
    pub data_dir: PathBuf,
    pub placement: Placement,
    /// Cores for the flusher, staging, logging and the control plane. Empty: the operating system chooses.
    pub housekeeping_cores: Vec<usize>,
    pub wait: Wait,
    pub application: BuiltInApplication,
    /// A longer message is read over and rejected.
    pub message_bytes_max: u32,
    /// Journal space reserved before a message is handed to the application.
    pub commit_bytes_max: u32,
    pub connections_max: u32,
    /// Connections that have not logged on yet; part of `connections_max`.
    pub pending_connections_max: u32,
    /// Of one address, of these.
    pub pending_connections_per_address_max: u32,
    /// How many sessions all templates together may create in the life of the data directory.
    pub template_sessions_max: u32,
    /// A connection that has not logged on after so long is closed.
    pub logon_timeout: Duration,
    /// How long a Logout waits for its answer; it also bounds the graceful stop.
    pub logout_timeout: Duration,
    /// How long a graceful stop waits beyond it while nothing moves on the volume.
    pub stop_timeout: Duration,
    /// How long a second Logon for a live session waits for the first connection to prove that it is alive.
    pub probe_timeout: Duration,
    /// How long a start waits for a dead process to let go of the data directory.
    pub lock_timeout: Duration,
    pub lock_memory: LockMemory,
    /// A worker that does not finish a turn for so long is said to stall.
    pub stall_alarm: Duration,
    /// Busy turns that take longer are counted.
    pub long_turn: Duration,
    /// Stamp every stage of a turn.
    pub trace_stages: bool,
}

/// Whether the process' memory is kept from being swapped or dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMemory {
    /// Where it is permitted; said once where it is not.
    Auto,
    /// Or the engine does not start.
    Always,
    Never,
}

/// `workers` or `cores`: how many workers there are and where they run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placement {
    /// So many workers; the engine chooses their cores.
    Workers(u32),
    /// One worker on each of these cores.
    Cores(Vec<usize>),
}

impl Placement {
    pub fn worker_count(&self) -> u32 {
        match self {
            Placement::Workers(count) => *count,
            Placement::Cores(cores) => cores.len() as u32,
        }
    }
}

/// What a worker does when a turn found nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Never yields its core. Lowest latency; wants a core of its own.
    Spin,
    /// Spins for a moment, then sleeps in the poller.
    Adaptive,
    /// Sleeps in the poller at once.
    Park,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuiltInApplication {
    Exchange,
    Echo,
}

/// `[persistence]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PersistenceConfig {
    /// Of sessions that do not name their own.
    pub mode: PersistenceMode,
    /// Shared memory that outlives the process.
    pub ring_dir: PathBuf,
    /// A power of two, at least four commits.
    pub ring_bytes: u64,
    /// A multiple of `ring_bytes`.
    pub segment_bytes: u64,
    pub segments: u32,
    /// How long the flusher may rest between two turns that found bytes to carry.
    pub flush_interval: Duration,
    /// At least so long between two device writes, even while sessions wait. At most `flush_interval`.
    pub flush_interval_min: Duration,
    /// `None` is `"auto"`.
    pub flush_method: Option<FlushMethod>,
    /// A write and its sync that take longer raise the alarm.
    pub storage_latency_alarm: Duration,
    /// A directory that gets a copy of each sealed segment.
    pub archive: Option<PathBuf>,
    /// A program and its arguments, called for each sealed segment instead. Empty where there is none.
    pub archive_command: Vec<String>,
    pub archive_timeout: Duration,
    /// No segment is overwritten before it is archived.
    pub archive_required: bool,
    /// Messages that are older are not sent again. `None` is `"off"`.
    pub retention_age: Option<Duration>,
    /// For how long a session keeps what was sent to it, whatever others append.
    pub retention_min: Duration,
    /// The same of what was not delivered to it.
    pub retention_undelivered_max: Duration,
    /// How long a resend may keep the segment that it reads from being overwritten.
    pub recycle_hold_max: Duration,
    /// Of sessions that do not name their own.
    pub sequence_gap_max: u32,
    /// A data directory on NFS, SMB, FUSE and their like is not refused.
    pub allow_network_filesystem: bool,
    /// A data directory in memory is not refused.
    pub allow_tmpfs: bool,
}

/// When a commit is released. Ordered by strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PersistenceMode {
    /// Once the commit is whole in the ring: survives the death of the process.
    Buffered,
    /// Once the operating system has it: survives the death of the pod.
    Flush,
    /// Once it is on stable media: survives the death of the node.
    Sync,
}

/// `[control]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlConfig {
    /// Health and metrics over HTTP. `None` is `"off"`.
    pub listen: Option<SocketAddr>,
}

/// `[[acceptor]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptorConfig {
    pub listen: SocketAddr,
}

/// `[[session]]`: one session, or a template that makes sessions as counterparties log on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionConfig {
    pub identity: IdentityPattern,
    pub role: SessionRole,
    /// Initiator: tried in order, names resolved anew for each attempt. Empty on acceptors.
    pub connect: Vec<Endpoint>,
    /// Proposed in HeartBtInt(108) by an initiator. An acceptor follows its peer.
    pub heartbeat_seconds: u32,
    /// An acceptor refuses a longer HeartBtInt(108).
    pub heartbeat_seconds_max: u32,
    /// The journal that it lives in, and with that its worker. `None`: chosen by a hash of its identity.
    pub journal: Option<u16>,
    /// Its own, or that of `[persistence]`.
    pub mode: PersistenceMode,
    /// How many MsgSeqNum(34) at most may be passed over after a loss; its own, or that of `[persistence]`.
    pub sequence_gap_max: u32,
    /// An in-session Logon with ResetSeqNumFlag(141) is answered with one.
    pub answer_in_session_reset: bool,
    pub reset_on_logon: bool,
    pub reset_on_logout: bool,
    pub reset_on_disconnect: bool,
    /// Send and honour NextExpectedMsgSeqNum(789), from FIX.4.4 on.
    pub next_expected_msg_seq_num: bool,
    /// How far SendingTime(52) may be from our clock. Zero: not checked.
    pub sending_time_tolerance: Duration,
    /// A Logon that is beyond it is answered with a Logout that says so.
    pub explain_refused_time: bool,
    /// Messages kept while a gap before them is being filled.
    pub held_messages_max: u32,
    pub held_bytes_max: u32,
    /// How often the same missing messages are asked for before the session ends.
    pub resend_requests_max: u32,
    /// How fine SendingTime(52) is; whole seconds before FIX.4.2.
    pub sending_time_precision: Precision,
    /// Send LastMsgSeqNumProcessed(369), from FIX.4.2 on.
    pub last_msg_seq_num_processed: bool,
    /// Send SessionStatus(1409), FIXT.1.1 alone.
    pub session_status: bool,
    /// Send a Reject(3) again where it is asked for.
    pub resend_rejects: bool,
    /// Fields whose values are neither stored nor logged, in any message.
    pub secret_tags: Vec<u32>,
    /// The counterparty's own dictionaries, at most one a version. The standard's own where it has none.
    pub dictionary: Vec<Arc<Dictionary>>,
    pub validation: ValidationConfig,
    /// DefaultApplVerID(1137), FIXT.1.1 alone.
    pub default_appl_ver_id: String,
    /// Username(553), initiator.
    pub username: Option<String>,
    /// Password(554), initiator; from `password`, `password_file` or `password_env`.
    pub password: Option<Secret>,
    /// The pause before the first new attempt to connect; doubles, with jitter, up to `reconnect_max`.
    pub reconnect_min: Duration,
    pub reconnect_max: Duration,
    /// When it may be logged on, and when its numbers begin again. Unset: always, and never.
    pub schedule: Option<Arc<Schedule>>,
}

/// `[session.validation]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ValidationConfig {
    /// Whether messages are checked by a dictionary at all.
    pub enabled: bool,
    pub checks: Checks,
    /// What the checks find is answered with a Reject(3); otherwise it is logged, and the message
    /// taken.
    pub reject_invalid: bool,
    /// The standard's FIX.5.0SP2 is that of its extension packs.
    pub extension_packs: bool,
    /// Both CompIDs of each message are the session's.
    pub comp_ids: bool,
    /// A PossDup has an OrigSendingTime(122), not later than its SendingTime(52).
    pub orig_sending_time: bool,
}

impl Default for ValidationConfig {
    fn default() -> ValidationConfig {
        ValidationConfig {
            enabled: true,
            checks: Checks::ALL,
            reject_invalid: true,
            extension_packs: false,
            comp_ids: true,
            orig_sending_time: true,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionRole {
    Acceptor,
    Initiator,
}

/// Who may be this session, seen from our side: sender is us. A SubID or LocationID that is not configured is empty
/// and is not compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityPattern {
    pub begin_string: Pattern,
    pub sender_comp_id: Pattern,
    pub sender_sub_id: String,
    pub sender_location_id: String,
    pub target_comp_id: Pattern,
    pub target_sub_id: String,
    pub target_location_id: String,
}

/// One value, or `"*"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    Any,
    Exactly(String),
}

/// The seven values of an identity as they stand in a message, seen from our side.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityValues<'a> {
    pub begin_string: &'a [u8],
    pub sender_comp_id: &'a [u8],
    pub sender_sub_id: &'a [u8],
    pub sender_location_id: &'a [u8],
    pub target_comp_id: &'a [u8],
    pub target_sub_id: &'a [u8],
    pub target_location_id: &'a [u8],
}

/// `host:port`. The host is a name or an address; an IPv6 address has lost its brackets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// A value that no log line, error or `Debug` output may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Config {
    /// Reads and resolves a file.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Self::load_with(path, OtherFiles::Read)
    }

    /// [`Config::load`] without the dictionaries and passwords that the file names: for who looks
    /// at sessions and runs none, perhaps on a machine that has none of them.
    pub fn load_outline(path: &Path) -> Result<Config, ConfigErrors> {
        Self::load_with(path, OtherFiles::LeaveOut)
    }

    fn load_with(path: &Path, other_files: OtherFiles) -> Result<Config, ConfigErrors> {
        let name = path.display().to_string();
        match read_bounded(path, FILE_BYTES_MAX) {
            Ok(bytes) => match String::from_utf8(bytes) {
                // The built-in defaults are an exchange that is open to everybody, which nobody has
                // asked for who names a file.
                Ok(text) if sets_nothing(&text) => {
                    let is_empty = text.trim_start_matches('\u{feff}').trim().is_empty();
                    let what = if is_empty { "is empty" } else { "is empty but for comments" };
                    let mend = "set at least one key of it, or leave --config out to run the built-in defaults, an exchange that is open to everybody who \
                        can connect";
                    Err(ConfigErrors::of_file(&name, what.into(), mend.into()))
                }
                Ok(text) => {
                    let mut config = resolve::resolve(&text, &name, other_files)?;
                    config.locations.file_mode =
                        fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o7777);
                    Ok(config)
                }
                Err(error) => {
                    let valid = error.utf8_error().valid_up_to();
                    let line = 1 + error.as_bytes()[..valid].iter().filter(|&&b| b == b'\n').count();
                    Err(ConfigErrors::of_file(
                        &name,
                        format!("line {line} is not UTF-8"),
                        "save the file as UTF-8 text".into(),
                    ))
                }
            },
            Err(error) => {
                let mend = match error.kind() {
                    io::ErrorKind::NotFound => {
                        "name an existing file with --config, or leave --config out to run with the defaults"
                    }
                    io::ErrorKind::PermissionDenied => "let the user that runs fixring read it",
                    io::ErrorKind::IsADirectory => "name the file in it with --config",
                    _ => "name a readable file with --config",
                };
                Err(ConfigErrors::of_file(&name, format!("cannot be read: {error}"), mend.into()))
            }
        }
    }

    /// Resolves a text. `name` is what errors call it.
    pub fn parse(text: &str, name: &str) -> Result<Config, ConfigErrors> {
        resolve::resolve(text, name, OtherFiles::Read)
    }

    /// The same configuration over another data directory: `--data-dir`.
    pub fn with_data_dir(mut self, data_dir: impl Into<PathBuf>) -> Config {
        self.engine.data_dir = data_dir.into();
        self.locations.by_key.remove("engine.data_dir");
        self
    }

    /// Where a key stands, for messages about it: `fixring.toml:12: engine.data_dir`, or `engine.data_dir` where
    /// the file does not set it. Keys of lists carry their index: `session[0].connect`.
    pub fn place_of(&self, key: &str) -> String {
        match self.locations.by_key.get(key) {
            Some(location) => format!("{}:{}: {key}", self.locations.name, location.line),
            None => key.to_string(),
        }
    }

    /// Whether the file sets a key: `session[0].password`.
    pub fn is_set(&self, key: &str) -> bool {
        self.locations.by_key.contains_key(key)
    }

    /// The permission bits of the file that this was loaded from.
    pub fn file_mode(&self) -> Option<u32> {
        self.locations.file_mode
    }

    /// The `[[session]]` that a Logon with this identity belongs to: a single session before a template, and among
    /// those the one that names more SubIDs and LocationIDs. The configuration refuses two that tie.
    pub fn session_for(&self, role: SessionRole, identity: IdentityValues<'_>) -> Option<usize> {
        self.session_among(0..self.sessions.len(), role, identity)
    }

    /// The same of these `[[session]]`s alone.
    pub(crate) fn session_among(
        &self,
        candidates: impl Iterator<Item = usize>,
        role: SessionRole,
        identity: IdentityValues<'_>,
    ) -> Option<usize> {
        candidates
            .filter(|&index| self.sessions[index].role == role && self.sessions[index].identity.matches(identity))
            .max_by_key(|&index| self.sessions[index].identity.specificity())
    }
}

impl Default for Config {
    /// An exchange on 127.0.0.1:9880 for any CompIDs of any supported version, its data in `./fixring-data`, health
    /// and metrics on 127.0.0.1:9890. The commented `fixring.toml` says the same, and a test proves it.
    fn default() -> Config {
        Config {
            engine: EngineConfig::default(),
            persistence: PersistenceConfig::default(),
            control: ControlConfig::default(),
            acceptors: vec![AcceptorConfig::default()],
            sessions: vec![SessionConfig::default()],
            dictionary_warnings: Vec::new(),
            locations: Locations::default(),
        }
    }
}

/// Where the keys stood in a file is no part of what is configured.
impl PartialEq for Config {
    fn eq(&self, other: &Config) -> bool {
        self.engine == other.engine
            && self.persistence == other.persistence
            && self.control == other.control
            && self.acceptors == other.acceptors
            && self.sessions == other.sessions
    }
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            data_dir: PathBuf::from("fixring-data"),
            placement: Placement::Workers(1),
            housekeeping_cores: Vec::new(),
            wait: Wait::Adaptive,
            application: BuiltInApplication::Exchange,
            message_bytes_max: 64 << 10,
            commit_bytes_max: 256 << 10,
            connections_max: 4096,
            pending_connections_max: 256,
            pending_connections_per_address_max: 128,
            template_sessions_max: 1024,
            logon_timeout: Duration::from_secs(10),
            logout_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(15),
            probe_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_secs(60),
            lock_memory: LockMemory::Auto,
            stall_alarm: Duration::from_millis(100),
            long_turn: Duration::from_millis(1),
            trace_stages: false,
        }
    }
}

impl Default for PersistenceConfig {
    fn default() -> PersistenceConfig {
        PersistenceConfig {
            mode: PersistenceMode::Buffered,
            ring_dir: PathBuf::from("/dev/shm"),
            ring_bytes: 16 << 20,
            segment_bytes: 16 << 20,
            segments: 64,
            flush_interval: Duration::from_millis(1),
            flush_interval_min: Duration::ZERO,
            flush_method: None,
            storage_latency_alarm: Duration::from_millis(50),
            archive: None,
            archive_command: Vec::new(),
            archive_timeout: Duration::from_secs(60),
            archive_required: false,
            retention_age: None,
            retention_min: Duration::from_secs(10),
            retention_undelivered_max: Duration::from_secs(300),
            recycle_hold_max: Duration::from_millis(200),
            sequence_gap_max: SEQUENCE_GAP_MAX,
            allow_network_filesystem: false,
            allow_tmpfs: false,
        }
    }
}

impl Default for ControlConfig {
    fn default() -> ControlConfig {
        ControlConfig { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9890))) }
    }
}

impl Default for AcceptorConfig {
    fn default() -> AcceptorConfig {
        AcceptorConfig { listen: SocketAddr::from(([127, 0, 0, 1], 9880)) }
    }
}

impl Default for SessionConfig {
    /// The template that takes any counterparty.
    fn default() -> SessionConfig {
        SessionConfig {
            identity: IdentityPattern {
                begin_string: Pattern::Any,
                sender_comp_id: Pattern::Any,
                sender_sub_id: String::new(),
                sender_location_id: String::new(),
                target_comp_id: Pattern::Any,
                target_sub_id: String::new(),
                target_location_id: String::new(),
            },
            role: SessionRole::Acceptor,
            connect: Vec::new(),
            heartbeat_seconds: 30,
            heartbeat_seconds_max: 3600,
            journal: None,
            mode: PersistenceMode::Buffered,
            sequence_gap_max: SEQUENCE_GAP_MAX,
            answer_in_session_reset: true,
            reset_on_logon: false,
            reset_on_logout: false,
            reset_on_disconnect: false,
            next_expected_msg_seq_num: false,
            sending_time_tolerance: Duration::from_secs(120),
            explain_refused_time: false,
            held_messages_max: 1024,
            held_bytes_max: 256 << 10,
            resend_requests_max: 5,
            sending_time_precision: Precision::Millis,
            last_msg_seq_num_processed: false,
            session_status: false,
            resend_rejects: false,
            secret_tags: SECRET_TAGS.to_vec(),
            dictionary: Vec::new(),
            validation: ValidationConfig::default(),
            default_appl_ver_id: "9".into(),
            username: None,
            password: None,
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(30),
            schedule: None,
        }
    }
}

impl SessionConfig {
    /// Makes sessions as counterparties log on, instead of being one.
    pub fn is_template(&self) -> bool {
        self.identity.is_template()
    }
}

impl IdentityPattern {
    pub fn is_template(&self) -> bool {
        [&self.begin_string, &self.sender_comp_id, &self.target_comp_id].contains(&&Pattern::Any)
    }

    pub fn matches(&self, identity: IdentityValues<'_>) -> bool {
        let unset_or_same = |own: &str, value: &[u8]| own.is_empty() || own.as_bytes() == value;
        // "*" stands for any *supported* version.
        let begin_string_fits = match &self.begin_string {
            Pattern::Any => SUPPORTED_BEGIN_STRINGS.iter().any(|known| known.as_bytes() == identity.begin_string),
            pattern => pattern.matches(identity.begin_string),
        };
        begin_string_fits
            && self.sender_comp_id.matches(identity.sender_comp_id)
            && self.target_comp_id.matches(identity.target_comp_id)
            && unset_or_same(&self.sender_sub_id, identity.sender_sub_id)
            && unset_or_same(&self.sender_location_id, identity.sender_location_id)
            && unset_or_same(&self.target_sub_id, identity.target_sub_id)
            && unset_or_same(&self.target_location_id, identity.target_location_id)
    }

    /// Single sessions before templates, then by the number of SubIDs and LocationIDs named.
    fn specificity(&self) -> (bool, usize) {
        (!self.is_template(), self.qualifiers().iter().filter(|value| !value.is_empty()).count())
    }

    fn qualifiers(&self) -> [&str; 4] {
        [&self.sender_sub_id, &self.sender_location_id, &self.target_sub_id, &self.target_location_id]
    }

    /// Whether some message could belong to both.
    fn overlaps(&self, other: &IdentityPattern) -> bool {
        self.begin_string.overlaps(&other.begin_string)
            && self.sender_comp_id.overlaps(&other.sender_comp_id)
            && self.target_comp_id.overlaps(&other.target_comp_id)
            && self
                .qualifiers()
                .iter()
                .zip(other.qualifiers())
                .all(|(own, other)| own.is_empty() || other.is_empty() || *own == other)
    }
}

/// The name of its sessions, see [`crate::session::Identity`], with `*` where any value fits.
impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |f: &mut fmt::Formatter<'_>, comp_id: &Pattern, sub_id: &str, location_id: &str| {
            write_party(f, comp_id.to_string().as_bytes(), sub_id.as_bytes(), location_id.as_bytes())
        };
        write!(f, "{}:", self.begin_string)?;
        side(f, &self.sender_comp_id, &self.sender_sub_id, &self.sender_location_id)?;
        f.write_str("->")?;
        side(f, &self.target_comp_id, &self.target_sub_id, &self.target_location_id)
    }
}

impl Pattern {
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exactly(own) => own.as_bytes() == value,
        }
    }

    fn overlaps(&self, other: &Pattern) -> bool {
        *self == Pattern::Any || *other == Pattern::Any || self == other
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Any => f.write_str("*"),
            Pattern::Exactly(value) => f.write_str(value),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Secret {
    pub fn new(value: impl Into<Box<[u8]>>) -> Secret {
        Secret(value.into())
    }

    /// The value itself. The caller answers for where it goes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Whether the other files and variables that a configuration names are read: dictionaries and
/// passwords.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OtherFiles {
    Read,
    LeaveOut,
}

/// Whether a text has no key and no table, perhaps comments. A text that is not TOML has something
/// that a fault can be shown in.
fn sets_nothing(text: &str) -> bool {
    let (root, faults) = DeTable::parse_recoverable(text);
    faults.is_empty() && root.get_ref().is_empty()
}

/// A path such as `/dev/zero` must not fill the memory.
fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let reason = format!("it is longer than {}", format_bytes(bytes_max));
        return Err(io::Error::other(reason));
    }
    Ok(bytes)
}

/// Where each key that the file sets stands in it.
#[derive(Clone, Debug, Default)]
struct Locations {
    name: String,
    by_key: BTreeMap<String, Location>,
    /// Unset where the text is no file's.
    file_mode: Option<u32>,
}

/// Both count from one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Location {
    line: u32,
    column: u32,
}
