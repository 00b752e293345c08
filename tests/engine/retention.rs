//! What the journal keeps and for how long, over a simulated network, clock and volume: resends of what is gone or too old, resends
//! that hold the segment that they read, and an archive that does not keep up.

use crate::peers::{CONFIG, MS, Peer, World, types};
use fixring::engine::Event;
use fixring::journal::Hold;
use fixring::transport::Transport;
use fixring::transport::simulated::Host;

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

/// What a peer sends as fast as it is taken.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Flood {
    Orders,
    Heartbeats,
    /// Of all and of all but one, by turns, so that none repeats the one before.
    ResendRequests,
}

/// Many times what the segments take, where nothing holds it back.
const FLOOD_MS: u32 = 4_000;

struct Flooder {
    peer: Peer,
    flood: Flood,
    backlog: Vec<u8>,
    count: u64,
}

impl Flooder {
    fn log_on(world: &mut World, flood: Flood) -> Self {
        Self::log_on_with(world, flood, "30")
    }

    fn log_on_with(world: &mut World, flood: Flood, heart_bt_int: &str) -> Self {
        let mut peer = world.peer("DESK1", "VENUE");
        peer.connect();
        peer.send(b"A", &[(98, "0"), (108, heart_bt_int)]);
        world.pass_ms(5);
        assert_eq!(types(&peer.receive()), "A");
        if flood == Flood::ResendRequests {
            trade(world, &mut peer, 100);
        }
        Self { peer, flood, backlog: Vec::new(), count: 0 }
    }

    /// A millisecond of it, and what the engine sends meanwhile.
    fn pass(&mut self, world: &mut World) -> Vec<String> {
        for _ in 0..40 {
            if self.backlog.is_empty() {
                self.count += 1;
                let begin = (1 + self.count % 2).to_string();
                self.backlog = match self.flood {
                    Flood::Orders => self.peer.order(&format!("f{}", self.count)),
                    Flood::Heartbeats => self.peer.message(b"0", &[]),
                    Flood::ResendRequests => self.peer.message(b"2", &[(7, &begin), (16, "0")]),
                };
            }
            let sent = self.peer.send_bytes(&self.backlog);
            self.backlog.drain(..sent);
        }
        world.pass_ms(1);
        self.peer.receive()
    }
}

fn sharing(more: &str) -> World {
    let off = "retention_min = \"0s\"\nretention_undelivered_max = \"0s\"\n";
    assert!(CONFIG.contains(off));
    let world = World::with_config(&CONFIG.replace(off, more));
    world.wire.let_forget();
    world
}

fn slowed(world: &World) -> u64 {
    world.engine.shared.journal(0).sessions_slowed.value()
}

/// One peer recycled the whole journal in seconds, and another's unread reports became one gap fill.
#[test]
fn what_a_session_has_not_fetched_is_kept_whatever_another_appends() {
    for flood in [Flood::Orders, Flood::Heartbeats, Flood::ResendRequests] {
        for goes_away in [true, false] {
            let mut world = sharing("");
            let mut quiet = world.logged_on("DESK0");
            for number in 0..50 {
                let order = quiet.order(&format!("q{number}"));
                quiet.send_bytes(&order);
            }
            world.pass_ms(5);
            if goes_away {
                quiet.disconnect();
            }
            let mut flooder = Flooder::log_on(&mut world, flood);
            for _ in 0..FLOOD_MS {
                flooder.pass(&mut world);
            }
            let appended = world.engine.journals[0].flusher.watermarks().appended();
            let segment_bytes = world.node.settings.geometry.segment_bytes;
            assert!(slowed(&world) > 0 && appended > 3 * segment_bytes, "{flood:?}: {appended}");
            if goes_away {
                quiet.connect();
                quiet.logon();
            }
            quiet.send(b"2", &[(7, "1"), (16, "0")]);
            let mut again = Vec::new();
            for _ in 0..1_000 {
                flooder.pass(&mut world);
                let is_again = |message: &String| message.contains("|35=8|") && message.contains("|43=Y|");
                again.extend(quiet.receive().into_iter().filter(is_again));
            }
            assert_eq!(again.len(), 50, "{flood:?}, goes away: {goes_away}");
        }
    }
}

/// The same flood with nothing kept.
#[test]
fn where_nothing_is_to_be_kept_nobody_is_slowed() {
    let mut world = sharing("retention_min = \"0s\"\nretention_undelivered_max = \"0s\"\n");
    let mut quiet = world.logged_on("DESK0");
    trade(&mut world, &mut quiet, 50);
    let mut flooder = Flooder::log_on(&mut world, Flood::Orders);
    for _ in 0..FLOOD_MS / 10 {
        flooder.pass(&mut world);
    }
    assert!(world.engine.journals[0].recycling.oldest_segment() > 8);
    assert_eq!((slowed(&world), ask_again(&mut world, &mut quiet).0), (0, 0));
}

