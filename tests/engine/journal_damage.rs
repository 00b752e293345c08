//! A volume that loses what was synced to it: whatever is damaged, a start is held or refused, or it goes on above every number that has left
//! and has every message that was acknowledged as durable. Whole engines over a simulated volume.

use crate::peers::{MS, Peer, types};
use fixring::application::{Application, Delivery, Handle, Sessions};
use fixring::config::Config;
use fixring::engine::StartError;
use fixring::fix::Message;
use fixring::journal::{Geometry, Manifest, OpenError, Slot, Storage, prepare};
use fixring::simulate::wire::Wire;
use fixring::simulate::{Crash, Node, Running, VirtualClock};
use fixring::transport::simulated::{Host, SimulatedNetwork};

const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

/// Sends one message a turn once it is logged on.
struct Ticker;

impl Application for Ticker {
    fn on_message(&mut self, _session: &mut Handle<'_>, _message: &Message<'_>, _delivery: Delivery) {}

    fn on_turn(&mut self, sessions: &mut Sessions<'_>) {
        for number in sessions.numbers() {
            let Some(mut session) = sessions.handle(number).filter(Handle::is_established) else { continue };
            let _ = session.send(b"B", |body| _ = body.bytes(148, b"tick").uint(33, 1).bytes(58, b"x"));
        }
    }
}

fn config(mode: &str, segment: &str) -> Config {
    let text = format!(
        "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\n[persistence]\nring_bytes = \"64KiB\"\n\
         segment_bytes = \"{segment}\"\nsegments = 4\nflush_interval = \"50us\"\nmode = \"{mode}\"\nsequence_gap_max = 64\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"10.0.0.1:9880\"\n[[session]]\nbegin_string = \"FIX.4.4\"\n\
         sender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\n"
    );
    Config::parse(&text, "damage").unwrap_or_else(|error| panic!("{error}"))
}

/// An engine, its peer, and what is known of both.
struct World {
    clock: VirtualClock,
    network: SimulatedNetwork,
    wire: Wire,
    node: Node,
    engine: Option<Running<Ticker>>,
    /// The journal's `synced` after each sync.
    syncs: Vec<u64>,
    /// All segments as they were at some moment.
    before: Vec<Vec<u8>>,
    /// The peer's messages so far, and those of them that were answered.
    sent: u64,
    answered: u64,
}

impl World {
    fn new(config: Config) -> Self {
        Self {
            clock: VirtualClock::default(),
            network: SimulatedNetwork::new(1),
            wire: Wire::default(),
            node: Node::new(config),
            engine: None,
            syncs: vec![0],
            before: Vec::new(),
            sent: 0,
            answered: 0,
        }
    }

    fn start(&mut self, host: u32) -> Result<(), StartError> {
        let started = self.node.start(self.clock.now(), &self.network, &self.wire, Host(host), |_| Ticker);
        self.engine = Some(started?);
        Ok(())
    }

    fn live(&mut self, steps: u32, random: &mut fastrand::Rng) {
        let mut peer = Peer {
            transport: self.network.transport(Host(1), &[]),
            connection: None,
            clock: self.clock.clone(),
            comp_id: "DESK".into(),
            target_comp_id: "VENUE".into(),
            next_out: 1,
            received: Vec::new(),
        };
        peer.connect();
        peer.logon();
        let (flush_every, look_at) = (random.u32(2..12), random.u32(..steps));
        for step in 0..steps {
            self.clock.advance(MS / 20);
            let engine = self.engine.as_mut().expect("it runs");
            if step % flush_every == 0 {
                let flusher = &mut engine.journals[0].flusher;
                flusher.turn(self.clock.now().monotonic_ns).expect("a sound volume");
                let synced = flusher.watermarks().synced();
                if self.syncs.last() != Some(&synced) {
                    self.syncs.push(synced);
                }
            } else {
                engine.worker.turn(self.clock.now(), None);
            }
            if step % 7 == 3 && peer.next_out > 1 && self.wire.seen().flow("VENUE", "DESK").is_some() {
                peer.send(b"1", &[(112, "look")]);
            }
            self.answered += types(&peer.receive()).matches('0').count() as u64;
            if step == look_at {
                self.before = self.segments();
            }
        }
        self.sent = peer.next_out - 1;
    }

    fn segments(&self) -> Vec<Vec<u8>> {
        let geometry = self.node.settings.geometry;
        let read = |number| {
            let mut bytes = vec![0; geometry.segment_bytes as usize];
            self.node.storage.read_cached(Slot { journal: 0, number }, 0, &mut bytes);
            bytes
        };
        (0..geometry.segments).map(read).collect()
    }

    fn left(&self) -> u64 {
        self.wire.seen().flow("VENUE", "DESK").map_or(1, |flow| flow.next)
    }

