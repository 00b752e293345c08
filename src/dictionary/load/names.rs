//! The names of a file's fields, and what one that is unknown was probably meant to be.

use std::collections::HashMap;

use super::super::{Faults, FieldType};

/// A suggestion looks at every name, so only the first faults of a file get one.
const SUGGESTIONS_MAX: usize = 50;
/// Longer names are not compared: it takes the product of their lengths.
const COMPARED_BYTES_MAX: usize = 64;
/// Three times as many as the standard has: a file with more gets no suggestions, each of which
/// looks at all.
const COMPARED_NAMES_MAX: usize = 20_000;
/// Below this the nearest name is a mere coincidence. 1 is equality.
const SIMILARITY_MIN: f64 = 0.82;

#[derive(Default)]
pub(super) struct Names {
    tags: HashMap<String, u32>,
    kinds: HashMap<u32, FieldType>,
}

impl Names {
    /// Answers the tag that has the name already.
    pub fn add(&mut self, name: &str, tag: u32) -> Option<u32> {
        if let Some(other) = self.tags.get(name) {
            return Some(*other);
        }
        self.tags.insert(name.to_owned(), tag);
        None
    }

    pub fn set_kind(&mut self, tag: u32, kind: FieldType) {
        self.kinds.insert(tag, kind);
    }

    /// Whether some name stands for the tag.
    pub fn is_known(&self, tag: u32) -> bool {
        self.tags.values().any(|known| *known == tag)
    }

    pub fn tag(&self, name: &str) -> Option<u32> {
        self.tags.get(name).copied()
    }

    pub fn kind(&self, tag: u32) -> Option<FieldType> {
        self.kinds.get(&tag).copied()
    }

    pub fn nearest(&self, written: &str, faults: &Faults) -> String {
        if self.tags.len() > COMPARED_NAMES_MAX {
            return String::new();
        }
        suggestion(written, &mut self.tags.keys().map(String::as_str), faults)
    }
}

/// `: did you mean …?`, or nothing where nothing comes near.
pub(super) fn suggestion(written: &str, known: &mut dyn Iterator<Item = &str>, faults: &Faults) -> String {
    if faults.iter().len() >= SUGGESTIONS_MAX || written.len() > COMPARED_BYTES_MAX {
        return String::new();
    }
    let similarity = |name: &str| strsim::jaro_winkler(name, written);
    let known = known.filter(|name| name.len() <= COMPARED_BYTES_MAX);
    let near = known.map(|name| (similarity(name), name)).filter(|(similarity, _)| *similarity >= SIMILARITY_MIN);
    // Equal similarities are settled by the name, so that the answer does not depend on a hash.
    let nearest = near.max_by(|one, other| one.0.total_cmp(&other.0).then_with(|| other.1.cmp(one.1)));
    nearest.map_or_else(String::new, |(_, name)| format!(": did you mean {name}?"))
}
