//! fixring against an engine that is not ours: QuickFIX/C++, in both roles, for FIX.4.2, FIX.4.4 and FIXT.1.1.
//!
//! The counterparty is `tests/interop/quickfix_peer.cpp`, built by `scripts/build-interop` against Debian's
//! `libquickfix-dev`. It reports what QuickFIX itself sees and accepts; the scenarios below judge fixring by that alone, and never
//! look into fixring. Where QuickFIX is absent each scenario says so past the test harness's capture and counts
//! itself as skipped; with `CI=true` in the environment that is a failure.

#[path = "interop/driver.rs"]
mod driver;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use driver::{
    Fixring, Peer, PeerOptions, free_port, is, is_in, is_new_report, is_out, number, poss_dup, quickfix_peer, text,
};

const BEGIN_STRINGS: [&str; 3] = ["FIX.4.2", "FIX.4.4", "FIXT.1.1"];

/// Who dials.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dials {
    QuickFix,
    Fixring,
}

/// What a scenario needs other than the usual.
#[derive(Clone, Copy, Default)]
struct Needs {
    application: Option<&'static str>,
    /// Heartbeats each second from fixring's point of view, while QuickFIX keeps to its 30 seconds.
    silent_peer: bool,
    /// fixring, as initiator, resets both numbers with each Logon(A).
    reset_on_logon: bool,
}

/// One fixring and one QuickFIX with a session between them, in a directory of their own.
struct Bench {
    fixring: Fixring,
    peer: Peer,
    config: PathBuf,
    orders: BTreeSet<String>,
    // Last, so that both processes are gone before their files are.
    _directory: tempfile::TempDir,
}

impl Bench {
    /// Starts both sides and waits until they are logged on.
    fn start(begin_string: &str, dials: Dials, needs: Needs) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (fix_port, control_port) = (free_port(), free_port());
        let config = write_config(&directory, begin_string, dials, needs, fix_port, control_port);
        let store_dir = directory.path().join("quickfix");
        let options = PeerOptions {
            role: match dials {
                Dials::QuickFix => "initiator",
                Dials::Fixring => "acceptor",
            },
            port: fix_port,
            begin_string,
            sender: "PEER",
            target: "FIXRING",
            store_dir: &store_dir,
            announced_heartbeat_s: needs.silent_peer.then_some(1),
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
        let bench = Self { fixring, peer, config, orders: BTreeSet::new(), _directory: directory };
        bench.until_logged_on(0);
        bench
    }

    fn until_logged_on(&self, mark: usize) {
        self.peer.until(mark, "logon", |event| is(event, "logon"));
    }

    /// Has the counterparty send `count` orders, without waiting for what becomes of them. Answers the mark before.
    fn send_orders(&mut self, count: u32, prefix: &str) -> usize {
        self.orders.extend((1..=count).map(|n| format!("{prefix}-{n}")));
        self.peer.command(&format!("orders {count} {prefix}"))
    }

    fn trade(&mut self, count: u32, prefix: &str) {
        self.send_orders(count, prefix);
        self.peer.until_answered(&self.orders);
    }

    /// SIGKILL to fixring; the counterparty has noticed when this returns. Answers the mark before it.
    fn kill_fixring(&mut self) -> usize {
        let mark = self.peer.mark();
        self.fixring.kill();
        self.peer.until(mark, "logout (the connection is lost)", |event| is(event, "logout"));
        mark
    }

    fn restart_fixring(&mut self) {
        self.fixring = Fixring::start(&self.config);
    }

