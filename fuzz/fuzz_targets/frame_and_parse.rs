//! Any bytes, as a stream and as one message: the fast reading must agree with the slow one, and nothing may panic.
//! The property tests hold the same law, `fixring::fix::oracle`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fixring::fix::oracle::check(bytes));
