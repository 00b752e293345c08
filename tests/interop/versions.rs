//! The versions that the scenarios run in, and the dictionaries that QuickFIX judges them by: those that fixring exports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A FIX version, the session's and the application messages'.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// As `fixring dictionary export` and QuickFIX's DefaultApplVerID know it.
    pub name: &'static str,
    pub begin_string: &'static str,
    /// DefaultApplVerID(1137), over FIXT.1.1.
    pub appl_ver_id: Option<&'static str>,
}

pub const VERSIONS: [Version; 8] = [
    alone("FIX.4.0"),
    alone("FIX.4.1"),
    alone("FIX.4.2"),
    alone("FIX.4.3"),
    alone("FIX.4.4"),
    over_fixt("FIX.5.0", "7"),
    over_fixt("FIX.5.0SP1", "8"),
    over_fixt("FIX.5.0SP2", "9"),
];

const TRANSPORT: &str = "FIXT.1.1";

const fn alone(name: &'static str) -> Version {
    Version { name, begin_string: name, appl_ver_id: None }
}

const fn over_fixt(name: &'static str, appl_ver_id: &'static str) -> Version {
    Version { name, begin_string: TRANSPORT, appl_ver_id: Some(appl_ver_id) }
}

impl Version {
    pub fn has_reset_seq_num_flag(&self) -> bool {
        self.name != "FIX.4.0"
    }

    pub fn has_business_message_reject(&self) -> bool {
        !matches!(self.name, "FIX.4.0" | "FIX.4.1")
    }

    /// What the counterparty is told of the version.
    pub fn peer_flags(&self) -> Vec<String> {
        let dictionary = |name: &str| exported(name).display().to_string();
        let mut flags = vec!["--begin-string".to_owned(), self.begin_string.to_owned()];
        flags.extend(["--dictionary".to_owned(), dictionary(self.name)]);
        if self.appl_ver_id.is_some() {
            flags.extend(["--transport-dictionary".to_owned(), dictionary(TRANSPORT)]);
            flags.extend(["--appl-ver-id".to_owned(), self.name.to_owned()]);
        }
        flags
    }
}

/// The files of all versions.
pub fn dictionaries() -> impl Iterator<Item = PathBuf> {
    VERSIONS.iter().map(|version| version.name).chain([TRANSPORT]).map(exported)
}

/// The file that `fixring dictionary export` has made of this version, all of them once a test run.
fn exported(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-dictionaries");
        std::fs::create_dir_all(&folder).expect("a folder for the dictionaries");
        for name in VERSIONS.map(|version| version.name).iter().chain([&TRANSPORT]) {
            let path = folder.join(format!("{name}.xml"));
            // Written aside and renamed: another test run may be reading them.
            let aside = folder.join(format!("{name}.xml.{}", std::process::id()));
            let export = Command::new(env!("CARGO_BIN_EXE_fixring"))
                .args(["dictionary", "export", name, "--output"])
                .arg(&aside)
                .output()
                .expect("fixring starts");
            assert!(export.status.success(), "{name}: {}", String::from_utf8_lossy(&export.stderr));
            std::fs::rename(&aside, &path).expect("the dictionary gets its name");
        }
        folder
    });
    folder.join(format!("{name}.xml"))
}
