//! What happened in all seeds: a simulation that stops simulating must fail.

macro_rules! tally {
    ($($name:ident $least:literal,)*) => {
        /// How often each thing happened.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Tally {
            $(pub $name: u64,)*
        }

        impl Tally {
            /// Adds another part.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// What happened too rarely, of so many seeds.
            pub fn rare(&self, seeds: u64) -> Vec<String> {
                let mut rare = Vec::new();
                $(
                    // The least is for a thousand seeds.
                    let least = $least * seeds / 1000;
                    if self.$name < least {
                        rare.push(format!("{}: {}, expected at least {least}", stringify!($name), self.$name));
                    }
                )*
                rare
            }

            /// Each with its name.
            pub fn told(&self) -> String {
                let named = [$((stringify!($name).replace('_', " "), self.$name),)*];
                named.map(|(name, count)| format!("{count} {name}")).join(", ")
            }
        }
    };
}

tally! {
    signals 1,
    events 1,
    commits 1,
    power_cuts 1,
    cuts_while_opening 1,
    kept_by_a_failed_commit 1,
    kept_and_not_said 1,
    lost_by_a_crash 1,
    failed_writes 1,
    full_disks 1,
    restarts 1,
    checkpoints 1,
    trimmed 1,
    replays 1,
    needed 1,
    configurations 1,
    reopened 1,
    posted_again 1,
    offered 1,
    promoted_or_withdrawn 1,
    duplicates 1,
    dead_letters 1,
    late 1,
    bad_lines 1,
    ticks 1,
}
