//! Crashes at thousands of seeded moments: between any two steps, within a flush, within recovery itself.
//!
//! A model keeps every commit's effect as a running hash. After each crash, what recovery finds must be a whole number of commits from the start: the hash of
//! snapshot and replayed records, and every session's numbers, must be the model's at that point. Everything that was
//! synced must be there after the death of the node, everything that was appended after that of the process.
//!
//! Run one seed again with `FIXRING_SEED=<seed> cargo test --test journal -- crash`.

use std::sync::Arc;

use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{
    FlushMethod, Flusher, Geometry, Kind, Manifest, Mode, NONE, NewRecord, Opened, Outcome, RecoveredSession,
    Recycling, RingFound, Room, Settings, StageRequest, Stager, StagerPort, Storage, StoredNumbers, Writer, open_over,
    prepare, record_bytes,
};
use fixring::sys::ring::{RingKeeper, RingMemory};

const SEEDS: u64 = 200;
const CRASHES_A_SEED: u32 = 12;
const STEPS_A_LIFE_MAX: u32 = 120;
const GEOMETRIES: [Geometry; 3] = [
    Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 3 },
    Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 192 << 10, segments: 4 },
    Geometry { journals: 1, ring_bytes: 128 << 10, segment_bytes: 128 << 10, segments: 5 },
];

