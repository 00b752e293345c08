#![deny(unsafe_code)]
pub mod fix;
pub mod journal;
pub mod sys;
