//! The parties, what each stores, and the link between them. The tests say what is to happen; this says how.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fixring::fix::{FieldIndex, Message, Overflow, UtcTimestamp, parse, tags};
use fixring::session::{
    Action, BackPressure, DisconnectReason, Disposition, Identity, Notice, Now, Numbers, Outbox, Outgoing,
    OutgoingKind, Received, Role, Session, Settings, State,
};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
/// 2026-01-05T12:00:00Z
pub const START_NS: u64 = 1_767_614_400 * S;
pub const MESSAGE_BYTES_MAX: usize = 4_096;
/// A step count that no correct run comes near.
pub const STEPS_MAX: usize = 200_000;

#[derive(Debug)]
pub enum Record {
    Sent(u64),
    Numbers(Numbers),
}

/// What is stored, and what waits to be put on the link.
#[derive(Default)]
pub struct Journal {
    pub stored: BTreeMap<u64, Vec<u8>>,
    pub numbers: Numbers,
    pub step: Vec<Record>,
    pub wire: Vec<Vec<u8>>,
    pub full: bool,
}

impl Outbox for Journal {
    fn append(
        &mut self,
        outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure> {
        let mut buffer = vec![0; if self.full { 0 } else { MESSAGE_BYTES_MAX }];
        let length = encode(&mut buffer).map_err(|_| BackPressure)?;
        buffer.truncate(length);
        if outgoing.kind != OutgoingKind::Replay {
            let before = self.stored.insert(outgoing.msg_seq_num, buffer.clone());
            assert_eq!(before, None, "{} was used for two messages", outgoing.msg_seq_num);
            self.step.push(Record::Sent(outgoing.msg_seq_num));
        }
        if outgoing.kind != OutgoingKind::Deferred {
            self.wire.push(buffer);
        }
        Ok(())
    }

    fn numbers(&mut self, numbers: Numbers) {
        // Within the same step messages of the new epoch follow under the old numbers.
        if numbers.epoch != self.numbers.epoch {
            self.stored.clear();
            self.numbers.epoch = numbers.epoch;
        }
        self.step.push(Record::Numbers(numbers));
    }
}

impl Journal {
    /// The numbers as a recovery would find them: first the inbound record, then the others in their order.
    pub fn commit(&mut self, counted: bool) -> Numbers {
        self.numbers.next_in += u64::from(counted);
        for record in self.step.drain(..) {
            match record {
                Record::Sent(number) => self.numbers.next_out = number + 1,
                Record::Numbers(numbers) => self.numbers = numbers,
            }
        }
        self.numbers
    }
}

pub struct Party {
    pub session: Session,
    pub journal: Journal,
    /// Numbers and texts of the application's messages.
    pub sent: BTreeMap<u64, String>,
    pub delivered: BTreeMap<u64, String>,
    /// Texts that a test has taken out of `delivered`.
    pub arrived: Vec<String>,
    pub staging: Option<VecDeque<Vec<u8>>>,
    pub connected: bool,
    pub closes: Vec<DisconnectReason>,
    pub notices: Vec<Notice>,
    pub log_ons: u32,
    pub log_outs: u32,
    pub texts: u64,
    /// Whether the session has yielded an action since the last look at its deadline.
    pub acted: bool,
}

impl Party {
    pub fn new(begin_string: &str, settings: Settings) -> Self {
        let (us, them) = match settings.role {
            Role::Initiator => ("DESK", "VENUE"),
            Role::Acceptor => ("VENUE", "DESK"),
        };
        let identity = Identity::new(begin_string.as_bytes(), us.as_bytes(), them.as_bytes());
        Self {
            session: Session::new(Arc::new(settings), identity, Numbers::default()),
            journal: Journal::default(),
            sent: BTreeMap::new(),
            delivered: BTreeMap::new(),
            arrived: Vec::new(),
            staging: None,
            connected: false,
            closes: Vec::new(),
            notices: Vec::new(),
            log_ons: 0,
            log_outs: 0,
            texts: 0,
            acted: false,
        }
    }

    pub fn connect(&mut self, now: Now) {
        self.connected = true;
        self.session.connected(now, &mut self.journal);
        self.end_step(now, false);
    }

    pub fn disconnect(&mut self, now: Now) {
        self.connected = false;
        self.session.disconnected(now, &mut self.journal);
        self.end_step(now, false);
        assert_eq!(self.session.state(), State::Disconnected);
        assert_eq!(self.log_ons, self.log_outs);
    }

    pub fn receive(&mut self, now: Now, bytes: &[u8]) {
        self.receive_one(now, bytes);
        let mut buffer = Vec::with_capacity(MESSAGE_BYTES_MAX);
        while self.session.take_held(&mut buffer) {
            self.receive_one(now, &buffer);
        }
    }