    fn put(&self, position: u64, bytes: &[u8]) {
        let Geometry { segment_bytes, segments, .. } = self.node.settings.geometry;
        for (at, byte) in (position..).zip(bytes) {
            let number = (at / segment_bytes % u64::from(segments)) as u32;
            self.node.storage.corrupt(Slot { journal: 0, number }, at % segment_bytes, |_| *byte);
        }
    }

    fn at(&self, image: &[Vec<u8>], position: u64, bytes: u64) -> Vec<u8> {
        let Geometry { segment_bytes, segments, .. } = self.node.settings.geometry;
        let segment = &image[(position / segment_bytes % u64::from(segments)) as usize];
        segment[(position % segment_bytes) as usize..][..bytes as usize].to_vec()
    }

    /// Damages what lies before `limit` in the segments: what it was.
    fn damage_segments(&self, limit: u64, random: &mut fastrand::Rng) -> Option<String> {
        let Geometry { segment_bytes, .. } = self.node.settings.geometry;
        let newest = limit.checked_sub(PAGE)? / segment_bytes * segment_bytes;
        let from = if random.u8(..4) == 0 { newest.saturating_sub(segment_bytes) } else { newest };
        // Often where a head is, or near the end.
        let at = match random.u8(..4) {
            0 => newest + random.u64(..SECTOR).min(limit - newest - 1),
            1 => random.u64(limit.saturating_sub(2 * PAGE).max(from)..limit),
            _ => random.u64(from..limit),
        };
        let now = self.segments();
        let (sector, page) = (at / SECTOR * SECTOR, at / PAGE * PAGE);
        let told = match random.u8(..6) {
            0 => {
                self.put(at, &[self.at(&now, at, 1)[0] ^ 1 << random.u8(..8)]);
                format!("a bit at {at}")
            }
            1 => {
                let bytes: Vec<u8> = (0..random.u64(1..=64).min(limit - at)).map(|_| random.u8(..)).collect();
                self.put(at, &bytes);
                format!("{} random bytes at {at}", bytes.len())
            }
            2 if page + PAGE <= limit => {
                self.put(page, &[0; PAGE as usize]);
                format!("a page of zeros at {page}")
            }
            3 if page + PAGE <= limit && !self.before.is_empty() => {
                self.put(page, &self.at(&self.before, page, PAGE));
                format!("a stale page at {page}")
            }
            4 if sector + 2 * SECTOR <= limit && !(sector + SECTOR).is_multiple_of(segment_bytes) => {
                let both = self.at(&now, sector, 2 * SECTOR);
                self.put(sector, &both[SECTOR as usize..]);
                self.put(sector + SECTOR, &both[..SECTOR as usize]);
                format!("swapped sectors at {sector}")
            }
            _ => {
                let end = (at + random.u64(1..3 * PAGE)).min(limit);
                let end = end.min((at / segment_bytes + 1) * segment_bytes);
                self.put(at, &vec![0xa5; (end - at) as usize]);
                format!("{} bytes at {at}", end - at)
            }
        };
        Some(told)
    }

    /// Whether the header tells nothing any more, and what was done.
    fn damage_ring(&self, random: &mut fastrand::Rng) -> Option<(bool, String)> {
        let mut ring = self.node.keepers.first()?.open().expect("the engine is gone");
        let (identity, owner, marks) = (ring.identity().to_vec(), ring.owner(), ring.marks());
        let mut identity: [u8; 128] = identity.try_into().expect("its length");
        let length = ring.data().len();
        Some(match random.u8(..5) {
            0 => {
                let at = random.usize(..length);
                let bytes = random.usize(1..8192).min(length - at);
                ring.data_mut()[at..at + bytes].fill(0x5a);
                (false, format!("{bytes} bytes of the ring at {at}"))
            }
            1 => {
                let at = random.usize(..length);
                ring.data_mut()[at] ^= 4;
                (false, format!("a bit of the ring at {at}"))
            }
            2 => {
                let position = random.u64(..marks.appended + 8192) & !63;
                ring.reset(&identity, owner, position);
                (true, format!("the ring's marks are {position}"))
            }
            3 => {
                identity[random.usize(..52)] ^= 1;
                ring.reset(&identity, owner, marks.appended);
                (true, "the ring's identity".to_owned())
            }
            _ => {
                drop(ring);
                let owner = random.u64(..owner + 3);
                self.node.keepers[0].usurp(owner);
                (true, format!("the ring's owner is {owner}"))
            }
        })
    }
}

#[derive(Default, Debug)]
struct Seen {
    ready: u32,
    healed: u32,
    held: u32,
    refused: u32,
}

