//! What sessions meet when the volume is slow, or stands still for a while: back-pressure, and nothing lost.

use crate::peers::{CONFIG, Peer, World, types};

const HEARTBEAT_MS: u64 = 1_000;

fn world() -> World {
    World::with_config(&CONFIG.replace("\"DESK0\"", "\"DESK0\"\nmode = \"sync\""))
}

/// Logged on with a heartbeat each second.
fn logged_on(world: &mut World, comp_id: &str) -> Peer {
    let mut peer = world.peer(comp_id, "VENUE");
    peer.connect();
    peer.send(b"A", &[(98, "0"), (108, "1")]);
    world.pass_ms(5);
    assert_eq!(types(&peer.receive()), "A");
    peer
}

fn unsynced_messages(world: &World, comp_id: &str) -> u64 {
    let sessions = world.engine.shared.sessions.sessions();
    let session = sessions.iter().find(|session| session.name.ends_with(comp_id)).expect("it is known");
    session.counters.unsynced_messages.value()
}

/// The numbers of the messages, which must follow each other.
fn assert_consecutive(messages: &[String], first: u64) {
    for (message, number) in messages.iter().zip(first..) {
        assert!(message.contains(&format!("|34={number}|")), "{number}: {message}");
    }
}

#[test]
fn a_session_in_sync_waits_with_all_that_it_sends_and_keeps_its_connection_while_one_in_buffered_goes_on() {
    let mut world = world();
    let (mut synced, mut buffered) = (logged_on(&mut world, "DESK0"), logged_on(&mut world, "DESK1"));
    world.flushes = false;
    for peer in [&mut synced, &mut buffered] {
        let order = peer.order("first");
        peer.send_bytes(&order);
    }
    world.pass_ms(1);
    let mut heard = Vec::new();
    for _ in 0..4 {
        synced.send(b"0", &[]);
        buffered.send(b"0", &[]);
        world.pass_ms(HEARTBEAT_MS);
        assert_eq!(synced.receive(), [""; 0], "nothing leaves that is not synced");
        heard.extend(buffered.receive());
    }
    assert_eq!(types(&heard), "80000", "the order is answered, and each second has its heartbeat");
    // The order and four heartbeats in, the report and four heartbeats out.
    assert_eq!(unsynced_messages(&world, "DESK0"), 10);

    world.flushes = true;
    world.pass_ms(1);
    let released = synced.receive();
    assert_eq!(types(&released), "80000", "input was taken all the time, and heartbeats were stored on time");
    assert_consecutive(&released, 2);
    assert_eq!(world.events(), [""; 0]);
    let order = synced.order("last");
    synced.send_bytes(&order);
    world.pass_ms(5);
    assert_eq!(types(&synced.receive()), "8");
}

/// Found by this test: what had waited for the volume was overwritten by the next input before it could be sent, and the peer was disconnected
/// for reading too slowly.
#[test]
fn where_not_even_a_heartbeat_can_be_stored_sockets_are_not_read_and_everything_comes_once_the_volume_goes_on() {
    let mut world = world();
    let (mut peer, mut idle) = (logged_on(&mut world, "DESK0"), logged_on(&mut world, "DESK1"));
    world.flushes = false;
    let orders: Vec<u8> = (0..200).flat_map(|number| peer.order(&format!("o{number}"))).collect();
    let mut sent = peer.send_bytes(&orders);
    world.pass_ms(50);
    assert!(world.engine.shared.journal(0).ring_full.value() > 0);
    let numbers = world.engine.worker.numbers(0, 0);
    idle.send(b"0", &[]);
    world.pass_ms(HEARTBEAT_MS + 100);
    assert_eq!((peer.receive(), idle.receive()), (Vec::new(), Vec::new()));
    assert_eq!(world.engine.worker.numbers(0, 0), numbers, "neither input is taken nor a number given");
    assert_eq!(world.events(), [""; 0], "and nobody is logged out for it");

    world.flushes = true;
    world.pass_ms(1);
    assert_eq!(types(&idle.receive()), "0", "the heartbeat that was due is late");
    let mut released = Vec::new();
    for _ in 0..50 {
        sent += peer.send_bytes(&orders[sent..]);
        world.pass_ms(10);
        released.extend(peer.receive());
    }
    assert_consecutive(&released, 2);
    assert_eq!(types(&released), "8".repeat(200));
    for (number, report) in released.iter().enumerate() {
        assert!(report.contains(&format!("|11=o{number}|")), "in their order: {report}");
    }
    assert_eq!(world.events(), [""; 0]);
}
