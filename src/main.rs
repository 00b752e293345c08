//! The `fixring` binary: the library's command line and nothing more.

#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    fixring::cli::main().into()
}
