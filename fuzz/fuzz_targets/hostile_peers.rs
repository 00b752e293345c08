//! Any bytes as the choices of a hostile world: what its peers send and when, and which part of the engine takes its turn. Nothing may
//! panic, nobody's bytes may reach another, and honest counterparties must be answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fixring::simulate::hostile::play(bytes);
});
