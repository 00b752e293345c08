//! One fixring and one QuickFIX with a session between them, and the steps that scenarios have in common.

#[path = "../whole/mod.rs"]
mod whole;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::driver::{
    Fixring, Peer, PeerOptions, QUICKFIX_HEARTBEAT_S, SHORT_HEARTBEAT_S, free_port, is, is_in, is_out, number,
};
use crate::versions::Version;

/// Who dials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dials {
    QuickFix,
    Fixring,
}

/// What a scenario needs other than the usual.
#[derive(Clone, Copy, Default)]
pub struct Needs {
    pub application: Option<&'static str>,
    /// [`SHORT_HEARTBEAT_S`] from fixring's point of view, while QuickFIX keeps to its own.
    pub silent_peer: bool,
    /// fixring, as initiator, resets both numbers with each Logon(A).
    pub reset_on_logon: bool,
}

/// One fixring and one QuickFIX with a session between them, in a directory of their own.
pub struct Bench {
    fixring: Fixring,
    pub peer: Peer,
    config: PathBuf,
    pub orders: BTreeSet<String>,
    /// BusinessMessageReject(j) or Reject(3) that fixring is expected to have answered.
    pub refusals: usize,
    // Last, so that both processes are gone before their files are.
    _directory: whole::Temporary,
}

impl Bench {
    /// Starts both sides and waits until they are logged on.
    pub fn start(version: &Version, dials: Dials, needs: Needs) -> Self {
        let directory = whole::Temporary::new();
        let (fix_port, control_port) = (free_port(), free_port());
        let config = write_config(directory.path(), version, dials, needs, fix_port, control_port);
        let store_dir = directory.path().join("quickfix");
        let options = PeerOptions {
            role: match dials {
                Dials::QuickFix => "initiator",
                Dials::Fixring => "acceptor",
            },
            port: fix_port,
            version,
            sender: "PEER",
            target: "FIXRING",
            store_dir: &store_dir,
            announced_heartbeat_s: needs.silent_peer.then_some(SHORT_HEARTBEAT_S),
        };
        // Whoever listens starts first: a QuickFIX that is refused has used up a number for the Logon(A) all the same.
        let (fixring, peer) = match dials {
            Dials::QuickFix => {
                let fixring = Fixring::start(&config);
                fixring.until_ready(control_port);
                (fixring, Peer::start(&options))
            }
            Dials::Fixring => {
                let peer = Peer::start(&options);
                (Fixring::start(&config), peer)
            }
        };
        let bench = Self { fixring, peer, config, orders: BTreeSet::new(), refusals: 0, _directory: directory };
        bench.until_logged_on(0);
        bench
    }

    pub fn until_logged_on(&self, mark: usize) {
        self.peer.until(mark, "logon", |event| is(event, "logon"));
    }

    /// Has the counterparty send `count` orders, without waiting for what becomes of them. Answers the mark before.
    pub fn send_orders(&mut self, count: u32, prefix: &str) -> usize {
        self.orders.extend((1..=count).map(|n| format!("{prefix}-{n}")));
        self.peer.command(&format!("orders {count} {prefix}"))
    }

    pub fn trade(&mut self, count: u32, prefix: &str) {
        self.send_orders(count, prefix);
        self.peer.until_answered(&self.orders);
    }

    /// SIGKILL to fixring; the counterparty has noticed when this returns. Answers the mark before it.
    pub fn kill_fixring(&mut self) -> usize {
        let mark = self.peer.mark();
        self.fixring.kill();
        self.peer.until(mark, "logout (the connection is lost)", |event| is(event, "logout"));
        mark
    }

    pub fn restart_fixring(&mut self) {
        self.fixring = Fixring::start(&self.config);
    }

    /// The numbers go on from `before` the kill, where nothing was under way, by one Logon(A) and `count` messages each way. The ring
    /// outlives the process, so fixring skips nothing. Where QuickFIX dials, each attempt while fixring was away has used up
    /// a number; fixring asks for those once, in a message that takes a number too.
    pub fn assert_resumed(&mut self, killed: usize, before: (u64, u64), count: u64) {
        let now = self.peer.numbers();
        let logon = self.peer.so_far(killed, |event| is_out(event, "A")).pop().expect("a Logon(A)");
        let logons = number(&logon, "msg_seq_num") - before.0 + 1;
        let requests = self.peer.so_far(killed, |event| is_in(event, "2")).len() as u64;
        assert_eq!(requests, u64::from(logons > 1), "ResendRequest(2) after {logons} times Logon(A)");
        assert_eq!(now, (before.0 + logons + count, before.1 + 1 + requests + count), "from {before:?}");
    }

