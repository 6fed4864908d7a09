//! Builds a [`SimStore`].

use super::SimStore;
use crate::cloud::SimCloud;
use crate::policy::{faults::FaultPlan, profile::LinkProfile};

/// Builds a [`SimStore`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct SimStoreBuilder {
    profile: LinkProfile,
    faults: FaultPlan,
    versioned: bool,
    seed: u64,
    warm_connections: usize,
}

impl SimStoreBuilder {
    /// The link. Default: [`LinkProfile::loopback`].
    pub fn profile(self, profile: LinkProfile) -> Self {
        Self { profile, ..self }
    }

    /// The faults. Default: none.
    pub fn faults(self, faults: FaultPlan) -> Self {
        Self { faults, ..self }
    }

    /// Whether older generations can still be read. Default: yes.
    pub fn versioned(self, versioned: bool) -> Self {
        Self { versioned, ..self }
    }

    /// Seed of the variation of first-byte times. The fault plan has its own seed. Default: 0.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Connections that are established from the start. Default: 0.
    pub fn warm_connections(self, connections: usize) -> Self {
        Self { warm_connections: connections, ..self }
    }

    /// Builds the store. Its time starts now.
    #[must_use]
    pub fn build(self) -> SimStore {
        let Self { profile, faults, versioned, seed, warm_connections } = self;
        SimStore { cloud: SimCloud::new(profile, versioned, faults, warm_connections, seed) }
    }
}

impl Default for SimStoreBuilder {
    fn default() -> Self {
        Self {
            profile: LinkProfile::loopback(),
            faults: FaultPlan::default(),
            versioned: true,
            seed: 0,
            warm_connections: 0,
        }
    }
}
