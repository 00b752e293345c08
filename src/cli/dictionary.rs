//! `fixring dictionary`: looks things up in the FIX versions, checks and writes dictionary files.
//!
//! Exit status: 0, or 2 where a file has errors or what was asked for is not there.

mod lookup;

use std::fs;
use std::io::{self};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Exit;
use crate::dictionary::{
    Allowance, Allowances, Dictionary, FILE_BYTES_MAX, UnknownVersion, Version, built_in, compile, load, load_allowing,
    to_xml,
};

#[derive(Subcommand, Debug)]
pub(super) enum DictionaryCommand {
    /// Print what a FIX version says: all of it in short, or one message, field or component
    ///
    /// `show FIX.4.4`, `show FIX.4.4 D`, `show FIX.4.4 NewOrderSingle`, `show FIX.4.4 54`, `show
    /// FIX.4.4 Side`, `show venue.xml D`
    Show {
        /// FIX.4.0 to FIX.4.4, FIXT.1.1, FIX.5.0, FIX.5.0SP1, FIX.5.0SP2, or a file in the QuickFIX
        /// XML format
        #[arg(value_name = "VERSION|FILE.xml")]
        version: String,
        /// A MsgType, a tag, or the name of a message, field or component
        what: Option<String>,
    },
    /// Write a FIX version in the QuickFIX XML format, for other engines to load
    Export {
        version: Version,
        /// Standard output without it
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say what is wrong with a dictionary in the QuickFIX XML format
    Check {
        #[arg(value_name = "FILE.xml", required = true)]
        files: Vec<PathBuf>,
        /// Take this for a warning, as dictionary_allow of a session does: undefined_fields,
        /// undefined_components, duplicate_fields, duplicate_components or unknown_versions
        #[arg(long, value_name = "WHAT")]
        allow: Vec<Allowance>,
    },
    /// Make the tables that are built into this binary from dictionaries in the QuickFIX XML format
    Compile {
        #[arg(value_name = "FILE.xml", required = true)]
        files: Vec<PathBuf>,
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

pub(super) fn dictionary(command: &DictionaryCommand) -> Exit {
    match command {
        DictionaryCommand::Show { version, what } => show(version, what.as_deref()),
        DictionaryCommand::Export { version, output } => export(*version, output.as_deref()),
        DictionaryCommand::Check { files, allow } => check(files, allow.iter().copied().collect()),
        DictionaryCommand::Compile { files, output } => compile_files(files, output),
    }
}

fn show(source: &str, what: Option<&str>) -> Exit {
    let loaded;
    let own = match source.parse::<Version>() {
        Ok(version) => built_in(version),
        Err(unknown) => match file_to_show(source, &unknown) {
            Ok(dictionary) => {
                loaded = dictionary;
                &loaded
            }
            Err(why) => {
                error_line!("{}", why.trim_end());
                return Exit::Configuration;
            }
        },
    };
    let Some(what) = what else {
        return printed(&lookup::summary(own));
    };
    match lookup::find(own, what) {
        Ok(text) => printed(&text),
        Err(unknown) => {
            error_line!("{unknown}");
            Exit::Configuration
        }
    }
}

/// A file whose faults stop nothing but its use is shown with all that can be allowed.
fn file_to_show(source: &str, unknown: &UnknownVersion) -> Result<Dictionary, String> {
    let path = Path::new(source);
    if !path.exists() {
        return Err(format!("{unknown}, or name a file in the QuickFIX XML format"));
    }
    let loaded = load_allowing(&read(path)?, Allowance::ALL.into_iter().collect());
    loaded.map(|loaded| loaded.dictionary).map_err(|faults| faults.report(source).to_string())
}

fn export(version: Version, output: Option<&Path>) -> Exit {
    let xml = to_xml(built_in(version));
    match output {
        None => printed(&xml),
        Some(path) => write(path, xml.as_bytes()),
    }
}

fn check(files: &[PathBuf], allowed: Allowances) -> Exit {
    let mut exit = Exit::Ok;
    for file in files {
        let name = file.display().to_string();
        match read(file).map(|bytes| load_allowing(&bytes, allowed)) {
            Err(why) => {
                print_line!("{why}");
                exit = Exit::Configuration;
            }
            Ok(Err(faults)) => {
                super::print(&faults.report(&name).to_string());
                exit = Exit::Configuration;
            }
            Ok(Ok(loaded)) => {
                super::print(&loaded.warnings.report(&name).to_string());
                print_line!("{name}: ok: {}", lookup::counts(&loaded.dictionary));
            }
        }
    }
    exit
}

fn compile_files(files: &[PathBuf], output: &Path) -> Exit {
    let mut dictionaries: Vec<Dictionary> = Vec::new();
    let mut is_whole = true;
    for file in files {
        let name = file.display().to_string();
        match read(file).map(|bytes| load(&bytes)) {
            Ok(Ok(loaded)) => {
                super::print_error(&loaded.warnings.report(&name).to_string());
                dictionaries.push(loaded.dictionary);
            }
            Ok(Err(faults)) => {
                super::print_error(&faults.report(&name).to_string());
                is_whole = false;
            }
            Err(why) => {
                error_line!("{why}");
                is_whole = false;
            }
        }
    }
    if !is_whole {
        return Exit::Configuration;
    }
    let names = dictionaries.iter().map(|dictionary| dictionary.version().name()).collect::<Vec<_>>().join(" ");
    match compile(dictionaries) {
        Ok(tables) => {
            let exit = write(output, &tables);
            if exit == Exit::Ok {
                print_line!("{}: {} bytes: {names}", output.display(), tables.len());
            }
            exit
        }
        Err(error) => {
            error_line!("{error}");
            Exit::Configuration
        }
    }
}

/// A file that is too large is not read into memory to find that out.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("{}: cannot be read: {error}", path.display());
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.len() > FILE_BYTES_MAX as u64 {
        return Err(format!("{}: {} bytes: at most {FILE_BYTES_MAX} are read", path.display(), metadata.len()));
    }
    fs::read(path).map_err(failed)
}

fn write(path: &Path, bytes: &[u8]) -> Exit {
    match fs::write(path, bytes) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            error_line!("{}: cannot be written: {error}", path.display());
            Exit::Storage
        }
    }
}

fn printed(text: &str) -> Exit {
    super::print(text);
    Exit::Ok
}
