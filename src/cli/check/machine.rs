//! What only the machine can tell of a configuration: cores, limits, directories, room and ports.
//!
//! What lies inside the data directory is judged in [`super::journals`].

use std::fs::{self, Metadata};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Finding, Level};
use crate::config::{Config, DictionaryWarnings, Placement, format_bytes};
use crate::engine::{journal_settings, why_to_park};
use crate::journal::{Allowed, Filesystem, Needed, Settings, mount_of};
use crate::sys::cgroup::cpu_limit;
use crate::sys::file::{Space, effective_user, space};
use crate::sys::open_files::limits;
use crate::transport::tcp::bind;

/// Files that the process needs beside its connections and journals: sockets that listen, logs, health and metrics.
const OTHER_FILES: u64 = 128;

/// Everything that only this machine can tell.
pub fn check_machine(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::new(config);
    findings.cores();
    findings.open_files();
    findings.memory();
    findings.inline_passwords();
    findings.dictionaries();
    findings.data_dir();
    findings.ring_dir();
    findings.memory_limit();
    findings.retention();
    findings.archive();
    findings.spread();
    findings.ports();
    findings.found
}

pub(super) struct Findings<'c> {
    pub config: &'c Config,
    pub found: Vec<Finding>,
    /// One a worker in a new data directory; an old one says how many it has.
    pub journal_count: u64,
    /// A journal and the segment of it that the next start overwrites, which a required archive has
    /// to take first.
    pub overwrites: Option<(u16, u64)>,
}

impl<'c> Findings<'c> {
    pub fn new(config: &'c Config) -> Findings<'c> {
        let journal_count = config.engine.placement.worker_count().into();
        Findings { config, found: Vec::new(), journal_count, overwrites: None }
    }

    /// The journals' settings, with as many journals as the data directory has.
    pub fn settings(&self) -> Settings {
        journal_settings(self.config, self.journal_count as u16)
    }

    /// Their errors are the configuration's.
    fn dictionaries(&mut self) {
        for DictionaryWarnings { path, count, first } in &self.config.dictionary_warnings {
            let what = format!("{count} warnings, the first: {first}");
            let mend = format!("fixring dictionary check {path} names them all");
            self.found.push(Finding { level: Level::Warning, place: path.clone(), what, mend });
        }
    }

    fn add(&mut self, level: Level, key: &str, what: String, mend: String) {
        self.found.push(Finding { level, place: self.config.place_of(key), what, mend });
    }

    pub fn ok(&mut self, key: &str, what: impl Into<String>) {
        self.add(Level::Ok, key, what.into(), String::new());
    }

    pub fn warning(&mut self, key: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Level::Warning, key, what.into(), mend.into());
    }

