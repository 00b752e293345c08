//! The message path allocates nothing once a session is logged on: not the worker, nor any thread beside it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::engine::Engine;
use fixring::fix::{Encoder, FieldIndex, Framing, Precision, UtcTimestamp, frame, parse};
use fixring::sys::allocations::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: u64 = 6_000;
const MEASURED: u64 = 3_000;

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    index: FieldIndex,
    next_out: u64,
}

impl Client {
    fn send(&mut self, msg_type: &[u8], fill: impl FnOnce(&mut Encoder<'_>)) {
        let mut buffer = [0; 512];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = UtcTimestamp::from_unix_ns(now.as_nanos() as u64);
        encoder.uint(34, self.next_out).bytes(49, b"DESK").timestamp(52, now, Precision::Millis).bytes(56, b"VENUE");
        fill(&mut encoder);
        self.next_out += 1;
        let length = encoder.finish().unwrap();
        self.stream.write_all(&buffer[..length]).unwrap();
    }

    /// The MsgType(35) of the next message.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            if !self.received.is_empty()
                && let Framing::Complete(frame) = frame(&self.received, 4096)
            {
                let message: Vec<u8> = self.received.drain(..frame.length as usize).collect();
                return parse(&message, &mut self.index).unwrap().msg_type().to_vec();
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "the engine closed the connection");
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    fn order(&mut self, number: u64) {
        let cl_ord_id = format!("ORDER{number:08}");
        self.send(b"D", |body| {
            body.bytes(11, cl_ord_id.as_bytes()).bytes(55, b"ACME").char(54, b'1');
            body.bytes(60, b"20260105-00:00:00").uint(38, 100);
            body.char(40, b'2').bytes(44, b"12.34").char(59, b'0');
        });
        assert_eq!(self.receive(), b"8", "order {number}");
    }
}

#[test]
fn nothing_is_allocated_for_a_message_after_the_logon() {
    let directory = tempfile::tempdir().unwrap();
    // Small enough that the measured messages wrap the ring and begin new segments, whose heads hold a full book.
    let config = format!(
        "[engine]\ndata_dir = {data:?}\nwait = \"park\"\nmessage_bytes_max = \"16KiB\"\ncommit_bytes_max = \"64KiB\"\n\
         template_sessions_max = 8\n\
         [persistence]\nring_dir = {data:?}\nring_bytes = \"256KiB\"\nsegment_bytes = \"256KiB\"\nsegments = 4\nflush_method = \"fdatasync\"\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"127.0.0.1:0\"\n",
        data = directory.path()
    );
    let config = Config::parse(&config, "test").unwrap();
    let engine = Engine::start(&config, |environment| Exchange::new(environment.snapshot_bytes_max)).unwrap();
    let stream = TcpStream::connect(engine.acceptors()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut client = Client { stream, received: Vec::new(), index: FieldIndex::with_capacity(256), next_out: 1 };
    client.send(b"A", |body| {
        body.uint(98, 0).uint(108, 60);
    });
    assert_eq!(client.receive(), b"A");
    // The first laps make what is made once: the book's memory, a snapshot's, the zero-written segments.
    (0..WARM_UP).for_each(|number| client.order(number));

    let before = Counting::on_other_threads();
    assert!(before > 0, "start-up allocates: a count of nothing would prove nothing");
    (WARM_UP..WARM_UP + MEASURED).for_each(|number| client.order(number));
    let allocations = Counting::on_other_threads() - before;
    assert_eq!(allocations, 0, "allocations for {MEASURED} orders and their reports");
}