/// Delivered, and asked for again a little later.
#[test]
fn what_is_younger_than_retention_min_is_kept_whatever_another_appends() {
    let mut world = sharing("retention_min = \"20s\"\nretention_undelivered_max = \"0s\"\n");
    let mut quiet = world.logged_on("DESK0");
    trade(&mut world, &mut quiet, 50);
    let mut flooder = Flooder::log_on(&mut world, Flood::Orders);
    for _ in 0..FLOOD_MS {
        flooder.pass(&mut world);
    }
    assert!(slowed(&world) > 0);
    assert_eq!(ask_again(&mut world, &mut quiet), (50, 2));
}

#[test]
fn a_counterparty_that_never_comes_back_slows_others_for_a_bounded_time_and_quiet_ones_not_at_all() {
    let mut world = sharing("retention_min = \"1s\"\nretention_undelivered_max = \"4s\"\n");
    let mut away = world.logged_on("DESK0");
    let mut calm = world.peer("DESKA", "HALL");
    calm.connect();
    calm.logon();
    world.pass_ms(5);
    assert_eq!(types(&calm.receive()), "A");
    let order = away.order("unread");
    away.send_bytes(&order);
    world.pass_ms(5);
    away.disconnect();
    let mut flooder = Flooder::log_on(&mut world, Flood::Orders);
    let oldest = |world: &World| world.engine.journals[0].recycling.oldest_segment();
    for ms in 0..3_900 {
        if ms % 100 == 0 {
            let order = calm.order(&format!("c{ms}"));
            calm.send_bytes(&order);
        }
        flooder.pass(&mut world);
        if ms % 100 == 0 {
            assert_eq!(types(&calm.receive()), "8", "at {ms} ms");
        }
        assert_eq!(oldest(&world), 0, "at {ms} ms");
    }
    assert!(slowed(&world) > 0);
    for _ in 0..3_000 {
        flooder.pass(&mut world);
    }
    assert!(oldest(&world) > 0, "nobody waits for it for ever");
}

#[test]
fn sessions_that_are_alone_or_all_flood_are_not_slowed() {
    let mut world = sharing("");
    let mut one = world.logged_on("DESK0");
    trade(&mut world, &mut one, 2 * LAP);
    let mut other = world.logged_on("DESK1");
    for _ in 0..LAP / 16 {
        trade(&mut world, &mut one, 16);
        trade(&mut world, &mut other, 16);
    }
    assert_eq!(slowed(&world), 0);
    assert!(world.engine.journals[0].recycling.oldest_segment() > 8);
}

/// DESK0 has left without its last report.
fn with_something_unread(more: &str) -> (World, Peer) {
    leave_something_unread(sharing(more))
}

fn leave_something_unread(mut world: World) -> (World, Peer) {
    let mut away = world.logged_on("DESK0");
    let order = away.order("unread");
    away.send_bytes(&order);
    world.pass_ms(5);
    away.disconnect();
    (world, away)
}

/// Whoever was slowed was asked by TestRequest(1) whether it lives, its answer was not read, and
/// its connection was ended as that of a dead peer.
#[test]
fn a_slowed_session_is_not_taken_for_silent_and_gets_its_heartbeats() {
    for flood in [Flood::Orders, Flood::Heartbeats] {
        // For so long that the noisy session is not read for many of its heartbeat intervals.
        let (mut world, _away) = with_something_unread("retention_undelivered_max = \"1h\"\n");
        let mut flooder = Flooder::log_on_with(&mut world, flood, "1");
        while slowed(&world) == 0 {
            flooder.pass(&mut world);
        }
        world.events();
        let (mut quiet_ms, mut quiet_ms_max, mut unread_ms) = (0, 0, 0);
        for ms in 0..20_000 {
            let appended = world.engine.journals[0].flusher.watermarks().appended();
            let came = types(&flooder.pass(&mut world));
            assert!(!came.contains(['1', '5']), "{flood:?}, at {ms} ms: {came}");
            quiet_ms = if came.is_empty() { quiet_ms + 1 } else { 0 };
            quiet_ms_max = quiet_ms_max.max(quiet_ms);
            unread_ms += u32::from(appended == world.engine.journals[0].flusher.watermarks().appended());
        }
        assert!(unread_ms > 15_000 && quiet_ms_max <= 1_001, "{flood:?}: {unread_ms}, {quiet_ms_max}");
        assert_eq!(world.events(), [""; 0], "{flood:?}");
    }
}

