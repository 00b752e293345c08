//! The built-in tables, their sources in the QuickFIX XML format, and the export between them.

use std::path::{Path, PathBuf};

use fixring::dictionary::{Dictionary, MemberKind, Version, built_in, built_in_latest, compile, load, to_xml};

const TABLES: &[u8] = include_bytes!("../../src/dictionary/tables/standard.bin");

/// The nine files that the tables are made from lie beside a checkout, where its user put them. They are not ours to
/// pass on, so a checkout may be without them.
fn sources(test: &str) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/dictionaries");
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(error) => {
            println!("skipped ({test}): {}: {error}", folder.display());
            return None;
        }
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    assert_eq!(paths.len(), Version::ALL.len(), "one file for each version in {}", folder.display());
    paths.sort();
    Some(paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect())
}

fn loaded(bytes: &[u8], name: &str) -> Dictionary {
    match load(bytes) {
        Ok(loaded) => loaded.dictionary,
        Err(faults) => panic!("{}", faults.report(name)),
    }
}

#[test]
fn the_committed_tables_are_what_the_compiler_makes_of_the_sources() {
    let Some(sources) = sources("the_committed_tables_are_what_the_compiler_makes_of_the_sources") else {
        return;
    };
    let dictionaries = sources.iter().map(|(path, bytes)| loaded(bytes, &path.display().to_string())).collect();
    let made = compile(dictionaries).unwrap();
    let remedy =
        "run `fixring dictionary compile ../shared/dictionaries/*.xml --output src/dictionary/tables/standard.bin`";
    assert!(made == TABLES, "{} bytes were made, {} are committed: {remedy}", made.len(), TABLES.len());
}

#[test]
fn a_source_that_was_loaded_says_what_the_built_in_dictionary_says() {
    let Some(sources) = sources("a_source_that_was_loaded_says_what_the_built_in_dictionary_says") else {
        return;
    };
    for (path, bytes) in &sources {
        let dictionary = loaded(bytes, &path.display().to_string());
        // FIXT.1.1 is amended: see the amendments.
        if dictionary.version() != Version::Fixt11 {
            assert!(dictionary == *built_in_latest(dictionary.version()), "{}", path.display());
        }
    }
}

#[test]
fn an_export_that_is_loaded_again_is_the_same_dictionary() {
    for version in Version::ALL {
        for dictionary in [built_in(version), built_in_latest(version)] {
            assert!(loaded(to_xml(dictionary).as_bytes(), version.name()) == *dictionary, "{version}");
        }
    }
}

#[test]
fn the_tables_are_small() {
    assert!(TABLES.len() < 320_000, "{} bytes", TABLES.len());
}

#[test]
fn a_fixt_logon_knows_the_message_types_that_its_sender_takes_part_in() {
    let dictionary = built_in(Version::Fixt11);
    let logon = dictionary.message("A").unwrap();
    let mut groups = dictionary.unfold(&logon.members).into_iter().filter_map(|member| member.group);
    let group = groups.next_back().unwrap();
    assert_eq!((group.count_tag, dictionary.delimiter(group)), (384, Some(372)));
}

#[test]
fn every_group_of_the_standard_has_a_first_field() {
    fn groups(dictionary: &Dictionary, members: &[fixring::dictionary::Member], count: &mut u32) {
        for member in members {
            if let MemberKind::Group(group) = &member.kind {
                assert!(dictionary.delimiter(group).is_some(), "{} {}", dictionary.version(), group.count_tag);
                *count += 1;
                groups(dictionary, &group.members, count);
            }
        }
    }
    let mut count = 0;
    for version in Version::ALL {
        let dictionary = built_in(version);
        for message in dictionary.messages() {
            groups(dictionary, &message.members, &mut count);
        }
        for component in dictionary.components() {
            groups(dictionary, &component.members, &mut count);
        }
    }
    assert!(count > 900, "{count}");
}