    /// The numbers go on from `before` the kill, where nothing was under way, by one Logon(A) and `count` messages each way. The ring
    /// outlives the process, so fixring skips nothing. Where QuickFIX dials, each attempt while fixring was away has used up
    /// a number; fixring asks for those once, in a message that takes a number too.
    fn assert_resumed(&mut self, killed: usize, before: (u64, u64), count: u64) {
        let now = self.peer.numbers();
        let logon = self.peer.so_far(killed, |event| is_out(event, "A")).pop().expect("a Logon(A)");
        let logons = number(&logon, "msg_seq_num") - before.0 + 1;
        let requests = self.peer.so_far(killed, |event| is_in(event, "2")).len() as u64;
        assert_eq!(requests, u64::from(logons > 1), "ResendRequest(2) after {logons} times Logon(A)");
        assert_eq!(now, (before.0 + logons + count, before.1 + 1 + requests + count), "from {before:?}");
    }

    /// The counterparty logs out, the answer comes, the connection ends.
    fn log_out(&mut self) {
        let mark = self.peer.command("logout");
        self.peer.until(mark, "Logout(5) sent", |event| is_out(event, "5"));
        self.peer.until(mark, "Logout(5) answered", |event| is_in(event, "5"));
        self.peer.until(mark, "logout", |event| is(event, "logout"));
    }

    /// What every scenario ends with: fixring stops on SIGTERM with a farewell, and the account is settled.
    fn finish(mut self) {
        let mark = self.peer.mark();
        self.fixring.terminate();
        self.peer.until(mark, "fixring's Logout(5)", |event| is_in(event, "5"));
        self.peer.until(mark, "the answer to it", |event| is_out(event, "5"));
        self.peer.until(mark, "logout", |event| is(event, "logout"));
        self.peer.stop();
        for msg_type in ["3", "j"] {
            let rejects = self.peer.so_far(0, |event| is_in(event, msg_type) || is_out(event, msg_type));
            assert!(rejects.is_empty(), "one side rejected a message of the other: {rejects:?}");
        }
        self.peer.assert_answered_once(&self.orders);
    }
}

fn write_config(
    directory: &tempfile::TempDir,
    begin_string: &str,
    dials: Dials,
    needs: Needs,
    fix_port: u16,
    control_port: u16,
) -> PathBuf {
    let ring_dir = directory.path().join("ring");
    let store_dir = directory.path().join("quickfix");
    std::fs::create_dir(&ring_dir).expect("a directory for the ring");
    std::fs::create_dir(&store_dir).expect("a directory for QuickFIX's store");
    let data_dir = directory.path().join("data");
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
    let heartbeat_seconds = if needs.silent_peer { 1 } else { 30 };
    let reset_on_logon = if needs.reset_on_logon { "reset_on_logon = true\n" } else { "" };
    let text = format!(
        r#"[engine]
data_dir = "{data_dir}"
workers = 1
wait = "park"
application = "{application}"
commit_bytes_max = "256KiB"
message_bytes_max = "64KiB"

[persistence]
mode = "buffered"
ring_dir = "{ring_dir}"
ring_bytes = "1MiB"
segment_bytes = "4MiB"
segments = 4

[control]
listen = "127.0.0.1:{control_port}"

{acceptor}
[[session]]
begin_string = "{begin_string}"
sender_comp_id = "FIXRING"
target_comp_id = "PEER"
heartbeat_seconds = {heartbeat_seconds}
{role}{reset_on_logon}"#,
        data_dir = data_dir.display(),
        ring_dir = ring_dir.display(),
    );
    let path = directory.path().join("fixring.toml");
    std::fs::write(&path, text).expect("the configuration is written");
    path
}

/// Whether the scenarios can run. Where not, one line for each goes to the terminal itself, since the test harness
/// swallows what a passing test prints.
fn quickfix_is_here() -> bool {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    match quickfix_peer() {
        Ok(_) => true,
        Err(reason) => {
            let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
            let test = std::thread::current().name().unwrap_or("a scenario").to_owned();
            writeln!(std::io::stderr(), "skipped ({count} so far): interop {test}: {reason}").expect("stderr is open");
            false
        }
    }
}