/// A peer that died while it was slowed is found out once what it has sent is read.
#[test]
fn a_slowed_session_that_sends_nothing_more_is_taken_for_silent() {
    let (mut world, _away) = with_something_unread("retention_min = \"1s\"\nretention_undelivered_max = \"4s\"\n");
    let mut flooder = Flooder::log_on_with(&mut world, Flood::Orders, "1");
    while slowed(&world) == 0 {
        flooder.pass(&mut world);
    }
    let mut came = String::new();
    for _ in 0..10_000 {
        world.pass_ms(1);
        came += &types(&flooder.peer.receive());
    }
    assert!(came.ends_with('1') && flooder.peer.is_closed(), "{came}");
}

/// An initiator that was slowed and lost its connection did not read the answer to its next Logon
/// either, gave up in `logon_timeout`, and used a number for each attempt.
#[test]
fn an_initiator_that_was_slowed_can_log_on_again() {
    const FAR: &str = "10.0.0.99:9880";
    let initiator = format!(
        "retention_undelivered_max = \"1h\"\n[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\n\
         target_comp_id = \"FAR\"\nrole = \"initiator\"\nconnect = [\"{FAR}\"]\nreconnect_min = \"100ms\"\n\
         heartbeat_seconds = 1\n"
    );
    let world = sharing(&initiator);
    let mut far = Peer {
        transport: world.network.transport(Host(90), &[FAR.parse().unwrap()]),
        connection: None,
        clock: world.clock.clone(),
        comp_id: "FAR".into(),
        target_comp_id: "VENUE".into(),
        next_out: 1,
        received: Vec::new(),
    };
    let (mut world, _away) = leave_something_unread(world);
    let answer_logon = |world: &mut World, far: &mut Peer| {
        far.connection = (0..5_000).find_map(|_| {
            world.pass_ms(1);
            far.transport.accept().expect("it listens").map(|(id, _)| id)
        });
        far.received.clear();
        let came = (0..1_000).find_map(|_| {
            world.pass_ms(1);
            Some(types(&far.receive())).filter(|came| !came.is_empty())
        });
        assert_eq!(came.as_deref(), Some("A"), "{:?}", world.engine.events());
        far.send(b"A", &[(98, "0"), (108, "1")]);
    };
    answer_logon(&mut world, &mut far);
    let mut flooder = Flooder { peer: far, flood: Flood::Orders, backlog: Vec::new(), count: 0 };
    while slowed(&world) == 0 {
        flooder.pass(&mut world);
    }
    // A heartbeat finds out, since what came before the end is not read.
    flooder.peer.disconnect();
    answer_logon(&mut world, &mut flooder.peer);
    world.events();
    flooder.peer.send(b"1", &[(112, "unread")]);
    world.pass_ms(3_000);
    let came = types(&flooder.peer.receive());
    assert!(came.contains("00") && !came.contains('1'), "{came}");
    assert_eq!(world.events(), [""; 0]);
}

/// The peer's answer to our Logout waited behind what it had sent before, and the session ended as
/// if the peer had not answered.
#[test]
fn a_slowed_session_that_is_logged_out_is_read_up_to_its_peer_s_answer() {
    let (mut world, _away) = with_something_unread("retention_undelivered_max = \"1h\"\n");
    let mut flooder = Flooder::log_on(&mut world, Flood::Orders);
    while slowed(&world) == 0 {
        flooder.pass(&mut world);
    }
    for _ in 0..20 {
        flooder.pass(&mut world);
    }
    world.events();
    world.engine.worker.request_stop(world.clock.now());
    let logout = flooder.peer.message(b"5", &[]);
    flooder.backlog.extend_from_slice(&logout);
    while !flooder.backlog.is_empty() {
        let sent = flooder.peer.send_bytes(&flooder.backlog);
        flooder.backlog.drain(..sent);
        world.pass_ms(1);
        flooder.peer.receive();
    }
    world.pass_ms(100);
    let events = world.events();
    assert!(world.engine.worker.is_finished() && flooder.peer.is_closed(), "{events:?}");
    assert!(!events.iter().any(|event| event.contains("LogoutTimeout")), "{events:?}");
}

/// The log said that no Logon had come.
#[test]
fn a_logon_that_waits_since_its_session_is_slowed_is_told_as_what_it_is() {
    let (mut world, _away) = with_something_unread("retention_undelivered_max = \"1h\"\n");
    let mut flooder = Flooder::log_on(&mut world, Flood::Orders);
    while slowed(&world) == 0 {
        flooder.pass(&mut world);
    }
    world.events();
    let mut again = world.peer("DESK1", "VENUE");
    again.next_out = flooder.peer.next_out;
    again.connect();
    again.send(b"A", &[(98, "0"), (108, "30")]);
    world.pass_ms(2_000);
    assert!(again.is_closed());
    assert_eq!(world.events(), ["refused: SessionSlowed"]);
}
