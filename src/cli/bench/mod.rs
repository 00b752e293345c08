//! `fixring bench`: figures that anyone can make on their own machine.

mod append;
mod client;
mod codec;
mod desk;
mod engine;
mod floor;
mod goal;
mod machine;
mod page;
mod plot;
mod recovery;
mod resend;
mod scratch;
mod sessions;
mod stages;
mod stalls;
mod stats;
mod storage;
mod storm;
mod table;
mod volume;
mod wire;

use std::path::Path;

use client::ClientError;
use goal::verdict;
use machine::{Machine, Placement};
use serde::Serialize;

use super::{Exit, print};
use scratch::Scratch;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Bench {
    Append(append::AppendOptions),
    Codec(codec::CodecOptions),
    Wire(wire::WireOptions),
    Stages(stages::StagesOptions),
    Resend(resend::ResendOptions),
    Recovery(recovery::RecoveryOptions),
    Storage(storage::StorageOptions),
    Storm(storm::StormOptions),
    Sessions(sessions::SessionsOptions),
    #[command(hide = true)]
    Floor(floor::FloorOptions),
}

/// Where a bench runs.
struct Place {
    machine: Machine,
    placement: Placement,
    /// Gone with the bench.
    directory: Scratch,
}

/// Runs a bench whose client and server each spin on a core of their own, its files on `volume` if one is named.
fn on_two_cores(name: &str, volume: Option<&Path>, run: impl FnOnce(Place) -> Result<(), ClientError>) -> Exit {
    let Some(placement) = Placement::here() else {
        error_line!(
            "bench {name} needs two cores: client and server spin, and on one core that measures the scheduler"
        );
        return Exit::Configuration;
    };
    // Before this thread is pinned and sees one core only.
    let machine = Machine::here();
    let directory = Scratch::new(volume).map_err(ClientError::from);
    match directory.and_then(|directory| run(Place { machine, placement, directory })) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            error_line!("bench {name}: {error}");
            Exit::Failed
        }
    }
}

fn as_json(report: &impl Serialize) -> String {
    serde_json::to_string_pretty(report).expect("a report of numbers and texts") + "\n"
}

fn print_report<R: Serialize>(is_json: bool, report: &R, table: impl FnOnce(&R) -> String) {
    print(&if is_json { as_json(report) } else { table(report) });
}

pub(super) fn bench(bench: &Bench) -> Exit {
    match bench {
        Bench::Append(options) => append::append(options),
        Bench::Codec(options) => codec::codec(options),
        Bench::Wire(options) => wire::wire(options),
        Bench::Stages(options) => stages::stages(options),
        Bench::Resend(options) => resend::resend(options),
        Bench::Recovery(options) => recovery::recovery(options),
        Bench::Storage(options) => storage::storage(options),
        Bench::Storm(options) => storm::storm(options),
        Bench::Sessions(options) => sessions::sessions(options),
        Bench::Floor(options) => floor::floor(options),
    }
}
