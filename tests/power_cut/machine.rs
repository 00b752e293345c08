//! The virtual machine: QEMU as a child process, its serial console read line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What the guest's init says begins with this; `scripts/power-cut` has that init.
const MARK: &str = "power-cut: ";
/// A boot, a recovery or an ending takes seconds; on a very busy machine a multiple.
pub const DEADLINE: Duration = Duration::from_secs(180);
/// Where the engine listens in the guest.
const GUEST_PORT: u16 = 9880;
/// Below the range that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Lines of the console that a failure shows.
const LAST_LINES: usize = 40;

/// What a machine is made of. The same for each of its lives.
pub struct Blueprint {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub disk_socket: PathBuf,
    pub port: u16,
    pub mode: String,
    pub flush_method: String,
    pub accelerator: String,
    pub console_log: PathBuf,
}

pub struct Machine {
    child: Child,
    lines: Receiver<String>,
    last: Vec<String>,
    log: std::fs::File,
    pub powered_on: Instant,
    /// What the first recovery of this life reported, as soon as it has.
    pub recovery: Option<String>,
}

/// What the console told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// The engine accepts connections.
    Ready,
    /// The engine has ended, with this status.
    Ended(i32),
    /// The volume has no byte left.
    Full,
    /// The machine itself is gone.
    Off,
}

impl Machine {
    pub fn power_on(blueprint: &Blueprint) -> io::Result<Self> {
        let Blueprint { kernel, initramfs, disk_socket, port, mode, flush_method, accelerator, console_log } =
            blueprint;
        let engine = format!("fixring.mode={mode} fixring.method={flush_method}");
        // Errors are the guest's to see: by default QEMU stops a machine whose disk is full.
        let drive = format!(
            "file=nbd+unix:///?socket={},format=raw,if=none,id=volume,cache=none,werror=report,rerror=report",
            disk_socket.display()
        );
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", "256"])
            .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &format!("console=ttyS0 quiet nokaslr panic=-1 {engine}")])
            .args(["-drive", &drive, "-device", "virtio-blk-pci,drive=volume,write-cache=on"])
            .args(["-netdev", &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{GUEST_PORT}")])
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let console = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        let log = std::fs::File::options().create(true).append(true).open(console_log)?;
        Ok(Self { child, lines, last: Vec::new(), log, powered_on: Instant::now(), recovery: None })
    }

    /// The next thing that the console tells, if it does so in time.
    pub fn told(&mut self, timeout: Duration) -> Option<Told> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let _ = writeln!(self.log, "{line}");
                    let told = self.understand(&line);
                    self.last.push(line);
                    if told.is_some() {
                        return told;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Told::Off),
            }
        }
    }

    /// Waits for one thing that must come.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Told) -> bool) -> Result<Told, String> {
        match self.told(DEADLINE) {
            Some(told) if wanted(&told) => Ok(told),
            other => Err(format!("instead of {what}: {other:?}\n{}", self.last_words())),
        }
    }

    /// A word to the guest's init: `stop` ends the engine in order, `run` starts it again, `fill` and `free` do so to the
    /// volume, `readonly` has the filesystem find a fault.
    pub fn tell(&mut self, word: &str) -> Result<(), String> {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{word}").and_then(|()| input.flush()).map_err(|error| format!("the console: {error}"))
    }

    /// SIGKILL: no signal to the guest, nothing is written back.
    pub fn power_off(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // What it had said before still tells.
        while self.told(DEADLINE).is_some_and(|told| told != Told::Off) {}
        Ok(())
    }

    pub fn last_words(&self) -> String {
        self.last[self.last.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn understand(&mut self, line: &str) -> Option<Told> {
        if let Some((_, text)) = line.split_once(MARK) {
            if text == "the volume is full" {
                return Some(Told::Full);
            }
            let status = text.strip_prefix("the engine ended with status ")?;
            return status.parse().ok().map(Told::Ended);
        }
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = entry.get("fields").unwrap_or(&entry);
        let message = fields.get("message")?.as_str()?;
        if message.starts_with("journal 0: incarnation ") {
            self.recovery.get_or_insert_with(|| message.to_owned());
        }
        (message == "ready").then_some(Told::Ready)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_port() -> Option<u16> {
    (0..PORTS.len()).map(|_| fastrand::u16(PORTS)).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}
