//! Whole engines in one thread: workers, flushers, stagers and archivers over a simulated volume, network, archive and clock.
//!
//! A [`Node`] is a machine that an engine runs on: what survives the engine's end (volume, ring) belongs to it, what does not
//! is its [`Running`]. Nothing here decides what to check, see [`super::wire`] for what the network saw.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::shelf::Shelf;
use super::wire::{Tapped, Wire};
use crate::application::Application;
use crate::config::Config;
use crate::control::{PublishedState, Shared};
use crate::engine::{
    Adopted, Directory, Environment, Event, HandOver, Limits, Mailbox, ResolveRequest, StartError, Told, Worker,
    events, restore,
};
use crate::fix::UtcTimestamp;
use crate::journal::archive::{ArchiveError, Archiver, archive_before_recovery};
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{
    FlushMethod, Flusher, Geometry, Manifest, RecoveredSession, RecoveryReport, Recycling, Rollback, Settings, Stager,
    as_of_earlier_boot, open_over, prepare,
};
use crate::session::Now;
use crate::sys::ring::{IDENTITY_BYTES, Marks, PAGE_BYTES, RingKeeper, RingMemory};
use crate::transport::Transport;
use crate::transport::simulated::{Host, SimulatedNetwork, SimulatedTransport};

/// 2026-01-05 00:00:00 UTC, a Monday.
const START_UNIX_NS: u64 = 1_767_571_200_000_000_000;

/// The clock of the whole world, in ns since its start.
#[derive(Clone, Default)]
pub struct VirtualClock(Rc<Cell<u64>>, Rc<Cell<i64>>);

impl VirtualClock {
    pub fn now(&self) -> Now {
        let ns = self.0.get();
        // A monotonic clock does not begin at zero either.
        Now {
            monotonic_ns: 1_000_000_000 + ns,
            utc: UtcTimestamp::from_unix_ns((START_UNIX_NS + ns).saturating_add_signed(self.1.get())),
        }
    }

    pub fn elapsed_ns(&self) -> u64 {
        self.0.get()
    }

    pub fn advance(&self, ns: u64) {
        self.0.set(self.0.get() + ns);
    }

    /// Somebody sets the wall clock.
    pub fn set_forward(&self, ns: i64) {
        self.1.set(self.1.get() + ns);
    }
}

/// What a crash takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crash {
    /// The ring is kept.
    Process,
    /// The ring is lost; the operating system has what was written.
    Pod,
    /// Of what was not synced, any part may be lost.
    Node,
}

/// A machine with its volume and its ring.
pub struct Node {
    pub config: Config,
    pub settings: Settings,
    pub storage: SimulatedStorage,
    /// By journal. Empty where the machine has no rings.
    pub keepers: Vec<RingKeeper>,
    /// Rings that were lost, and may be found again when they are of no use any more.
    stale: Vec<RingKeeper>,
    directory: Arc<Directory>,
    listen: Vec<SocketAddr>,
    /// While set, nothing is read from any connection.
    pub stalled: Rc<Cell<bool>>,
    /// While set, no connection is accepted.
    pub accept_fails: Rc<Cell<bool>>,
    /// While set, nothing leaves.
    pub muted: Rc<Cell<bool>>,
    /// The rings are files on the volume: a pod's death leaves them.
    pub rings_on_volume: bool,
    /// And so does a node's death: what it leaves is of some time before.
    pub rings_survive_node: bool,
    /// By journal: marks and data of the engine's rings at some time of its life.
    pub older_rings: Vec<(Marks, Vec<u8>)>,
    /// How often they did.
    pub rings_survived: u64,
    pub workers: u32,
    /// Where sealed segments go, and have to before they are recycled. It survives the machine.
    pub archive: Option<Shelf>,
}

/// All of a ring's memory.
#[derive(Clone)]
pub struct RingImage {
    identity: [u8; IDENTITY_BYTES],
    owner: u64,
    marks: Marks,
    data: Vec<u8>,
}

/// An engine while it lives.
pub struct Running<A: Application> {
    /// The first worker, which accepts connections.
    pub worker: Worker<Tapped, A>,
    /// The others, in their order.
    pub others: Vec<Worker<Tapped, A>>,
    pub journals: Vec<Carried>,
    pub shared: Arc<Shared>,
    pub incarnation: u32,
    host: Host,
    /// By worker.
    events: Vec<rtrb::Consumer<Told>>,
    /// Kept so that the workers' ends do not see them abandoned. Endpoints are addresses here: nothing is resolved.
    _mail: Vec<Mail>,
}

type Mail = (rtrb::Consumer<ResolveRequest>, rtrb::Producer<crate::engine::Resolved>);