#[test]
fn what_is_recovered_is_a_prefix_of_commits_that_holds_all_that_was_durable() {
    let seeds = match std::env::var("FIXRING_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("FIXRING_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    };
    let mut seen = Seen::default();
    for seed in seeds.clone() {
        let result = std::panic::catch_unwind(|| World::new(seed).run());
        match result {
            Ok(world_seen) => seen.add(&world_seen),
            Err(panic) => {
                eprintln!("failed with FIXRING_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{seen:?}");
    if seeds.end - seeds.start == SEEDS {
        // A run that never met the hard cases proves nothing.
        assert!(seen.crashes >= 2_500 && seen.rolls > 500 && seen.staged > 1_000, "{seen:?}");
        assert!(
            seen.lost_commits > 100 && seen.carried > 100 && seen.discarded > 20 && seen.failed_flushes > 100,
            "{seen:?}"
        );
        assert!(
            seen.heads_skipped > 0
                && seen.crashed_recoveries > 50
                && seen.rings_quarantined > 10
                && seen.fulls > 20
                && seen.moved > 50,
            "{seen:?}"
        );
    }
}

/// What the run met.
#[derive(Debug, Default)]
struct Seen {
    crashes: u64,
    rolls: u64,
    fulls: u64,
    lost_commits: u64,
    carried: u64,
    discarded: u64,
    heads_skipped: u64,
    failed_flushes: u64,
    crashed_recoveries: u64,
    rings_quarantined: u64,
    staged: u64,
    /// Sessions that went on at their lease.
    moved: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.rolls += other.rolls;
        self.fulls += other.fulls;
        self.lost_commits += other.lost_commits;
        self.carried += other.carried;
        self.discarded += other.discarded;
        self.heads_skipped += other.heads_skipped;
        self.failed_flushes += other.failed_flushes;
        self.crashed_recoveries += other.crashed_recoveries;
        self.rings_quarantined += other.rings_quarantined;
        self.staged += other.staged;
        self.moved += other.moved;
    }
}

/// The effect of everything up to `end`.
#[derive(Clone)]
struct Prefix {
    end: u64,
    hash: u64,
    sessions: Vec<RecoveredSession>,
}

/// A message that was sent with a new number.
struct Sent {
    session: u32,
    msg_seq_num: u64,
    epoch: u32,
    position: u64,
    hash: u64,
}

struct World {
    random: fastrand::Rng,
    settings: Settings,
    storage: SimulatedStorage,
    /// The prefix that the last recovery found, and the one after each commit since.
    prefixes: Vec<Prefix>,
    sent: Vec<Sent>,
    ring: Option<RingMemory>,
    keeper: RingKeeper,
    /// An earlier ring, to be found again at the wrong time.
    stale: Option<RingKeeper>,
    /// What must be there at least, and what must be there exactly.
    durable_end: u64,
    exact_end: Option<u64>,
    stopped_cleanly: bool,
    node_died: bool,
    now_ns: u64,
    seen: Seen,
}

struct Life {
    writer: Writer,
    flusher: Flusher<SimulatedStorage>,
    stager: Stager<SimulatedStorage>,
    port: StagerPort,
    recycling: Arc<Recycling>,
}

/// A record of a commit that is being planned.
struct Planned {
    kind: Kind,
    session: usize,
    payload: Vec<u8>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let geometry = GEOMETRIES[random.usize(..GEOMETRIES.len())];
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry,
            flush_interval_ns: 1_000,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: 8 << 10,
            resend_messages_max: random.u32(1..200),
            clock: || 0,
        };
        let (ring, keeper) = RingMemory::anonymous(geometry.ring_bytes).unwrap();
        Self {
            random,
            settings,
            storage: SimulatedStorage::new(geometry),
            prefixes: vec![Prefix { end: 0, hash: 0, sessions: Vec::new() }],
            sent: Vec::new(),
            ring: Some(ring),
            keeper,
            stale: None,
            durable_end: 0,
            exact_end: Some(0),
            stopped_cleanly: false,
            node_died: false,
            now_ns: 0,
            seen: Seen::default(),
        }
    }

    fn run(mut self) -> Seen {
        for _ in 0..CRASHES_A_SEED {
            let mut life = self.recover();
            self.check_staging(&mut life);
            self.live(&mut life);
            self.crash(life);
        }
        self.recover();
        self.seen
    }

    /// Opens the journal, now and then after an opening that died itself, and holds what it finds against the model.
    fn recover(&mut self) -> Life {
        if self.random.u8(..6) == 0 {
            let ring = self.ring.take().unwrap();
            self.storage.fail_after(self.random.u64(..6));
            let manifest = prepare(&self.storage, &self.settings);
            let is_dead =
                manifest.is_ok_and(|manifest| open_over(&self.storage, manifest, vec![ring], &self.settings).is_err());
            self.storage.crash_process();
            self.seen.crashed_recoveries += u64::from(is_dead);
            self.ring = Some(self.keeper.open().unwrap());
        }
        if self.random.u8(..20) == 0 {
            // The last of the steps was not taken: the manifest is raised, the ring still is the old one's.
            let ring = self.ring.take().unwrap();
            drop(self.open(ring));
            let manifest = prepare(&self.storage, &self.settings).unwrap();
            let raised = Manifest { incarnation: manifest.incarnation + 1, ..manifest };
            self.storage.replace_manifest(raised.to_text().as_bytes()).unwrap();
            let opened = self.open(self.keeper.open().unwrap());
            assert!(matches!(opened.journals[0].recovered.report.ring, RingFound::Finished));
            return self.check(opened);
        }
        let ring = self.ring.take().unwrap();
        let opened = self.open(ring);
        self.check(opened)
    }

    fn open(&self, ring: RingMemory) -> Opened<SimulatedStorage> {
        let manifest = prepare(&self.storage, &self.settings).unwrap();
        open_over(&self.storage, manifest, vec![ring], &self.settings).unwrap()
    }

    fn check(&mut self, mut opened: Opened<SimulatedStorage>) -> Life {
        let journal = opened.journals.remove(0);
        let report = &journal.recovered.report;
        self.seen.crashes += 1;
        self.seen.carried += u64::from(report.carried_bytes > 0);
        self.seen.discarded += u64::from(report.discarded_bytes > 0);
        self.seen.heads_skipped += u64::from(report.heads_skipped > 0);
        self.seen.rings_quarantined += u64::from(matches!(report.ring, RingFound::Quarantined(_)));
        assert!(report.end >= self.durable_end, "{report}: synced up to {}", self.durable_end);
        if let Some(end) = self.exact_end {
            assert_eq!(report.end, end, "{report}");
        }
        assert!(!self.stopped_cleanly || report.clean_stop, "{report}");
        assert!(!self.stopped_cleanly || !report.may_have_lost(), "{report}");

        let index = self.prefixes.partition_point(|prefix| prefix.end <= report.end) - 1;
        let lost_commits = (self.prefixes.len() - 1 - index) as u64;
        self.seen.lost_commits += lost_commits;
        // Where not even the incarnation's start is found, nothing of it may have left.
        assert!(lost_commits == 0 || index == 0 || report.may_have_lost(), "{report}");
        let mut prefix = self.prefixes.swap_remove(index);
        for session in &mut prefix.sessions {
            let moved = session.next_out.max(session.lease);
            self.seen.moved += u64::from(report.may_have_lost() && moved > session.next_out);
            session.next_out = if report.may_have_lost() { moved } else { session.next_out };
        }
        let unmarked = |session: &RecoveredSession| RecoveredSession { rollback: None, ..session.clone() };
        assert_eq!(journal.recovered.sessions.iter().map(unmarked).collect::<Vec<_>>(), prefix.sessions, "{report}");
        let mut hash = journal.recovered.snapshot.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut records = journal.recovered.replay();
        while let Some(record) = records.next().unwrap() {
            hash =
                hash_record(hash, record.header.kind, record.header.session, record.header.msg_seq_num, record.payload);
        }
        assert_eq!(hash, prefix.hash, "{report}");

        prefix.end = report.end;
        self.sent.retain(|sent| sent.position < report.end);
        self.prefixes = vec![prefix];
        Life {
            writer: journal.writer,
            flusher: journal.flusher,
            stager: journal.stager,
            port: journal.stager_port,
            recycling: journal.recycling,
        }
    }

    fn live(&mut self, life: &mut Life) {
        // Some lives are flushed so rarely that the ring fills.
        let commits_in_20 = if self.random.u8(..4) == 0 { 19 } else { 14 };
        for _ in 0..self.random.u32(..STEPS_A_LIFE_MAX) {
            match self.random.u8(..20) {
                at if at < commits_in_20 => self.commit(life),
                14..19 => {
                    self.now_ns += self.random.u64(..3_000);
                    life.flusher.turn(self.now_ns).unwrap();
                }
                _ => {
                    if self.begin(life, 4096) {
                        life.writer.append_bytes(NewRecord::internal(Kind::Outbound, 0), b"never committed").unwrap();
                        life.writer.abandon();
                    }
                }
            }
        }
    }

    /// Ends the life in one of the ways that lives end, and says what must be found afterwards.
    fn crash(&mut self, mut life: Life) {
        self.stopped_cleanly = false;
        match self.random.u8(..8) {
            0 => {
                // In order.
                loop {
                    match life.writer.clean_stop(1) {
                        Room::Ready => break,
                        room => self.make_room(&mut life, room),
                    }
                }
                life.flusher.drain(self.now_ns).unwrap();
                self.stopped_cleanly = true;
            }
            1..4 => {
                // Within a flush.
                self.storage.fail_after(self.random.u64(..4));
                if life.flusher.drain(self.now_ns).is_err() {
                    self.seen.failed_flushes += 1;
                    assert!(life.flusher.turn(u64::MAX).is_err(), "a flusher that failed refuses");
                }
            }
            4 if self.begin(&mut life, 4096) => {
                life.writer.append_bytes(NewRecord::internal(Kind::Outbound, 0), b"half a commit").unwrap();
            }
            _ => {}
        }
        let appended = life.writer.appended();
        self.durable_end = life.writer.watermark(Mode::Sync);
        self.exact_end = Some(appended);
        drop(life);
        match self.random.u8(..10) {
            0..4 => {
                self.storage.crash_process();
                self.ring = Some(self.keeper.open().unwrap());
            }
            4 => {
                // A ring on the data volume, all of which survived.
                self.node_died = true;
                self.storage.crash_node(&mut self.random);
                self.ring = Some(self.keeper.open().unwrap());
            }
            kind => {
                self.storage.crash_node(&mut self.random);
                self.exact_end = None;
                self.node_died = true;
                let stale = self.stale.take().and_then(|keeper| Some((keeper.open()?, keeper)));
                self.stale = Some(self.keeper.clone());
                let (ring, keeper) = match stale {
                    Some(stale) if kind < 7 => stale,
                    _ => RingMemory::anonymous(self.settings.geometry.ring_bytes).unwrap(),
                };
                (self.ring, self.keeper) = (Some(ring), keeper);
            }
        }
    }

    /// Whether a commit could be begun without help.
    fn begin(&mut self, life: &mut Life, bytes_max: u32) -> bool {
        life.writer.begin(bytes_max) == Room::Ready
    }

    fn make_room(&mut self, life: &mut Life, room: Room) {
        if room == Room::RollDue {
            let prefix = self.prefixes.last().unwrap();
            let sessions = prefix.sessions.iter().map(RecoveredSession::state);
            // Long enough that a torn head is one of the things that happen.
            let mut snapshot = vec![7; self.random.usize(8..6_000)];
            snapshot[..8].copy_from_slice(&prefix.hash.to_le_bytes());
            if life.writer.roll(sessions, &snapshot).unwrap() {
                self.seen.rolls += 1;
                return;
            }
        }
        self.seen.fulls += 1;
        self.now_ns += 10_000;
        life.flusher.turn(self.now_ns).unwrap();
    }

    fn commit(&mut self, life: &mut Life) {
        let mut after = self.prefixes.last().unwrap().clone();
        let planned = self.plan(&mut after);
        let needed = planned.iter().map(|planned| record_bytes(planned.payload.len() as u64)).sum::<u64>();
        let bytes_max = (needed + self.random.u64(..2_000)).min(self.settings.geometry.commit_bytes_max());
        loop {
            match life.writer.begin(bytes_max as u32) {
                Room::Ready => break,
                room => self.make_room(life, room),
            }
        }
        for planned in &planned {
            self.append(&mut life.writer, planned, &mut after);
        }
        let mode = [Mode::Buffered, Mode::Flush, Mode::Sync][self.random.usize(..3)];
        after.end = life.writer.commit(mode);
        self.prefixes.push(after);
    }

    /// The wall clock, faster than the flusher's so that seconds pass between records.
    fn unix_ns(&self) -> u64 {
        1_767_571_200_000_000_000 + self.now_ns * 100_000
    }

    /// A message in and what it causes, for sessions of which some are new.
    fn plan(&mut self, after: &mut Prefix) -> Vec<Planned> {
        let mut planned = Vec::new();
        let count = self.random.usize(1..6);
        for at in 0..count {
            let session = self.random.usize(..5).min(after.sessions.len());
            if session == after.sessions.len() {
                let identity = format!("session {session}").into_bytes();
                let number = session as u32;
                let began_s = self.unix_ns() / 1_000_000_000;
                after.sessions.push(RecoveredSession { began_s, ..RecoveredSession::new(number, &identity) });
                planned.push(Planned { kind: Kind::SessionDefined, session, payload: identity });
            }
            let length = if self.random.u8(..20) == 0 { self.random.usize(..2_500) } else { self.random.usize(..300) };
            let payload = std::iter::repeat_with(|| self.random.u8(..)).take(length).collect();
            let kind = match self.random.u8(..10) {
                _ if at == 0 => Kind::Inbound,
                0..7 => Kind::Outbound,
                7..9 => Kind::Replay,
                _ => Kind::Numbers,
            };
            planned.push(Planned { kind, session, payload });
        }
        planned
    }

    fn append(&mut self, writer: &mut Writer, planned: &Planned, after: &mut Prefix) {
        let unix_ns = self.unix_ns();
        let session = &mut after.sessions[planned.session];
        let msg_seq_num = match planned.kind {
            Kind::Inbound => session.next_in,
            Kind::Outbound => session.next_out,
            Kind::Replay => self.random.u64(1..100),
            _ => 0,
        };
        let previous = match planned.kind {
            Kind::Inbound => session.last_in,
            Kind::Outbound => session.last_out,
            _ => NONE,
        };
        let new = NewRecord {
            session: session.number,
            msg_seq_num,
            previous,
            epoch: session.epoch,
            ..NewRecord::internal(planned.kind, unix_ns)
        };
        let mut hashed = planned.payload.clone();
        match planned.kind {
            Kind::SessionDefined => {
                writer.append_session_defined(session.number, unix_ns, &planned.payload).unwrap();
            }
            Kind::Numbers => {
                let reset = StoredNumbers { next_out: 1, next_in: 1, epoch: session.epoch + 1, lease: 0 };
                let jump = StoredNumbers {
                    next_out: session.next_out + 50,
                    next_in: session.next_in + 1,
                    epoch: session.epoch,
                    lease: session.next_out + self.random.u64(..100),
                };
                let stored = if self.random.bool() { reset } else { jump };
                if stored.epoch != session.epoch {
                    session.began_s = unix_ns / 1_000_000_000;
                }
                let position = writer.append_numbers(session.number, unix_ns, stored).unwrap();
                hashed = writer.payload(position).to_vec();
                (session.next_out, session.next_in, session.epoch, session.lease) =
                    (stored.next_out, stored.next_in, stored.epoch, stored.lease);
            }
            kind => {
                let position = writer.append_bytes(new, &planned.payload).unwrap();
                assert_eq!(writer.payload(position), planned.payload);
                if kind == Kind::Inbound {
                    session.last_in = position;
                    if self.random.bool() {
                        writer.mark_counted(position);
                        session.next_in += 1;
                    }
                } else if kind == Kind::Outbound {
                    session.last_out = position;
                    session.next_out += 1;
                    self.sent.push(Sent {
                        session: session.number,
                        msg_seq_num,
                        epoch: session.epoch,
                        position,
                        hash: hash_bytes(0, &planned.payload),
                    });
                }
            }
        }
        after.hash = hash_record(after.hash, planned.kind, session.number, msg_seq_num, &hashed);
    }

    /// A resend of some session's messages gets what was sent, as far back as segments reach.
    fn check_staging(&mut self, life: &mut Life) {
        let sessions = &self.prefixes[0].sessions;
        if sessions.is_empty() {
            return;
        }
        let session = &sessions[self.random.usize(..sessions.len())];
        let begin = self.random.u64(1..=session.next_out);
        let end = self.random.u64(begin..=session.next_out.max(begin));
        let request = StageRequest {
            token: self.now_ns,
            session: session.number,
            begin,
            end,
            last_out: session.last_out,
            epoch: session.epoch,
            not_before_ns: 0,
        };
        life.port.request(request).unwrap();
        let oldest = life.recycling.oldest_position();
        let is_wanted = |sent: &&Sent| {
            sent.session == request.session
                && sent.epoch == request.epoch
                && (begin..=end).contains(&sent.msg_seq_num)
                && sent.position >= oldest
        };
        let expected = self.sent.iter().filter(is_wanted).collect::<Vec<_>>();
        let mut staged = Vec::new();
        loop {
            life.stager.turn().unwrap();
            let Some(batch) = life.port.take() else { continue };
            assert_eq!(batch.token, request.token);
            staged.extend(batch.messages().map(|(entry, bytes)| (entry.msg_seq_num, hash_bytes(0, bytes))));
            let outcome = batch.outcome;
            life.port.recycle(batch);
            if outcome == Outcome::Done {
                break;
            }
        }
        self.seen.staged += staged.len() as u64;
        let first = staged.first().map(|(msg_seq_num, _)| *msg_seq_num);
        let skipped = expected.iter().position(|sent| Some(sent.msg_seq_num) == first).unwrap_or(expected.len());
        // A node that died while the next segment's head was written has taken the beginning of the oldest with it.
        let torn_end = if self.node_died { oldest + self.settings.geometry.segment_bytes } else { 0 };
        assert!(expected[..skipped].iter().all(|sent| sent.position < torn_end), "all that was sent is staged");
        let (found, rest) = expected[skipped..].split_at(staged.len());
        assert!(found.iter().zip(&staged).all(|(sent, staged)| (sent.msg_seq_num, sent.hash) == *staged));
        assert!(rest.is_empty(), "{} messages are not staged", rest.len());
    }
}

/// Only what a session did; the journal's own records have no effect on an application.
fn hash_record(hash: u64, kind: Kind, session: u32, msg_seq_num: u64, payload: &[u8]) -> u64 {
    match kind {
        Kind::Pad | Kind::State | Kind::IncarnationStart | Kind::CleanStop => hash,
        _ => hash_bytes(mix(mix(mix(hash, kind as u64), u64::from(session)), msg_seq_num), payload),
    }
}

fn hash_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(mix(hash, bytes.len() as u64), |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
