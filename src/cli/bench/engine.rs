//! Our engine as a process of its own: the server of the benchmarks.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::Placement;
use super::scratch::Scratch;

pub(super) const FLUSH_INTERVAL_US: u64 = 1_000;
/// An engine that writes nothing for so long has done with its start.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What differs between the benchmarks.
#[derive(Clone, Copy, Debug)]
pub(super) struct EngineSettings<'a> {
    pub mode: &'a str,
    pub wait: &'a str,
    pub sessions_max: u32,
    /// Of 16 MiB each, see the configuration's defaults.
    pub segments: u64,
}

/// Where an engine's files are, over starts and ends of its process.
pub(super) struct EngineHome {
    directory: PathBuf,
    rings: PathBuf,
    /// Gone with the home.
    _shared_memory: Option<Scratch>,
}

impl EngineHome {
    /// In a directory that is there.
    pub fn new(directory: &Path) -> io::Result<Self> {
        // The ring lies beside the data unless shared memory can be had: it goes with the directory in either case.
        let beside = directory.join("rings");
        std::fs::create_dir(&beside)?;
        let shared_memory = Scratch::new(Some(Path::new("/dev/shm"))).ok();
        let rings = shared_memory.as_ref().map_or(beside, |directory| directory.path().to_owned());
        Ok(Self { directory: directory.to_owned(), rings, _shared_memory: shared_memory })
    }

    /// What its engine has logged since it was started last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("engine.log")).unwrap_or_default()
    }
}

/// An exchange for any FIX.4.4 CompIDs, killed when dropped.
pub(super) struct EngineProcess {
    pub child: Child,
    pub address: SocketAddr,
    control: SocketAddr,
    /// Where nobody else keeps it.
    _home: Option<EngineHome>,
}

impl EngineProcess {
    pub fn start(directory: &Path, placement: Placement, settings: &EngineSettings<'_>) -> io::Result<Self> {
        let home = EngineHome::new(directory)?;
        let mut engine = Self::start_in(&home, &[placement.server_core], placement.housekeeping_core, settings)?;
        engine._home = Some(home);
        Ok(engine)
    }

    /// With a worker on each of the cores, over what an earlier process has left.
    pub fn start_in(
        home: &EngineHome,
        cores: &[usize],
        housekeeping: usize,
        settings: &EngineSettings<'_>,
    ) -> io::Result<Self> {
        let (address, control) = (free_port()?, free_port()?);
        let EngineSettings { mode, wait, sessions_max, segments } = settings;
        let config = format!(
            "[engine]\ndata_dir = {data:?}\ncores = {cores:?}\nhousekeeping_cores = [{housekeeping}]\nwait = \"{wait}\"\n\
             application = \"exchange\"\ntemplate_sessions_max = {sessions_max}\npending_connections_max = {sessions_max}\npending_connections_per_address_max = {sessions_max}\n\
             connections_max = {sessions_max}\n\
             [persistence]\nallow_tmpfs = true\nmode = \"{mode}\"\nring_dir = {ring_dir:?}\nsegments = {segments}\nflush_interval = \"{FLUSH_INTERVAL_US}us\"\nflush_method = \"fdatasync\"\n\
             [control]\nlisten = \"{control}\"\n[[acceptor]]\nlisten = \"{address}\"\n\
             [[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n",
            data = home.directory.join("data"),
            ring_dir = home.rings,
        );
        let path = home.directory.join("fixring.toml");
        std::fs::write(&path, config)?;
        let log = std::fs::File::create(home.directory.join("engine.log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["run", "--log-level", "warn", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut engine = Self { child, address, control, _home: None };
        wait_until_it_listens(&mut engine.child, address)
            .map_err(|error| io::Error::other(format!("the engine did not start: {error}: {}", home.log().trim())))
            .map(|()| engine)
    }

    /// A new engine fills its segments with zeros beside its work, and nobody is to be measured beside that.
    pub fn wait_until_quiet(&self) {
        let start = Instant::now();
        let mut written = self.written_bytes();
        while start.elapsed() < QUIET_TIMEOUT {
            std::thread::sleep(QUIET);
            let now = self.written_bytes();
            if now == written {
                return;
            }
            written = now;
        }
    }

    /// `None` where the kernel does not tell.
    pub fn memory(&self) -> Option<Memory> {
        Memory::of(&std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?)
    }

    /// The sum of a metric over its labels. `None` where it cannot be had.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics(name).map(|values| values.iter().sum())
    }

    /// Of the engine's workers; `None` where it cannot be had.
    pub fn longest_turn_ms(&self) -> Option<f64> {
        self.metric("fixring_worker_longest_turn_seconds").map(|seconds| seconds * 1e3)
    }

    /// A metric by its labels, in the order in which they are served. `None` where it cannot be had.
    pub fn metrics(&self, name: &str) -> Option<Vec<f64>> {
        let mut stream = std::net::TcpStream::connect(self.control).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with('{') || rest.starts_with(' ');
            rest.rsplit(' ').next().filter(|_| is_whole)?.parse::<f64>().ok()
        };
        let values: Vec<f64> = text.lines().filter_map(value).collect();
        (!values.is_empty()).then_some(values)
    }

    /// Handed to write calls since the start (wchar of proc(5)). `None` where the kernel does not tell.
    pub fn written_bytes(&self) -> Option<u64> {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).ok()?;
        io.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until a server takes connections.
pub(super) fn wait_until_it_listens(child: &mut Child, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while std::net::TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended ({status})")));
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("nothing listens on {address} after {READY_TIMEOUT:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(super) fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Resident memory as proc(5) tells it: all, and the three kinds that it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Memory {
    pub vm_rss_kib: u64,
    pub rss_anon_kib: u64,
    /// The binary and its libraries.
    pub rss_file_kib: u64,
    /// The rings.
    pub rss_shmem_kib: u64,
}

impl Memory {
    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            vm_rss_kib: self.vm_rss_kib.max(other.vm_rss_kib),
            rss_anon_kib: self.rss_anon_kib.max(other.rss_anon_kib),
            rss_file_kib: self.rss_file_kib.max(other.rss_file_kib),
            rss_shmem_kib: self.rss_shmem_kib.max(other.rss_shmem_kib),
        }
    }

    fn of(status: &str) -> Option<Self> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Self {
            vm_rss_kib: kib("VmRSS")?,
            rss_anon_kib: kib("RssAnon")?,
            rss_file_kib: kib("RssFile")?,
            rss_shmem_kib: kib("RssShmem")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_figures_are_read_by_their_whole_names() {
        let status = "Name:\tfixring\nVmHWM:\t 9 kB\nVmRSS:\t  1500 kB\nRssAnon:\t 500 kB\nRssFile:\t 400 kB\nRssShmem:\t 600 kB\n";
        let memory = Memory { vm_rss_kib: 1_500, rss_anon_kib: 500, rss_file_kib: 400, rss_shmem_kib: 600 };
        assert_eq!(Memory::of(status), Some(memory));
        assert_eq!(Memory::of("VmRSS:\t 1 kB\n"), None);
    }
}
