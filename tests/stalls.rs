//! Where a worker's time goes: one that does not come back from its application is named from outside, and an order's stages are timed.
//! And memory that has to be locked and may not be stops the start.

mod orders;
#[path = "whole/mod.rs"]
mod whole;

use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fixring::application::{Application, Delivery};
use fixring::control::Stage;
use fixring::engine::{Engine, Handle};
use fixring::fix::Message;

/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers an order when it is told to.
struct Waiting(Receiver<()>);

impl Application for Waiting {
    fn on_message(&mut self, session: &mut Handle<'_>, _message: &Message<'_>, _delivery: Delivery) {
        let _ = self.0.recv_timeout(PATIENCE);
        let _ = session.send(b"8", |body| {
            body.bytes(37, b"1");
        });
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_worker_that_does_not_come_back_is_named_with_its_stage_and_its_session() {
    let directory = whole::Temporary::new();
    let config = orders::small_ring(directory.path(), "stall_alarm = \"50ms\"\n");
    let (answer, waiting): (Sender<()>, _) = channel();
    let mut waiting = Some(waiting);
    let engine = Engine::start(&config, |_| Waiting(waiting.take().expect("one journal"))).unwrap();
    let (stall, trace) = (engine.shared().stall(0), engine.shared().trace(0));
    let mut client = orders::Client::logged_on(engine.acceptors()[0]);
    let before = stall.stalls.value();
    client.send_order(1);
    wait_until("the stall is seen", || stall.stalls.value() > before && trace.stage() == Stage::Application);
    assert_eq!(trace.session(), Some((0, 0)));
    assert!(stall.stalled_ns.value() > 50_000_000);
    // As long as it lasts it is one. It lasts longer than whatever this machine has kept the worker from its core for.
    let (stalls, longest_ns) = (stall.stalls.value(), engine.shared().worker(0).longest_turn_ns.value());
    wait_until("its age grows", || stall.stalled_ns.value() > 100_000_000.max(2 * longest_ns));
    assert_eq!(stall.stalls.value(), stalls);

    answer.send(()).unwrap();
    assert_eq!(client.receive(), b"8");
    wait_until("it is over", || stall.stalled_ns.value() == 0);
    wait_until("its longest turn is told", || engine.shared().blames()[0].took >= Duration::from_millis(100));
    let blame = engine.shared().blames()[0].clone();
    assert_eq!((blame.stage, blame.session.as_str()), (Some(Stage::Application), "FIX.4.4:VENUE->DESK"), "{blame:?}");
    assert!(engine.shared().worker(0).long_turns.value() >= 1);
}

#[test]
fn a_start_fails_where_memory_has_to_be_locked_and_may_not_be() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("fixring.toml");
    let text = format!(
        "[engine]\ndata_dir = {data:?}\nlock_memory = true\n[persistence]\nallow_tmpfs = true\nring_dir = {data:?}\n\
         segments = 3\nring_bytes = \"1MiB\"\nsegment_bytes = \"1MiB\"\n[control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"127.0.0.1:0\"\n",
        data = directory.path().join("data"),
    );
    std::fs::write(&config, text).unwrap();
    // Without CAP_IPC_LOCK, and under a limit: prlimit(1) and setpriv(1) of util-linux.
    let limited = |arguments: &[&str]| {
        let mut command = Command::new("prlimit");
        command.arg("--memlock=65536:65536");
        if fixring::sys::file::effective_user() == 0 {
            command.args(["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
        }
        let command = command.arg(env!("CARGO_BIN_EXE_fixring")).args(arguments).arg("--config").arg(&config);
        command.stdin(Stdio::null()).output()
    };
    let (Ok(run), Ok(check)) = (limited(&["run"]), limited(&["check"])) else {
        eprintln!("skipped (prlimit or setpriv of util-linux is missing)");
        return;
    };
    let error = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{error}");
    assert!(error.contains("fixring.toml:3: engine.lock_memory = true"), "{error}");
    assert!(error.contains("RLIMIT_MEMLOCK is 65536 bytes; raise it"), "{error}");
    let found = String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success() && found.contains("engine.lock_memory"), "{found}");
}

#[test]
fn every_stage_of_an_order_is_timed() {
    if core_affinity::get_core_ids().unwrap_or_default().len() < 2 {
        eprintln!("skipped (a benchmark needs two cores, this machine lets us use one)");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "stages", "--json", "--orders", "300"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["orders"].as_u64().unwrap() + report["turns_left_out"].as_u64().unwrap(), 300, "{report}");
    let rows = report["stages"].as_array().unwrap();
    let mut cumulative_ns = 0;
    for stage in
        ["frame", "decode", "journal_in", "session", "application", "encode", "journal_out", "commit", "release"]
    {
        let row = rows.iter().find(|row| row["stage"] == stage).unwrap_or_else(|| panic!("no {stage}: {report}"));
        cumulative_ns += row["p50_ns"].as_u64().unwrap();
        assert_eq!(row["cumulative_p50_ns"].as_u64(), Some(cumulative_ns), "{report}");
    }
    let own_ns = report["own_share"]["p50_ns"].as_u64().unwrap();
    assert!(own_ns > 0 && own_ns <= report["round_trip_p50_ns"].as_u64().unwrap(), "{report}");
}
