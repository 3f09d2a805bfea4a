//! Sets of plain counters that can be summed and listed by name.

/// Declares a set of counters: a plain struct of `u64` that can be summed and listed by name. Of
/// `name: max` the sum is the larger one.
macro_rules! counters {
    ($(#[$outer:meta])* $set:ident { $($(#[$doc:meta])* $name:ident $(: $sum:ident)?,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $set {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl $set {
            /// Every counter under its name.
            #[must_use]
            pub fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        impl std::ops::AddAssign for $set {
            fn add_assign(&mut self, other: Self) {
                $($crate::counters::counters!(self.$name, other.$name $(, $sum)?);)*
            }
        }
    };
    ($sum:expr, $other:expr) => { $sum += $other };
    ($sum:expr, $other:expr, max) => { $sum = $sum.max($other) };
}

pub(crate) use counters;

counters! {
    /// Calls that left a shard for their key's owner elsewhere.
    Hops {
        calls,
        /// `calls / messages` is the mean batch.
        messages,
        /// Found no room for a call under way and were answered 503.
        refused,
    }
}
