//! What it costs to append and commit a 200-byte record, beside its floor: a memcpy of the same bytes into a prefaulted ring and a CRC-32C over them.
//!
//! Both sides do 64 records an iteration, over a ring that the loop itself marks as synced (no device and no second thread is in the
//! figure), into the same amount of memory, with the same CRC. The floor checks its CRC, the journal what recovery would see: the last payload.
//! Run with `cargo bench --bench append`; under `cargo test` each runs once.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{
    FlushMethod, Geometry, Kind, Mode, NewRecord, Room, Settings, open_over, prepare, record_bytes,
};
use fixring::sys::ring::RingMemory;

const PAYLOAD_BYTES: usize = 200;
const BATCH: u64 = 64;
/// About half of the ring.
const BATCHES_A_FLUSH: u64 = 24;
const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 1 << 20, segment_bytes: 1 << 20, segments: 3 };

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append_200_bytes");
    group.throughput(Throughput::Elements(BATCH));
    let payload: Vec<u8> = (0..PAYLOAD_BYTES).map(|at| at as u8).collect();

    group.bench_function("floor_memcpy_crc32c", |bencher| {
        let mut ring = vec![1_u8; GEOMETRY.ring_bytes as usize];
        let stride = record_bytes(PAYLOAD_BYTES as u64) as usize;
        let expected = crc_fast::crc32_iscsi(&payload);
        let mut at = 0;
        bencher.iter(|| {
            for _ in 0..BATCH {
                if at + stride > ring.len() {
                    at = 0;
                }
                let target = &mut ring[at..at + PAYLOAD_BYTES];
                target.copy_from_slice(black_box(&payload));
                assert_eq!(crc_fast::crc32_iscsi(target), expected);
                at += stride;
            }
        });
    });

    for (name, records) in [("journal_one_a_commit", 1), ("journal_two_a_commit", 2)] {
        group.bench_function(name, |bencher| {
            let storage = SimulatedStorage::new(GEOMETRY);
            let settings = Settings {
                data_dir: "simulated".into(),
                ring_dir: "simulated".into(),
                geometry: GEOMETRY,
                flush_interval_ns: 0,
                flush_interval_min_ns: 0,
                flush_method: FlushMethod::default().into(),
                message_bytes_max: 64 << 10,
                resend_messages_max: 1_000,
                clock: || 0,
            };
            let manifest = prepare(&storage, &settings).expect("a new volume");
            let (ring, _keeper) = RingMemory::anonymous(GEOMETRY.ring_bytes).expect("a megabyte");
            ring.populate().expect("a megabyte");
            let mut opened = open_over(&storage, manifest, vec![ring], &settings).expect("a new journal");
            let mut journal = opened.journals.remove(0);
            let mut previous = None;
            let bytes_max = (record_bytes(PAYLOAD_BYTES as u64) * records) as u32;
            // What a flusher does on another core is not part of an append: the batches are timed, the flushes between them are not.
            let mut batches = 0;
            bencher.iter_custom(|iterations| {
                let mut elapsed = std::time::Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let run = left.min(BATCHES_A_FLUSH - batches % BATCHES_A_FLUSH);
                    let start = std::time::Instant::now();
                    for _ in 0..run * BATCH / records {
                        while journal.writer.begin(bytes_max) != Room::Ready {
                            assert_eq!(journal.writer.roll(std::iter::empty(), b""), Ok(true));
                        }
                        for _ in 0..records {
                            let new = NewRecord { sent_after: previous, ..NewRecord::internal(Kind::Outbound, 1) };
                            previous = journal.writer.append_bytes(new, black_box(&payload)).ok();
                        }
                        journal.writer.commit(Mode::Buffered);
                    }
                    elapsed += start.elapsed();
                    batches += run;
                    left -= run;
                    if batches % BATCHES_A_FLUSH == 0 {
                        journal.flusher.turn(u64::MAX).expect("a simulated volume");
                    }
                }
                elapsed
            });
            assert_eq!(journal.writer.payload(previous.expect("records were appended")), payload);
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
