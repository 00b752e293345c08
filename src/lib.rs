//! fixring: a FIX engine whose send buffer is a durable journal.
//!
//! ARCHITECTURE.md is the map. From below: [`fix`] knows the syntax, [`session`] the rules, [`journal`] what is stored,
//! [`transport`] byte streams; [`engine`] joins them on pinned threads; [`application`] is what a user brings.

#![deny(unsafe_code)]

pub mod application;
pub mod certify;
pub mod cli;
pub mod config;
pub mod control;
pub mod dictionary;
pub mod engine;
pub mod fix;
pub mod journal;
pub mod schedule;
pub mod session;
pub mod simulate;
pub mod sys;
pub mod transport;
