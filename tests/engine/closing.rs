//! How connections end: what comes behind a last word, a stream that ends with input before it, slots that are used again. Over a simulated
//! network and clock, whose connections lose what was sent when they are closed with input unread, as real ones may.

use crate::peers::{CONFIG, Peer, World, types};
use fixring::transport::Transport;

const MODES: [&str; 3] = ["buffered", "flush", "sync"];
/// What a peer may send behind its last word.
const BEHIND: [&[u8]; 4] =
    [b"x", b"\r\n", b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01", b"8=FIX.4.4\x019=99999999\x0135=0\x01"];

fn world(mode: &str) -> World {
    World::with_config(&CONFIG.replace("[persistence]\n", &format!("[persistence]\nmode = \"{mode}\"\n")))
}

/// The peer has no more to say and goes on reading.
fn finish(peer: &mut Peer) {
    peer.transport.finish(peer.connection.expect("a connection"));
}

/// Everything that the engine sends until it ends the stream.
fn until_end(world: &mut World, peer: &mut Peer) -> String {
    let mut received = String::new();
    for _ in 0..1_000 {
        world.pass_ms(1);
        received += &types(&peer.receive());
        if peer.is_closed() {
            return received;
        }
    }
    panic!("the engine did not end the stream after {received:?}");
}

/// One byte behind a Logout ended the process: the connection left the table while its session still named it.
#[test]
fn what_comes_behind_a_logout_is_discarded() {
    for mode in MODES {
        for behind in BEHIND {
            let mut world = world(mode);
            let mut peer = world.logged_on("DESK0");
            let mut other = world.logged_on("DESK1");
            let mut bytes = peer.order("a");
            bytes.extend(peer.message(b"5", &[]));
            bytes.extend_from_slice(behind);
            peer.send_bytes(&bytes);
            assert_eq!(until_end(&mut world, &mut peer), "85", "{mode}, {behind:?}");
            peer.disconnect();
            peer.connect();
            peer.logon();
            world.pass_ms(5);
            assert_eq!(types(&peer.receive()), "A", "{mode}, {behind:?}");
            let order = other.order("b");
            other.send_bytes(&order);
            world.pass_ms(5);
            assert_eq!(types(&other.receive()), "8");
        }
    }
}

#[test]
fn what_comes_behind_a_logon_that_is_refused_is_discarded_and_the_refusal_arrives() {
    for mode in MODES {
        for behind in BEHIND {
            let mut world = world(mode);
            let mut other = world.logged_on("DESK1");
            let mut peer = world.peer("DESK0", "VENUE");
            peer.connect();
            // Without HeartBtInt(108).
            let mut bytes = peer.message(b"A", &[(98, "0")]);
            bytes.extend_from_slice(behind);
            peer.send_bytes(&bytes);
            assert_eq!(until_end(&mut world, &mut peer), "5", "{mode}, {behind:?}");
            // Not worth an answer: its clock cannot be believed.
            let mut stale = world.peer("DESK0", "VENUE");
            stale.connect();
            stale.clock = fixring::simulate::VirtualClock::default();
            stale.clock.set_forward(-3_600_000_000_000);
            let mut bytes = stale.message(b"A", &[(98, "0"), (108, "30")]);
            bytes.extend_from_slice(behind);
            stale.send_bytes(&bytes);
            assert_eq!(until_end(&mut world, &mut stale), "", "{mode}, {behind:?}");
            let order = other.order("b");
            other.send_bytes(&order);
            world.pass_ms(5);
            assert_eq!(types(&other.receive()), "8");
        }
    }
}

/// In `sync` the slot was used again before the answers were released, and they were sent to whoever had it then.
#[test]
fn answers_that_wait_for_their_release_go_to_nobody_who_has_their_slot_next() {
    let mut world = world("sync");
    let mut peer = world.logged_on("DESK0");
    world.flushes = false;
    let mut bytes = peer.order("a");
    bytes.extend(peer.message(b"5", &[]));
    bytes.extend_from_slice(b"x");
    peer.send_bytes(&bytes);
    world.pass_ms(2);
    // Its connection fails meanwhile, and another takes its slot.
    world.network.cut_all();
    world.pass_ms(2);
    let mut other = world.peer("DESK1", "VENUE");
    other.connect();
    other.logon();
    world.pass_ms(2);
    world.flushes = true;
    world.pass_ms(5);
    let received = other.receive();
    assert_eq!(types(&received), "A");
    assert!(received.iter().all(|message| message.contains("|56=DESK1|")), "{received:?}");
}

#[test]
fn a_stream_that_ends_with_input_before_it_is_answered_to_the_end() {
    for mode in MODES {
        // In one write with the Logon, which a worker reads a step a turn, and behind a Logon that was answered.
        for in_one_write in [true, false] {
            let mut world = world(mode);
            let mut peer = world.peer("DESK0", "VENUE");
            peer.connect();
            let mut bytes = peer.message(b"A", &[(98, "0"), (108, "30")]);
            if !in_one_write {
                peer.send_bytes(&std::mem::take(&mut bytes));
                world.pass_ms(5);
            }
            bytes.extend(peer.order("a"));
            bytes.extend(peer.message(b"5", &[]));
            peer.send_bytes(&bytes);
            finish(&mut peer);
            assert_eq!(until_end(&mut world, &mut peer), "A85", "{mode}");
            assert_eq!(world.engine.shared.worker(0).connections_open.value(), 0);
        }
    }
}

#[test]
fn a_peer_that_ends_its_stream_without_a_logout_gets_what_it_asked_for() {
    for mode in MODES {
        let mut world = world(mode);
        let mut peer = world.logged_on("DESK0");
        // More than several turns take, and a resend, which comes after them.
        let mut bytes: Vec<u8> = (0..100).flat_map(|number| peer.order(&format!("o{number}"))).collect();
        bytes.extend(peer.message(b"2", &[(7, "1"), (16, "0")]));
        assert_eq!(peer.send_bytes(&bytes), bytes.len());
        finish(&mut peer);
        let received = until_end(&mut world, &mut peer);
        assert_eq!(received, format!("{}4{}", "8".repeat(100), "8".repeat(100)), "{mode}");
        assert_eq!(world.events(), ["disconnected: PeerClosed"]);
        peer.disconnect();
        peer.connect();
        peer.logon();
        world.pass_ms(5);
        assert_eq!(types(&peer.receive()), "A");
    }
}

#[test]
fn a_refused_logon_is_told_so_where_the_stream_ends_behind_it() {
    for mode in MODES {
        let mut world = world(mode);
        let mut peer = world.peer("DESK0", "VENUE");
        peer.connect();
        peer.send(b"A", &[(98, "0")]);
        finish(&mut peer);
        assert_eq!(until_end(&mut world, &mut peer), "5", "{mode}");
    }
}

#[test]
fn a_message_that_is_not_even_read_over_ends_the_input_and_what_came_before_is_answered() {
    for mode in MODES {
        let mut world = world(mode);
        let mut peer = world.logged_on("DESK0");
        let mut bytes = peer.order("a");
        bytes.extend(b"8=FIX.4.4\x019=999999999\x0135=D\x01");
        bytes.extend(peer.order("b"));
        peer.send_bytes(&bytes);
        assert_eq!(until_end(&mut world, &mut peer), "85", "{mode}");
        assert_eq!(world.events(), ["disconnected: Session(MessageTooLong)"]);
    }
}

#[test]
fn a_closing_connection_whose_peer_does_not_read_or_whose_volume_does_not_sync_has_a_bound() {
    // The volume.
    let mut world = world("sync");
    let mut peer = world.logged_on("DESK0");
    world.flushes = false;
    let order = peer.order("a");
    peer.send_bytes(&order);
    finish(&mut peer);
    world.pass_ms(4_900);
    assert!(!peer.is_closed());
    world.pass_ms(200);
    assert!(peer.is_closed());
    assert_eq!(peer.receive(), [""; 0], "and nothing leaves before its release");

    // The peer: its connection is full of reports that it does not read.
    let mut world = self::world("buffered");
    let mut peer = world.warmed_up("DESK0");
    let mut number = 0;
    while world.engine.shared.worker(0).messages_out.value() == 601 + number {
        number += 1;
        let order = peer.order(&format!("s{number}"));
        peer.send_bytes(&order);
        world.pass_ms(1);
    }
    finish(&mut peer);
    world.pass_ms(4_900);
    assert_eq!(world.engine.shared.worker(0).connections_open.value(), 1);
    world.pass_ms(200);
    assert_eq!(world.engine.shared.worker(0).connections_open.value(), 0);
}

#[test]
fn a_connection_whose_peer_stays_after_the_last_word_is_closed_and_keeps_its_session_from_nothing() {
    let mut world = world("buffered");
    let mut peer = world.logged_on("DESK0");
    peer.send(b"5", &[]);
    world.pass_ms(5);
    assert_eq!(types(&peer.receive()), "5");
    let counters = world.engine.shared.worker(0);
    assert_eq!(counters.connections_open.value(), 1, "its end of the stream is waited for");
    let mut again = world.peer("DESK0", "VENUE");
    again.next_out = peer.next_out;
    again.connect();
    again.logon();
    peer.send_bytes(b"still talking");
    world.pass_ms(5);
    assert_eq!(types(&again.receive()), "A");
    world.pass_ms(1_000);
    assert_eq!(counters.connections_open.value(), 1);
}

#[test]
fn connections_that_stay_after_their_last_word_keep_nobody_out() {
    let config = CONFIG
        .replace("pending_connections_max = 16", "pending_connections_max = 4")
        .replace("connections_max = 64", "connections_max = 4");
    let mut world = World::with_config(&config);
    let mut stay = Vec::new();
    for _ in 0..12 {
        let mut peer = world.peer("DESK0", "VENUE");
        peer.connect();
        peer.send(b"A", &[(98, "0")]);
        world.pass_ms(5);
        assert_eq!(types(&peer.receive()), "5");
        stay.push(peer);
    }
    world.logged_on("DESK1");
}

#[test]
fn a_session_whose_old_connection_is_half_closed_is_let_in_when_that_is_served() {
    let mut world = world("sync");
    let mut old = world.logged_on("DESK0");
    world.flushes = false;
    let order = old.order("a");
    old.send_bytes(&order);
    finish(&mut old);
    world.pass_ms(5);
    let mut again = world.peer("DESK0", "VENUE");
    again.next_out = old.next_out;
    again.connect();
    again.logon();
    world.pass_ms(5);
    world.flushes = true;
    world.pass_ms(5);
    assert_eq!((types(&old.receive()), types(&again.receive())), ("8".into(), "A".into()));
}