    pub fn wrong(&mut self, key: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Level::Wrong, key, what.into(), mend.into());
    }

    fn cores(&mut self) {
        let allowed: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        if allowed.is_empty() {
            self.warning("engine.cores", "the cores of this machine cannot be read", "nothing will be pinned");
            return;
        }
        let engine = &self.config.engine;
        let worker_cores = match &engine.placement {
            Placement::Cores(cores) => cores.as_slice(),
            Placement::Workers(_) => &[],
        };
        let named = [("engine.cores", worker_cores), ("engine.housekeeping_cores", &engine.housekeeping_cores)];
        for (key, cores) in named {
            for core in cores.iter().filter(|core| !allowed.contains(core)) {
                self.wrong(
                    key,
                    format!("core {core} does not exist here, or this process may not run on it"),
                    format!("use cores among {}", ranges(&allowed)),
                );
            }
            if !cores.is_empty() && cores.iter().all(|core| allowed.contains(core)) {
                self.ok(key, format!("{} of {}", ranges(cores), ranges(&allowed)));
            }
        }
        if let Some(core) = worker_cores.iter().find(|core| engine.housekeeping_cores.contains(core)) {
            self.warning(
                "engine.housekeeping_cores",
                format!("core {core} is a worker's too"),
                "give housekeeping cores of its own, or the worker will wait for it",
            );
        }
        if let Some(why) = why_to_park(self.config, &allowed, cpu_limit()) {
            self.warning("engine.wait", why, "");
        }
    }

    /// The hard limit counts: `fixring run` raises the soft one to it.
    fn open_files(&mut self) {
        const KEY: &str = "engine.connections_max";
        let needed = files_needed(self.config);
        match limits() {
            Err(error) => self.warning(
                KEY,
                format!("the limit of open files cannot be told: {error}"),
                format!("see that {needed} are allowed"),
            ),
            Ok(limit) if limit.hard < needed => self.warning(
                KEY,
                format!("{needed} open files may be needed and {} are allowed", limit.hard),
                format!("raise the hard limit (ulimit -Hn {needed}, LimitNOFILE={needed} of systemd), or lower connections_max"),
            ),
            Ok(_) => self.ok(KEY, format!("{needed} open files may be needed and are allowed")),
        }
    }

    /// A file with a password in it that others may read.
    fn inline_passwords(&mut self) {
        let Some(mode) = self.config.file_mode() else {
            return;
        };
        let keys = (0..self.config.sessions.len()).map(|index| format!("session[{index}].password"));
        for key in keys.filter(|key| self.config.is_set(key)).collect::<Vec<_>>() {
            if mode & 0o077 != 0 {
                self.warning(
                    &key,
                    format!("a password stands in a file that others may read (mode {mode:04o})"),
                    "close the file (chmod 600), or use password_file or password_env",
                );
            }
        }
    }

    fn data_dir(&mut self) {
        const KEY: &str = "engine.data_dir";
        let config = self.config;
        let data_dir = &config.engine.data_dir;
        let Some(existing) = self.directory(KEY, data_dir) else { return };
        if existing == *data_dir {
            self.privacy(KEY, data_dir);
            self.journals();
        }
        self.filesystem(KEY, &existing);
        let settings = self.settings();
        let needed = (Needed::of(&settings).segments_bytes, Needed::files(&settings));
        let mend = "make room, or lower persistence.segments or segment_bytes";
        self.room(KEY, &existing, needed, "segments", mend);
    }

    /// Whether what the data directory lies on can keep what the journal promises.
    fn filesystem(&mut self, key: &str, path: &Path) {
        let shown = path.display();
        let persistence = &self.config.persistence;
        let allowed = Allowed { network: persistence.allow_network_filesystem, memory: persistence.allow_tmpfs };
        match Filesystem::of(path) {
            Ok(filesystem) => {
                if let Some((what, mend)) = filesystem.fault(allowed) {
                    self.wrong(key, format!("{shown} {what}"), mend);
                } else if let Some((what, mend)) = filesystem.warning() {
                    self.warning(key, format!("{shown} {what}"), mend);
                }
            }
            Err(error) => {
                let mend = "see that it is on a block volume";
                self.warning(key, format!("the filesystem of {shown} cannot be told: {error}"), mend);
            }
        }
    }

    /// The directory itself, or where it does not exist yet the one that it would be made in; `None` where it cannot
    /// be used. Says which.
    fn directory(&mut self, key: &str, path: &Path) -> Option<PathBuf> {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(metadata) => self.is_usable(key, path, &metadata).then(|| path.to_path_buf()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = nearest_existing(path);
                match writable(&parent) {
                    Ok(()) => {
                        self.ok(key, format!("{shown} does not exist yet and can be made"));
                        Some(parent)
                    }
                    Err(error) => {
                        self.wrong(
                            key,
                            format!("{shown} does not exist and cannot be made in {}: {error}", parent.display()),
                            "name a directory that this user can write to",
                        );
                        None
                    }
                }
            }
            Err(error) => {
                let mend = "let this user pass through the directories above it";
                self.wrong(key, format!("{shown} cannot be looked at: {error}"), mend);
                None
            }
        }
    }

    /// Whether it is a directory that this user can write to; says so, or what is in the way.
    fn is_usable(&mut self, key: &str, path: &Path, metadata: &Metadata) -> bool {
        let shown = path.display();
        if !metadata.is_dir() {
            self.wrong(key, format!("{shown} is not a directory"), "name a directory, or move the file away");
            return false;
        }
        if let Err(error) = writable(path) {
            self.wrong(
                key,
                format!("{shown} cannot be written to: {error}"),
                "make it writable for this user, or name another",
            );
            return false;
        }
        self.ok(key, format!("{shown} can be used"));
        true
    }

    /// Each file of ours is closed to others; the directory decides who may take the files away. Rings lie in a
    /// directory that is often shared, so this is asked of the data directory alone.
    fn privacy(&mut self, key: &str, path: &Path) {
        let Ok(metadata) = fs::metadata(path) else { return };
        let shown = path.display();
        let mode = metadata.permissions().mode() & 0o7777;
        let own = effective_user();
        if metadata.uid() != own {
            self.warning(
                key,
                format!("{shown} belongs to user {} and this is user {own}", metadata.uid()),
                format!("its owner can take the files away; {shown}/fixring would be made with the right owner"),
            );
        } else if mode & 0o077 != 0 {
            self.warning(key, format!("{shown} is open to others (mode {mode:04o})"), format!("chmod 700 {shown}"));
        }
    }

    fn ring_dir(&mut self) {
        const KEY: &str = "persistence.ring_dir";
        let config = self.config;
        let ring_dir = &config.persistence.ring_dir;
        let shown = ring_dir.display();
        let Some(existing) = self.directory(KEY, ring_dir) else { return };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = fs::metadata(&existing).map(|metadata| metadata.dev()).ok();
        match device.and_then(|device| mount_of(&mounts, device)).map(|(kind, _)| kind) {
            Some("tmpfs") => self.ok(KEY, format!("{shown} is shared memory")),
            kind => self.warning(
                KEY,
                format!("{shown} is not on tmpfs but on {}", kind.unwrap_or("a file system of unknown kind")),
                "it works, with twice the writes and a longer tail; shared memory is faster (in a pod: an emptyDir of \
                 medium Memory)",
            ),
        }
        let settings = self.settings();
        let needed = Needed::of(&settings);
        let mend = "make room (in a pod: raise the sizeLimit of the emptyDir), or lower persistence.ring_bytes";
        let is_same = |data_dir: &Path| {
            let data = fs::metadata(nearest(data_dir)).map(|metadata| metadata.dev()).ok();
            data.is_some() && data == device
        };
        // Segments are made first.
        match is_same(&config.engine.data_dir) {
            true => {
                let both = needed.rings_bytes.saturating_add(needed.segments_bytes);
                let files = needed.ring_files + Needed::files(&settings);
                self.room(KEY, &existing, (both, files), "rings and segments", mend);
            }
            false => self.room(KEY, &existing, (needed.rings_bytes, needed.ring_files), "rings", mend),
        }
    }

    /// Whether there is room for so many bytes, in so many new files.
    fn room(&mut self, key: &str, path: &Path, (needed, files): (u64, u64), what: &str, mend: &str) {
        let shown = path.display();
        match space(path) {
            Ok(Space { free_files: Some(free), .. }) if free < files => {
                self.wrong(
                    key,
                    format!("{shown} has {free} inodes free (df -i) and {files} files are to be made"),
                    mend,
                );
            }
            Ok(space) if space.free_bytes >= needed => {
                let free = rounded(space.free_bytes);
                self.ok(key, format!("{free} free, and {} of {what} to be made", rounded(needed)));
            }
            Ok(space) => {
                let free = rounded(space.free_bytes);
                self.wrong(
                    key,
                    format!("{shown} has {free} free and {} of {what} are to be made", rounded(needed)),
                    mend,
                );
            }
            Err(error) => self.warning(
                key,
                format!("the room on {shown} cannot be told: {error}"),
                format!("see that there is room for {}", rounded(needed)),
            ),
        }
    }

    /// All at once, as the engine has them.
    fn ports(&mut self) {
        let config = self.config;
        let mut bound = Vec::new();
        for (index, acceptor) in config.acceptors.iter().enumerate() {
            bound.extend(self.port(&format!("acceptor[{index}].listen"), acceptor.listen));
        }
        if let Some(listen) = config.control.listen {
            bound.extend(self.port("control.listen", listen));
        }
    }

    /// Binds it as the engine would.
    fn port(&mut self, key: &str, listen: SocketAddr) -> Option<TcpListener> {
        match bind(listen) {
            Ok(listener) => {
                self.ok(key, format!("{listen} is free"));
                return Some(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let port = listen.port();
                self.wrong(
                    key,
                    format!("{listen} is taken"),
                    format!("`ss -ltnp 'sport = :{port}'` shows by whom; stop it, or use another port"),
                );
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.wrong(
                key,
                format!("{listen} may not be bound by this user"),
                "use a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
            ),
            Err(error) => self.wrong(
                key,
                format!("{listen} cannot be bound: {error}"),
                "use an address of this machine; `ip address` lists them",
            ),
        }
        None
    }
}

/// Makes an unnamed file and lets it go.
pub(super) fn writable(directory: &Path) -> io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}