    pub fn receive_one(&mut self, now: Now, bytes: &[u8]) {
        let before = self.quiet_deadline();
        let mut index = FieldIndex::with_capacity(64);
        let received = match parse(bytes, &mut index) {
            Ok(message) => self.receive_message(now, &message),
            Err(error) => self.session.receive_unparsable(now, bytes, error, &mut self.journal),
        };
        self.end_step(now, received.counted);
        self.assert_deadline_not_before(before);
    }

    /// The deadline of an established session; receiving and sending without any action move it only later.
    pub fn quiet_deadline(&mut self) -> Option<u64> {
        self.acted = false;
        self.session.deadline_ns().filter(|_| self.session.state() == State::Established)
    }

    pub fn assert_deadline_not_before(&self, before: Option<u64>) {
        if let (Some(before), Some(after)) = (before.filter(|_| !self.acted), self.session.deadline_ns()) {
            assert!(after >= before, "a deadline moved earlier under ordinary traffic");
        }
    }

    pub fn receive_message(&mut self, now: Now, message: &Message<'_>) -> Received {
        let received = self.session.receive(now, message, &mut self.journal);
        match received.disposition {
            Disposition::Done => {}
            Disposition::Logon => return self.session.accept_logon(now, message, &mut self.journal),
            Disposition::Deliver { .. } => {
                let number = message.uint(tags::MSG_SEQ_NUM).flatten().unwrap();
                let text = String::from_utf8_lossy(message.field(tags::TEXT).unwrap_or_default()).into_owned();
                let before = self.delivered.insert(number, text);
                assert_eq!(before, None, "{number} was delivered twice");
            }
        }
        received
    }

    pub fn send(&mut self, now: Now) {
        let before = self.quiet_deadline();
        let text = format!("{}-{}", self.session.identity(), self.texts);
        let sent = self.session.send(now, b"B", &mut self.journal, |body| {
            body.bytes(tags::TEXT, text.as_bytes());
        });
        if let Ok(number) = sent {
            self.texts += 1;
            self.sent.insert(number, text);
        }
        self.end_step(now, false);
        self.assert_deadline_not_before(before);
    }

    pub fn timer(&mut self, now: Now) {
        if self.session.deadline_ns().is_some_and(|deadline| deadline <= now.monotonic_ns) {
            self.session.timer(now, &mut self.journal);
            self.end_step(now, false);
        }
    }

    /// Feeds up to `messages` staged ones.
    pub fn stream(&mut self, now: Now, messages: usize) {
        for _ in 0..messages {
            let Some(staging) = &mut self.staging else { return };
            match staging.pop_front() {
                Some(bytes) => {
                    if self.session.resend(now, &bytes, &mut self.journal).is_err() {
                        staging.push_front(bytes);
                    }
                }
                None => {
                    if self.session.resend_done(now, &mut self.journal).is_ok() {
                        self.staging = None;
                    }
                }
            }
            self.end_step(now, false);
        }
    }

    /// Commits, and does what the session has decided.
    pub fn end_step(&mut self, now: Now, counted: bool) {
        assert_eq!(self.journal.commit(counted), self.session.numbers(), "the journal's account of the numbers");
        let mut close = None;
        while let Some(action) = self.session.poll() {
            self.acted = true;
            match action {
                Action::LoggedOn => self.log_ons += 1,
                Action::LoggedOut => self.log_outs += 1,
                Action::Resend { begin, end } => {
                    assert!(begin >= 1 && begin <= end && end < self.session.numbers().next_out);
                    let range = self.journal.stored.range(begin..=end);
                    self.staging = Some(range.map(|(_, bytes)| bytes.clone()).collect());
                }
                Action::Disconnect(reason) => close = Some(reason),
                Action::Notice(notice) => self.notices.push(notice),
            }
        }
        if let Some(reason) = close {
            assert_eq!(self.session.state(), State::Disconnected);
            self.closes.push(reason);
            if self.connected {
                self.disconnect(now);
            }
        }
    }

    /// How many messages of this type were sent, resent ones not counted.
    pub fn sent_of_type(&self, msg_type: &str) -> usize {
        let needle = format!("\x0135={msg_type}\x01").into_bytes();
        self.journal.stored.values().filter(|bytes| bytes.windows(needle.len()).any(|window| window == needle)).count()
    }
}

pub enum Wire {
    Bytes(Vec<u8>),
    End,
}

/// What the link does to a message, in per mille.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub lose: u32,
    pub repeat: u32,
    pub reorder: u32,
}

pub const INITIATOR: usize = 0;
pub const ACCEPTOR: usize = 1;

pub struct World {
    pub parties: [Party; 2],
    /// What is on its way to each party.
    pub to: [VecDeque<Wire>; 2],
    pub now: Now,
    pub faults: Faults,
    pub random: fastrand::Rng,
}