#[test]
fn in_ci_no_scenario_is_skipped() {
    let in_ci = std::env::var("CI").as_deref() == Ok("true");
    if let (true, Err(reason)) = (in_ci, quickfix_peer()) {
        panic!("CI=true, and the interoperability scenarios cannot run: {reason}");
    }
}

fn orders_are_answered_and_both_ways_of_logging_out_are_clean(begin_string: &str, dials: Dials) {
    let mut bench = Bench::start(begin_string, dials, Needs::default());
    bench.trade(200, "A");
    let (next_out, next_in) = bench.peer.numbers();
    bench.log_out();
    let mark = bench.peer.command("logon");
    bench.until_logged_on(mark);
    // One Logout(5) each, and the next Logon(A) takes the number after it. Where fixring dials, it may have tried before QuickFIX
    // let anyone in again, and each try took a number.
    let logon = bench.peer.until(mark, "Logon(A)", |event| is_in(event, "A"));
    match dials {
        Dials::QuickFix => assert_eq!(number(&logon, "msg_seq_num"), next_in + 1),
        Dials::Fixring => assert!(number(&logon, "msg_seq_num") > next_in),
    }
    let logon = bench.peer.until(mark, "Logon(A) sent", |event| is_out(event, "A"));
    let skipped = number(&logon, "msg_seq_num") - (next_out + 1);
    bench.trade(5, "B");
    if dials == Dials::QuickFix {
        // A QuickFIX that is told to log on while it still closes its socket numbers a Logon(A) that goes nowhere.
        let requests = bench.peer.so_far(0, |event| is_in(event, "2") || is_out(event, "2"));
        assert_eq!(requests.len(), usize::from(skipped > 0), "nothing else was lost: {requests:?}");
    }
    bench.finish();
}

fn a_gap_in_what_fixring_receives_is_asked_for_and_filled(begin_string: &str, dials: Dials) {
    let mut bench = Bench::start(begin_string, dials, Needs::default());
    bench.trade(5, "A");
    let (next_out, _) = bench.peer.numbers();
    let after_gap = next_out + 20;
    bench.peer.command(&format!("set-next-out {after_gap}"));
    let mark = bench.send_orders(3, "G");
    let request = bench.peer.until(mark, "ResendRequest(2)", |event| is_in(event, "2"));
    assert_eq!(number(&request, "begin_seq_no"), next_out, "{request}");
    let end_seq_no = number(&request, "end_seq_no");
    assert!(end_seq_no == 0 || end_seq_no >= after_gap - 1, "the request leaves part of the gap open: {request}");
    let fill = bench.peer.until(mark, "SequenceReset(4)", |event| is_out(event, "4"));
    assert_eq!(number(&fill, "new_seq_no"), after_gap, "{fill}");
    assert_eq!(text(&fill, "gap_fill_flag"), Some("Y"), "{fill}");
    bench.peer.until_answered(&bench.orders);
    bench.trade(5, "B");
    let requests = bench.peer.so_far(mark, |event| is_in(event, "2"));
    assert_eq!(requests.len(), 1, "one gap is asked for once: {requests:?}");
    bench.finish();
}

