//! What the journal keeps and for how long, over a simulated network, clock and volume: resends of what is gone or too old, resends
//! that hold the segment that they read, and an archive that does not keep up.

mod peers;

use fixring::engine::Event;
use fixring::journal::Hold;
use peers::{CONFIG, MS, Peer, World, types};

/// Orders that fill more than the eight segments of 128 KiB.
const LAP: u32 = 2_500;

/// Sends orders one after the other and takes their reports.
fn trade(world: &mut World, peer: &mut Peer, orders: u32) {
    let mut reports = 0;
    for number in 0..orders {
        let order = peer.order(&format!("o{number}"));
        assert_eq!(peer.send_bytes(&order), order.len());
        if number % 16 == 15 || number + 1 == orders {
            world.pass_ms(1);
            reports += peer.receive().len() as u32;
        }
    }
    assert_eq!(reports, orders);
}

/// Asks for everything again and reads until it is there: how many reports came, and up to where the first gap fill leads.
fn ask_again(world: &mut World, peer: &mut Peer) -> (u32, u64) {
    let served = world.engine.shared.worker(0).resends_served.value();
    peer.send(b"2", &[(7, "1"), (16, "0")]);
    let mut messages = Vec::new();
    for _ in 0..2_000 {
        world.pass_ms(1);
        messages.extend(peer.receive());
        if world.engine.shared.worker(0).resends_served.value() > served {
            break;
        }
    }
    world.pass_ms(5);
    messages.extend(peer.receive());
    let reports = messages.iter().filter(|message| message.contains("|35=8|") && message.contains("|43=Y|")).count();
    let filled = messages.iter().find(|message| message.contains("|35=4|")).and_then(|message| number(message, "|36="));
    (reports as u32, filled.expect("the Logon is always filled over"))
}

fn number(message: &str, tag: &str) -> Option<u64> {
    message.split(tag).nth(1)?.split('|').next()?.parse().ok()
}

/// Numbers that were overwritten and messages that were too old, as the engine has told since the last call.
fn incomplete(world: &mut World) -> Vec<(u64, u64)> {
    let told = |event: Event| match event {
        Event::ResendIncomplete { recycled, aged, .. } => Some((recycled, aged)),
        _ => None,
    };
    world.engine.events().into_iter().filter_map(told).collect()
}

#[test]
fn a_resend_of_what_is_overwritten_is_gap_filled_and_says_how_much() {
    let mut world = World::new();
    world.wire.let_forget();
    let mut peer = world.logged_on("DESK0");
    trade(&mut world, &mut peer, 100);
    assert_eq!(ask_again(&mut world, &mut peer), (100, 2), "the Logon alone is filled over");
    assert_eq!(incomplete(&mut world), []);
    trade(&mut world, &mut peer, LAP);
    let (reports, filled) = ask_again(&mut world, &mut peer);
    assert!(filled > 100 && reports < LAP, "{filled}, {reports}");
    assert_eq!(u64::from(reports), 1 + 100 + u64::from(LAP) + 1 - filled, "whatever is there is sent");
    assert_eq!(incomplete(&mut world), [(filled - 1, 0)]);
    let counters = world.engine.shared.worker(0);
    assert_eq!(counters.resend_numbers_recycled.value(), filled - 1);
}

/// Orders of yesterday that are sent again today may be taken for orders of today.
#[test]
fn messages_older_than_the_retention_age_are_gap_filled() {
    let config = CONFIG.replace("segments = 8", "segments = 8\nretention_age = \"10s\"");
    let mut world = World::with_config(&config);
    world.wire.let_forget();
    let mut peer = world.logged_on("DESK0");
    trade(&mut world, &mut peer, 20);
    world.pass_ms(6_000);
    trade(&mut world, &mut peer, 30);
    assert_eq!(ask_again(&mut world, &mut peer), (50, 2), "none is ten seconds old");
    world.pass_ms(6_000);
    assert_eq!(ask_again(&mut world, &mut peer), (30, 22));
    // The Logon is an old message too.
    assert_eq!(incomplete(&mut world), [(0, 21)]);
    assert_eq!(world.engine.shared.worker(0).resend_messages_aged.value(), 21);
    assert_eq!(world.engine.shared.worker(0).resend_numbers_recycled.value(), 0);
}

/// A peer's resend with its oldest messages in the segment that comes next, which is asked for and not served yet.
fn resend_at_the_edge() -> (World, Peer, Peer) {
    let mut world = World::new();
    let mut peer = world.logged_on("DESK0");
    trade(&mut world, &mut peer, 50);
    let mut other = world.logged_on("DESK1");
    let segment_bytes = world.node.settings.geometry.segment_bytes;
    // A commit's room before the end the next segment begins.
    while world.engine.journals[0].flusher.watermarks().synced() < 8 * segment_bytes - 16_384 {
        trade(&mut world, &mut other, 1);
    }
    assert_eq!(world.engine.journals[0].recycling.oldest_segment(), 0);
    (world, peer, other)
}

/// Trades until the next segment has begun.
fn trade_over_the_edge(world: &mut World, other: &mut Peer) {
    let segment_bytes = world.node.settings.geometry.segment_bytes;
    while world.engine.journals[0].flusher.watermarks().appended() <= 8 * segment_bytes {
        trade(world, other, 1);
    }
}