fn case(seed: u64, seen: &mut Seen) {
    let random = &mut fastrand::Rng::with_seed(seed);
    let mode = ["buffered", "flush", "sync"][random.usize(..3)];
    let segment = ["64KiB", "128KiB"][random.usize(..2)];
    let mut world = World::new(config(mode, segment));
    world.start(0).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    world.live(random.u32(60..1_200), random);
    let left = world.left();
    let crash = [Crash::Process, Crash::Pod, Crash::Node][random.usize(..3)];
    let engine = world.engine.take().expect("it runs");
    world.node.crash(engine, &world.network, crash, random);
    let mut told = vec![format!(
        "{mode}, {segment}, {crash:?}, syncs end with {:?}",
        &world.syncs[world.syncs.len().saturating_sub(3)..]
    )];
    let mut is_told = crash == Crash::Process;
    if random.u8(..3) == 0
        && let Some((header, what)) = world.damage_ring(random)
    {
        is_told &= !header;
        told.push(what);
    }
    // What the last sync covered is proven by a ring alone: nothing was appended after it that could say so.
    let proven = if is_told { world.syncs.len() } else { world.syncs.len() - 1 };
    let limit = proven.checked_sub(1).map_or(0, |at| world.syncs[at]);
    for _ in 0..random.u8(..3) {
        told.extend(world.damage_segments(limit, random));
    }
    if random.u8(..16) == 0 {
        let mut manifest = world.node.storage.manifest().expect("no fault").expect("there is one");
        let at = random.usize(..manifest.len());
        manifest[at] ^= 1;
        world.node.storage.replace_manifest(&manifest).expect("no fault");
        told.push(format!("a bit of the manifest at {at}"));
    }
    let told = format!("seed {seed}: {told:?}");
    match world.start(2) {
        Err(StartError::Journal(OpenError::Held { why, .. })) => {
            assert!(!why.is_empty(), "{told}");
            let again = prepare(&world.node.storage, &world.node.settings);
            assert!(matches!(again, Err(OpenError::Held { .. })), "{told}: it stays so");
            seen.held += 1;
        }
        Err(StartError::Journal(OpenError::Damaged { .. } | OpenError::Manifest(_))) => seen.refused += 1,
        Err(error) => panic!("{told}: {error}"),
        Ok(()) => {
            let journal = &world.engine.as_ref().expect("it runs").journals[0];
            let found = journal.recovered.first();
            let (next_out, next_in) = found.map_or((1, 1), |found| (found.next_out, found.next_in));
            let told = format!("{told}: {}", journal.report);
            assert!(next_out >= left, "{told}: goes on at {next_out}, {} left", left - 1);
            assert!(next_in <= world.sent + 1, "{told}: expects {next_in}, {} were sent", world.sent);
            // The Logon is number 1.
            let durable = if world.answered > 0 { world.answered + 2 } else { 1 };
            assert!(mode != "sync" || next_in >= durable, "{told}: expects {next_in}, {} answered", world.answered);
            seen.ready += 1;
            seen.healed += u32::from(journal.report.healed_bytes > 0);
        }
    }
}

#[test]
fn no_damage_makes_numbers_go_back_or_loses_what_was_durable() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    if let Some(seed) = number("FIXRING_SEED") {
        return case(seed, &mut Seen::default());
    }
    let mut seen = Seen::default();
    let cases = number("FIXRING_DAMAGES").unwrap_or(400);
    for seed in 0..cases {
        case(seed, &mut seen);
    }
    let least = |count: u32, of: u64| u64::from(count) * of >= cases;
    assert!(least(seen.ready, 4) && least(seen.healed, 30) && least(seen.held, 20), "{seen:?}");
}

/// The last flush, without the ring: nothing was appended after it that could tell of it.
#[test]
fn one_bit_of_the_last_flush_is_known_from_a_torn_write() {
    let mut held = 0;
    for seed in 0..60 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut world = World::new(config("sync", "128KiB"));
        world.start(0).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        world.live(random.u32(60..400), random);
        let left = world.left();
        let engine = world.engine.take().expect("it runs");
        world.node.crash(engine, &world.network, Crash::Node, random);
        let &[.., from, to] = &world.syncs[..] else { panic!("seed {seed}: {:?}", world.syncs) };
        let at = random.u64(from..to);
        let now = world.segments();
        world.put(at, &[world.at(&now, at, 1)[0] ^ 1 << random.u8(..8)]);
        match world.start(2) {
            Err(StartError::Journal(OpenError::Held { why, .. })) => {
                assert!(why.contains("whole but for one bit") || why.contains("synced up to"), "{why}");
                held += 1;
            }
            Err(error) => panic!("seed {seed}: {error}"),
            Ok(()) => {
                let journal = &world.engine.as_ref().expect("it runs").journals[0];
                let next_out = journal.recovered.first().map_or(1, |found| found.next_out);
                // It lies between two records, or in one that states no number.
                assert!(
                    next_out >= left,
                    "seed {seed}: a bit at {at}: {next_out}, {} left; {}",
                    left - 1,
                    journal.report
                );
            }
        }
    }
    assert!(held >= 30, "{held}");
}

