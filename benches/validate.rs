//! What checking a message against its dictionary costs, beside the parsing that comes before it.
//!
//! Input is fixed, each routine checks its own result, and everything is in the first-level cache, as it is for a
//! worker that has just received the bytes. The goal is that parsing and checking cost at most twice what parsing
//! alone costs.
//!
//! `cargo bench --bench validate`, on a machine that is otherwise idle; `cargo test` runs each routine once.

mod messages;

use std::hint::black_box;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use fixring::dictionary::{Checks, FixtValidator, Validator, Version, built_in};
use fixring::fix::{FieldIndex, parse};

use messages::{execution_report, market_data, new_order_single};

const FIELDS_MAX: u32 = 2_048;

/// What a message is called, how it is encoded, and its fields.
type Sample = (&'static str, fn(&mut [u8], &[u8]) -> usize, usize);

const SAMPLES: [Sample; 3] = [
    ("NewOrderSingle", new_order_single, 19),
    ("ExecutionReport", execution_report, 25),
    ("MarketDataIncrementalRefresh", market_data, 1_410),
];

fn validate(criterion: &mut Criterion) {
    let fix44 = Validator::new(built_in(Version::Fix44), Checks::default()).expect("the built-in dictionary fits");
    let fixt = FixtValidator::new(built_in(Version::Fixt11), &[built_in(Version::Fix50Sp2)], Checks::default())
        .expect("the built-in dictionaries fit");
    let mut buffer = vec![0; 64 * 1024];
    let mut index = FieldIndex::with_capacity(FIELDS_MAX);
    for (name, encode, fields) in SAMPLES {
        let mut bytes_of = |begin_string: &[u8]| {
            let length = encode(&mut buffer, begin_string);
            buffer[..length].to_vec()
        };
        let (bytes, sp2_bytes) = (bytes_of(b"FIX.4.4"), bytes_of(b"FIXT.1.1"));
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(fields as u64));
        let parse_ns = measure(&mut group, "parse", || {
            let message = parse(black_box(&bytes), &mut index).expect("the message is well-formed");
            assert_eq!(black_box(message).fields().len(), fields);
        });
        let checked_ns = measure(&mut group, "parse and validate, FIX.4.4", || {
            let message = parse(black_box(&bytes), &mut index).expect("the message is well-formed");
            assert_eq!(fix44.validate(black_box(&message)), Ok(()));
        });
        let sp2_ns = measure(&mut group, "parse and validate, FIX.5.0SP2", || {
            let message = parse(black_box(&sp2_bytes), &mut index).expect("the message is well-formed");
            assert_eq!(fixt.validate(black_box(&message), b"9"), Ok(()));
        });
        if let (Some(parse_ns), Some(checked_ns), Some(sp2_ns)) = (parse_ns, checked_ns, sp2_ns) {
            let a_field = |ns: f64| (ns - parse_ns) / fields as f64;
            println!(
                "{name}: {fields} fields: parse {parse_ns:.0} ns; with validation {checked_ns:.0} ns, {:.2} times, {:.1} ns \
                 more a field; FIX.5.0SP2 {sp2_ns:.0} ns, {:.2} times, {:.1} ns more a field",
                checked_ns / parse_ns,
                a_field(checked_ns),
                sp2_ns / parse_ns,
                a_field(sp2_ns),
            );
        }
        group.finish();
    }
}

/// Criterion's estimate, and beside it the least of many short batches: on a machine that does other work too, that is
/// the figure that two runs agree on. None where nothing is measured.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut routine: impl FnMut()) -> Option<f64> {
    group.bench_function(name, |bencher| bencher.iter(&mut routine));
    if !std::env::args().any(|argument| argument == "--bench") {
        return None;
    }
    const BATCHES: u32 = 400;
    const BATCH: u32 = 500;
    let batch_ns = || {
        let start = Instant::now();
        (0..BATCH).for_each(|_| routine());
        start.elapsed().as_nanos() as f64 / f64::from(BATCH)
    };
    Some(std::iter::repeat_with(batch_ns).take(BATCHES as usize).fold(f64::INFINITY, f64::min))
}

fn main() {
    println!("{}", machine());
    let mut criterion = Criterion::default().configure_from_args();
    validate(&mut criterion);
    criterion.final_summary();
}

/// The processor's name, since a figure without it says nothing.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    format!("machine: {} {}", std::env::consts::ARCH, model.trim_start_matches(['\t', ' ', ':']))
}
