//! Several workers over real sockets: each session's connection finds the worker that owns its journal, and a data
//! directory's journals are adopted by however many workers there are.

#[path = "whole/mod.rs"]
mod whole;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::engine::{Engine, StartError};
use fixring::fix::{Encoder, FieldIndex, Framing, Precision, UtcTimestamp, frame, parse};
use fixring::journal::journal_of;
use fixring::session::Identity;

const DESKS: u32 = 12;

struct Desk {
    name: String,
    stream: Option<TcpStream>,
    received: Vec<u8>,
    next_out: u64,
    next_in: u64,
}

impl Desk {
    fn new(number: u32) -> Self {
        Self { name: format!("DESK{number}"), stream: None, received: Vec::new(), next_out: 1, next_in: 1 }
    }

    /// The journal that the session lives in, of `journals`.
    fn journal(&self, journals: u16) -> u16 {
        let mut index = FieldIndex::with_capacity(64);
        let mut copy = Self::new(0);
        copy.name.clone_from(&self.name);
        let logon = copy.encode(b"A", |_| {});
        let identity = Identity::of_peer(&parse(&logon, &mut index).unwrap()).unwrap();
        journal_of(&identity.to_bytes(), journals)
    }

    fn log_on(&mut self, address: SocketAddr) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        self.stream = Some(stream);
        // In two pieces: a hand-over must carry what has come and lose nothing of what follows.
        let logon = self.encode(b"A", |body| {
            body.uint(98, 0).uint(108, 60);
        });
        let order = self.encode_order();
        let bytes = [logon, order].concat();
        self.stream.as_ref().unwrap().write_all(&bytes[..30]).unwrap();
        self.stream.as_ref().unwrap().write_all(&bytes[30..]).unwrap();
        assert_eq!(self.receive(), b"A", "{}", self.name);
        assert_eq!(self.receive(), b"8", "{}", self.name);
    }

    fn order(&mut self) {
        let order = self.encode_order();
        self.stream.as_ref().unwrap().write_all(&order).unwrap();
        assert_eq!(self.receive(), b"8", "{}", self.name);
    }

    fn encode_order(&mut self) -> Vec<u8> {
        let cl_ord_id = format!("{}-{}", self.name, self.next_out);
        self.encode(b"D", |body| {
            body.bytes(11, cl_ord_id.as_bytes()).bytes(55, b"ACME").char(54, b'1');
            body.bytes(60, b"20260105-00:00:00").uint(38, 1).char(40, b'1');
        })
    }

    fn encode(&mut self, msg_type: &[u8], fill: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
        let mut buffer = [0; 512];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = UtcTimestamp::from_unix_ns(now.as_nanos() as u64);
        encoder.uint(34, self.next_out).bytes(49, self.name.as_bytes());
        encoder.timestamp(52, now, Precision::Millis).bytes(56, b"VENUE");
        fill(&mut encoder);
        self.next_out += 1;
        let length = encoder.finish().unwrap();
        buffer[..length].to_vec()
    }

    /// The MsgType(35) of the next message, whose number must be the next.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Framing::Complete(frame) = frame(&self.received, 4096) {
                let message: Vec<u8> = self.received.drain(..frame.length as usize).collect();
                let mut index = FieldIndex::with_capacity(64);
                let message = parse(&message, &mut index).unwrap();
                assert_eq!(message.uint(34), Some(Some(self.next_in)), "{}", self.name);
                self.next_in += 1;
                return message.msg_type().to_vec();
            }
            let mut chunk = [0; 4096];
            let count = self.stream.as_ref().unwrap().read(&mut chunk).unwrap();
            assert_ne!(count, 0, "{}: the engine closed the connection", self.name);
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// Reads on until the engine's Logout(5) and the end of the stream.
    fn expect_logout(&mut self) {
        assert_eq!(self.receive(), b"5", "{}", self.name);
        let logout = self.encode(b"5", |_| {});
        let mut stream = self.stream.take().unwrap();
        stream.write_all(&logout).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{}: after the logout came {rest:?}", self.name);
    }
}

