//! `fixring bench codec`: what reading, checking and writing one message costs, beside the floor of any reading.
//!
//! The floor is what no reader can do without: one vector scan of the message's bytes for the delimiter, and their sum for
//! CheckSum(10), in the same vector instructions. Everything is in the first-level cache, as it is for a worker that has just
//! received the bytes. Input is fixed, and each routine checks its own result.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use comfy_table::Table;
use serde::Serialize;

use super::machine::{Machine, cores, pin};
use super::{print_report, verdict};
use crate::cli::Exit;
use crate::dictionary::{Checks, Validator, Version, built_in};
use crate::fix::samples::{self, Sample};
use crate::fix::{FieldIndex, Framing, HeaderTemplate, Message, SOH, frame, parse};
use crate::sys::simd;

/// Measure what reading, checking and writing one message costs, beside a vector scan of its bytes
///
/// A NewOrderSingle of 200 bytes and 19 fields, an ExecutionReport, and a MarketDataIncrementalRefresh of 200 entries. Reading
/// is framing with CheckSum(10) and BodyLength(9), and the index of all fields; checking is reading and the dictionary of
/// FIX.4.4; the floor scans the same bytes for the delimiter and adds them up, and does nothing else. All take turns in
/// slices of 20 µs; a figure is the median of its slices, and of the runs.
#[derive(clap::Args, Debug)]
pub(crate) struct CodecOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=101))]
    runs: u32,
}

/// Of each routine in a run.
const SLICES: usize = 500;
const SLICE_NS: u128 = 20_000;
const BUFFER_BYTES: usize = 64 << 10;
const FIELDS_MAX: u32 = 2_048;

const DECODE_NS_MAX: f64 = 90.0;
const DECODE_RATIO_MAX: f64 = 2.0;
const ENCODE_NS_MAX: f64 = 60.0;
/// The clock for which [`ENCODE_NS_MAX`] is stated.
const GOAL_GHZ: f64 = 3.5;

/// What one routine takes for a message.
#[derive(Clone, Copy, Debug, Serialize)]
struct Figure {
    /// The median of the runs; the least and the greatest of them.
    ns: f64,
    least_ns: f64,
    greatest_ns: f64,
    bytes_per_ns: f64,
    ratio_to_floor: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    message: &'static str,
    bytes: usize,
    fields: usize,
    floor: Figure,
    decode: Figure,
    decode_and_validate: Figure,
    encode: Figure,
    encode_from_template: Figure,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    vector_instructions: &'static str,
    /// As a chain of dependent multiplications shows it, each of three cycles.
    clock_ghz: f64,
    runs: u32,
    messages: Vec<Row>,
    /// Encoding a NewOrderSingle from a template, as it would be at 3.5 GHz.
    encode_ns_at_3_5_ghz: f64,
}

pub(super) fn codec(options: &CodecOptions) -> Exit {
    // Before this thread is pinned and sees one core only.
    let machine = Machine::here();
    if let Some(core) = cores().last() {
        pin(*core);
    }
    let clock_ghz = clock_ghz();
    let messages: Vec<Row> = samples::ALL.iter().map(|sample| measure(sample, options.runs)).collect();
    let encode_ns_at_3_5_ghz = messages[0].encode_from_template.ns * clock_ghz / GOAL_GHZ;
    let vector_instructions = simd::instructions();
    let report = Report { machine, vector_instructions, clock_ghz, runs: options.runs, messages, encode_ns_at_3_5_ghz };
    print_report(options.json, &report, table);
    Exit::Ok
}

fn measure(sample: &Sample, runs: u32) -> Row {
    let mut buffer = vec![0; BUFFER_BYTES];
    let length = (sample.encode)(&mut buffer, b"FIX.4.4");
    let bytes = buffer[..length].to_vec();
    let expected_floor = slow_floor(&bytes);
    let validator = Validator::new(built_in(Version::Fix44), Checks::default()).expect("the built-in dictionary fits");
    let (mut index, mut other_index) = (FieldIndex::with_capacity(FIELDS_MAX), FieldIndex::with_capacity(FIELDS_MAX));
    let fields = decode(&bytes, &mut index).fields().len();
    let mut template_buffer = buffer.clone();
    let mut template = samples::template(b"FIX.4.4");

    let mut floor = repeated(|| assert_eq!(simd::count_and_sum(black_box(&bytes), SOH), expected_floor));
    let mut decoding = repeated(|| assert_eq!(black_box(decode(black_box(&bytes), &mut index)).fields().len(), fields));
    let mut validating = repeated(|| {
        let message = decode(black_box(&bytes), &mut other_index);
        assert_eq!(validator.validate(black_box(&message)), Ok(()));
    });
    let mut encoding = repeated(|| assert_eq!((sample.encode)(black_box(&mut buffer), b"FIX.4.4"), length));
    let mut number = samples::MSG_SEQ_NUM;
    let mut templating = repeated(|| {
        let template: &mut HeaderTemplate = black_box(&mut template);
        // Of six digits always.
        number = if number < 999_999 { number + 1 } else { 100_000 };
        assert_eq!((sample.encode_from_template)(black_box(&mut template_buffer), template, number), length);
    });
    let mut routines: [&mut dyn FnMut(u32); 5] =
        [&mut floor, &mut decoding, &mut validating, &mut encoding, &mut templating];
    let medians: Vec<[f64; 5]> = (0..runs).map(|_| run(&mut routines)).collect();
    let figure = |routine: usize| {
        let of_runs = |of: fn(&mut [f64]) -> f64, routine: usize| {
            of(&mut medians.iter().map(|run| run[routine]).collect::<Vec<_>>())
        };
        let ns = of_runs(median, routine);
        Figure {
            ns,
            least_ns: of_runs(|all| all.iter().copied().fold(f64::INFINITY, f64::min), routine),
            greatest_ns: of_runs(|all| all.iter().copied().fold(0.0, f64::max), routine),
            bytes_per_ns: length as f64 / ns,
            ratio_to_floor: ns / of_runs(median, 0),
        }
    };
    Row {
        message: sample.name,
        bytes: length,
        fields,
        floor: figure(0),
        decode: figure(1),
        decode_and_validate: figure(2),
        encode: figure(3),
        encode_from_template: figure(4),
    }
}

