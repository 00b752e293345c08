//! A data directory's records as an iterator, one journal after the other. Holes are passed over: whoever wants to know of them
//! asks [`super::inspect`].

use std::path::Path;

use super::Manifest;
pub use super::inspect::{CatError, CatRecord};
use super::inspect::{Directory, JournalReader, Next, Start};

/// All journals' records, one journal after the other, each in order.
pub struct Cat {
    directory: Directory,
    next_journal: u16,
    reader: Option<JournalReader>,
}

impl Cat {
    pub fn open(data_dir: &Path) -> Result<Self, CatError> {
        Ok(Self { directory: Directory::open(data_dir)?, next_journal: 0, reader: None })
    }

    pub fn manifest(&self) -> &Manifest {
        self.directory.manifest()
    }

    fn advance(&mut self) -> Result<Option<CatRecord>, CatError> {
        loop {
            if let Some(reader) = &mut self.reader {
                match reader.next()? {
                    Next::Record(record) => return Ok(Some(record)),
                    Next::Skipped(_) => {}
                    Next::End => self.reader = None,
                }
                continue;
            }
            if self.next_journal == self.directory.manifest().geometry.journals {
                return Ok(None);
            }
            self.reader = Some(JournalReader::new(&self.directory, self.next_journal, Start::Oldest)?);
            self.next_journal += 1;
        }
    }
}

impl Iterator for Cat {
    type Item = Result<CatRecord, CatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            // Not met a second time.
            self.reader = None;
            self.next_journal = self.directory.manifest().geometry.journals;
        }
        next.transpose()
    }
}
