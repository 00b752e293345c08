//! What the interoperability scenarios stand on: the QuickFIX counterparty and fixring's own binary as child processes,
//! and waiting for what they report. Every wait is for a stated condition and has a deadline; nothing here sleeps. A
//! child is killed when its owner goes, and when a test fails the story of both sides is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::versions::{Version, dictionaries};

/// Longer than any step takes on a busy machine with two cores, QuickFIX's reconnect interval of a second included.
const DEADLINE: Duration = Duration::from_secs(180);
/// Longer than a scenario takes on a busy machine: numbers are counted, and a Heartbeat(0) has one.
pub const QUICKFIX_HEARTBEAT_S: &str = "600";
/// HeartBtInt(108) as the other side sees it, where a scenario waits for TestRequests(1): a
/// QuickFIX that waits for its core answers them within more than another such time.
pub const SHORT_HEARTBEAT_S: u32 = 3;
const READY_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Events of the counterparty that a failed test prints.
const EVENTS_SHOWN_MAX: usize = 120;

/// The counterparty's program, built once a test run, or the reason why it cannot be.
pub fn quickfix_peer() -> &'static Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build-interop");
        let output = Command::new(&script).output().expect("scripts/build-interop runs");
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => Ok(PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())),
            // 3 is the script's word for "QuickFIX is not here". Anything else is a failure of ours to build.
            Some(3) => Err(said),
            _ => panic!("scripts/build-interop failed with {}:\n{said}", output.status),
        }
    })
}

/// A port of this machine that nothing listens on. From below the range that the kernel hands to outgoing
/// connections, and never the same one twice in a test run, so that parallel tests do not take each other's.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + ((u32::from(start) + u32::from(step)) % u32::from(COUNT)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("none of {COUNT} ports is free");
}

/// What a child has said so far, filled by the threads that read its streams.
struct Said<T> {
    heard: Mutex<Heard<T>>,
    changed: Condvar,
}

struct Heard<T> {
    items: Vec<T>,
    streams_open: u32,
}

impl<T> Said<T> {
    fn new(streams: u32) -> Arc<Self> {
        let heard = Heard { items: Vec::new(), streams_open: streams };
        Arc::new(Self { heard: Mutex::new(heard), changed: Condvar::new() })
    }

    fn push(&self, item: T) {
        self.heard.lock().unwrap().items.push(item);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.heard.lock().unwrap().streams_open -= 1;
        self.changed.notify_all();
    }
}

/// The process that counterparties are forked from. It ends with its stdin, and so with this process.
struct Nursery {
    address: SocketAddr,
    /// What it and all its children complained about.
    errors: Arc<Said<String>>,
    _child: Child,
}

fn nursery() -> &'static Nursery {
    static STARTED: OnceLock<Nursery> = OnceLock::new();
    STARTED.get_or_init(|| {
        let program = quickfix_peer().as_ref().expect("asked for only where QuickFIX is");
        let name = format!("fixring-interop-{}", std::process::id());
        let mut child = Command::new(program)
            .args(["--nursery", &name])
            .args(dictionaries())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the nursery starts");
        let errors = Said::new(1);
        collect(child.stderr.take().expect("piped"), errors.clone());
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut ready).expect("its word");
        if !ready.contains("\"ready\"") {
            child.wait().expect("its status");
            print_log("the nursery's errors", &errors);
            panic!("QuickFIX cannot load the dictionaries");
        }
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        Nursery { address, errors, _child: child }
    })
}

/// The QuickFIX side of a session, in a process of its own. What it reports is kept in order; marks divide it.
pub struct Peer {
    commands: UnixStream,
    events: Arc<Said<Value>>,
    reader: Option<JoinHandle<()>>,
    name: String,
}

/// How a counterparty is started. The store is always QuickFIX's file store: its memory store answers a
/// ResendRequest(2) that begins at a number it never used with one gap fill over everything that follows.
pub struct PeerOptions<'a> {
    pub role: &'a str,
    pub port: u16,
    pub version: &'a Version,
    pub sender: &'a str,
    pub target: &'a str,
    pub store_dir: &'a Path,
    /// HeartBtInt(108) on the wire, in seconds, where it differs from what QuickFIX keeps to.
    pub announced_heartbeat_s: Option<u32>,
}