fn a_gap_in_what_fixring_sent_is_resent_as_possible_duplicates(begin_string: &str, dials: Dials) {
    let mut bench = Bench::start(begin_string, dials, Needs::default());
    bench.trade(10, "A");
    let (_, next_in) = bench.peer.numbers();
    // QuickFIX "forgets" the Logon(A) too: the answer begins with a gap fill over it and goes on with ten reports.
    assert_eq!(next_in, 12, "Logon(A) and ten reports");
    bench.peer.command("set-next-in 1");
    let mark = bench.send_orders(1, "G");
    let request = bench.peer.until(mark, "ResendRequest(2) sent", |event| is_out(event, "2"));
    assert_eq!(number(&request, "begin_seq_no"), 1, "{request}");
    let fill = bench.peer.until(mark, "SequenceReset(4)", |event| is_in(event, "4"));
    assert_eq!(text(&fill, "gap_fill_flag"), Some("Y"), "{fill}");
    assert_eq!((number(&fill, "msg_seq_num"), number(&fill, "new_seq_no")), (1, 2), "{fill}");
    assert!(poss_dup(&fill), "a gap fill in an answer has PossDupFlag(43): {fill}");
    let is_resent = |event: &serde_json::Value| is_in(event, "8") && poss_dup(event);
    let resent = bench.peer.until_count(mark, "resent report", 10, is_resent);
    for (at, report) in resent.iter().enumerate() {
        let msg_seq_num = at as u64 + 2;
        assert_eq!(number(report, "msg_seq_num"), msg_seq_num, "resent out of order: {report}");
        assert!(text(report, "orig_sending_time").is_some(), "without OrigSendingTime(122): {report}");
        let first = bench.peer.until(0, "the first copy", |event| {
            is_in(event, "8") && !poss_dup(event) && number(event, "msg_seq_num") == msg_seq_num
        });
        for key in ["cl_ord_id", "exec_id", "order_id"] {
            assert_eq!(text(report, key), text(&first, key), "resent with another {key}");
        }
    }
    bench.peer.until_answered(&bench.orders);
    bench.trade(5, "B");
    let (_, next_in_after) = bench.peer.numbers();
    assert_eq!(next_in_after, next_in + 6, "a resend takes no number of its own");
    bench.finish();
}

fn a_heard_reset_starts_both_numbers_anew_and_outlives_a_kill(begin_string: &str) {
    let mut bench = Bench::start(begin_string, Dials::QuickFix, Needs::default());
    bench.trade(10, "A");
    bench.log_out();
    bench.peer.command("reset-on-logon on");
    let mark = bench.peer.command("logon");
    bench.until_logged_on(mark);
    assert_both_reset(&bench.peer, mark);
    bench.trade(5, "R");
    assert_eq!(bench.peer.numbers(), (7, 7), "Logon(A) and five messages each way");
    bench.peer.command("reset-on-logon off");
    let killed = bench.kill_fixring();
    bench.restart_fixring();
    bench.until_logged_on(killed);
    bench.trade(5, "K");
    bench.assert_resumed(killed, (7, 7), 5);
    bench.finish();
}

fn a_reset_of_fixrings_own_is_taken_by_the_counterparty(begin_string: &str) {
    let needs = Needs { reset_on_logon: true, ..Needs::default() };
    let mut bench = Bench::start(begin_string, Dials::Fixring, needs);
    bench.trade(10, "A");
    bench.log_out();
    let mark = bench.peer.command("logon");
    bench.until_logged_on(mark);
    assert_both_reset(&bench.peer, mark);
    bench.trade(5, "R");
    assert_eq!(bench.peer.numbers(), (7, 7), "Logon(A) and five messages each way");
    bench.finish();
}

fn assert_both_reset(peer: &Peer, mark: usize) {
    for logon in [
        peer.until(mark, "Logon(A) sent", |event| is_out(event, "A")),
        peer.until(mark, "Logon(A)", |event| is_in(event, "A")),
    ] {
        assert_eq!(text(&logon, "reset_seq_num_flag"), Some("Y"), "{logon}");
        assert_eq!(number(&logon, "msg_seq_num"), 1, "{logon}");
    }
}

