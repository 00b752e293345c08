//! The real binary, killed with SIGKILL at random moments under load, against a client that checks every sequence number.
//!
//! The engine is started again on the same directory each time, and the session goes on without a reset: no number is
//! used twice, what comes again is marked and unchanged, and in the end every order has exactly one report. Segments
//! and rings are small enough to be recycled on the way.
//!
//! `FIXRING_KILLS` sets how many kills there are over the three modes (60; nightly 600), `FIXRING_SEED` the seed, which
//! is printed first. The seed decides how each life of the engine ends; how far the engine is at that moment is the
//! operating system's to decide.

#[path = "kill/client.rs"]
mod client;
#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::io::Write;
use std::time::{Duration, Instant};

use client::Client;
use engine::{Place, SMALL, Setup};
use wire::Party;

const KILLS: u32 = 60;
const MODES: u32 = 3;
const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };

/// How a life of the engine ends.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// So long after the start of the process, whatever it is doing.
    StartingUp { after: Duration },
    /// So long after the Logon(A) went out with orders behind it: in the logon, in a resend.
    LoggingOn { after: Duration, orders: u32 },
    /// After so many reports and a moment, with up to `window` orders in flight.
    Trading { reports: u64, window: u64, after: Duration },
}

#[test]
fn kill_9_in_buffered_mode_loses_nothing_and_repeats_nothing() {
    run("buffered", 1);
}

#[test]
fn kill_9_in_flush_mode_loses_nothing_and_repeats_nothing() {
    run("flush", 2);
}

#[test]
fn kill_9_in_sync_mode_loses_nothing_and_repeats_nothing() {
    run("sync", 3);
}

fn run(mode: &'static str, stream: u64) {
    let kills = number_of("FIXRING_KILLS").unwrap_or(KILLS.into()).div_ceil(MODES.into());
    let seed = number_of("FIXRING_SEED").unwrap_or_else(|| fastrand::u64(..));
    say(&format!("{mode}: {kills} kills, FIXRING_SEED={seed}"));
    let mut random = fastrand::Rng::with_seed(seed ^ (stream << 56));
    let place = Place::new(&Setup { mode, ..SMALL });
    let mut client = Client::new(PARTY, place.port);
    let began = Instant::now();
    for kill in 1..=kills {
        let death = Death::random(&mut random);
        let asks_again = random.u8(..4) == 0;
        let mut engine = place.start();
        match death {
            Death::StartingUp { after } => engine.until_ready_or(after),
            Death::LoggingOn { after, orders } => {
                engine.until_ready();
                client.connect();
                (0..orders).for_each(|_| client.send_order());
                pump_for(&mut client, after);
            }
            Death::Trading { reports, window, after } => {
                engine.until_ready();
                client.log_on();
                if asks_again {
                    client.ask_again();
                }
                let enough = client.answered() + reports;
                client.until("reports", |client| {
                    while client.unanswered() < window {
                        client.send_order();
                    }
                    client.answered() >= enough
                });
                pump_for(&mut client, after);
            }
        }
        engine.kill();
        client.drain();
        if kill % 50 == 0 {
            say(&format!("{mode}: {kill} kills, {} orders answered", client.answered()));
        }
    }

    let mut engine = place.start_ready();
    client.log_on();
    client.until("all reports", |client| client.unanswered() == 0);
    client.log_out();
    client.check_complete();
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    place.assert_whole();
    say(&format!("{mode}: {} orders, each answered once, {:.1?}", client.answered(), began.elapsed()));
}

impl Death {
    fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(..10) {
            0..2 => Self::StartingUp { after: Duration::from_micros(random.u64(..150_000)) },
            2..4 => Self::LoggingOn { after: Duration::from_micros(random.u64(..5_000)), orders: random.u32(..40) },
            _ => Self::Trading {
                reports: random.u64(1..1_500),
                window: random.u64(1..64),
                after: Duration::from_micros(random.u64(..2_000)),
            },
        }
    }
}

/// Busy until the moment has come: a sleep would choose the kernel's moments.
fn pump_for(client: &mut Client, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        client.pump();
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Past the harness's capture: a run that hangs has said its seed.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
