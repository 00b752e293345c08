//! What the tests of `initiator.rs` stand on: fixring's own binary, and a counterparty that is no engine but a socket, so
//! that it can do what no engine would. Every wait is for a stated condition and has a deadline.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "../whole/mod.rs"]
mod whole;

/// Longer than any step takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// fixring, run with a configuration in a directory of its own.
pub struct Fixring {
    child: Child,
    lines: Receiver<Value>,
    /// What it has logged so far, as far as a test has waited for it.
    pub log: Vec<Value>,
    readers: Vec<JoinHandle<()>>,
    pub directory: tempfile::TempDir,
}

impl Fixring {
    /// `engine` are lines of `[engine]`; `session` is the rest of the file after the one session's identity.
    pub fn start(engine: &str, session: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("ring")).expect("a directory for the ring");
        let text = format!(
            r#"[engine]
data_dir = "{data_dir}"
wait = "park"
commit_bytes_max = "256KiB"
{engine}
[persistence]
allow_tmpfs = true
ring_dir = "{ring_dir}"
ring_bytes = "1MiB"
segment_bytes = "4MiB"
segments = 4
flush_method = "fdatasync"
[control]
listen = "off"
[[session]]
begin_string = "FIX.4.4"
sender_comp_id = "US"
target_comp_id = "THEM"
{session}
"#,
            data_dir = directory.path().join("data").display(),
            ring_dir = directory.path().join("ring").display(),
        );
        let config = directory.path().join("fixring.toml");
        std::fs::write(&config, text).expect("the configuration is written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_fixring"))
            .args(["--log-format", "json", "run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fixring starts");
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        let readers = streams.map(|stream| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // What is no JSON is a panic's text; it is kept as it is. The receiver may be gone at the end.
                    let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
                }
            })
        });
        Self { child, lines, log: Vec::new(), readers: readers.into(), directory }
    }

    /// An initiator that connects to these, with the pauses given.
    pub fn initiator(engine: &str, connect: &[String], pauses: [&str; 2], more: &str) -> Self {
        let [reconnect_min, reconnect_max] = pauses;
        let session = format!(
            "role = \"initiator\"\nconnect = {connect:?}\nreconnect_min = \"{reconnect_min}\"\n\
             reconnect_max = \"{reconnect_max}\"\n{more}"
        );
        Self::start(engine, &session)
    }

    /// An acceptor, and where it listens.
    pub fn acceptor(engine: &str) -> (Self, SocketAddr) {
        Self::acceptor_with(engine, "")
    }

    /// The same, with more lines of its session.
    pub fn acceptor_with(engine: &str, session: &str) -> (Self, SocketAddr) {
        let session = format!("role = \"acceptor\"\n{session}\n[[acceptor]]\nlisten = \"127.0.0.1:0\"");
        let mut fixring = Self::start(engine, &session);
        let ready = fixring.until("ready", |_| true);
        let address = text(&ready, "acceptors").parse().expect("the acceptor's address");
        (fixring, address)
    }

    /// The first line with this message that has not been waited for yet and that `wanted` accepts.
    pub fn until(&mut self, message: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until_line(message, |line| text(line, "message") == message && wanted(line))
    }

    /// The same by a part of its message.
    pub fn until_part(&mut self, part: &str) -> Value {
        self.until_line(part, |line| text(line, "message").contains(part))
    }

    fn until_line(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("fixring never said '{what}'"));
            self.log.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
    }

    /// SIGTERM, and everything that fixring logged to its end.
    pub fn stop(mut self) -> (Vec<Value>, tempfile::TempDir) {
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        assert!(kill.expect("sh runs").success(), "no signal could be sent to fixring");
        self.until("stopped cleanly", |_| true);
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "fixring ended with {status}");
        whole::assert_whole(&self.directory.path().join("data"));
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a temporary directory"));
        (std::mem::take(&mut self.log), directory)
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
            self.log.extend(self.lines.try_iter());
            for line in &self.log {
                eprintln!("{line}");
            }
        }
        whole::Wholeness::default().check(&self.directory.path().join("data"));
    }
}