/// Killed twice: once with a burst under way, once while idle. Orders go on being sent while it is dead; QuickFIX numbers and
/// stores them, and hands them over when fixring asks.
fn a_killed_fixring_comes_back_with_its_numbers_and_answers_every_order_once(begin_string: &str, dials: Dials) {
    let mut bench = Bench::start(begin_string, dials, Needs::default());
    let mark = bench.send_orders(500, "A");
    bench.peer.until_count(mark, "a report", 50, is_new_report);
    let killed = bench.kill_fixring();
    bench.send_orders(300, "B");
    let newest = bench.peer.so_far(0, |event| is(event, "in")).iter().map(|event| number(event, "msg_seq_num")).max();
    bench.restart_fixring();
    bench.until_logged_on(killed);
    let logon = bench.peer.until(killed, "Logon(A)", |event| is_in(event, "A"));
    assert_eq!(text(&logon, "reset_seq_num_flag"), None, "a restart is no reason to reset: {logon}");
    assert!(Some(number(&logon, "msg_seq_num")) > newest, "{logon} uses a number again, the last was {newest:?}");
    bench.peer.until_answered(&bench.orders);
    bench.trade(5, "C");

    let before = bench.peer.numbers();
    let killed = bench.kill_fixring();
    bench.restart_fixring();
    bench.until_logged_on(killed);
    bench.trade(5, "D");
    bench.assert_resumed(killed, before, 5);
    bench.finish();
}

fn a_silent_counterparty_is_tested_and_kept(begin_string: &str, dials: Dials) {
    let needs = Needs { silent_peer: true, ..Needs::default() };
    let mut bench = Bench::start(begin_string, dials, needs);
    let tests = bench.peer.until_count(0, "TestRequest(1)", 2, |event| is_in(event, "1"));
    for test in &tests {
        let id = text(test, "test_req_id").expect("a TestReqID(112)").to_owned();
        bench.peer.until(0, "its answer", |event| is_out(event, "0") && text(event, "test_req_id") == Some(&id));
    }
    bench.peer.until(0, "Heartbeat(0)", |event| is_in(event, "0") && text(event, "test_req_id").is_none());
    let mark = bench.peer.command("test-request are-you-there");
    bench.peer.until(mark, "the answer to a TestRequest(1)", |event| {
        is_in(event, "0") && text(event, "test_req_id") == Some("are-you-there")
    });
    let lost = bench.peer.so_far(0, |event| is(event, "logout"));
    assert!(lost.is_empty(), "a counterparty that answers is kept");
    bench.trade(5, "A");
    bench.finish();
}

fn what_the_counterparty_sends_comes_back_from_echo(begin_string: &str) {
    let needs = Needs { application: Some("echo"), ..Needs::default() };
    let mut bench = Bench::start(begin_string, Dials::Fixring, needs);
    let mark = bench.peer.command("order E-1");
    // QuickFIX answers the order that comes back, as it would any, and that answer comes back too.
    bench.peer.until(mark, "the order, sent back", |event| {
        is(event, "app") && text(event, "msg_type") == Some("D") && text(event, "cl_ord_id") == Some("E-1")
    });
    let report = bench.peer.until(mark, "the answer", |event| is_out(event, "8"));
    bench.peer.until(mark, "the answer, sent back", |event| {
        is_new_report(event) && text(event, "exec_id") == text(&report, "exec_id")
    });
    bench.orders.insert("E-1".to_owned());
    bench.finish();
}

/// Runs a scenario for every version, all at once: most of its time is QuickFIX's timers, which go by the second.
fn in_every_version(scenario: impl Fn(&str) + Sync) {
    if !quickfix_is_here() {
        return;
    }
    let scenario = &scenario;
    std::thread::scope(|scope| {
        let runs = BEGIN_STRINGS.map(|begin_string| {
            let run = std::thread::Builder::new().name(begin_string.to_owned());
            (begin_string, run.spawn_scoped(scope, move || scenario(begin_string)).expect("a thread"))
        });
        let failed: Vec<&str> =
            runs.into_iter().filter_map(|(name, run)| run.join().is_err().then_some(name)).collect();
        assert!(failed.is_empty(), "failed for {failed:?}");
    });
}

