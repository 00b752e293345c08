//! The steps of the message path, for counting their instructions: a count is the same on a busy machine.
//!
//! `scripts/instructions` runs each under callgrind so many times and twice as many, takes the difference, and compares it with
//! `benches/instructions.txt`. `cargo test` runs each a few times. Each checks its own result.
//!
//! `cargo bench --bench instructions -- --count ROUTINE TIMES` runs one; `-- --list` names them.

use std::hint::black_box;
use std::sync::Arc;

use fixring::dictionary::{Checks, Validator, Version, built_in};
use fixring::fix::samples::{self, Sample};
use fixring::fix::{Encoder, FieldIndex, Framing, Message, Overflow, SOH, checksum, frame, parse, tags};
use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{self, Geometry, Kind, Mode, NewRecord, Room, record_bytes};
use fixring::session::{
    BackPressure, Disposition, Identity, Now, Numbers, Outbox, Outgoing, Role, Session, Settings, State,
};
use fixring::sys::ring::RingMemory;
use fixring::sys::simd::count_and_sum;

const MESSAGE_BYTES_MAX: u32 = 64 * 1024;
const FIELDS_MAX: u32 = 2_048;
/// More than are ever asked for: the journal must not run out of room that nobody flushes.
const TIMES_MAX: u64 = 20_000;

/// Runs so many times.
type Routine = fn(u64);

const ROUTINES: [(&str, Routine); 15] = [
    ("decode_new_order_single", |times| decode(&samples::ALL[0], times)),
    ("decode_execution_report", |times| decode(&samples::ALL[1], times)),
    ("decode_market_data", |times| decode(&samples::ALL[2], times)),
    ("validate_new_order_single", |times| validate(&samples::ALL[0], times)),
    ("validate_execution_report", |times| validate(&samples::ALL[1], times)),
    ("validate_market_data", |times| validate(&samples::ALL[2], times)),
    ("encode_new_order_single", |times| encode(&samples::ALL[0], times)),
    ("encode_execution_report", |times| encode(&samples::ALL[1], times)),
    ("encode_market_data", |times| encode(&samples::ALL[2], times)),
    ("template_new_order_single", |times| template(&samples::ALL[0], times)),
    ("template_execution_report", |times| template(&samples::ALL[1], times)),
    ("template_market_data", |times| template(&samples::ALL[2], times)),
    ("floor_new_order_single", |times| floor(&samples::ALL[0], times)),
    ("session_order_to_report", session),
    ("journal_append_200_bytes", append),
];

fn composed(compose: impl Fn(&mut [u8], &[u8]) -> usize) -> Vec<u8> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX as usize];
    let length = compose(&mut buffer, b"FIX.4.4");
    buffer.truncate(length);
    buffer
}

fn read<'a>(bytes: &'a [u8], index: &'a mut FieldIndex) -> Message<'a> {
    match frame(bytes, MESSAGE_BYTES_MAX) {
        Framing::Complete(frame) => parse(&bytes[..frame.length as usize], index).expect("the message is well-formed"),
        other => panic!("the message is whole: {other:?}"),
    }
}

fn decode(sample: &Sample, times: u64) {
    let bytes = composed(sample.encode);
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    for _ in 0..times {
        assert!(black_box(read(black_box(&bytes), &mut index)).fields().len() > 18);
    }
}

/// What the dictionary takes of a message that has been read.
fn validate(sample: &Sample, times: u64) {
    let bytes = composed(sample.encode);
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    let message = read(&bytes, &mut index);
    let validator = Validator::new(built_in(Version::Fix44), Checks::default()).expect("the built-in dictionary fits");
    for _ in 0..times {
        assert_eq!(validator.validate(black_box(&message)), Ok(()));
    }
}

fn encode(sample: &Sample, times: u64) {
    let expected = composed(sample.encode);
    let mut buffer = vec![0; MESSAGE_BYTES_MAX as usize];
    for _ in 0..times {
        assert_eq!((sample.encode)(black_box(&mut buffer), b"FIX.4.4"), expected.len());
    }
    assert_eq!(buffer[..expected.len()], expected);
}

/// The same behind a session's header.
fn template(sample: &Sample, times: u64) {
    let expected = composed(sample.encode);
    let mut buffer = vec![0; MESSAGE_BYTES_MAX as usize];
    let mut template = samples::template(b"FIX.4.4");
    for number in samples::MSG_SEQ_NUM..samples::MSG_SEQ_NUM + times {
        let length = (sample.encode_from_template)(black_box(&mut buffer), black_box(&mut template), number);
        assert_eq!(length, expected.len());
    }
    let number = (samples::MSG_SEQ_NUM + times - 1).to_string();
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    assert_eq!(read(&buffer, &mut index).field(tags::MSG_SEQ_NUM), Some(number.as_bytes()));
}

/// What no reader of a message can do without.
fn floor(sample: &Sample, times: u64) {
    let bytes = composed(sample.encode);
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    let fields = read(&bytes, &mut index).fields().len();
    for _ in 0..times {
        let (delimiters, _) = count_and_sum(black_box(&bytes), SOH);
        assert_eq!(delimiters as usize, fields);
    }
}