impl World {
    pub fn new(begin_string: &str, settings: Settings) -> Self {
        let of = |role| Party::new(begin_string, Settings { role, ..settings.clone() });
        Self {
            parties: [of(Role::Initiator), of(Role::Acceptor)],
            to: Default::default(),
            now: Now { monotonic_ns: 5 * S, utc: UtcTimestamp::from_unix_ns(START_NS) },
            faults: Faults::default(),
            random: fastrand::Rng::with_seed(0),
        }
    }

    pub fn logged_on(begin_string: &str, settings: Settings) -> Self {
        let mut world = Self::new(begin_string, settings);
        world.connect();
        world.settle();
        world.assert_state(State::Established);
        world
    }

    pub fn connect(&mut self) {
        self.to = Default::default();
        for party in &mut self.parties {
            party.journal.wire.clear();
            party.staging = None;
            party.connect(self.now);
        }
        self.transmit();
    }

    /// The connection breaks, and with it goes what was under way.
    pub fn cut(&mut self) {
        self.to = Default::default();
        for party in &mut self.parties {
            if party.connected {
                party.disconnect(self.now);
            }
            party.journal.wire.clear();
            party.staging = None;
        }
    }

    pub fn pass(&mut self, ns: u64) {
        self.now.monotonic_ns += ns;
        self.now.utc.unix_ns += ns;
    }

    /// Puts on the link what the parties have sent, and the end of the stream behind it where one has closed.
    pub fn transmit(&mut self) {
        for from in [INITIATOR, ACCEPTOR] {
            let queue = &mut self.to[1 - from];
            for bytes in self.parties[from].journal.wire.drain(..) {
                if matches!(queue.back(), Some(Wire::End)) || self.random.u32(0..1_000) < self.faults.lose {
                    continue;
                }
                if self.random.u32(0..1_000) < self.faults.repeat {
                    queue.push_back(Wire::Bytes(bytes.clone()));
                }
                queue.push_back(Wire::Bytes(bytes));
                if queue.len() > 1 && self.random.u32(0..1_000) < self.faults.reorder {
                    let last = queue.len() - 1;
                    queue.swap(last, last - 1);
                }
            }
            if !self.parties[from].connected && !matches!(queue.back(), Some(Wire::End)) {
                queue.push_back(Wire::End);
            }
        }
    }

    /// Lets one party read one message.
    pub fn read(&mut self, party: usize) {
        let reader = &mut self.parties[party];
        match self.to[party].pop_front() {
            Some(Wire::Bytes(bytes)) if reader.connected => reader.receive(self.now, &bytes),
            Some(Wire::End) if reader.connected => reader.disconnect(self.now),
            Some(Wire::Bytes(_) | Wire::End) | None => {}
        }
        self.transmit();
    }

    /// Reads, streams and runs timers at this moment until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            self.transmit();
            if self.to.iter().all(|queue| queue.iter().all(|wire| matches!(wire, Wire::End)))
                && self.parties.iter().all(|party| party.staging.is_none() || !party.connected)
                && (0..2).all(|party| self.to[party].is_empty() || !self.parties[party].connected)
            {
                return;
            }
            for party in [INITIATOR, ACCEPTOR] {
                self.read(party);
                self.parties[party].stream(self.now, 2);
            }
        }
        panic!("the parties never come to rest");
    }

    /// Runs from deadline to deadline for this long.
    pub fn run(&mut self, ns: u64) {
        let end = self.now.monotonic_ns + ns;
        self.settle();
        loop {
            let deadlines = self.parties.iter().filter_map(|party| party.session.deadline_ns());
            let next = deadlines.min().unwrap_or(end).min(end).max(self.now.monotonic_ns);
            self.pass(next - self.now.monotonic_ns);
            for party in &mut self.parties {
                party.timer(self.now);
            }
            self.settle();
            if next == end {
                return;
            }
        }
    }

    pub fn chat(&mut self, messages: usize) {
        for _ in 0..messages {
            for party in &mut self.parties {
                party.send(self.now);
            }
        }
    }

    pub fn assert_state(&self, state: State) {
        for party in &self.parties {
            assert_eq!(party.session.state(), state, "{} closed for {:?}", party.session.identity(), party.closes);
        }
    }

    /// Each party holds exactly what the other has sent, and expects exactly what the other sends next.
    pub fn assert_converged(&self) {
        for (party, peer) in [(INITIATOR, ACCEPTOR), (ACCEPTOR, INITIATOR)] {
            let (party, peer) = (&self.parties[party], &self.parties[peer]);
            assert_eq!(party.delivered, peer.sent, "what {} was sent", party.session.identity());
            assert_eq!(party.session.numbers().next_in, peer.session.numbers().next_out);
        }
    }
}
