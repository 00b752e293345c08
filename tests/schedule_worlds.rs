//! Two engines whose sessions keep a schedule, through seeded worlds of days: clocks that are set ahead and back, by seconds or by days,
//! engines that die and come back, connections that are cut, and strangers that race for a session with a Logon of their own.
//!
//! Whatever comes: what an engine recovers is what it had counted, also where its numbers have begun again; and once the clock is right and
//! nobody interferes, the next starts and resets come in their time, once each, and both sides agree.
//!
//! `FIXRING_SCHEDULE_WORLDS` sets how many worlds there are (8), `FIXRING_SCHEDULE_SEED` the first one's seed.

#[path = "schedule/world.rs"]
mod world;

use std::io::IoSlice;

use fixring::fix::{Encoder, Precision};
use fixring::simulate::Crash;
use fixring::transport::Transport;
use fixring::transport::simulated::Host;
use jiff::{Timestamp, ToSpan};
use world::{DESK, MS, S, VENUE, World};

const WORLDS: u64 = 8;
const FAULTS: u32 = 30;
const DAY_S: u64 = 24 * 3600;
const SCHEDULES: [&str; 4] = [
    "schedule = { start = \"08:00\", end = \"17:00\", days = \"Mon..Fri\" }",
    "schedule = { start = \"17:00\", end = \"17:00\" }",
    "schedule = { reset = \"17:00\" }",
    "schedule = { start_day = \"Sun\", start = \"18:00\", end_day = \"Fri\", end = \"17:00\" }",
];

#[test]
fn a_world_of_clocks_and_deaths_comes_to_rest_with_each_start_done_once() {
    let number_of = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number_of("FIXRING_SCHEDULE_SEED").unwrap_or(0);
    for seed in first..first + number_of("FIXRING_SCHEDULE_WORLDS").unwrap_or(WORLDS) {
        let run = std::panic::AssertUnwindSafe(|| run(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("FIXRING_SCHEDULE_SEED={seed} FIXRING_SCHEDULE_WORLDS=1 shows it again");
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let schedule = SCHEDULES[random.usize(..SCHEDULES.len())];
    let mode = ["buffered", "sync"][random.usize(..2)];
    let mut world = World::both(&format!("mode = \"{mode}\"\n{schedule}"), "2026-01-05T07:00:00Z");
    // How far the wall clock is ahead of the right one.
    let mut ahead_ns = 0_i64;
    for _ in 0..FAULTS {
        world.wire.permit_reset();
        let hours = random.u64(1..20);
        pass(&mut world, random.u64(..hours * 3600));
        world.wire.permit_reset();
        match random.u8(..8) {
            0 | 1 => {
                let steps = [30, 3_600, 7 * 3_600, 26 * 3_600, 3 * DAY_S];
                let step_ns = (steps[random.usize(..steps.len())] * S) as i64;
                world.clock.set_forward(step_ns);
                ahead_ns += step_ns;
                pass(&mut world, random.u64(..7_200));
            }
            2 => {
                world.clock.set_forward(-ahead_ns);
                ahead_ns = 0;
            }
            3 if world.are_joined() => rival(&mut world, &mut random),
            3 => {}
            4 => world.network.cut_all(),
            _ => die(&mut world, random.usize(..2), mode, &mut random),
        }
    }
    world.wire.permit_reset();
    world.clock.set_forward(-ahead_ns);
    // It is noticed, and what was cut comes back.
    pass(&mut world, 300);
    // Three days undisturbed: of each start, one reset.
    for _ in 0..3 {
        let noon = next_noon(&world);
        world.wire.permit_reset();
        let before = world.resets();
        world.run_to(&noon);
        if world.is_open(VENUE) {
            world.assert_joined("at noon");
        }
        let resets = [DESK, VENUE].map(|side| world.resets()[side] - before[side]);
        assert!(resets.iter().all(|resets| *resets <= 1), "{schedule}: {resets:?} up to {noon}");
        assert!(schedule.contains("Sun") || world.numbers(DESK).0 < 60, "{schedule}: {:?}", world.numbers(DESK));
    }
}

fn pass(world: &mut World, seconds: u64) {
    let until = moment(world) + (seconds as i64).seconds();
    world.run_to(&until.to_string());
}

fn moment(world: &World) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(world.clock.now().utc.unix_ns)).expect("a moment")
}

fn next_noon(world: &World) -> String {
    let day = (moment(world).as_second() as u64 + DAY_S / 2) / DAY_S * DAY_S + DAY_S / 2;
    Timestamp::from_second(day as i64).expect("a moment").to_string()
}

/// An engine dies and comes back with the numbers that it had; what a node takes with it is nothing that `sync` has acknowledged.
fn die(world: &mut World, side: usize, mode: &str, random: &mut fastrand::Rng) {
    let crash = if mode == "sync" && random.bool() { Crash::Node } else { Crash::Process };
    let live = world.sides[side].running.as_ref().expect("it runs").worker.session_numbers(0, 0);
    world.crash(side, crash);
    world.start(side);
    if crash == Crash::Process {
        let running = world.sides[side].running.as_ref().expect("it runs");
        let found = &running.journals[0].recovered[0];
        assert_eq!((found.next_out, found.next_in, found.epoch), (live.next_out, live.next_in, live.epoch));
    }
    for _ in 0..random.u32(..30) {
        world.clock.advance(MS);
        world.round();
    }
}

/// A stranger names the desk's session, with a number or a reset that may be right, while the desk logs on or is logged on.
fn rival(world: &mut World, random: &mut fastrand::Rng) {
    world.hosts += 1;
    let mut transport = world.network.transport(Host(world.hosts), &[]);
    let before = world.sides[VENUE].running.as_ref().expect("it runs").worker.session_numbers(0, 0);
    if random.bool() {
        world.network.cut_all();
    }
    let Ok(connection) = transport.connect("10.0.0.1:9880".parse().expect("an address")) else { return };
    let mut buffer = vec![0; 512];
    let mut logon = Encoder::begin(&mut buffer, b"FIX.4.4", b"A");
    // Too low by far: it is a rival that must not be let in, whoever comes first.
    logon.uint(34, before.next_in.saturating_sub(1)).bytes(49, b"DESK");
    logon.timestamp(52, world.clock.now().utc, Precision::Millis).bytes(56, b"VENUE").uint(98, 0).uint(108, 30);
    let length = logon.finish().expect("room");
    let _ = transport.send(connection, &[IoSlice::new(&buffer[..length])]);
    for _ in 0..random.u32(..60) {
        world.clock.advance(MS);
        world.round();
    }
    transport.close(connection);
}
