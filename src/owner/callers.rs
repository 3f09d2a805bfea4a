//! Who makes commands, and what they are told of them.

use crate::{
    store::{Op, Reply},
    text::Text,
};

/// One operation and what its caller wants beside the reply.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where it was made: to copy it costs more than to use it.
    pub op: &'a Op<&'a [u8]>,
    /// A pinned value is to be measured as a text: the reply then comes late, with its measure.
    pub wants_text: bool,
}

impl<'a> From<&'a Op<&'a [u8]>> for Call<'a> {
    fn from(op: &'a Op<&'a [u8]>) -> Self {
        Self { op, wants_text: false }
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<R> {
    /// It ran, and this is what was made of the reply.
    Now(R),
    /// Its caller is told later, by [`super::Owner::work`].
    Later,
    /// Too much waits here already. Nothing was done.
    Refused,
}

/// What a caller is told later.
#[derive(Clone, Copy, Debug)]
pub enum Late<'a> {
    /// `text` is the measure of a pinned value whose caller wanted it.
    Reply { reply: Reply<&'a [u8]>, text: Option<Text> },
    /// Its caller wants no reply any more: the command did not run.
    LeftOut,
    /// The upstream has failed: the command did not run.
    Failed,
}

/// Those who wait. `A` finds the way back to one of them.
pub trait Callers<A> {
    /// Whether a command may run still, asked right before it does.
    fn may_run(&mut self, caller: &A) -> bool;

    /// Returns whether the pin that the reply names is kept.
    fn tell(&mut self, caller: A, key: &[u8], late: Late<'_>) -> bool;
}