pub fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub fn number(line: &Value, key: &str) -> u64 {
    line.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// Whether a file below `directory` holds these bytes.
pub fn is_in_a_file(directory: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return is_in_a_file(&path, bytes);
        }
        let content = std::fs::read(&path).expect("a file of ours");
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// Listens on a port that the kernel chooses.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// A message, `|` in place of SOH.
#[derive(Clone, Debug)]
pub struct Message(pub String);

impl Message {
    pub fn field(&self, tag: u32) -> Option<&str> {
        self.0.split('|').find_map(|field| field.strip_prefix(&format!("{tag}=")))
    }

    pub fn msg_type(&self) -> &str {
        self.field(35).expect("a MsgType(35)")
    }

    pub fn msg_seq_num(&self) -> u64 {
        self.field(34).and_then(|number| number.parse().ok()).expect("a MsgSeqNum(34)")
    }
}

/// What a socket brings.
#[derive(Debug)]
pub enum Came {
    Message(Message),
    /// The peer has closed, one way or another.
    End,
    NothingInTime,
}

/// The counterparty's end of one connection. It counts its own numbers and checks none.
pub struct Counterparty {
    stream: TcpStream,
    received: Vec<u8>,
    pub next_out: u64,
}

impl Counterparty {
    /// Connects to an acceptor. `next_out` is the number of its Logon(A).
    pub fn connect(address: SocketAddr, next_out: u64) -> Self {
        Self::new(TcpStream::connect(address).expect("fixring listens"), next_out)
    }

    /// The next connection that fixring makes. `next_out` is the number of the answer to its Logon(A).
    pub fn accept(listener: &TcpListener, next_out: u64) -> Self {
        socket2::SockRef::from(listener).set_read_timeout(Some(DEADLINE)).expect("a mode of the socket");
        let (stream, _) = listener.accept().expect("fixring connects");
        Self::new(stream, next_out)
    }

    fn new(stream: TcpStream, next_out: u64) -> Self {
        stream.set_nodelay(true).expect("a mode of the socket");
        Self { stream, received: Vec::new(), next_out }
    }

    /// The whole message for this body: `35=0` or `35=5|58=bye`. A last field `52=` stands for the time.
    fn framed(&mut self, script: &str) -> Vec<u8> {
        let (msg_type, rest) = script.split_once('|').unwrap_or((script, ""));
        let now = || jiff::Timestamp::now().strftime("%Y%m%d-%H:%M:%S%.3f").to_string();
        let (rest, sending_time) =
            rest.split_once("|52=").map_or_else(|| (rest, now()), |(rest, stated)| (rest, stated.to_string()));
        let mut body = format!("{msg_type}|34={}|49=THEM|52={sending_time}|56=US|", self.next_out);
        if !rest.is_empty() {
            write!(body, "{rest}|").expect("a string grows");
        }
        self.next_out += 1;
        let whole = format!("8=FIX.4.4|9={}|{body}", body.len()).replace('|', "\x01");
        let sum = whole.bytes().fold(0u8, u8::wrapping_add);
        format!("{whole}10={sum:03}\x01").into_bytes()
    }

    pub fn say(&mut self, script: &str) {
        let bytes = self.framed(script);
        self.stream.write_all(&bytes).expect("fixring reads");
    }

    /// Several messages and what comes behind them, in one write.
    pub fn say_at_once(&mut self, scripts: &[&str], behind: &[u8]) {
        let mut bytes: Vec<u8> = scripts.iter().flat_map(|script| self.framed(script)).collect();
        bytes.extend_from_slice(behind);
        self.stream.write_all(&bytes).expect("fixring reads");
    }

    /// A message whose CheckSum(10) is off by one.
    pub fn garbled(&mut self, script: &str) -> Vec<u8> {
        let mut bytes = self.framed(script);
        self.next_out -= 1;
        let at = bytes.len() - 2;
        bytes[at] = if bytes[at] == b'9' { b'0' } else { bytes[at] + 1 };
        bytes
    }

    /// Ends its own direction, and goes on reading.
    pub fn finish(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("a connection");
    }

    /// Half of a message, and then a reset instead of the rest.
    pub fn reset_in_mid_message(mut self, script: &str) {
        let bytes = self.framed(script);
        self.stream.write_all(&bytes[..bytes.len() / 2]).expect("fixring reads");
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a mode of the socket");
    }

    /// Sends a Logon(A) with 30 s, or answers one.
    pub fn log_on(&mut self) {
        self.say("35=A|98=0|108=30");
    }

    pub fn next_within(&mut self, time: Duration) -> Came {
        let until = Instant::now() + time;
        loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\x0110=")
                && let Some(end) = self.received[at + 4..].iter().position(|byte| *byte == 1)
            {
                let bytes: Vec<u8> = self.received.drain(..at + 4 + end + 1).collect();
                return Came::Message(Message(String::from_utf8(bytes).expect("text").replace('\x01', "|")));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Came::NothingInTime;
            }
            self.stream.set_read_timeout(Some(left)).expect("a mode of the socket");
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Came::End,
                Ok(count) => self.received.extend(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Came::End,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next message of this type; others are passed over.
    pub fn until(&mut self, msg_type: &str) -> Message {
        loop {
            match self.next_within(DEADLINE) {
                Came::Message(message) if message.msg_type() == msg_type => return message,
                Came::Message(_) => {}
                came => panic!("no message of type {msg_type}: {came:?}"),
            }
        }
    }

    /// Waits until fixring has closed. Answers what it said before.
    pub fn until_end(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.next_within(DEADLINE) {
                Came::Message(message) => messages.push(message),
                Came::End => return messages,
                Came::NothingInTime => panic!("fixring did not close the connection"),
            }
        }
    }
}
