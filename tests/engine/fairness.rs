//! What one session, or a crowd without one, may take of a turn while others are served; over a simulated network and clock, turn by turn.

use crate::peers::{CONFIG, MS, Peer, World, types};
use fixring::simulate::Crash;

/// A world with room for crowds.
fn world() -> World {
    let config = CONFIG
        .replace("pending_connections_max = 16", "pending_connections_max = 2048")
        .replace("connections_max = 64", "connections_max = 4096")
        .replace("template_sessions_max = 2", "template_sessions_max = 600")
        .replace("ring_bytes = \"64KiB\"", "ring_bytes = \"4MiB\"")
        .replace("segment_bytes = \"128KiB\"", "segment_bytes = \"4MiB\"");
    let world = World::with_config(&config);
    world.network.cut_nothing();
    world
}

fn turn(world: &mut World) {
    world.clock.advance(MS / 20);
    world.engine.turn(world.clock.now());
}

/// Sends an order and answers in how many turns its report is there.
fn turns_to_answer(world: &mut World, peer: &mut Peer, cl_ord_id: &str, every_turn: &mut dyn FnMut()) -> u32 {
    let order = peer.order(cl_ord_id);
    assert_eq!(peer.send_bytes(&order), order.len());
    for turns in 1..100 {
        turn(world);
        every_turn();
        let answers = types(&peer.receive());
        if answers.contains('8') {
            return turns;
        }
    }
    panic!("{cl_ord_id} was not answered");
}

#[test]
fn a_session_that_floods_does_not_keep_another_s_message_waiting() {
    let mut world = world();
    let (mut quiet, mut flood) = (world.warmed_up("DESK0"), world.warmed_up("DESK1"));
    let mut reports = 0;
    for number in 0..200 {
        // More than any turn takes: the connection is always full.
        while {
            let order = flood.order(&format!("f{}", flood.next_out));
            let sent = flood.send_bytes(&order);
            if sent < order.len() {
                flood.next_out -= 1;
            }
            // A message that was cut is garbled, and so is its rest: the engine skips both.
            sent == order.len()
        } {}
        let turns = turns_to_answer(&mut world, &mut quiet, &format!("q{number}"), &mut || {});
        assert!(turns <= 2, "order {number} waited for {turns} turns");
        reports += types(&flood.receive()).matches('8').count();
    }
    assert!(reports >= 200, "the flood is served too: {reports}");
}

#[test]
fn sessions_that_all_flood_have_equal_shares() {
    let mut world = world();
    let mut floods: Vec<Peer> = ["DESK0", "DESK1"].iter().map(|comp_id| world.warmed_up(comp_id)).collect();
    for desk in 0..10 {
        let mut peer = world.peer(&format!("DESK{desk}"), "HALL");
        peer.connect();
        peer.logon();
        world.pass_ms(5);
        assert_eq!(types(&peer.receive()), "A");
        floods.push(peer);
    }
    for flood in &mut floods {
        let orders: Vec<u8> = (0..150).flat_map(|number| flood.order(&format!("o{number}"))).collect();
        assert_eq!(flood.send_bytes(&orders), orders.len());
    }
    let mut answered = vec![0; floods.len()];
    for _ in 0..60 {
        turn(&mut world);
        for (flood, answered) in floods.iter_mut().zip(&mut answered) {
            *answered += types(&flood.receive()).matches('8').count();
        }
        let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
        // One that is known to be active before the others has a turn for itself, once.
        assert!(most - least <= 64 + 16, "{answered:?}");
    }
    assert!(answered.iter().all(|answered| *answered == 150), "{answered:?}");
}

#[test]
fn a_crowd_at_the_door_takes_one_step_a_turn_while_live_orders_are_answered_at_once() {
    let mut world = world();
    let mut live = world.warmed_up("DESK0");
    let mut crowd: Vec<Peer> = (0..500)
        .map(|number| {
            let mut peer = world.peer(&format!("DESK-{number}"), if number % 5 == 0 { "NOWHERE" } else { "HALL" });
            peer.connect();
            match number % 5 {
                1 => drop(peer.send_bytes(b"GET / HTTP/1.1\r\n\r\n")),
                // Half open: it says nothing.
                2 => {}
                _ => peer.logon(),
            }
            peer
        })
        .collect();
    let counters = world.engine.shared.worker(0);
    let steps = || counters.connections_accepted.value() + counters.logons.value() + counters.logons_refused.value();
    let mut before = steps();
    let mut check = || {
        let now = steps();
        assert!(now - before <= 1, "{} steps in a turn", now - before);
        before = now;
    };
    let mut number = 0;
    while counters.logons.value() < 1 + 200 {
        let turns = turns_to_answer(&mut world, &mut live, &format!("l{number}"), &mut check);
        assert!(turns <= 2, "order {number} waited for {turns} turns");
        number += 1;
        assert!(number < 2_000, "{} have logged on", counters.logons.value());
    }
    assert_eq!(counters.connections_accepted.value(), 1 + 500);
    // The last answers wait for the volume.
    world.pass_ms(5);
    let answers: String = crowd.iter_mut().map(|peer| types(&peer.receive())).collect();
    assert_eq!(answers, "A".repeat(200));
}

