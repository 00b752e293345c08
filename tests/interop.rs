//! fixring against an engine that is not ours: QuickFIX/C++, in both roles, for every version from FIX.4.0 to FIX.5.0SP2.
//!
//! The counterparty is `tests/interop/quickfix_peer.cpp`, built by `scripts/build-interop` against Debian's
//! `libquickfix-dev`. It reports what QuickFIX itself sees and accepts; the scenarios below judge fixring by that alone, and never
//! look into fixring. QuickFIX validates all that it receives by the dictionaries that fixring exports, so that those are judged
//! too, and a scenario fails at the first Reject(3). Where QuickFIX is absent each scenario says so past the test harness's capture and counts
//! itself as skipped; with `CI=true` in the environment that is a failure.

#[path = "interop/bench.rs"]
mod bench;
#[path = "interop/driver.rs"]
mod driver;
#[path = "interop/versions.rs"]
mod versions;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use bench::{Bench, Dials, Needs};
use driver::{
    Peer, PeerOptions, SHORT_HEARTBEAT_S, free_port, is, is_in, is_new_report, is_out, number, poss_dup, quickfix_peer,
    text,
};
use versions::{VERSIONS, Version};

/// The scenarios that a version is left out of, and why.
const LEFT_OUT: [(&str, &str, &str); 2] = [
    (
        "a_heard_reset_starts_both_numbers_anew_and_outlives_a_kill",
        "FIX.4.0",
        "there is no ResetSeqNumFlag(141): numbers are reset by agreement between the two desks, outside the session",
    ),
    (
        "a_reset_of_fixrings_own_is_taken_by_the_counterparty",
        "FIX.4.0",
        "there is no ResetSeqNumFlag(141): numbers are reset by agreement between the two desks, outside the session",
    ),
];

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