/// The loop within the routine, so that what is called through a pointer is a slice.
fn repeated(mut routine: impl FnMut()) -> impl FnMut(u32) {
    move |times| (0..times).for_each(|_| routine())
}

/// The median slice of each, in ns a message.
fn run<const ROUTINES: usize>(routines: &mut [&mut dyn FnMut(u32); ROUTINES]) -> [f64; ROUTINES] {
    let time = |routine: &mut dyn FnMut(u32), times: u32| {
        let start = Instant::now();
        routine(times);
        start.elapsed().as_nanos()
    };
    let times: [u32; ROUTINES] = std::array::from_fn(|at| {
        const TRIAL: u32 = 64;
        let trial = (0..5).map(|_| time(routines[at], TRIAL)).min().unwrap_or(1).max(1);
        (SLICE_NS * u128::from(TRIAL) / trial).clamp(1, SLICE_NS) as u32
    });
    let mut slices = vec![[0.0; ROUTINES]; SLICES];
    for slice in &mut slices {
        for ((place, routine), times) in slice.iter_mut().zip(routines.iter_mut()).zip(times) {
            *place = time(*routine, times) as f64 / f64::from(times);
        }
    }
    std::array::from_fn(|at| median(&mut slices.iter().map(|slice| slice[at]).collect::<Vec<_>>()))
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn decode<'a>(bytes: &'a [u8], index: &'a mut FieldIndex) -> Message<'a> {
    match frame(bytes, BUFFER_BYTES as u32) {
        Framing::Complete(frame) => parse(&bytes[..frame.length as usize], index).expect("the message is well-formed"),
        other => panic!("the message is whole: {other:?}"),
    }
}

fn slow_floor(bytes: &[u8]) -> (u32, u8) {
    let delimiters = bytes.iter().filter(|byte| **byte == SOH).count();
    (delimiters as u32, bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)))
}

/// The clock at which this core runs now: the best of several chains of multiplications that wait for one another, each of
/// three cycles on the processors of the last decade, with an exclusive or of one between them.
fn clock_ghz() -> f64 {
    const CHAIN: u32 = 20_000;
    const CYCLES_A_STEP: f64 = 4.0;
    let chain_ns = || {
        let mut number = black_box(0x9e37_79b9_7f4a_7c15_u64);
        let (factor, difference) = (black_box(number | 1), black_box(number));
        let start = Instant::now();
        for _ in 0..CHAIN {
            number = (number ^ difference).wrapping_mul(factor);
        }
        black_box(number);
        start.elapsed().as_nanos() as f64
    };
    let least_ns = (0..50).map(|_| chain_ns()).fold(f64::INFINITY, f64::min);
    f64::from(CHAIN) * CYCLES_A_STEP / least_ns
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "{}; the core runs at about {:.2} GHz; median of {} runs",
        report.vector_instructions, report.clock_ghz, report.runs
    );
    for row in &report.messages {
        let mut rows = Table::new();
        rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
        let title = format!("{}: {} bytes, {} fields", row.message, row.bytes, row.fields);
        rows.set_header([title.as_str(), "ns", "spread", "bytes/ns", "× the floor"]);
        for (name, figure) in [
            ("vector scan and byte sum (the floor)", &row.floor),
            ("decode", &row.decode),
            ("decode and validate", &row.decode_and_validate),
            ("encode", &row.encode),
            ("encode from a template", &row.encode_from_template),
        ] {
            rows.add_row([
                name.to_string(),
                format!("{:.1}", figure.ns),
                format!("{:.1} to {:.1}", figure.least_ns, figure.greatest_ns),
                format!("{:.2}", figure.bytes_per_ns),
                format!("{:.2}", figure.ratio_to_floor),
            ]);
        }
        let _ = writeln!(text, "{rows}");
    }
    let order = &report.messages[0];
    let _ = writeln!(
        text,
        "decode of a {} {:.1} ns, at most {DECODE_NS_MAX:.0} ns: {}",
        order.message,
        order.decode.ns,
        verdict(order.decode.ns <= DECODE_NS_MAX)
    );
    let _ = writeln!(
        text,
        "decode of a {} {:.2} × the vector scan, at most {DECODE_RATIO_MAX} ×: {}",
        order.message,
        order.decode.ratio_to_floor,
        verdict(order.decode.ratio_to_floor <= DECODE_RATIO_MAX)
    );
    let _ = writeln!(
        text,
        "encode of a {} from a template {:.1} ns, at {GOAL_GHZ} GHz {:.1} ns, at most {ENCODE_NS_MAX:.0} ns: {}",
        order.message,
        order.encode_from_template.ns,
        report.encode_ns_at_3_5_ghz,
        verdict(report.encode_ns_at_3_5_ghz <= ENCODE_NS_MAX)
    );
    text
}