#[test]
fn a_resend_holds_the_segment_that_it_reads_and_then_lets_it_go() {
    let (mut world, mut peer, mut other) = resend_at_the_edge();
    world.engine.journals[0].recycling.set_resend_hold_max(1_000 * MS);
    world.stages = false;
    peer.send(b"2", &[(7, "1"), (16, "0")]);
    world.pass_ms(1);
    // The stager knows of it, and has walked no further than one bounded piece.
    world.engine.journals[0].stager.turn().unwrap();
    trade_over_the_edge(&mut world, &mut other);
    assert_eq!(
        (world.engine.journals[0].recycling.hold(), world.engine.journals[0].recycling.oldest_segment()),
        (Some(Hold::Resend), 0)
    );
    world.stages = true;
    world.pass_ms(50);
    let reports = types(&peer.receive()).matches('8').count();
    assert_eq!((reports, world.engine.journals[0].recycling.hold()), (50, None));
    assert_eq!((world.engine.journals[0].recycling.holds_expired(), incomplete(&mut world)), (0, vec![]));
    assert_eq!(world.engine.journals[0].recycling.oldest_segment(), 1);
}

#[test]
fn a_resend_that_holds_for_too_long_is_filled_for_what_is_gone() {
    let (mut world, mut peer, mut other) = resend_at_the_edge();
    world.wire.let_forget();
    world.engine.journals[0].recycling.set_resend_hold_max(20 * MS);
    world.stages = false;
    for asks in [&mut peer, &mut other] {
        asks.send(b"2", &[(7, "1"), (16, "0")]);
    }
    world.pass_ms(1);
    // It finds the messages of one and then of the other, for which it forgets what it has read for the first.
    world.engine.journals[0].stager.turn().unwrap();
    world.engine.journals[0].stager.turn().unwrap();
    trade_over_the_edge(&mut world, &mut other);
    assert_eq!(world.engine.journals[0].recycling.hold(), Some(Hold::Resend));
    world.pass_ms(30);
    assert_eq!(
        (world.engine.journals[0].recycling.hold(), world.engine.journals[0].recycling.holds_expired()),
        (None, 1)
    );
    trade(&mut world, &mut other, 150);
    world.stages = true;
    world.pass_ms(50);
    let messages = peer.receive();
    assert_eq!(types(&messages), "4", "all of it was in the oldest segment");
    let gone = incomplete(&mut world);
    assert!(gone.contains(&(51, 0)), "the Logon is gone too: {gone:?}");
}

/// Each resend of one session holds the segment that the others wait for: not when they begin to feel it.
#[test]
fn a_resend_does_not_hold_while_a_quarter_of_the_ring_waits() {
    let (mut world, mut peer, mut other) = resend_at_the_edge();
    world.engine.journals[0].recycling.set_resend_hold_max(1_000_000 * MS);
    world.stages = false;
    peer.send(b"2", &[(7, "1"), (16, "0")]);
    world.pass_ms(1);
    world.engine.journals[0].stager.turn().unwrap();
    trade_over_the_edge(&mut world, &mut other);
    assert_eq!(world.engine.journals[0].recycling.hold(), Some(Hold::Resend));
    trade(&mut world, &mut other, 50);
    assert_eq!(world.engine.journals[0].recycling.holds_expired(), 1);
    assert_eq!(world.engine.shared.journal(0).ring_full.value(), 0, "nobody was kept waiting");
}

#[test]
fn an_archive_that_does_not_keep_up_stops_the_reading_and_loses_nothing() {
    let mut world = World::new();
    let mut peer = world.logged_on("DESK0");
    world.engine.journals[0].recycling.require_archive();
    let orders: Vec<u8> = (0..LAP).flat_map(|number| peer.order(&format!("o{number}"))).collect();
    let (mut sent, mut reports) = (0, Vec::new());
    for _ in 0..500 {
        sent += peer.send_bytes(&orders[sent..]);
        world.pass_ms(1);
        reports.extend(peer.receive());
    }
    assert_eq!(world.engine.journals[0].recycling.hold(), Some(Hold::Archive));
    assert!(world.engine.shared.journal(0).ring_full.value() > 0 && reports.len() < LAP as usize);
    world.pass_ms(100);
    assert_eq!(peer.receive(), [""; 0], "nothing is taken while the ring is full");
    let segment_bytes = world.node.settings.geometry.segment_bytes;
    assert_eq!(world.engine.journals[0].flusher.watermarks().synced(), 8 * segment_bytes);

    // One segment is archived: so far it goes on, and no further.
    world.engine.journals[0].recycling.set_archived(1);
    for _ in 0..200 {
        sent += peer.send_bytes(&orders[sent..]);
        world.pass_ms(1);
        reports.extend(peer.receive());
    }
    assert_eq!(world.engine.journals[0].flusher.watermarks().synced(), 9 * segment_bytes);
    world.engine.journals[0].recycling.set_archived(u64::MAX);
    for _ in 0..500 {
        sent += peer.send_bytes(&orders[sent..]);
        world.pass_ms(1);
        reports.extend(peer.receive());
    }
    assert_eq!(types(&reports), "8".repeat(LAP as usize));
    for (number, report) in reports.iter().enumerate() {
        assert!(report.contains(&format!("|11=o{number}|")), "in their order: {report}");
    }
}