fn orders_are_answered_and_both_ways_of_logging_out_are_clean(version: &Version, dials: Dials) {
    let mut bench = Bench::start(version, dials, Needs::default());
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

fn a_gap_in_what_fixring_receives_is_asked_for_and_filled(version: &Version, dials: Dials) {
    let mut bench = Bench::start(version, dials, Needs::default());
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

fn a_gap_in_what_fixring_sent_is_resent_as_possible_duplicates(version: &Version, dials: Dials) {
    let mut bench = Bench::start(version, dials, Needs::default());
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

fn a_heard_reset_starts_both_numbers_anew_and_outlives_a_kill(version: &Version) {
    let mut bench = Bench::start(version, Dials::QuickFix, Needs::default());
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

fn a_reset_of_fixrings_own_is_taken_by_the_counterparty(version: &Version) {
    let needs = Needs { reset_on_logon: true, ..Needs::default() };
    let mut bench = Bench::start(version, Dials::Fixring, needs);
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
fn a_killed_fixring_comes_back_with_its_numbers_and_answers_every_order_once(version: &Version, dials: Dials) {
    let mut bench = Bench::start(version, dials, Needs::default());
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

fn a_silent_counterparty_is_tested_and_kept(version: &Version, dials: Dials) {
    let needs = Needs { silent_peer: true, ..Needs::default() };
    let mut bench = Bench::start(version, dials, needs);
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

fn what_the_counterparty_sends_comes_back_from_echo(version: &Version) {
    let needs = Needs { application: Some("echo"), ..Needs::default() };
    let mut bench = Bench::start(version, Dials::Fixring, needs);
    let mark = bench.peer.command("order E-1");
    // QuickFIX answers the order that comes back, as it would any: that answer is refused, or it would never end.
    bench.peer.until(mark, "the order, sent back", |event| {
        is(event, "app") && text(event, "msg_type") == Some("D") && text(event, "cl_ord_id") == Some("E-1")
    });
    bench.peer.until(mark, "the answer", |event| is_out(event, "8"));
    bench.until_refused(version, mark);
    // A repeating group comes back as it was.
    bench.peer.command("news lines");
    bench.peer.until(mark, "the news, sent back", |event| {
        is(event, "app") && text(event, "msg_type") == Some("B") && text(event, "text") == Some("lines")
    });
    bench.finish();
}

/// A number is reset without a flag in every version: SequenceReset(4) in reset mode, which skips what was never sent.
fn a_sequence_reset_is_obeyed_and_nothing_is_asked_for(version: &Version, dials: Dials) {
    let mut bench = Bench::start(version, dials, Needs::default());
    bench.trade(5, "A");
    let (next_out, next_in) = bench.peer.numbers();
    let new_seq_no = next_out + 100;
    let mark = bench.peer.command(&format!("sequence-reset {new_seq_no}"));
    let reset = bench.peer.until(mark, "SequenceReset(4)", |event| is_out(event, "4"));
    assert_eq!((text(&reset, "gap_fill_flag"), number(&reset, "new_seq_no")), (Some("N"), new_seq_no), "{reset}");
    bench.trade(5, "B");
    assert_eq!(bench.peer.numbers(), (new_seq_no + 5, next_in + 5));
    let requests = bench.peer.so_far(mark, |event| is_in(event, "2") || is_out(event, "2"));
    assert!(requests.is_empty(), "numbers that were skipped on purpose are no gap: {requests:?}");
    bench.finish();
}

/// QuickFIX has a Reject(3) for a report that lacks what its version requires, or has what it does not know.
fn every_kind_of_answer_is_valid_in_its_version(version: &Version, dials: Dials) {
    let mut bench = Bench::start(version, dials, Needs::default());
    bench.trade(2, "A");
    let requests = [
        ("market M", "8", "2"),
        ("order A-1", "8", "8"),
        ("order ZERO 0", "8", "8"),
        ("status A-1", "8", "0"),
        ("status NONE", "8", "8"),
        ("replace B A-1 200", "8", if version.begin_string <= "FIX.4.2" { "5" } else { "0" }),
        ("replace A-2 B 300", "9", "0"),
        ("replace C NONE 300", "9", "8"),
        ("cancel D NONE", "9", "8"),
        ("cancel E B", "8", "4"),
        ("cancel F E", "9", "4"),
        ("status E", "8", "4"),
    ];
    for (request, msg_type, ord_status) in requests {
        let mark = bench.peer.command(request);
        let cl_ord_id = request.split(' ').nth(1);
        let answer = bench.peer.until(mark, request, |event| is(event, "app") && text(event, "cl_ord_id") == cl_ord_id);
        assert_eq!(text(&answer, "msg_type"), Some(msg_type), "{request}: {answer}");
        // An OrderCancelReject(9) of FIX.4.0 does not have it.
        if msg_type == "8" || version.name != "FIX.4.0" {
            assert_eq!(text(&answer, "ord_status"), Some(ord_status), "{request}: {answer}");
        }
    }
    let mark = bench.peer.command("list-status L");
    bench.until_refused(version, mark);
    bench.trade(1, "Z");
    bench.finish();
}

/// Runs a scenario for every version that is not left out, all at once: most of its time is QuickFIX's timers, which go by the
/// second.
fn in_every_version(name: &str, scenario: impl Fn(&Version) + Sync) {
    if !quickfix_is_here() {
        return;
    }
    let scenario = &scenario;
    std::thread::scope(|scope| {
        let mut runs = Vec::new();
        for version in &VERSIONS {
            if let Some((_, _, why)) =
                LEFT_OUT.iter().find(|(of, in_version, _)| (*of, *in_version) == (name, version.name))
            {
                writeln!(std::io::stderr(), "left out: interop {name} in {}: {why}", version.name)
                    .expect("stderr is open");
                continue;
            }
            let run = std::thread::Builder::new().name(version.name.to_owned());
            runs.push((version.name, run.spawn_scoped(scope, move || scenario(version)).expect("a thread")));
        }
        let failed: Vec<&str> =
            runs.into_iter().filter_map(|(name, run)| run.join().is_err().then_some(name)).collect();
        assert!(failed.is_empty(), "failed for {failed:?}");
    });
}

/// The scenarios as tests: those that name a role, and those that are run in both.
macro_rules! scenarios {
    (as they are: $($scenario:ident,)*) => {
        mod either {
            pub const NAMES: &[&str] = &[$(stringify!($scenario),)*];
            $(#[test]
            fn $scenario() {
                super::in_every_version(stringify!($scenario), super::$scenario);
            })*
        }
    };
    ($module:ident, $dials:ident: $($scenario:ident,)*) => {
        mod $module {
            pub const NAMES: &[&str] = &[$(stringify!($scenario),)*];
            $(#[test]
            fn $scenario() {
                let scenario = |version: &super::Version| super::$scenario(version, super::Dials::$dials);
                super::in_every_version(stringify!($scenario), scenario);
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
    every_kind_of_answer_is_valid_in_its_version,
    a_gap_in_what_fixring_receives_is_asked_for_and_filled,
    a_gap_in_what_fixring_sent_is_resent_as_possible_duplicates,
    a_sequence_reset_is_obeyed_and_nothing_is_asked_for,
    a_killed_fixring_comes_back_with_its_numbers_and_answers_every_order_once,
    a_silent_counterparty_is_tested_and_kept,
}

scenarios! { fixring_dials, Fixring:
    orders_are_answered_and_both_ways_of_logging_out_are_clean,
    every_kind_of_answer_is_valid_in_its_version,
    a_gap_in_what_fixring_receives_is_asked_for_and_filled,
    a_gap_in_what_fixring_sent_is_resent_as_possible_duplicates,
    a_sequence_reset_is_obeyed_and_nothing_is_asked_for,
    a_killed_fixring_comes_back_with_its_numbers_and_answers_every_order_once,
    a_silent_counterparty_is_tested_and_kept,
}

#[test]
fn what_is_left_out_is_a_scenario_in_a_version_and_says_why() {
    let names = [either::NAMES, quickfix_dials::NAMES, fixring_dials::NAMES].concat();
    for (scenario, version, why) in LEFT_OUT {
        assert!(names.contains(&scenario), "{scenario} is no scenario");
        assert!(VERSIONS.iter().any(|known| known.name == version), "{version} is no version");
        assert!(!why.is_empty(), "{scenario} in {version}");
    }
}

/// QuickFIX against QuickFIX through the same driver: if this fails, the scenarios say nothing about fixring.
fn the_counterparty_agrees_with_itself(version: &Version) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = free_port();
    let peer = |role, sender, target, announced_heartbeat_s| {
        let store_dir = directory.path().join(role);
        std::fs::create_dir(&store_dir).expect("a directory for QuickFIX's store");
        let store_dir = store_dir.as_path();
        Peer::start(&PeerOptions { role, port, version, sender, target, store_dir, announced_heartbeat_s })
    };
    let mut venue = peer("acceptor", "FIXRING", "PEER", None);
    let mut client = peer("initiator", "PEER", "FIXRING", Some(SHORT_HEARTBEAT_S));
    client.until(0, "logon", |event| is(event, "logon"));
    let mut orders: BTreeSet<String> = (1..=10).map(|n| format!("A-{n}")).collect();
    client.command("orders 10 A");
    client.until_answered(&orders);

    // It goes by the dictionary: what that does not allow is rejected.
    let mark = client.command("order-without-side X");
    client.until(mark, "Reject(3)", |event| is_in(event, "3"));

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
    if version.has_reset_seq_num_flag() {
        client.command("reset-on-logon on");
    }
    let mark = client.command("logon");
    client.until(mark, "logon", |event| is(event, "logon"));
    if version.has_reset_seq_num_flag() {
        assert_both_reset(&client, mark);
    }
    client.assert_answered_once(&orders);

    let mark = client.mark();
    venue.stop();
    client.until(mark, "Logout(5)", |event| is_in(event, "5"));
    client.until(mark, "logout", |event| is(event, "logout"));
    client.stop();
}
