//! Programs of operations on one store, beside the model of `tests/store_model.rs`.

#![no_main]

#[path = "../../tests/common/model/mod.rs"]
mod model;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use model::Program;

impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self::decode(bytes.bytes(bytes.len())?))
    }

    fn arbitrary_take_rest(bytes: Unstructured<'a>) -> Result<Self> {
        Ok(Self::decode(bytes.take_rest()))
    }
}

fuzz_target!(|program: Program| program.play());