impl Peer {
    pub fn start(options: &PeerOptions<'_>) -> Self {
        let mut commands = UnixStream::connect_addr(&nursery().address).expect("the nursery listens");
        let port = options.port.to_string();
        let store_dir = options.store_dir.display().to_string();
        let mut flags: Vec<String> = [
            ["--role", options.role],
            ["--port", &port],
            ["--sender", options.sender],
            ["--target", options.target],
            ["--store", "file"],
            ["--store-dir", &store_dir],
            ["--heartbeat", QUICKFIX_HEARTBEAT_S],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        flags.extend(options.version.peer_flags());
        if let Some(seconds) = options.announced_heartbeat_s {
            flags.extend(["--announce-heartbeat".to_owned(), seconds.to_string()]);
        }
        writeln!(commands, "{}", flags.join("\t")).expect("the counterparty reads its flags");
        let events = Said::new(1);
        let output = BufReader::new(commands.try_clone().expect("a second handle"));
        let into = events.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                into.push(serde_json::from_str(&line).expect("the counterparty writes JSON lines"));
            }
            into.end();
        });
        let name = format!("QuickFIX {} {}", options.role, options.version.name);
        let peer = Self { commands, events, reader: Some(reader), name };
        peer.until(0, "ready to work", |event| is(event, "ready"));
        peer
    }

    /// Gives a command and waits until it is carried out. Answers the mark of the moment before it.
    pub fn command(&mut self, line: &str) -> usize {
        let mark = self.mark();
        writeln!(self.commands, "{line}").expect("the counterparty reads commands");
        self.until(mark, line, |event| is(event, "done") && text(event, "command") == Some(line));
        mark
    }

    /// Everything reported from now on comes after this mark.
    pub fn mark(&self) -> usize {
        self.events.heard.lock().unwrap().items.len()
    }

    /// Waits for the first event after `mark` that `wanted` accepts. An error that the counterparty reports fails the test.
    pub fn until(&self, mark: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until_count(mark, what, 1, wanted).pop().expect("one event")
    }

    /// Waits until `count` events after `mark` were accepted by `wanted`.
    pub fn until_count(&self, mark: usize, what: &str, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut found = Vec::new();
        let mut seen = mark;
        let guard = self.events.heard.lock().unwrap();
        let (guard, waited) = self
            .events
            .changed
            .wait_timeout_while(guard, DEADLINE, |heard| {
                while seen < heard.items.len() && found.len() < count {
                    let event = &heard.items[seen];
                    seen += 1;
                    assert!(!is(event, "error"), "{}: {event}", self.name);
                    if wanted(event) {
                        found.push(event.clone());
                    }
                }
                found.len() < count && heard.streams_open > 0
            })
            .unwrap();
        drop(guard);
        if found.len() < count {
            let why = if waited.timed_out() { "in time" } else { "before it ended" };
            panic!("{}: only {} of {count} × '{what}' {why}", self.name, found.len());
        }
        found
    }

    /// The events after `mark` that `wanted` accepts, as far as they are there.
    pub fn so_far(&self, mark: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let guard = self.events.heard.lock().unwrap();
        guard.items[mark..].iter().filter(|event| wanted(event)).cloned().collect()
    }

    /// The next numbers that QuickFIX will use and expects. It hands a message to its application before it counts it, so this asks
    /// until the newest message is counted. Meant for moments without a gap.
    pub fn numbers(&mut self) -> (u64, u64) {
        let until = Instant::now() + DEADLINE;
        loop {
            let mark = self.command("state");
            let state = self.until(mark, "state", |event| is(event, "state"));
            let received = self.so_far(0, |event| is(event, "in") && !poss_dup(event));
            let newest = number(received.last().expect("a Logon(A) at least"), "msg_seq_num");
            let (next_out, next_in) = (number(&state, "next_out"), number(&state, "next_in"));
            if next_in == newest + 1 {
                return (next_out, next_in);
            }
            assert!(Instant::now() < until, "{}: {newest} was received, and yet {next_in} is expected next", self.name);
        }
    }

    /// Waits until each of these orders has an ExecutionReport(8) that says New.
    pub fn until_answered(&self, orders: &BTreeSet<String>) {
        loop {
            // Taken before looking, so that a report which arrives in between is not waited for in vain.
            let mark = self.mark();
            let mut missing = orders.clone();
            for report in self.so_far(0, is_new_report) {
                missing.remove(text(&report, "cl_ord_id").unwrap_or_default());
            }
            let Some(first) = missing.first() else { return };
            let what = format!("a report on one of {} orders, the first {first}", missing.len());
            // A resent report may stand for one of the count, hence the loop.
            self.until_count(mark, &what, missing.len(), |event| {
                is_new_report(event) && text(event, "cl_ord_id").is_some_and(|id| missing.contains(id))
            });
        }
    }

    /// Each of these orders has one report of its own, over everything seen so far: a resent report is
    /// another copy, recognised by its ExecID(17), and not another report.
    pub fn assert_answered_once(&self, orders: &BTreeSet<String>) {
        let mut exec_ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for report in self.so_far(0, is_new_report) {
            let order = text(&report, "cl_ord_id").expect("a ClOrdID(11)").to_owned();
            let exec_id = text(&report, "exec_id").expect("an ExecID(17)").to_owned();
            exec_ids.entry(order).or_default().insert(exec_id);
        }
        let answered: BTreeSet<String> = exec_ids.keys().cloned().collect();
        assert_eq!(&answered, orders, "answered and sent orders differ");
        for (order, of_order) in &exec_ids {
            assert_eq!(of_order.len(), 1, "{order} was executed more than once: {of_order:?}");
        }
        let distinct: BTreeSet<&String> = exec_ids.values().flatten().collect();
        assert_eq!(distinct.len(), orders.len(), "an ExecID(17) was used for two orders");
    }

    /// Ends the counterparty in order, with a logout.
    pub fn stop(&mut self) {
        writeln!(self.commands, "stop").expect("the counterparty reads commands");
        self.until(0, "stopped", |event| is(event, "stopped"));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It leaves at the end of its input, which ends the reader, unless it is gone already.
        let _ = self.commands.shutdown(Shutdown::Write);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            let guard = self.events.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let skipped = guard.items.len().saturating_sub(EVENTS_SHOWN_MAX);
            eprintln!("--- {}, its last events ({skipped} before them)", self.name);
            for event in &guard.items[skipped..] {
                eprintln!("{event}");
            }
            print_log("the errors of all counterparties", &nursery().errors);
        }
    }
}

