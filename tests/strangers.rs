//! Whoever holds connections open without logging on keeps no counterparty out: silent ones, ones that send a byte at a time, garbage, or
//! Logons that are refused, from one address or from many, also from the counterparty's own.

#![allow(clippy::duplicate_mod, reason = "both helpers bring the module that verifies journals")]

#[path = "kill/engine.rs"]
mod engine;
mod peers;
#[path = "kill/wire.rs"]
mod wire;

use std::net::TcpStream;

use engine::{Place, Setup};
use fixring::transport::simulated::Host;
use peers::{CONFIG, Peer, World, types};
use wire::{Party, Read1, Wire};

/// What a stranger does with its connection.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Silent,
    /// A byte of a Logon each millisecond.
    Dribbles,
    Garbage,
    RefusedLogon,
}

const STRANGERS: u32 = 1_000_000;
const COUNTERPARTIES: u32 = 100;

fn world() -> World {
    let config = CONFIG
        .replace("pending_connections_max = 16", "pending_connections_max = 256")
        .replace("connections_max = 64", "connections_max = 1024")
        .replace("template_sessions_max = 2", "template_sessions_max = 200")
        .replace("logon_timeout = \"1s\"", "logon_timeout = \"10s\"");
    World::with_config(&config)
}

fn peer_at(world: &mut World, host: u32, comp_id: &str) -> Peer {
    let mut peer = world.peer(comp_id, "HALL");
    peer.transport = world.network.transport(Host(host), &[]);
    peer
}

/// A stranger that has connected, and its Logon as far as it has sent it.
struct Stranger {
    peer: Peer,
    logon: Vec<u8>,
    sent: usize,
}

impl Stranger {
    fn connect(world: &mut World, host: u32, way: Way) -> Self {
        let mut peer = peer_at(world, host, "STRANGER");
        peer.connect();
        let logon = peer.message(b"A", &[(98, "0")]);
        match way {
            Way::Silent | Way::Dribbles => {}
            Way::Garbage => _ = peer.send_bytes(b"GET / HTTP/1.1\r\n\r\n"),
            Way::RefusedLogon => _ = peer.send_bytes(&logon),
        }
        Self { peer, logon, sent: 0 }
    }

    fn dribble(&mut self) {
        if self.sent + 1 < self.logon.len() {
            self.sent += self.peer.send_bytes(&self.logon[self.sent..=self.sent]);
        }
    }
}

/// So many counterparties log on one after the other, each after `newcomers` strangers more have come. Returns how many were let in.
fn let_in(world: &mut World, crowd: &mut Vec<Stranger>, way: Way, newcomers: u32, hosts: &dyn Fn(u32) -> u32) -> u32 {
    let mut let_in = 0;
    for number in 0..COUNTERPARTIES {
        for _ in 0..newcomers {
            crowd.push(Stranger::connect(world, hosts(crowd.len() as u32), way));
        }
        let mut peer = peer_at(world, hosts(number), &format!("DESK{number}"));
        peer.connect();
        peer.logon();
        let mut answers = Vec::new();
        // As many steps as the strangers that have come before it cost.
        for _ in 0..200 {
            if !answers.is_empty() {
                break;
            }
            if way == Way::Dribbles {
                crowd.iter_mut().rev().take(300).for_each(Stranger::dribble);
            }
            world.pass_ms(1);
            answers.extend(peer.receive());
        }
        let_in += u32::from(types(&answers) == "A");
    }
    let_in
}

#[test]
fn strangers_of_one_address_keep_nobody_out_not_even_at_that_address() {
    for way in [Way::Silent, Way::Dribbles, Way::Garbage, Way::RefusedLogon] {
        for count in [256, 1_000] {
            let mut world = world();
            let mut crowd: Vec<_> = (0..count).map(|_| Stranger::connect(&mut world, STRANGERS, way)).collect();
            world.pass_ms(60);
            let counters = world.engine.shared.worker(0);
            assert!(counters.connections_pending.value() <= 128, "{way:?}: an address has its share and no more");
            let let_in = let_in(&mut world, &mut crowd, way, 10, &|_| STRANGERS);
            assert_eq!(let_in, COUNTERPARTIES, "{way:?}, {count} strangers");
        }
    }
}

#[test]
fn strangers_of_many_addresses_keep_nobody_out() {
    for way in [Way::Silent, Way::Dribbles] {
        let mut world = world();
        let hosts = |number: u32| STRANGERS + number;
        let mut crowd: Vec<_> = (0..1_000).map(|number| Stranger::connect(&mut world, hosts(number), way)).collect();
        world.pass_ms(60);
        assert_eq!(world.engine.shared.worker(0).connections_pending.value(), 256);
        let let_in = let_in(&mut world, &mut crowd, way, 10, &hosts);
        assert_eq!(let_in, COUNTERPARTIES, "{way:?}");
        assert!(world.engine.shared.worker(0).connections_displaced.value() > 1_000);
    }
}

/// Its Logon may take a while, over a slow line or after a login of its own.
#[test]
fn a_connection_from_where_a_counterparty_has_logged_on_makes_room_last() {
    let mut world = world();
    let home = 77_777;
    let mut peer = peer_at(&mut world, home, "DESK");
    peer.connect();
    peer.logon();
    world.pass_ms(5);
    assert_eq!(types(&peer.receive()), "A");
    peer.disconnect();
    world.pass_ms(5);

    let (mut known, mut unknown) = (peer_at(&mut world, home, "DESK"), peer_at(&mut world, home + 1, "DESKU"));
    known.next_out = 2;
    known.connect();
    unknown.connect();
    let _crowd: Vec<_> =
        (0..1_000).map(|number| Stranger::connect(&mut world, STRANGERS + number, Way::Silent)).collect();
    world.pass_ms(100);
    assert!(unknown.is_closed() && !known.is_closed());
    known.logon();
    world.pass_ms(5);
    assert_eq!(types(&known.receive()), "A");
}

/// 256 silent connections from one address kept everybody out: 0 of 100 logons came through.
#[test]
fn silent_connections_over_tcp_keep_nobody_out() {
    let place = Place::new(&Setup {
        mode: "buffered",
        engine: "commit_bytes_max = \"64KiB\"\nmessage_bytes_max = \"16KiB\"\ntemplate_sessions_max = 200\n",
        ring_bytes: "1MiB",
        segment_bytes: "1MiB",
        sessions: "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"*\"\n",
    });
    let _engine = place.start_ready();
    let silent: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(("127.0.0.1", place.port)).expect("the engine listens")).collect();
    let names: Vec<String> = (0..COUNTERPARTIES).map(|number| format!("DESK{number}")).collect();
    let mut wires = Vec::new();
    for name in &names {
        let mut wire = Wire::connect(place.port).expect("the engine listens");
        let party = Party { begin_string: "FIX.4.4", sender: name.clone().leak(), target: "VENUE" };
        assert!(wire.send(&party.message("A", 1, "", "98=0|108=3600|")));
        let answer = loop {
            match wire.read(wire::DEADLINE) {
                Read1::Message(message) => break message,
                Read1::Nothing => {}
                Read1::End => panic!("{name} was not let in"),
            }
        };
        assert_eq!(answer.msg_type(), "A", "{answer:?}");
        wires.push(wire);
    }
    drop(silent);
}
