//! `fixring bench`: figures that anyone can make on their own machine.

mod client;
mod engine;
mod floor;
mod machine;
mod resend;
mod wire;

use super::Exit;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Bench {
    Wire(wire::WireOptions),
    Resend(resend::ResendOptions),
    #[command(hide = true)]
    Floor(floor::FloorOptions),
}

pub(super) fn bench(bench: &Bench) -> Exit {
    match bench {
        Bench::Wire(options) => wire::wire(options),
        Bench::Resend(options) => resend::resend(options),
        Bench::Floor(options) => floor::floor(options),
    }
}
