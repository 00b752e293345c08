//! Resends of one journal beside each other; over a simulated network and clock.

use crate::peers::{CONFIG, Peer, World, types};
use fixring::journal::JOBS_MAX;

/// A letter each, from the template.
const SESSIONS: &str = "ABCDEFGHIJKLMNOPQRSTUVWX";
/// As reports they are more than a connection and the share of the ring that a resend may fill hold together, also where sixteen
/// resends take turns of many messages.
const MANY: usize = 600;

/// A journal that has room for what the tests store, and for peers from the template.
fn config() -> String {
    let config = CONFIG.replace("template_sessions_max = 2", "template_sessions_max = 64");
    config.replace("segments = 8", "segments = 64")
}

/// A peer that has had so many reports.
fn peer_with_reports(world: &mut World, comp_id: &str, reports: usize) -> Peer {
    let mut peer = world.peer(comp_id, "HALL");
    peer.connect();
    peer.logon();
    world.pass_ms(5);
    assert_eq!(types(&peer.receive()), "A");
    let mut received = 0;
    for number in 0..reports {
        let order = peer.order(&format!("{comp_id}{number}"));
        assert_eq!(peer.send_bytes(&order), order.len());
        if number % 16 == 15 || number + 1 == reports {
            world.pass_ms(1);
            received += peer.receive().len();
        }
    }
    assert_eq!(received, reports);
    peer
}

fn ask(peer: &mut Peer) {
    peer.send(b"2", &[(7, "2"), (16, "0")]);
}

/// The peers read until each has had its reports again: every number once, in order, marked as sent before.
fn expect_resent(world: &mut World, peers: &mut [Peer], reports: usize) {
    let mut numbers = vec![Vec::<u64>::new(); peers.len()];
    for _ in 0..5_000 {
        for (peer, numbers) in peers.iter_mut().zip(&mut numbers) {
            let messages = peer.receive();
            for message in messages.iter().filter(|message| message.contains("|35=8|")) {
                assert!(message.contains("|43=Y|"), "{message}");
                let number = message.split("|34=").nth(1).and_then(|rest| rest.split('|').next());
                numbers.push(number.and_then(|number| number.parse().ok()).expect("a number"));
            }
        }
        if numbers.iter().all(|numbers| numbers.len() >= reports) {
            break;
        }
        world.pass_ms(2);
    }
    let expected: Vec<u64> = (2..2 + reports as u64).collect();
    assert!(numbers.iter().all(|numbers| *numbers == expected), "{numbers:?}");
}

fn served(world: &World) -> u64 {
    world.engine.shared.worker(0).resends_served.value()
}

/// The stager's batches were four for all: a peer that did not read its resend kept them.
#[test]
fn a_resend_that_is_not_read_holds_up_no_other() {
    let mut world = World::with_config(&config());
    let mut slow = peer_with_reports(&mut world, "A", MANY);
    let mut other = peer_with_reports(&mut world, "B", 50);
    ask(&mut slow);
    world.pass_ms(100);
    assert_eq!(served(&world), 0, "what is not read is not sent");
    ask(&mut other);
    expect_resent(&mut world, std::slice::from_mut(&mut other), 50);
    assert_eq!(served(&world), 1, "the slow one still waits for its peer");
    expect_resent(&mut world, &mut [slow], MANY);
}

/// A resend journals again what it sends. The whole ring of it went by while a connection that was full had bytes in there,
/// which was closed as a slow consumer's, although its peer read twice a second.
#[test]
fn a_resend_does_not_push_a_slow_peer_out_of_the_ring() {
    let mut world = World::with_config(&config());
    let mut slow = peer_with_reports(&mut world, "A", MANY);
    let mut other = peer_with_reports(&mut world, "B", MANY);
    ask(&mut slow);
    world.pass_ms(100);
    ask(&mut other);
    let (mut slow_reports, mut other_reports) = (0, 0);
    let reports = |messages: Vec<String>| types(&messages).matches('8').count();
    for ms in 1..=10_000 {
        world.pass_ms(1);
        other_reports += reports(other.receive());
        if ms % 500 == 0 {
            slow_reports += reports(slow.receive());
        }
    }
    assert_eq!(world.events(), [""; 0]);
    assert_eq!((slow_reports, other_reports), (MANY, MANY));
}

#[test]
fn peers_that_do_not_read_make_room_for_one_that_does() {
    // What the others' connections do not take stays in the ring.
    let config = config().replace("64KiB", "2MiB").replace("128KiB", "2MiB");
    let mut world = World::with_config(&config);
    let letters: Vec<String> = SESSIONS.chars().take(JOBS_MAX + 1).map(String::from).collect();
    let mut slow: Vec<Peer> =
        letters[..JOBS_MAX].iter().map(|letter| peer_with_reports(&mut world, letter, MANY)).collect();
    let mut other = peer_with_reports(&mut world, &letters[JOBS_MAX], 50);
    slow.iter_mut().for_each(ask);
    world.pass_ms(200);
    ask(&mut other);
    world.pass_ms(500);
    assert_eq!(types(&other.receive()), "", "every place at the stager is taken");
    world.pass_ms(1_000);
    expect_resent(&mut world, std::slice::from_mut(&mut other), 50);
    assert_eq!(world.events(), [""; 0]);
    // One of them has lost its place. It has another once its peer reads.
    expect_resent(&mut world, &mut slow, MANY);
    assert_eq!(served(&world), JOBS_MAX as u64 + 1);
}

/// A request that found no room before the stager was dropped, and its session took it for answered until the next logon.
#[test]
fn a_resend_that_finds_no_room_before_the_stager_is_served_later() {
    let mut world = World::with_config(&config());
    let mut peers: Vec<Peer> =
        SESSIONS.chars().map(|letter| peer_with_reports(&mut world, &letter.to_string(), 10)).collect();
    assert!(peers.len() > JOBS_MAX);
    world.stages = false;
    // The first requests are given up, and still fill the place before the stager.
    for peer in &mut peers {
        ask(peer);
    }
    world.pass_ms(10);
    for peer in &mut peers {
        peer.disconnect();
    }
    world.pass_ms(10);
    for peer in &mut peers {
        peer.connect();
        peer.logon();
        world.pass_ms(5);
        assert_eq!(types(&peer.receive()), "A");
        ask(peer);
    }
    world.pass_ms(10);
    assert!(peers.iter_mut().all(|peer| peer.receive().is_empty()));
    assert!(world.engine.worker.awaits_stager());
    world.stages = true;
    expect_resent(&mut world, &mut peers, 10);
    assert!(!world.engine.worker.awaits_stager());
}

/// A job that walks once for each part has to find all of them, in order.
#[test]
fn a_resend_of_more_messages_than_the_stager_keeps_positions_of_is_whole() {
    let mut world = World::with_config(&config());
    let mut peer = peer_with_reports(&mut world, "A", MANY);
    assert!(MANY > 3 * world.node.settings.resend_messages_max as usize);
    ask(&mut peer);
    expect_resent(&mut world, &mut [peer], MANY);
    world.pass_ms(5);
    assert_eq!(served(&world), 1);
}
