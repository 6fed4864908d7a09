//! How requests ended, counted by why they were sent.

use object_store::Error;
use serde::{Deserialize, Serialize};

use super::EventCounter;
use crate::error::Throttled;
use crate::protocol::extensions::Intent;
use crate::request::retryable::is_transient;

/// How all requests of a [`crate::FetchStore`] ended that have ended, each try by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestOutcomes {
    /// GETs for bytes that a reader waits for.
    pub demand: OutcomeCounts,
    /// GETs for bytes that no reader waited for when they were sent.
    pub speculative: OutcomeCounts,
    /// Second GETs, sent because the first answer was late.
    pub hedge: OutcomeCounts,
    /// HEADs.
    pub head: OutcomeCounts,
}

/// How requests of one kind ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// An answer began. Its body may have failed later.
    pub answered: u64,
    /// The store refused: there is no such object, a condition is not met, access is denied, … Not tried again.
    pub refused: u64,
    /// The store throttled ([`Throttled`]).
    pub throttled: u64,
    /// Another failure that is known to pass, such as a broken connection.
    pub failed: u64,
    /// Given up before an answer began: nobody waited any more, or another request was answered first.
    pub cancelled: u64,
}

impl RequestOutcomes {
    /// Requests that the store throttled.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        [self.demand, self.speculative, self.hedge, self.head].iter().map(|counts| counts.throttled).sum()
    }
}

/// Why a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestPurpose {
    Demand,
    Speculative,
    Hedge,
    Head,
}

impl From<Intent> for RequestPurpose {
    fn from(intent: Intent) -> Self {
        match intent {
            Intent::Demand => Self::Demand,
            Intent::Speculative => Self::Speculative,
        }
    }
}

/// The counters behind [`RequestOutcomes`], by [`RequestPurpose`].
#[derive(Debug, Default)]
pub(crate) struct OutcomeCounters([PurposeCounters; 4]);

#[derive(Debug, Default)]
struct PurposeCounters {
    answered: EventCounter,
    refused: EventCounter,
    throttled: EventCounter,
    failed: EventCounter,
    cancelled: EventCounter,
}

impl OutcomeCounters {
    /// A request is sent. It is counted when its end is reported, or as cancelled when the returned value is dropped.
    pub(crate) fn sent(&self, purpose: RequestPurpose) -> SentRequest<'_> {
        SentRequest { counters: &self.0[purpose as usize], is_open: true }
    }

    pub(crate) fn snapshot(&self) -> RequestOutcomes {
        let counts = |purpose: RequestPurpose| {
            let counters = &self.0[purpose as usize];
            OutcomeCounts {
                answered: counters.answered.count(),
                refused: counters.refused.count(),
                throttled: counters.throttled.count(),
                failed: counters.failed.count(),
                cancelled: counters.cancelled.count(),
            }
        };
        RequestOutcomes {
            demand: counts(RequestPurpose::Demand),
            speculative: counts(RequestPurpose::Speculative),
            hedge: counts(RequestPurpose::Hedge),
            head: counts(RequestPurpose::Head),
        }
    }
}

/// A request whose end is not known yet.
pub(crate) struct SentRequest<'a> {
    counters: &'a PurposeCounters,
    is_open: bool,
}

impl SentRequest<'_> {
    /// An answer began, or the request failed with `error`.
    pub(crate) fn ended(mut self, error: Option<&Error>) {
        self.is_open = false;
        let counter = match error {
            None => &self.counters.answered,
            Some(error) if Throttled::find(error).is_some() => &self.counters.throttled,
            Some(error) if is_transient(error) => &self.counters.failed,
            Some(_) => &self.counters.refused,
        };
        counter.add(1);
    }
}

impl Drop for SentRequest<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.counters.cancelled.add(1);
        }
    }
}