/// The volume loses the segment that is written, while the ring has the head of the next one.
#[test]
fn what_the_ring_has_of_a_lost_segment_is_kept_and_what_it_has_not_is_told() {
    let mut world = World::new(config("buffered", "64KiB"));
    world.start(0).unwrap_or_else(|error| panic!("{error}"));
    world.live(600, &mut fastrand::Rng::with_seed(5));
    let Geometry { ring_bytes, segment_bytes, .. } = world.node.settings.geometry;
    let engine = world.engine.as_mut().expect("it runs");
    let marks = |engine: &Running<Ticker>| {
        let marks = engine.journals[0].flusher.watermarks();
        (marks.appended(), marks.synced())
    };
    let appended = |engine: &Running<Ticker>| marks(engine).0;
    let to_head = |engine: &Running<Ticker>| segment_bytes - marks(engine).1 % segment_bytes;
    while to_head(engine) > 4 * PAGE {
        world.clock.advance(MS / 20);
        engine.worker.turn(world.clock.now(), None);
        engine.journals[0].flusher.turn(world.clock.now().monotonic_ns).expect("a sound volume");
    }
    // The flusher gets no turn any more.
    let synced = marks(engine).1;
    let head = synced + to_head(engine);
    while appended(engine) < head + 4 * PAGE {
        let before = appended(engine);
        world.clock.advance(MS / 20);
        engine.worker.turn(world.clock.now(), None);
        assert!(appended(engine) > before, "{before}, synced {synced}, head {head}");
    }
    let ring_start = appended(engine) - ring_bytes;
    let left = world.left();
    assert!(head - segment_bytes < ring_start && ring_start < synced && synced + PAGE < head, "{synced}, {ring_start}");
    let engine = world.engine.take().expect("it runs");
    world.node.crash(engine, &world.network, Crash::Process, &mut fastrand::Rng::with_seed(6));
    world.put(head - segment_bytes, &vec![0; segment_bytes as usize]);
    world.start(2).unwrap_or_else(|error| panic!("{error}"));
    let journal = &world.engine.as_ref().expect("it runs").journals[0];
    let (report, next_out) = (&journal.report, journal.recovered[0].next_out);
    assert!(next_out >= left, "{report}: goes on at {next_out}, {} left", left - 1);
    let unreadable = report.unreadable.unwrap_or_else(|| panic!("{report}: nothing is told"));
    assert_eq!((unreadable.from, unreadable.to), (head - segment_bytes, head), "{report}");
    // A commit begins within the ring, at the latest where the ring was synced up to.
    assert!((ring_start - unreadable.from..=synced - unreadable.from).contains(&unreadable.bytes), "{report}");
    let kept = world.at(&world.segments(), synced, head - synced);
    assert!(kept.windows(8).any(|bytes| bytes == b"148=tick"));
    // No later start takes the segment without a head for one that was never used.
    for host in [4, 6] {
        world.live(60, &mut fastrand::Rng::with_seed(7));
        let engine = world.engine.take().expect("it runs");
        world.node.crash(engine, &world.network, Crash::Process, &mut fastrand::Rng::with_seed(8));
        world.start(host).unwrap_or_else(|error| panic!("{error}"));
        assert!(world.at(&world.segments(), synced, head - synced) == kept);
    }
}

/// The whole of the journal is in one segment, so that its head is the only one.
#[test]
fn a_manifest_knows_that_a_journal_was_used() {
    let mut world = World::new(config("sync", "64KiB"));
    world.start(0).unwrap_or_else(|error| panic!("{error}"));
    world.live(100, &mut fastrand::Rng::with_seed(1));
    let crash = |world: &mut World| {
        let engine = world.engine.take().expect("it runs");
        world.node.crash(engine, &world.network, Crash::Pod, &mut fastrand::Rng::with_seed(3));
        world.node.keepers.clear();
    };
    crash(&mut world);
    world.start(2).unwrap_or_else(|error| panic!("{error}"));
    crash(&mut world);
    world.put(0, &[0; 8192]);
    let manifest = world.node.storage.manifest().unwrap().unwrap();
    assert!(Manifest::of_text(&manifest).unwrap().last_use.starts[0] > 0);
    let refused = world.start(4).expect_err("it is no new journal").to_string();
    assert!(refused.contains("the manifest says that it was used"), "{refused}");
}