#[test]
fn a_message_of_one_among_many_active_sessions_is_answered_in_the_turn_that_readiness_names_it() {
    let mut world = world();
    let mut desks: Vec<Peer> = (0..10)
        .map(|desk| {
            let mut peer = world.peer(&format!("DESK{desk}"), "HALL");
            peer.connect();
            peer.logon();
            world.pass_ms(5);
            assert_eq!(types(&peer.receive()), "A");
            peer
        })
        .collect();
    // The first messages of each wait for a lease.
    for round in 0..100 {
        for desk in &mut desks {
            let turns = turns_to_answer(&mut world, desk, &format!("o{round}"), &mut || {});
            assert!(round < 80 || turns <= 2, "round {round}: {turns} turns");
        }
    }
}

#[test]
fn a_crowd_that_comes_back_after_a_crash_is_let_in_whole() {
    let mut world = world();
    let mut desks: Vec<Peer> = (0..300).map(|desk| world.peer(&format!("DESK{desk}"), "HALL")).collect();
    for _ in 0..2 {
        for desk in &mut desks {
            desk.connect();
            desk.logon();
        }
        world.pass_ms(60);
        let answers: String = desks.iter_mut().map(|desk| types(&desk.receive())).collect();
        assert_eq!(answers, "A".repeat(300));
        let mut random = fastrand::Rng::with_seed(1);
        let engine = world.engine;
        world.node.crash(engine, &world.network, Crash::Process, &mut random);
        let make = |environment: fixring::engine::Environment| {
            fixring::application::Exchange::new(environment.snapshot_bytes_max)
        };
        let host = fixring::transport::simulated::Host(10_000);
        world.engine = world.node.start(world.clock.now(), &world.network, &world.wire, host, make).unwrap();
    }
}

#[test]
fn sessions_that_wait_for_the_volume_are_served_as_soon_as_it_moves_and_a_new_connection_does_not_wait_with_them() {
    let config = CONFIG
        .replace("\"DESK0\"", "\"DESK0\"\nmode = \"sync\"")
        .replace("template_sessions_max = 2", "template_sessions_max = 64")
        .replace("sender_comp_id = \"HALL\"", "mode = \"sync\"\nsender_comp_id = \"HALL\"")
        .replace("ring_bytes = \"64KiB\"", "ring_bytes = \"4MiB\"")
        .replace("segment_bytes = \"128KiB\"", "segment_bytes = \"4MiB\"");
    let mut world = World::with_config(&config);
    world.network.cut_nothing();
    let mut buffered = world.warmed_up("DESK1");
    let mut synced: Vec<Peer> = (0..40)
        .map(|desk| {
            let mut peer = world.peer(&format!("DESK{desk}"), "HALL");
            peer.connect();
            peer.logon();
            world.pass_ms(5);
            assert_eq!(types(&peer.receive()), "A");
            peer
        })
        .collect();
    world.flushes = false;
    for peer in &mut synced {
        let order = peer.order("waits");
        peer.send_bytes(&order);
    }
    world.pass_ms(3);
    assert!(synced.iter_mut().all(|peer| peer.receive().is_empty()), "nothing leaves that is not synced");
    let order = buffered.order("goes");
    buffered.send_bytes(&order);
    world.pass_ms(1);
    assert_eq!(types(&buffered.receive()), "8", "one that waits for nothing does not wait with them");
    buffered.disconnect();
    world.pass_ms(1);
    buffered.connect();
    buffered.logon();
    world.pass_ms(3);
    assert_eq!(types(&buffered.receive()), "A", "nor does its next connection");
    world.flushes = true;
    world.pass_ms(1);
    assert!(synced.iter_mut().all(|peer| types(&peer.receive()) == "8"));
}
