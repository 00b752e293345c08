//! `fixring bench`: figures that anyone can make on their own machine.

mod client;
mod engine;
mod floor;
mod machine;
mod resend;
mod wire;

use client::ClientError;
use machine::Placement;

use super::Exit;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Bench {
    Wire(wire::WireOptions),
    Resend(resend::ResendOptions),
    #[command(hide = true)]
    Floor(floor::FloorOptions),
}

/// Runs a bench whose client and server each spin on a core of their own.
fn on_two_cores(name: &str, run: impl FnOnce(Placement) -> Result<(), ClientError>) -> Exit {
    let Some(placement) = Placement::here() else {
        eprintln!("bench {name} needs two cores: client and server spin, and on one core that measures the scheduler");
        return Exit::Configuration;
    };
    match run(placement) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("bench {name}: {error}");
            Exit::Failed
        }
    }
}

pub(super) fn bench(bench: &Bench) -> Exit {
    match bench {
        Bench::Wire(options) => wire::wire(options),
        Bench::Resend(options) => resend::resend(options),
        Bench::Floor(options) => floor::floor(options),
    }
}
