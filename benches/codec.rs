//! What reading and writing one message costs, and the floor beside it.
//!
//! The floor is what no reader can do without: one vector scan of the message's bytes for delimiters, and their sum
//! for CheckSum(10). Input is fixed, each routine checks its own result, and everything is in the first-level cache,
//! as it is for a worker that has just received the bytes.
//!
//! `cargo bench --bench codec`, on a machine that is otherwise idle; `cargo test` runs each routine once.

mod messages;

use std::hint::black_box;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use fixring::fix::{FieldIndex, Framing, Message, SOH, checksum, frame, parse};
use fixring::sys::simd::{BLOCK_BYTES, equal_mask};
use messages::{execution_report, new_order_single};

const MESSAGE_BYTES_MAX: u32 = 64 * 1024;
const FIELDS_MAX: u32 = 256;

fn decode<'a>(bytes: &'a [u8], index: &'a mut FieldIndex) -> Message<'a> {
    match frame(bytes, MESSAGE_BYTES_MAX) {
        Framing::Complete(frame) => parse(&bytes[..frame.length as usize], index).expect("the message is well-formed"),
        other => panic!("the message is whole: {other:?}"),
    }
}

/// Every block's delimiters, folded so that none may be left out, and CheckSum(10)'s sum.
fn floor(bytes: &[u8]) -> (u64, u8) {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let last = bytes.last_chunk().expect("the message is longer than a block");
    let masks = blocks.iter().fold(0, |masks: u64, block| masks.wrapping_add(equal_mask(block, SOH)));
    (masks ^ equal_mask(last, SOH), checksum(bytes))
}

/// The same, bit by bit.
fn slow_floor(bytes: &[u8]) -> (u64, u8) {
    let bits = |block: &[u8]| block.iter().rev().fold(0, |mask: u64, byte| mask << 1 | u64::from(*byte == SOH));
    let masks = bytes.chunks_exact(BLOCK_BYTES).fold(0, |masks: u64, block| masks.wrapping_add(bits(block)));
    let sum = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    (masks ^ bits(&bytes[bytes.len() - BLOCK_BYTES..]), sum)
}

/// What a message is called, how it is encoded, its bytes and its fields.
type Sample = (&'static str, fn(&mut [u8], &[u8]) -> usize, usize, usize);

fn codec(criterion: &mut Criterion) {
    let mut buffer = [0; 512];
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    let messages: [Sample; 2] =
        [("NewOrderSingle", new_order_single, 200, 19), ("ExecutionReport", execution_report, 269, 25)];
    for (name, encode, length, fields) in messages {
        let bytes = {
            let length = encode(&mut buffer, b"FIX.4.4");
            buffer[..length].to_vec()
        };
        assert_eq!((bytes.len(), decode(&bytes, &mut index).fields().len()), (length, fields), "{name}");
        let expected_floor = slow_floor(&bytes);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(length as u64));
        measure(&mut group, "floor: vector scan and byte sum", || {
            assert_eq!(floor(black_box(&bytes)), expected_floor);
        });
        measure(&mut group, "frame", || {
            assert!(matches!(frame(black_box(&bytes), MESSAGE_BYTES_MAX), Framing::Complete(_)));
        });
        measure(&mut group, "frame and parse", || {
            assert_eq!(black_box(decode(black_box(&bytes), &mut index)).fields().len(), fields);
        });
        measure(&mut group, "frame, parse and six look-ups", || {
            let message = decode(black_box(&bytes), &mut index);
            for tag in [34, 49, 56, 11, 38, 44] {
                assert!(message.field(black_box(tag)).is_some());
            }
        });
        measure(&mut group, "encode", || assert_eq!(encode(black_box(&mut buffer), b"FIX.4.4"), length));
        assert_eq!(buffer[..length], bytes);
        group.finish();
    }
}

/// Criterion's estimate, and beside it the least of many short batches: on a machine that does other work too, that is
/// the figure that two runs agree on.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut routine: impl FnMut()) {
    group.bench_function(name, |bencher| bencher.iter(&mut routine));
    if std::env::args().any(|argument| argument == "--bench") {
        const BATCHES: u32 = 400;
        const BATCH: u32 = 2_000;
        let batch_ns = || {
            let start = Instant::now();
            (0..BATCH).for_each(|_| routine());
            start.elapsed().as_nanos() as f64 / f64::from(BATCH)
        };
        let least_ns = std::iter::repeat_with(batch_ns).take(BATCHES as usize).fold(f64::INFINITY, f64::min);
        println!("{name}: least of {BATCHES} batches {least_ns:.1} ns");
    }
}

fn main() {
    println!("{}", machine());
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion);
    criterion.final_summary();
}

/// The processor's name, since a figure without it says nothing.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    format!("machine: {} {}", std::env::consts::ARCH, model.trim_start_matches(['\t', ' ', ':']))
}