/// What housekeeping has of one journal, and what recovery found in it.
pub struct Carried {
    pub flusher: Flusher<SimulatedStorage>,
    pub stager: Stager<SimulatedStorage>,
    pub archiver: Option<Archiver<SimulatedStorage>>,
    pub recycling: Arc<Recycling>,
    pub report: RecoveryReport,
    /// By session number.
    pub recovered: Vec<RecoveredSession>,
    /// What this start has found lost, by session number.
    pub rollbacks: Vec<(u32, Rollback)>,
}

impl Node {
    pub fn new(config: Config) -> Self {
        Self::with_journals(config, 1)
    }

    pub fn with_journals(config: Config, journals: u16) -> Self {
        let persistence = &config.persistence;
        let geometry = Geometry {
            journals,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        };
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry,
            flush_interval_ns: persistence.flush_interval.as_nanos() as u64,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: config.engine.message_bytes_max,
            resend_messages_max: 50,
            clock: || 0,
        };
        let listen = if config.acceptors.is_empty() { Vec::new() } else { vec![config.acceptors[0].listen] };
        Self {
            storage: SimulatedStorage::new(geometry),
            directory: Arc::new(Directory::new(&config)),
            config,
            settings,
            keepers: Vec::new(),
            stale: Vec::new(),
            listen,
            stalled: Rc::default(),
            accept_fails: Rc::default(),
            muted: Rc::default(),
            rings_on_volume: false,
            rings_survive_node: false,
            older_rings: Vec::new(),
            rings_survived: 0,
            workers: 1,
            archive: None,
        }
    }

    pub fn limits(&self) -> Limits {
        let engine = &self.config.engine;
        let ns = |duration: std::time::Duration| duration.as_nanos() as u64;
        Limits {
            message_bytes_max: engine.message_bytes_max,
            commit_bytes_max: engine.commit_bytes_max,
            connections_max: engine.connections_max,
            pending_connections_max: engine.pending_connections_max,
            pending_connections_per_address_max: engine.pending_connections_per_address_max,
            template_sessions_max: engine.template_sessions_max,
            logon_timeout_ns: ns(engine.logon_timeout),
            probe_timeout_ns: ns(engine.probe_timeout),
            stop_timeout_ns: ns(engine.logout_timeout),
            retention_age_ns: self.config.persistence.retention_age.map_or(0, ns),
            retention_min_ns: ns(self.config.persistence.retention_min),
            retention_undelivered_max_ns: ns(self.config.persistence.retention_undelivered_max),
        }
    }

    /// Recovers and starts. `host` must be a new one each time. Where an injected fault came first, the attempt has died, and
    /// what it has done stays done.
    pub fn start<A: Application>(
        &mut self,
        now: Now,
        network: &SimulatedNetwork,
        wire: &Wire,
        host: Host,
        mut make: impl FnMut(Environment) -> A,
    ) -> Result<Running<A>, StartError> {
        self.older_rings.clear();
        let rings = self.rings();
        let manifest = prepare(&self.storage, &self.settings).map_err(StartError::Journal)?;
        self.archive_first(&manifest, &rings, now)?;
        let opened = open_over(&self.storage, manifest, rings, &self.settings).map_err(StartError::Journal)?;
        let count = self.settings.geometry.journals;
        let snapshot_bytes_max = self.settings.geometry.snapshot_bytes_max() as u32;
        let message_bytes_max = self.config.engine.message_bytes_max;
        let incarnation = opened.incarnation;
        let shared = Shared::new(self.workers as usize, usize::from(count));
        let mut adopted: Vec<Vec<Adopted<A>>> = (0..self.workers).map(|_| Vec::new()).collect();
        let mut journals = Vec::new();
        for journal in opened.journals {
            let number = journal.number;
            let mut application = make(Environment { journal: number, incarnation, snapshot_bytes_max });
            restore(&mut application, &journal.recovered, message_bytes_max, &[]).map_err(|error| match error {
                Ok(error) => StartError::Application { journal: number, error },
                Err(error) => StartError::Storage(error),
            })?;
            let report = journal.recovered.report.clone();
            let shelf = self.archive.as_ref().map(|shelf| Box::new(shelf.target(number)));
            let archiver = shelf.map(|target| journal.archiver(opened.uuid, target, true));
            let fresh = journal.recovered.rollbacks.iter().filter(|placed| placed.position == report.end);
            journals.push(Carried {
                flusher: journal.flusher,
                stager: journal.stager,
                archiver,
                recycling: journal.recycling,
                rollbacks: fresh.map(|placed| (placed.session, placed.rollback)).collect(),
                report,
                recovered: journal.recovered.sessions.clone(),
            });
            adopted[self.worker_of(number)].push(Adopted {
                number,
                writer: journal.writer,
                incarnation,
                application,
                sessions: journal.recovered.sessions,
                staging: journal.stager_port,
                counters: shared.journal(usize::from(number)),
            });
        }
        let mut workers = Vec::new();
        let (mut events_of_workers, mut mail) = (Vec::new(), Vec::new());
        let mut hand_overs = HandOvers::new(self.workers as usize);
        for (number, adopted) in (0..self.workers).zip(adopted) {
            let (sink, ring_of_events) = events(shared.worker(number as usize));
            let (resolve, requests) = rtrb::RingBuffer::new(16);
            let (answers, resolved) = rtrb::RingBuffer::new(16);
            let (hand_over_to, handed_over) = hand_overs.of(number as usize);
            let mailbox = Mailbox { events: sink, resolve, resolved, hand_over_to, handed_over };
            events_of_workers.push(ring_of_events);
            mail.push((requests, answers));
            // Listeners belong to the first worker.
            let listen = if number == 0 { &self.listen[..] } else { &[] };
            let (stalled, accept_fails) = (Rc::clone(&self.stalled), Rc::clone(&self.accept_fails));
            let transport = network.transport(host, listen);
            workers.push(Worker::new(
                number,
                Tapped::new(transport, wire.clone(), stalled, accept_fails, Rc::clone(&self.muted)),
                adopted,
                (0..count).map(|journal| self.worker_of(journal) as u32).collect(),
                Arc::clone(&self.directory),
                Arc::clone(&shared),
                self.limits(),
                mailbox,
                shared.worker(number as usize),
                now,
            ));
        }
        let others = workers.split_off(1);
        let worker = workers.remove(0);
        Ok(Running { worker, others, journals, shared, incarnation, host, events: events_of_workers, _mail: mail })
    }

    /// As the engine does: journals go to workers in turn.
    fn worker_of(&self, journal: u16) -> usize {
        usize::from(journal) % self.workers as usize
    }

    /// What a required archive must have before recovery overwrites it.
    fn archive_first(&self, manifest: &Manifest, rings: &[RingMemory], now: Now) -> Result<(), StartError> {
        let Some(shelf) = &self.archive else { return Ok(()) };
        for (journal, ring) in (0..).zip(rings) {
            let (appended, mut target) = (ring.marks().appended, shelf.patient(journal));
            let pause = || now.monotonic_ns;
            archive_before_recovery(&self.storage, manifest, journal, appended, &mut target, pause).map_err(
                |error| match error {
                    ArchiveError::Storage(error) => StartError::Storage(error),
                    ArchiveError::Target(segment, error) => {
                        panic!("{segment:?}: {error}, of a target that never fails")
                    }
                },
            )?;
        }
        Ok(())
    }

    /// The rings as the engine before has left them, or new ones.
    fn rings(&mut self) -> Vec<RingMemory> {
        if !self.keepers.is_empty() {
            return self.keepers.iter().map(|keeper| keeper.open().expect("the engine before is gone")).collect();
        }
        let Geometry { journals, ring_bytes, .. } = self.settings.geometry;
        let rings = (0..journals).map(|_| RingMemory::anonymous(ring_bytes).expect("memory for a ring"));
        let (rings, keepers) = rings.unzip();
        self.keepers = keepers;
        rings
    }

    /// Its rings as they lie there; no engine runs.
    pub fn ring_images(&self) -> Vec<RingImage> {
        let open = |keeper: &RingKeeper| keeper.open().expect("no engine runs");
        self.keepers.iter().map(|keeper| RingImage::of(&open(keeper))).collect()
    }

    pub fn put_back_rings(&mut self, images: &[RingImage]) {
        for (keeper, image) in self.keepers.iter().zip(images) {
            let mut ring = keeper.open().expect("no engine runs");
            ring.put_back(&image.identity, image.owner, image.marks, &image.data);
        }
    }

    /// The machine is booted anew and finds its rings: as they were, as they were some time before,
    /// or parts of both.
    fn age_rings(&mut self, random: &mut fastrand::Rng) {
        let mut images = self.ring_images();
        for (image, (marks, data)) in images.iter_mut().zip(std::mem::take(&mut self.older_rings)) {
            match random.u8(..3) {
                0 => {}
                1 => image.data = data,
                _ => (image.marks, image.data) = (marks, data),
            }
        }
        images.iter_mut().for_each(|image| as_of_earlier_boot(&mut image.identity));
        self.put_back_rings(&images);
        self.rings_survived += 1;
    }

    /// The machine loses what this kind of crash takes. No engine runs on it. The number of pages that were torn.
    pub fn lose(&mut self, crash: Crash, random: &mut fastrand::Rng) -> u64 {
        match crash {
            Crash::Process => self.storage.crash_process(),
            Crash::Pod => {
                self.storage.crash_process();
                if !self.rings_on_volume {
                    self.lose_rings(random);
                }
            }
            Crash::Node => {
                if self.rings_survive_node && !self.keepers.is_empty() {
                    self.age_rings(random);
                } else {
                    self.lose_rings(random);
                }
                return self.storage.crash_node(random);
            }
        }
        0
    }

    /// A pod that comes back to where it has been before may find the rings of that time.
    fn lose_rings(&mut self, random: &mut fastrand::Rng) {
        let lost = std::mem::take(&mut self.keepers);
        if random.u8(..8) == 0 {
            self.keepers = std::mem::take(&mut self.stale);
        }
        if !lost.is_empty() && random.u8(..4) == 0 {
            self.stale = lost;
        }
    }

    /// The engine ends at once, and with it what the kind of crash takes.
    pub fn crash<A: Application>(
        &mut self,
        running: Running<A>,
        network: &SimulatedNetwork,
        crash: Crash,
        random: &mut fastrand::Rng,
    ) -> u64 {
        network.crash(running.host);
        drop(running);
        self.lose(crash, random)
    }
}

