//! The command line: what `fixring` the binary does, over the library. Everything here may print and exit; nothing
//! else in the library does.

pub mod check;
mod exit;
pub mod logging;

pub use exit::Exit;
