//! The only code that may be `unsafe`: one operation a block, each with its proof.
#![allow(unsafe_code)]

pub mod simd;
