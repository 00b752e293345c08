//! What each FIX version says: its fields, messages, components and groups; and the check of a message against it.
//!
//! Three doors lead here. [`built_in`] gives the standard's own dictionary of a [`Version`], from tables inside the
//! binary. [`load`] reads a counterparty's file in the QuickFIX XML format and reports every fault in it. [`compile`]
//! makes the tables of the first from files of the second. A [`Validator`] is what the hot path keeps of a
//! dictionary: tables in which a field is looked up in a few ns, without an allocation.
//!
//! Nothing here knows of sessions: which Reject(3) a [`Violation`] becomes, and in which version it may say so, is the
//! session's affair. Files are read by the caller; this module sees text.

mod amendments;
mod data_pairs;
mod export;
mod fault;
mod field_type;
mod load;
mod members;
mod model;
mod tables;
mod validator;
mod version;

pub use export::to_xml;
pub use fault::{Fault, Faults, Severity};
pub use field_type::FieldType;
pub use load::{Allowance, Allowances, FILE_BYTES_MAX, Loaded, UnknownAllowance, load, load_allowing};
pub use model::{
    Category, Component, ComponentIndex, DEPTH_MAX, Dictionary, EnumeratedValue, FieldDefinition, Group, Member,
    MemberKind, MessageDefinition,
};
pub use tables::{TableError, built_in, built_in_latest, compile};
pub use validator::{Checks, CompileError, FixtValidator, Reason, Validator, Violation};
pub use version::{UnknownVersion, Version};
