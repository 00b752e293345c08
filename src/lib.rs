#![deny(unsafe_code)]
pub mod fix;
pub mod session;
pub mod sys;