impl Carried {
    /// The ring's marks, and of its data what is not synced.
    pub fn older_ring(&mut self, ring_bytes: u64) -> (Marks, Vec<u8>) {
        let marks = self.flusher.watermarks();
        let marks = Marks { appended: marks.appended(), written: marks.written(), synced: marks.synced() };
        let mut data = vec![0; ring_bytes as usize];
        let mut at = marks.synced & !(PAGE_BYTES - 1);
        while at < marks.appended {
            let bytes = self.flusher.appended_from(at);
            data[(at % ring_bytes) as usize..][..bytes.len()].copy_from_slice(bytes);
            at += bytes.len() as u64;
        }
        (marks, data)
    }
}

impl RingImage {
    fn of(ring: &RingMemory) -> Self {
        let mut identity = [0; IDENTITY_BYTES];
        identity.copy_from_slice(ring.identity());
        Self { identity, owner: ring.owner(), marks: ring.marks(), data: ring.data().to_vec() }
    }
}

/// The rings between each two workers of an engine.
struct HandOvers(Vec<Ends>);

type Connection = HandOver<<SimulatedTransport as Transport>::Detached>;
/// Of one worker: by the other's number, and all that lead to it.
type Ends = (Vec<Option<rtrb::Producer<Connection>>>, Vec<rtrb::Consumer<Connection>>);

