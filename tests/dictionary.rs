//! The dictionaries and what is checked with them: the built-in tables against their sources, the loader against
//! faults, the export against both, and messages against the standard.

#[path = "dictionary/faults.rs"]
mod faults;
#[path = "dictionary/messages.rs"]
mod messages;
#[path = "dictionary/oracle.rs"]
mod oracle;
#[path = "dictionary/properties.rs"]
mod properties;
#[path = "dictionary/sources.rs"]
mod sources;