/// The path itself, or where it does not exist the directory that it would be made in.
fn nearest(path: &Path) -> PathBuf {
    if path.exists() { path.to_path_buf() } else { nearest_existing(path) }
}

/// The directory in which the first missing part of a path would be made.
fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors()
        .skip(1)
        .map(|ancestor| if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor })
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("/"))
        .to_path_buf()
}

/// Open files that an engine may come to need: each worker's connections, each journal's segments for its flusher and for resends.
pub(in crate::cli) fn files_needed(config: &Config) -> u64 {
    let workers = u64::from(config.engine.placement.worker_count());
    let connections = u64::from(config.engine.connections_max);
    workers * (connections + 2 * u64::from(config.persistence.segments)) + OTHER_FILES
}

/// Free space is rarely a round number; whole MiB are enough to compare by eye.
fn rounded(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < 10 * MIB { format_bytes(bytes) } else { format_bytes(bytes / MIB * MIB) }
}

/// `0-3, 6`.
fn ranges(numbers: &[usize]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let shown: Vec<String> = parts
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use tempfile::TempDir;

    use super::super::{Exit, report};
    use super::*;

    /// A configuration whose every port is free and whose directories are in a temporary one.
    pub fn fitting(directory: &TempDir, more: &str) -> Config {
        let path = directory.path().display();
        let text = format!(
            "[engine]\ndata_dir = \"{path}/data\"\ncommit_bytes_max = \"128KiB\"\nconnections_max = 300\n\
             [persistence]\nring_dir = \"{path}\"\nring_bytes = \"1MiB\"\nsegment_bytes = \"1MiB\"\nsegments = 3\nallow_tmpfs = true\n\
             [control]\nlisten = \"127.0.0.1:0\"\n[[acceptor]]\nlisten = \"127.0.0.1:0\"\n{more}"
        );
        Config::parse(&text, "x.toml").unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub fn wrong(config: &Config) -> Vec<String> {
        let findings = check_machine(config);
        let wrong = findings.iter().filter(|finding| finding.level == Level::Wrong);
        wrong.map(|finding| format!("{}: {}: {}", finding.place, finding.what, finding.mend)).collect()
    }

    #[test]
    fn a_machine_that_fits_has_nothing_wrong_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let config = fitting(&directory, "");
        let findings = check_machine(&config);
        let mut output = Vec::new();
        assert_eq!(report(&findings, &mut output), Exit::Ok, "{findings:#?}");
        let output = String::from_utf8(output).unwrap();
        assert!(output.contains("ok      x.toml:2: engine.data_dir: "), "{output}");
        assert!(output.contains("x.toml:12: control.listen: 127.0.0.1:0 is free"), "{output}");
        assert_eq!(output.lines().count(), findings.len());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_taken_port_is_named_with_its_line_and_how_to_find_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        // An address that no other test uses, so that nobody takes the port once it is free again.
        let taken = TcpListener::bind("127.0.0.78:0").unwrap();
        let address = taken.local_addr().unwrap();
        let config = fitting(&directory, &format!("[[acceptor]]\nlisten = \"{address}\"\n"));
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        assert!(wrong[0].starts_with(&format!("x.toml:16: acceptor[1].listen: {address} is taken")), "{wrong:#?}");
        assert!(wrong[0].contains(&format!("ss -ltnp 'sport = :{}'", address.port())), "{wrong:#?}");
        drop(taken);
        assert_eq!(self::wrong(&config), [""; 0]);
    }

    #[test]
    fn an_address_of_another_machine_cannot_be_bound() {
        let directory = tempfile::tempdir().unwrap();
        // TEST-NET-1 of RFC 5737 belongs to nobody.
        let session = "[[session]]\nbegin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n";
        let config = fitting(&directory, &format!("[[acceptor]]\nlisten = \"192.0.2.1:9880\"\n{session}"));
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        assert!(wrong[0].contains("192.0.2.1:9880 cannot be bound"), "{wrong:#?}");
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        config.engine.placement = Placement::Cores(vec![4095]);
        config.engine.housekeeping_cores = vec![4094];
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 2, "{wrong:#?}");
        assert!(wrong[0].starts_with("engine.cores: core 4095 does not exist here"), "{wrong:#?}");
        assert!(wrong[1].starts_with("engine.housekeeping_cores: core 4094"), "{wrong:#?}");
    }

    #[test]
    fn too_little_room_says_what_there_is_and_what_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        config.persistence.segment_bytes = 1 << 50;
        config.persistence.ring_bytes = 1 << 50;
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 2, "{wrong:#?}");
        assert!(wrong[0].contains(&format!("{}GiB of segments are to be made", 3 << 20)), "{wrong:#?}");
        assert!(
            wrong[1].contains("of rings and segments are to be made")
                && wrong[1].contains("lower persistence.ring_bytes")
        );
    }

    #[test]
    fn a_data_directory_that_is_a_file_or_open_to_others_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let config = fitting(&directory, "");
        let data_dir = directory.path().join("data");
        fs::write(&data_dir, "").unwrap();
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        assert!(wrong[0].contains("is not a directory"), "{wrong:#?}");

        fs::remove_file(&data_dir).unwrap();
        fs::create_dir(&data_dir).unwrap();
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).unwrap();
        let findings = check_machine(&config);
        let warning = findings.iter().find(|finding| finding.what.contains("open to others")).unwrap();
        assert_eq!(warning.level, Level::Warning);
        assert_eq!(warning.mend, format!("chmod 700 {}", data_dir.display()));
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!check_machine(&config).iter().any(|finding| finding.what.contains("open to others")));
    }

    #[test]
    fn a_data_directory_in_memory_is_wrong_unless_it_is_allowed() {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
        let mut config = fitting(&directory, "");
        assert_eq!(wrong(&config), [""; 0]);
        config.persistence.allow_tmpfs = false;
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        assert!(wrong[0].starts_with("x.toml:2: engine.data_dir: ") && wrong[0].contains("is on tmpfs"), "{wrong:#?}");
        assert!(wrong[0].contains("persistence.allow_tmpfs = true"), "{wrong:#?}");
    }

    #[test]
    fn a_ring_directory_that_is_missing_would_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        config.persistence.ring_dir = directory.path().join("a/b");
        let findings = check_machine(&config);
        let found = findings.iter().find(|finding| finding.place == "x.toml:6: persistence.ring_dir").unwrap();
        assert_eq!(found.level, Level::Ok);
        assert!(found.what.ends_with("a/b does not exist yet and can be made"), "{found:?}");
        assert!(!directory.path().join("a").exists());

        config.persistence.ring_dir = PathBuf::from("/proc/fixring");
        let wrong = wrong(&config);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        assert!(wrong[0].contains("/proc/fixring does not exist and cannot be made in /proc"), "{wrong:#?}");
    }

    #[test]
    fn a_password_in_a_file_that_others_may_read_is_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        fs::write(
            &path,
            "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"A\"\ntarget_comp_id = \"B\"\n\
             role = \"initiator\"\nconnect = [\"127.0.0.1:1\"]\npassword = \"hunter2\"\n",
        )
        .unwrap();
        let warned = |mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let findings = check_machine(&Config::load(&path).unwrap());
            findings.iter().any(|finding| finding.place.ends_with(":7: session[0].password"))
        };
        assert!(warned(0o644));
        assert!(!warned(0o600));
    }

    #[test]
    fn more_connections_than_files_may_be_open_are_a_warning_with_the_limit_to_raise() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        config.engine.placement = Placement::Workers(3);
        assert_eq!(files_needed(&config), 3 * (300 + 2 * 3) + OTHER_FILES);
        config.persistence.segments = u32::MAX;
        let mut findings = Findings::new(&config);
        findings.open_files();
        let [finding] = &findings.found[..] else { panic!("{:#?}", findings.found) };
        assert!(finding.level == Level::Warning && finding.mend.contains("ulimit -Hn"), "{finding:#?}");
    }

    #[test]
    fn numbers_are_shown_as_ranges() {
        assert_eq!(ranges(&[3, 0, 1, 2, 6]), "0-3, 6");
        assert_eq!(ranges(&[5]), "5");
    }

    #[test]
    fn a_missing_directory_is_made_in_the_nearest_that_exists() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&directory.path().join("a/b/c")), directory.path());
        assert_eq!(nearest_existing(Path::new("fixring-data-that-is-not-here")), Path::new("."));
    }
}