/// fixring itself, as a user runs it.
pub struct Fixring {
    child: Child,
    log: Arc<Said<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Fixring {
    pub fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fixring"))
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fixring starts");
        let log = Said::new(2);
        let readers = vec![
            collect(child.stdout.take().expect("piped"), log.clone()),
            collect(child.stderr.take().expect("piped"), log.clone()),
        ];
        Self { child, log, readers }
    }

    /// Waits until `/readyz` says yes. Asked again at every line that fixring logs, and at an interval beside.
    pub fn until_ready(&self, control_port: u16) {
        let until = Instant::now() + DEADLINE;
        while !is_ready(control_port) {
            let heard = self.log.heard.lock().unwrap();
            assert!(heard.streams_open > 0, "fixring ended before it was ready");
            assert!(Instant::now() < until, "fixring is not ready in time");
            drop(self.log.changed.wait_timeout(heard, READY_POLL_INTERVAL).unwrap());
        }
    }

    /// SIGKILL: no farewell, no last sync. Answers once the process is gone.
    pub fn kill(&mut self) {
        assert!(
            self.child.try_wait().expect("its status").is_none(),
            "fixring had ended by itself before it was to be killed"
        );
        self.child.kill().expect("a signal to a child of ours");
        self.child.wait().expect("its status");
    }

    /// SIGTERM, and the wait for the end that it asks for: exit status 0.
    pub fn terminate(&mut self) {
        let sent =
            Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().expect("sh runs");
        assert!(sent.success(), "no signal could be sent to fixring");
        // Both of its streams end when it does, so that is what to wait for with a deadline.
        let guard = self.log.heard.lock().unwrap();
        let (guard, waited) =
            self.log.changed.wait_timeout_while(guard, DEADLINE, |heard| heard.streams_open > 0).unwrap();
        drop(guard);
        assert!(!waited.timed_out(), "fixring did not stop after SIGTERM");
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "fixring ended with {status} after SIGTERM");
    }
}

impl Drop for Fixring {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            print_log("fixring's log", &self.log);
        }
    }
}

fn is_ready(control_port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", control_port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    // Refused or cut off is a "not yet": the control plane comes up with the rest.
    ask().unwrap_or(false)
}

fn collect(stream: impl Read + Send + 'static, into: Arc<Said<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            into.push(line);
        }
        into.end();
    })
}

fn print_log(name: &str, log: &Said<String>) {
    let guard = log.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    eprintln!("--- {name}");
    for line in &guard.items {
        eprintln!("{line}");
    }
}

pub fn is(event: &Value, name: &str) -> bool {
    text(event, "event") == Some(name)
}

/// A message that came in from fixring, of this MsgType(35), as it was on the wire.
pub fn is_in(event: &Value, msg_type: &str) -> bool {
    is(event, "in") && text(event, "msg_type") == Some(msg_type)
}

/// A message that QuickFIX sent, of this MsgType(35), as it was on the wire.
pub fn is_out(event: &Value, msg_type: &str) -> bool {
    is(event, "out") && text(event, "msg_type") == Some(msg_type)
}

/// An ExecutionReport(8) that QuickFIX accepted and that says New. FIX.4.0 has no ExecType(150) for it; up to FIX.4.2 an
/// answer to a status request differs in ExecTransType(20) alone.
pub fn is_new_report(event: &Value) -> bool {
    is(event, "app")
        && text(event, "msg_type") == Some("8")
        && text(event, "ord_status") == Some("0")
        && matches!(text(event, "exec_type"), None | Some("0"))
        && matches!(text(event, "exec_trans_type"), None | Some("0"))
}

pub fn text<'a>(event: &'a Value, key: &str) -> Option<&'a str> {
    event.get(key).and_then(Value::as_str)
}

pub fn number(event: &Value, key: &str) -> u64 {
    event.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {key} in {event}"))
}

pub fn poss_dup(event: &Value) -> bool {
    event.get("poss_dup").and_then(Value::as_bool).unwrap_or(false)
}
