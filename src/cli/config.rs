//! `fixring config`: makes configurations of what other engines have.
//!
//! Exit status: 0, or 2 where the settings file has faults or the output is there already; 4 where it cannot be
//! written.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, print};
use crate::config::import::{FILE_BYTES_MAX, Options, import};

#[derive(Subcommand, Debug)]
pub(super) enum ConfigCommand {
    /// Turn a QuickFIX settings file into a fixring.toml
    ///
    /// Reads the settings of QuickFIX/C++, QuickFIX/J, QuickFIX/n and QuickFIX/Go. Standard error
    /// says of each setting that is not carried over as it is why; the end of the configuration
    /// says it again. Passwords are not copied.
    ///
    /// What cannot be carried over is listed as lost, a session that cannot be without it is left
    /// out, and the rest is imported. A file whose sessions speak TLS is refused: fixring would
    /// speak plain TCP.
    ///
    /// Example:
    ///
    ///   fixring config import quickfix.cfg --output fixring.toml
    ///
    ///   fixring check --config fixring.toml
    #[command(verbatim_doc_comment)]
    Import {
        /// The QuickFIX settings file, with its sections [DEFAULT] and [SESSION]
        #[arg(value_name = "FILE.cfg")]
        file: PathBuf,
        /// Standard output without it. A file that is there already is not overwritten
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Refuse the whole file for a setting that cannot be carried over
        #[arg(long)]
        strict: bool,
        /// Import sessions of TLS as plain TCP: a proxy such as stunnel has to speak TLS in their
        /// place
        #[arg(long)]
        plain_tcp: bool,
    },
}

pub(super) fn config(command: &ConfigCommand) -> Exit {
    match command {
        ConfigCommand::Import { file, output, strict, plain_tcp } => {
            import_file(file, output.as_deref(), Options { strict: *strict, plain_tcp: *plain_tcp })
        }
    }
}

fn import_file(file: &Path, output: Option<&Path>, options: Options) -> Exit {
    let name = file.display().to_string();
    let bytes = match read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            error_line!("{name}: cannot be read: {error}: name a QuickFIX settings file");
            return Exit::Configuration;
        }
    };
    let imported = match import(&bytes, &name, options) {
        Ok(imported) => imported,
        Err(errors) if io::stderr().is_terminal() => {
            super::print_error(&errors.render(true));
            return Exit::Configuration;
        }
        Err(errors) => {
            error_line!("{errors}");
            return Exit::Configuration;
        }
    };
    let exit = match output {
        None => {
            print(&imported.toml);
            Exit::Ok
        }
        Some(path) => write(path, &imported.toml),
    };
    if exit == Exit::Ok {
        super::print_error(&imported.report(&name));
        if let Some(path) = output {
            let path = path.display();
            error_line!("{path}: written: fixring check --config {path} says whether it fits this machine");
        }
    }
    exit
}

/// One byte beyond the bound is enough to know that it is too much, whatever the path names.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, toml: &str) -> Exit {
    let written =
        OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| file.write_all(toml.as_bytes()));
    match written {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            error_line!("{}: is there already: name another file, or remove it", path.display());
            Exit::Configuration
        }
        Err(error) => {
            error_line!("{}: cannot be written: {error}", path.display());
            Exit::Storage
        }
    }
}
