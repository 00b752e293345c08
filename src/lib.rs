#![deny(unsafe_code)]
pub mod fix;