impl HandOvers {
    fn new(workers: usize) -> Self {
        let mut ends: Vec<Ends> = (0..workers).map(|_| Default::default()).collect();
        for from in 0..workers {
            for to in 0..workers {
                let (producer, consumer) = rtrb::RingBuffer::new(4);
                ends[from].0.push((from != to).then_some(producer));
                if from != to {
                    ends[to].1.push(consumer);
                }
            }
        }
        Self(ends)
    }

    fn of(&mut self, worker: usize) -> Ends {
        std::mem::take(&mut self.0[worker])
    }
}

impl<A: Application> Running<A> {
    /// One turn of each part.
    pub fn turn(&mut self, now: Now) {
        self.workers().for_each(|worker| _ = worker.turn(now, None));
        for journal in &mut self.journals {
            journal.flusher.turn(now.monotonic_ns).expect("a sound volume");
            journal.stager.turn().expect("a sound volume");
        }
    }

    pub fn workers(&mut self) -> impl Iterator<Item = &mut Worker<Tapped, A>> {
        std::iter::once(&mut self.worker).chain(&mut self.others)
    }

    pub fn is_finished(&self) -> bool {
        self.worker.is_finished() && self.others.iter().all(Worker::is_finished)
    }

    /// The application of a journal, whichever worker has it.
    pub fn application(&self, journal: usize) -> &A {
        let (worker, desk) = self.place(journal);
        worker.application(desk)
    }

    /// Of a session, as the worker has them: `(next_out, next_in)`.
    pub fn numbers(&self, journal: usize, session: u32) -> (u64, u64) {
        let (worker, desk) = self.place(journal);
        worker.numbers(desk, session)
    }

    /// The worker that has a journal, and the journal's place there.
    fn place(&self, journal: usize) -> (&Worker<Tapped, A>, usize) {
        let workers = 1 + self.others.len();
        let (number, desk) = (journal % workers, journal / workers);
        let worker = if number == 0 { &self.worker } else { &self.others[number - 1] };
        (worker, desk)
    }

    /// What the engine has told since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        self.events.iter_mut().flat_map(|ring| std::iter::from_fn(|| ring.pop().ok()).map(|told| told.event)).collect()
    }

    /// Session 0 and so on are established.
    pub fn all_established(&self) -> bool {
        let sessions = self.shared.sessions.sessions();
        sessions.iter().all(|session| session.counters.state.value() == PublishedState::Established as u64)
    }
}
