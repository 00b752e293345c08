#![deny(unsafe_code)]
pub mod config;
pub mod control;
pub mod fix;
pub mod session;
pub mod sys;
