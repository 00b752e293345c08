//! A whole engine over loopback with a small ring, and a client that sends it orders.
#![allow(dead_code, reason = "each test crate uses its own part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use fixring::config::Config;
use fixring::fix::{Encoder, FieldIndex, Framing, Precision, UtcTimestamp, frame, parse};

/// Small enough that some hundred messages wrap the ring and begin new segments, whose heads hold a full book.
pub fn small_ring(directory: &Path, more_of_engine: &str) -> Config {
    let config = format!(
        "[engine]\ndata_dir = {directory:?}\nwait = \"park\"\nmessage_bytes_max = \"16KiB\"\ncommit_bytes_max = \"64KiB\"\n\
         template_sessions_max = 8\n{more_of_engine}\
         [persistence]\nallow_tmpfs = true\nring_dir = {directory:?}\nring_bytes = \"256KiB\"\nsegment_bytes = \"256KiB\"\nsegments = 4\nstorage_latency_alarm = \"60s\"\nflush_method = \"fdatasync\"\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"127.0.0.1:0\"\n",
    );
    Config::parse(&config, "test").unwrap()
}

pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    index: FieldIndex,
    next_out: u64,
}

impl Client {
    pub fn logged_on(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut client = Self { stream, received: Vec::new(), index: FieldIndex::with_capacity(256), next_out: 1 };
        client.send(b"A", |body| {
            body.uint(98, 0).uint(108, 60);
        });
        assert_eq!(client.receive(), b"A");
        client
    }

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

    /// The MsgType(35) of the next message that is no Heartbeat(0).
    pub fn receive(&mut self) -> Vec<u8> {
        loop {
            if !self.received.is_empty()
                && let Framing::Complete(frame) = frame(&self.received, 4096)
            {
                let message: Vec<u8> = self.received.drain(..frame.length as usize).collect();
                match parse(&message, &mut self.index).unwrap().msg_type() {
                    b"0" => continue,
                    msg_type => return msg_type.to_vec(),
                }
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "the engine closed the connection");
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    pub fn send_order(&mut self, number: u64) {
        let cl_ord_id = format!("ORDER{number:08}");
        self.send(b"D", |body| {
            body.bytes(11, cl_ord_id.as_bytes()).bytes(55, b"ACME").char(54, b'1');
            body.bytes(60, b"20260105-00:00:00").uint(38, 100);
            body.char(40, b'2').bytes(44, b"12.34").char(59, b'0');
        });
    }

    /// Sends an order and waits for its report.
    pub fn order(&mut self, number: u64) {
        self.send_order(number);
        assert_eq!(self.receive(), b"8", "order {number}");
    }

    /// Sends orders, some of them in flight at a time, and waits for all their reports.
    pub fn orders(&mut self, numbers: std::ops::Range<u64>) {
        const IN_FLIGHT: u64 = 16;
        let mut sent = numbers.start;
        for answered in numbers.clone() {
            while sent < numbers.end && sent < answered + IN_FLIGHT {
                self.send_order(sent);
                sent += 1;
            }
            assert_eq!(self.receive(), b"8", "order {answered}");
        }
    }
}