/// Where a session's messages go: nowhere but to be looked at.
struct Flat {
    buffer: Vec<u8>,
    length: usize,
}

impl Outbox for Flat {
    fn append(
        &mut self,
        _outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure> {
        self.length = encode(&mut self.buffer).map_err(|_| BackPressure)?;
        Ok(())
    }

    fn numbers(&mut self, _numbers: Numbers) {}
}

/// An order read, checked by the session and answered with a report.
fn session(times: u64) {
    let now = Now { monotonic_ns: 1, utc: samples::SENDING_TIME };
    let settings = Settings { role: Role::Acceptor, message_bytes_max: MESSAGE_BYTES_MAX, ..Settings::default() };
    let identity = Identity::new(b"FIX.4.4", b"VENUE", b"DESK1");
    let mut session = Session::new(Arc::new(settings), identity, Numbers::default());
    let mut out = Flat { buffer: vec![0; MESSAGE_BYTES_MAX as usize], length: 0 };
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    session.connected(now, &mut out);
    let logon = composed(logon);
    let logon = read(&logon, &mut index);
    assert_eq!(session.receive(now, &logon, &mut out).disposition, Disposition::Logon);
    session.accept_logon(now, &logon, &mut out);
    while session.poll().is_some() {}
    assert_eq!(session.state(), State::Established);

    let mut order = composed(samples::ALL[0].encode);
    let number_at = order.windows(4).position(|window| window == b"\x0134=").expect("an order has a number") + 4;
    for time in 0..times {
        number(&mut order, number_at, time + 2);
        let order = read(&order, &mut index);
        let received = session.receive(now, &order, &mut out);
        assert!(matches!(received.disposition, Disposition::Deliver { .. }));
        let sent = session.send(now, b"8", &mut out, |report| {
            report.bytes(tags::ORDER_ID, b"O-17-000000123456").bytes(tags::SYMBOL, b"EURUSD").char(tags::SIDE, b'1');
        });
        assert!(sent.is_ok() && out.length > 100);
    }
}

fn logon(buffer: &mut [u8], begin_string: &[u8]) -> usize {
    let mut logon = Encoder::begin(buffer, begin_string, b"A");
    logon
        .bytes(tags::SENDER_COMP_ID, b"DESK1")
        .bytes(tags::TARGET_COMP_ID, b"VENUE")
        .uint(tags::MSG_SEQ_NUM, 1)
        .timestamp(tags::SENDING_TIME, samples::SENDING_TIME, fixring::fix::Precision::Millis)
        .uint(tags::ENCRYPT_METHOD, 0)
        .uint(tags::HEART_BT_INT, 30);
    logon.finish().expect("the buffer is large enough")
}

/// Gives the order its MsgSeqNum(34), of six digits, and its CheckSum(10).
fn number(order: &mut [u8], at: usize, number: u64) {
    let mut rest = number;
    for digit in order[at..at + 6].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let trailer = order.len() - 7;
    let sum = checksum(&order[..trailer]);
    let digits = [b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10];
    order[trailer + 3..trailer + 6].copy_from_slice(&digits);
}

/// A record in a commit of its own.
fn append(times: u64) {
    const PAYLOAD: [u8; 200] = [7; 200];
    let geometry = Geometry { journals: 1, ring_bytes: 16 << 20, segment_bytes: 16 << 20, segments: 3 };
    let storage = SimulatedStorage::new(geometry);
    let settings = journal::Settings {
        data_dir: "simulated".into(),
        ring_dir: "simulated".into(),
        geometry,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: fixring::journal::FlushMethod::default().into(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        resend_messages_max: 1,
        clock: || 0,
    };
    let manifest = journal::prepare(&storage, &settings).expect("a new volume");
    let ring = RingMemory::anonymous(geometry.ring_bytes).expect("memory").0;
    let mut writer =
        journal::open_over(&storage, manifest, vec![ring], &settings).expect("it opens").journals.remove(0).writer;
    while writer.begin(1024) != Room::Ready {
        assert_eq!(writer.roll(std::iter::empty(), b""), Ok(true));
    }
    writer.abandon();
    let bytes_max = record_bytes(PAYLOAD.len() as u64) as u32;
    let mut previous = None;
    for _ in 0..times {
        assert_eq!(writer.begin(bytes_max), Room::Ready);
        let new = NewRecord { sent_after: previous, ..NewRecord::internal(Kind::Outbound, 1) };
        previous = writer.append_bytes(new, black_box(&PAYLOAD)).ok();
        writer.commit(Mode::Buffered);
    }
    assert_eq!(writer.payload(previous.expect("records were appended")), PAYLOAD);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [list] if list == "--list" => ROUTINES.iter().for_each(|(name, _)| println!("{name}")),
        [count, name, times] if count == "--count" => {
            let routine = ROUTINES.iter().find(|(routine, _)| routine == name).expect("a routine of --list");
            let times = times.parse().ok().filter(|times| (1..=TIMES_MAX).contains(times));
            routine.1(times.expect("a number of times, at most 20,000"));
        }
        _ => ROUTINES.iter().for_each(|(name, routine)| {
            routine(3);
            println!("{name}: ok");
        }),
    }
}
