//! A running rule of either version of the contract, asked in the words of the newest. This is the
//! only place that knows how 0.1 differs: its suppressors keep no memo.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::bindings::v0_1::mapper as old_mapper;
use crate::bindings::v0_1::mapper::exports::stillhouse::rules::mapper_rule as old_mapper_rule;
use crate::bindings::v0_1::suppressor as old_suppressor;
use crate::bindings::v0_1::suppressor::exports::stillhouse::rules::suppressor_rule as old_suppressor_rule;
use crate::bindings::{columns, mapper, mapper_rule, suppressor, suppressor_rule};
use crate::contract::Version;
use crate::guest::{HostState, Start};

type Host = Store<HostState>;
type Configured = wasmtime::Result<Result<(), String>>;

/// A mapper, ready to be started.
#[derive(Clone)]
pub(crate) enum MapperPre {
    Old(old_mapper::MapperPre<HostState>),
    New(mapper::MapperPre<HostState>),
}

/// A mapper that runs.
pub(crate) enum Mapper {
    Old(old_mapper::Mapper),
    New(mapper::Mapper),
}

impl MapperPre {
    pub fn new(version: Version, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(match version {
            Version::V0_1 => Self::Old(old_mapper::MapperPre::new(pre)?),
            Version::V0_2 => Self::New(mapper::MapperPre::new(pre)?),
        })
    }
}

impl Start for MapperPre {
    type World = Mapper;
    fn start(&self, store: &mut Host) -> wasmtime::Result<Mapper> {
        Ok(match self {
            Self::Old(pre) => Mapper::Old(pre.instantiate(store)?),
            Self::New(pre) => Mapper::New(pre.instantiate(store)?),
        })
    }
}

impl Mapper {
    pub fn describe(&self, store: &mut Host) -> wasmtime::Result<mapper_rule::Manifest> {
        match self {
            Self::Old(world) => world.stillhouse_rules_mapper_rule().call_describe(store).map(Into::into),
            Self::New(world) => world.stillhouse_rules_mapper_rule().call_describe(store),
        }
    }

    pub fn configure(&self, store: &mut Host, settings: &[(String, String)]) -> Configured {
        match self {
            Self::Old(world) => world.stillhouse_rules_mapper_rule().call_configure(store, settings),
            Self::New(world) => world.stillhouse_rules_mapper_rule().call_configure(store, settings),
        }
    }

    pub fn map(&self, store: &mut Host, batch: &columns::Batch) -> wasmtime::Result<mapper_rule::Observations> {
        match self {
            Self::Old(world) => world.stillhouse_rules_mapper_rule().call_map(store, batch).map(Into::into),
            Self::New(world) => world.stillhouse_rules_mapper_rule().call_map(store, batch),
        }
    }
}

impl From<old_mapper_rule::Manifest> for mapper_rule::Manifest {
    fn from(old: old_mapper_rule::Manifest) -> Self {
        let expected = |old: old_mapper_rule::Expected| mapper_rule::Expected {
            outcome: old.outcome,
            state: old.state,
            severity: old.severity,
            key: old.key,
            value: old.value,
            reason: old.reason,
        };
        let case = |old: old_mapper_rule::MapperCase| mapper_rule::MapperCase {
            name: old.name,
            given: old.given,
            expected: expected(old.expected),
        };
        let cases = old.cases.into_iter().map(case).collect();
        Self { identity: old.identity, schema: old.schema, states: old.states, cases }
    }
}

impl From<old_mapper_rule::Observations> for mapper_rule::Observations {
    fn from(old: old_mapper_rule::Observations) -> Self {
        Self {
            outcome: old.outcome,
            state: old.state,
            severity: old.severity,
            key: old.key,
            value: old.value,
            reason: old.reason,
        }
    }
}

/// A suppressor, ready to be started.
#[derive(Clone)]
pub(crate) enum SuppressorPre {
    Old(old_suppressor::SuppressorPre<HostState>),
    New(suppressor::SuppressorPre<HostState>),
}

/// A suppressor that runs.
pub(crate) enum Suppressor {
    Old(old_suppressor::Suppressor),
    New(suppressor::Suppressor),
}

impl SuppressorPre {
    pub fn new(version: Version, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(match version {
            Version::V0_1 => Self::Old(old_suppressor::SuppressorPre::new(pre)?),
            Version::V0_2 => Self::New(suppressor::SuppressorPre::new(pre)?),
        })
    }
}

impl Start for SuppressorPre {
    type World = Suppressor;
    fn start(&self, store: &mut Host) -> wasmtime::Result<Suppressor> {
        Ok(match self {
            Self::Old(pre) => Suppressor::Old(pre.instantiate(store)?),
            Self::New(pre) => Suppressor::New(pre.instantiate(store)?),
        })
    }
}

impl Suppressor {
    pub fn describe(&self, store: &mut Host) -> wasmtime::Result<suppressor_rule::Manifest> {
        match self {
            Self::Old(world) => world.stillhouse_rules_suppressor_rule().call_describe(store).map(Into::into),
            Self::New(world) => world.stillhouse_rules_suppressor_rule().call_describe(store),
        }
    }

    pub fn configure(&self, store: &mut Host, settings: &[(String, String)]) -> Configured {
        match self {
            Self::Old(world) => world.stillhouse_rules_suppressor_rule().call_configure(store, settings),
            Self::New(world) => world.stillhouse_rules_suppressor_rule().call_configure(store, settings),
        }
    }

    pub fn judge(
        &self,
        store: &mut Host,
        batch: &columns::Batch,
        memos: &columns::Blobs,
    ) -> wasmtime::Result<suppressor_rule::Verdicts> {
        match self {
            Self::Old(world) => world.stillhouse_rules_suppressor_rule().call_judge(store, batch).map(Into::into),
            Self::New(world) => world.stillhouse_rules_suppressor_rule().call_judge(store, batch, memos),
        }
    }
}

impl From<old_suppressor_rule::Manifest> for suppressor_rule::Manifest {
    fn from(old: old_suppressor_rule::Manifest) -> Self {
        let expected = |old: old_suppressor_rule::Expected| suppressor_rule::Expected {
            verdict: old.verdict,
            until: old.until,
            severity: old.severity,
            reason: old.reason,
            memo: None,
        };
        let case = |old: old_suppressor_rule::SuppressorCase| suppressor_rule::SuppressorCase {
            name: old.name,
            settings: old.settings,
            given: old.given,
            memo: Vec::new(),
            expected: expected(old.expected),
        };
        Self { identity: old.identity, memo: None, cases: old.cases.into_iter().map(case).collect() }
    }
}

impl From<old_suppressor_rule::Verdicts> for suppressor_rule::Verdicts {
    fn from(old: old_suppressor_rule::Verdicts) -> Self {
        let memo = columns::Blobs { offsets: Vec::new(), data: Vec::new() };
        Self { verdict: old.verdict, until: old.until, severity: old.severity, reason: old.reason, memo }
    }
}