/// The scenarios as tests: those that name a role, and those that are run in both.
macro_rules! scenarios {
    (as they are: $($scenario:ident,)*) => {
        mod either {
            $(#[test]
            fn $scenario() {
                super::in_every_version(super::$scenario);
            })*
        }
    };
    ($module:ident, $dials:ident: $($scenario:ident,)*) => {
        mod $module {
            $(#[test]
            fn $scenario() {
                super::in_every_version(|begin_string| super::$scenario(begin_string, super::Dials::$dials));
            })*
        }
    };
}

scenarios! { as they are:
    a_heard_reset_starts_both_numbers_anew_and_outlives_a_kill,
    a_reset_of_fixrings_own_is_taken_by_the_counterparty,
    what_the_counterparty_sends_comes_back_from_echo,
    the_counterparty_agrees_with_itself,
}

scenarios! { quickfix_dials, QuickFix:
    orders_are_answered_and_both_ways_of_logging_out_are_clean,
    a_gap_in_what_fixring_receives_is_asked_for_and_filled,
    a_gap_in_what_fixring_sent_is_resent_as_possible_duplicates,
    a_killed_fixring_comes_back_with_its_numbers_and_answers_every_order_once,
    a_silent_counterparty_is_tested_and_kept,
}

scenarios! { fixring_dials, Fixring:
    orders_are_answered_and_both_ways_of_logging_out_are_clean,
    a_gap_in_what_fixring_receives_is_asked_for_and_filled,
    a_gap_in_what_fixring_sent_is_resent_as_possible_duplicates,
    a_killed_fixring_comes_back_with_its_numbers_and_answers_every_order_once,
    a_silent_counterparty_is_tested_and_kept,
}

/// QuickFIX against QuickFIX through the same driver: if this fails, the scenarios say nothing about fixring.
fn the_counterparty_agrees_with_itself(begin_string: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = free_port();
    let peer = |role, sender, target, announced_heartbeat_s| {
        let store_dir = directory.path().join(role);
        std::fs::create_dir(&store_dir).expect("a directory for QuickFIX's store");
        let store_dir = store_dir.as_path();
        Peer::start(&PeerOptions { role, port, begin_string, sender, target, store_dir, announced_heartbeat_s })
    };
    let mut venue = peer("acceptor", "FIXRING", "PEER", None);
    let mut client = peer("initiator", "PEER", "FIXRING", Some(1));
    client.until(0, "logon", |event| is(event, "logon"));
    let mut orders: BTreeSet<String> = (1..=10).map(|n| format!("A-{n}")).collect();
    client.command("orders 10 A");
    client.until_answered(&orders);

    let (next_out, _) = client.numbers();
    client.command(&format!("set-next-out {}", next_out + 20));
    let mark = client.command("order G");
    orders.insert("G".to_owned());
    client.until(mark, "ResendRequest(2)", |event| is_in(event, "2"));
    let fill = client.until(mark, "SequenceReset(4)", |event| is_out(event, "4"));
    assert_eq!(number(&fill, "new_seq_no"), next_out + 20);
    client.until_answered(&orders);

    client.command("set-next-in 2");
    let mark = client.command("order H");
    orders.insert("H".to_owned());
    client.until_count(mark, "resent report", 10, |event| is_in(event, "8") && poss_dup(event));
    client.until_answered(&orders);

    let test = client.until(0, "TestRequest(1)", |event| is_in(event, "1"));
    let id = text(&test, "test_req_id").expect("a TestReqID(112)").to_owned();
    client.until(0, "its answer", |event| is_out(event, "0") && text(event, "test_req_id") == Some(&id));

    let mark = client.command("logout");
    client.until(mark, "logout", |event| is(event, "logout"));
    client.command("reset-on-logon on");
    let mark = client.command("logon");
    client.until(mark, "logon", |event| is(event, "logon"));
    assert_both_reset(&client, mark);
    client.assert_answered_once(&orders);

    let mark = client.mark();
    venue.stop();
    client.until(mark, "Logout(5)", |event| is_in(event, "5"));
    client.until(mark, "logout", |event| is(event, "logout"));
    client.stop();
}