    /// The counterparty logs out, the answer comes, the connection ends.
    pub fn log_out(&mut self) {
        let mark = self.peer.command("logout");
        self.peer.until(mark, "Logout(5) sent", |event| is_out(event, "5"));
        self.peer.until(mark, "Logout(5) answered", |event| is_in(event, "5"));
        self.peer.until(mark, "logout", |event| is(event, "logout"));
    }

    /// fixring's application refuses what QuickFIX sent after `mark`, in the way that the version has.
    pub fn until_refused(&mut self, version: &Version, mark: usize) {
        let msg_type = if version.has_business_message_reject() { "j" } else { "3" };
        self.peer.until(mark, "the refusal", |event| is_in(event, msg_type));
        self.refusals += 1;
    }

    /// What every scenario ends with: fixring stops on SIGTERM with a farewell, and the account is settled.
    pub fn finish(mut self) {
        let mark = self.peer.mark();
        self.fixring.terminate();
        self.peer.until(mark, "fixring's Logout(5)", |event| is_in(event, "5"));
        self.peer.until(mark, "the answer to it", |event| is_out(event, "5"));
        self.peer.until(mark, "logout", |event| is(event, "logout"));
        self.peer.stop();
        let rejects = self
            .peer
            .so_far(0, |event| is_in(event, "3") || is_out(event, "3") || is_in(event, "j") || is_out(event, "j"));
        let inbound = rejects.iter().filter(|event| is_in(event, "3") || is_in(event, "j")).count();
        let expected = (self.refusals, self.refusals);
        assert_eq!((rejects.len(), inbound), expected, "one side rejected a message: {rejects:?}");
        self.peer.assert_answered_once(&self.orders);
    }
}

fn write_config(
    directory: &Path,
    version: &Version,
    dials: Dials,
    needs: Needs,
    fix_port: u16,
    control_port: u16,
) -> PathBuf {
    let ring_dir = directory.join("ring");
    let store_dir = directory.join("quickfix");
    std::fs::create_dir(&ring_dir).expect("a directory for the ring");
    std::fs::create_dir(&store_dir).expect("a directory for QuickFIX's store");
    let data_dir = directory.join("data");
    let application = needs.application.unwrap_or("exchange");
    let (acceptor, role) = match dials {
        Dials::QuickFix => {
            (format!("[[acceptor]]\nlisten = \"127.0.0.1:{fix_port}\"\n"), "role = \"acceptor\"\n".to_owned())
        }
        Dials::Fixring => (
            String::new(),
            format!(
                "role = \"initiator\"\nconnect = [\"127.0.0.1:{fix_port}\"]\n\
                 reconnect_min = \"100ms\"\nreconnect_max = \"1s\"\n"
            ),
        ),
    };
    let heartbeat_seconds =
        if needs.silent_peer { SHORT_HEARTBEAT_S.to_string() } else { QUICKFIX_HEARTBEAT_S.to_owned() };
    let reset_on_logon = if needs.reset_on_logon { "reset_on_logon = true\n" } else { "" };
    let begin_string = version.begin_string;
    let appl_ver_id = version.appl_ver_id.map_or(String::new(), |id| format!("default_appl_ver_id = \"{id}\"\n"));
    let text = format!(
        r#"[engine]
data_dir = "{data_dir}"
workers = 1
wait = "park"
application = "{application}"
commit_bytes_max = "256KiB"
message_bytes_max = "64KiB"

[persistence]
allow_tmpfs = true
mode = "buffered"
ring_dir = "{ring_dir}"
ring_bytes = "1MiB"
segment_bytes = "4MiB"
segments = 4
flush_method = "fdatasync"

[control]
listen = "127.0.0.1:{control_port}"

{acceptor}
[[session]]
begin_string = "{begin_string}"
{appl_ver_id}sender_comp_id = "FIXRING"
target_comp_id = "PEER"
heartbeat_seconds = {heartbeat_seconds}
{role}{reset_on_logon}"#,
        data_dir = data_dir.display(),
        ring_dir = ring_dir.display(),
    );
    let path = directory.join("fixring.toml");
    std::fs::write(&path, text).expect("the configuration is written");
    path
}