fn engine(directory: &Path, workers: u32) -> Engine {
    start(directory, workers, "").unwrap()
}

fn start(directory: &Path, workers: u32, sessions: &str) -> Result<Engine, StartError> {
    let config = format!(
        "[engine]\ndata_dir = {data:?}\nworkers = {workers}\nwait = \"park\"\nmessage_bytes_max = \"16KiB\"\n\
         commit_bytes_max = \"64KiB\"\n\
         [persistence]\nallow_tmpfs = true\nring_dir = {data:?}\nring_bytes = \"1MiB\"\nsegment_bytes = \"1MiB\"\nsegments = 3\nflush_method = \"fdatasync\"\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"127.0.0.1:0\"\n{sessions}",
        data = directory
    );
    let config = Config::parse(&config, "test").unwrap();
    Engine::start(&config, |environment| Exchange::new(environment.snapshot_bytes_max))
}

#[test]
fn sessions_live_in_their_journals_whatever_the_number_of_workers() {
    let directory = whole::Temporary::new();
    let mut desks: Vec<Desk> = (0..DESKS).map(Desk::new).collect();
    let journals: std::collections::BTreeSet<u16> = desks.iter().map(|desk| desk.journal(2)).collect();
    assert_eq!(journals.len(), 2, "the desks' sessions must be spread for this test to say anything");
    // Two journals for life; then one worker adopts both, and of three one has none.
    for workers in [2, 1, 3] {
        let engine = engine(directory.path(), workers);
        for desk in &mut desks {
            desk.log_on(engine.acceptors()[0]);
        }
        for _ in 0..20 {
            desks.iter_mut().for_each(Desk::order);
        }
        engine.stop();
        desks.iter_mut().for_each(Desk::expect_logout);
        engine.wait().unwrap();
    }
    assert!(desks.iter().all(|desk| desk.next_in == 3 * (1 + 1 + 20 + 1) + 1));
}

#[test]
fn a_session_lives_in_the_journal_that_it_names_and_no_later_start_moves_it() {
    let session = |number: u32, journal: &str| {
        format!(
            "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK{number}\"\n{journal}\n"
        )
    };
    let all = |journal: &str| (0..DESKS).map(|number| session(number, journal)).collect::<String>();
    let directory = whole::Temporary::new();
    let mut desks: Vec<Desk> = (0..DESKS).map(Desk::new).collect();
    assert!(desks.iter().any(|desk| desk.journal(2) == 0), "a hash would spread them");
    for workers in [2, 1] {
        let engine = start(directory.path(), workers, &all("journal = 1")).unwrap();
        for desk in &mut desks {
            desk.log_on(engine.acceptors()[0]);
        }
        let sessions = engine.shared().sessions.sessions();
        assert_eq!(sessions.len(), DESKS as usize);
        assert!(sessions.iter().all(|session| session.counters.journal.value() == 1));
        engine.stop();
        desks.iter_mut().for_each(Desk::expect_logout);
        engine.wait().unwrap();
    }
    for moved in [all("journal = 0"), all("")] {
        let Err(error) = start(directory.path(), 2, &moved) else { panic!("a session was moved") };
        assert!(matches!(error, StartError::LivesElsewhere { configured: 0, journal: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("VENUE->DESK") && text.contains("set journal = 1 in its [[session]]"), "{text}");
    }
    let Err(error) = start(directory.path(), 3, &all("journal = 2")) else { panic!("there is no such journal") };
    let text = error.to_string();
    assert!(
        text.starts_with("test:") && text.contains("session[0].journal = 2: the data directory has journals 0 to 1"),
        "{text}"
    );
    drop(start(directory.path(), 2, &all("journal = 1")).unwrap());
}
