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
    pub fn profile(mut self, profile: LinkProfile) -> Self {
        self.profile = profile;
        self
    }

    /// The faults. Default: none.
    pub fn faults(mut self, faults: FaultPlan) -> Self {
        self.faults = faults;
        self
    }

    /// Whether older generations can still be read. Default: yes.
    pub fn versioned(mut self, versioned: bool) -> Self {
        self.versioned = versioned;
        self
    }

    /// Seed of the variation of first-byte times. The fault plan has its own seed. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Connections that are established from the start. Default: 0.
    pub fn warm_connections(mut self, connections: usize) -> Self {
        self.warm_connections = connections;
        self
    }

    /// Builds the store. Its time starts now.
    #[must_use]
    pub fn build(self) -> SimStore {
        let (profile, faults) = (self.profile, self.faults);
        SimStore { cloud: SimCloud::new(profile, self.versioned, faults, self.warm_connections, self.seed) }
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
