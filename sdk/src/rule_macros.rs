//! The macros that make a rule of a function.

/// Makes a mapper of a function from a signal to an observation.
///
/// `map` is `fn(MySignal<'_>) -> Mapped<'_, MyStates>`, or with `settings: MySettings` it is
/// `fn<'a>(MySignal<'a>, &MySettings) -> Mapped<'a, MyStates>`.
#[macro_export]
macro_rules! mapper {
    (name: $name:expr, version: $version:expr, schema: $schema:expr, states: $states:ty,
     map: $map:path, cases: $cases:path $(,)?) => {
        $crate::mapper! { @ $name, $version, $schema, $states, (), $cases, |signal, _settings| $map(signal) }
    };
    (name: $name:expr, version: $version:expr, schema: $schema:expr, states: $states:ty,
     settings: $settings:ty, map: $map:path, cases: $cases:path $(,)?) => {
        $crate::mapper! { @ $name, $version, $schema, $states, $settings, $cases,
        |signal, settings| $map(signal, settings) }
    };
    (@ $name:expr, $version:expr, $schema:expr, $states:ty, $settings:ty, $cases:path,
     |$signal:ident, $given:ident| $answer:expr) => {
        /// The rule, as `stillhouse_sdk::mapper!` made it.
        pub struct Rule;

        impl $crate::mapping::MapperRule for Rule {
            type Settings = $settings;

            fn manifest() -> $crate::bindings::mapper::exports::stillhouse::rules::mapper_rule::Manifest {
                fn declared<'b, S: $crate::signal::Signal<'b>>(
                    _: impl Fn(S, &$settings) -> $crate::answer::Mapped<'b, $states>,
                ) -> $crate::bindings::mapper::exports::stillhouse::rules::mapper_rule::Manifest {
                    $crate::mapping::manifest::<S, $states>($name, $version, $schema, $cases())
                }
                declared(|$signal, $given| $answer)
            }

            fn map(
                $given: &$settings,
                batch: &$crate::columns::Batch,
            ) -> $crate::bindings::mapper::exports::stillhouse::rules::mapper_rule::Observations {
                $crate::mapping::map_rows(batch, |$signal| $answer)
            }
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::mapper::exports::stillhouse::rules::mapper_rule as contract;

            static SETTINGS: ::std::sync::OnceLock<$settings> = ::std::sync::OnceLock::new();

            impl contract::Guest for Rule {
                fn describe() -> contract::Manifest {
                    $crate::tell_panics();
                    <Rule as $crate::mapping::MapperRule>::manifest()
                }
                fn configure(settings: ::std::vec::Vec<(String, String)>) -> Result<(), String> {
                    $crate::tell_panics();
                    let settings = <$settings as $crate::signal::Settings>::read(&settings)?;
                    SETTINGS.set(settings).map_err(|_| String::from("configured twice"))
                }
                fn map(batch: $crate::columns::Batch) -> contract::Observations {
                    let settings = SETTINGS.get().expect("configured before the first batch");
                    <Rule as $crate::mapping::MapperRule>::map(settings, &batch)
                }
            }
    $crate::bindings::mapper::export_mapper!(Rule with_types_in $crate::bindings::mapper);
        };

        #[cfg(test)]
        mod stillhouse_cases {
            #[test]
            fn every_case_answers_as_it_says() {
                $crate::testing::check_mapper::<super::Rule>();
            }
        }
    };
}

/// Makes a suppressor of a function from a candidate to a verdict.
///
/// `judge` is `fn(MyCandidate<'_>, &MySettings) -> Verdict`, or with `memo: MyMemo` it is
/// `fn(MyCandidate<'_>, &MySettings, &mut MyMemo) -> Verdict`, where `MyMemo` is what the rule
/// remembers of the candidate's entity: a [`Memo`](crate::memo::Memo).
#[macro_export]
macro_rules! suppressor {
    (name: $name:expr, version: $version:expr, settings: $settings:ty, judge: $judge:path, cases: $cases:path $(,)?) => {
        $crate::suppressor! { @ $name, $version, $settings, (), $cases,
        |candidate, settings, _memo| $judge(candidate, settings) }
    };
    (name: $name:expr, version: $version:expr, settings: $settings:ty, memo: $memo:ty, judge: $judge:path,
     cases: $cases:path $(,)?) => {
        $crate::suppressor! { @ $name, $version, $settings, $memo, $cases,
        |candidate, settings, memo| $judge(candidate, settings, memo) }
    };
    (@ $name:expr, $version:expr, $settings:ty, $memo:ty, $cases:path,
     |$candidate:ident, $given:ident, $kept:ident| $answer:expr) => {
        /// The rule, as `stillhouse_sdk::suppressor!` made it.
        pub struct Rule;

        impl $crate::judging::SuppressorRule for Rule {
            type Settings = $settings;

            fn manifest() -> $crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule::Manifest {
                fn declared<'b, S: $crate::signal::Signal<'b>>(
                    _: impl Fn(S, &$settings, &mut $memo) -> $crate::answer::Verdict,
                ) -> $crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule::Manifest {
                    $crate::judging::manifest::<S, $memo>($name, $version, $cases())
                }
                declared(|$candidate, $given, $kept| $answer)
            }

            fn judge(
                $given: &$settings,
                batch: &$crate::columns::Batch,
                memos: &$crate::columns::Blobs,
            ) -> $crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule::Verdicts {
                $crate::judging::judge_rows(batch, memos, |$candidate, $kept: &mut $memo| $answer)
            }
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule as contract;

            static SETTINGS: ::std::sync::OnceLock<$settings> = ::std::sync::OnceLock::new();

            impl contract::Guest for Rule {
                fn describe() -> contract::Manifest {
                    $crate::tell_panics();
                    <Rule as $crate::judging::SuppressorRule>::manifest()
                }
                fn configure(settings: ::std::vec::Vec<(String, String)>) -> Result<(), String> {
                    $crate::tell_panics();
                    let settings = <$settings as $crate::signal::Settings>::read(&settings)?;
                    SETTINGS.set(settings).map_err(|_| String::from("configured twice"))
                }
                fn judge(batch: $crate::columns::Batch, memos: $crate::columns::Blobs) -> contract::Verdicts {
                    let settings = SETTINGS.get().expect("configured before the first batch");
                    <Rule as $crate::judging::SuppressorRule>::judge(settings, &batch, &memos)
                }
            }
    $crate::bindings::suppressor::export_suppressor!(Rule with_types_in $crate::bindings::suppressor);
        };

        #[cfg(test)]
        mod stillhouse_cases {
            #[test]
            fn every_case_answers_as_it_says() {
                $crate::testing::check_suppressor::<super::Rule>();
            }
        }
    };
}
