//! What a core counts of its requests. Plain numbers; each core has its own.

use std::cell::RefCell;
use std::time::Duration;

use super::catalogue::{APIS, place};
use crate::base::Times;
use crate::protocol::ApiKey;

/// What was counted of one API.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ApiCounts {
    /// Requests taken up.
    pub requests: u64,
    /// Responses that carried an error code, and connections that were closed over a request.
    pub errors: u64,
    /// Bytes of requests, with their lengths.
    pub bytes_in: u64,
    /// Bytes of responses, with their lengths.
    pub bytes_out: u64,
}

/// Requests whose times are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Class {
    /// Produce.
    Produce,
    /// Fetch, with the time that it waits for records.
    Fetch,
    /// Everything else.
    Other,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Produce, Self::Fetch, Self::Other];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::Other => "other",
        }
    }

    fn of(api: ApiKey) -> Self {
        match api {
            ApiKey::Produce => Self::Produce,
            ApiKey::Fetch => Self::Fetch,
            _ => Self::Other,
        }
    }
}

/// What one core has counted of requests since its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// By API, in the order of the catalogue.
    pub apis: Vec<ApiCounts>,
    /// From the last byte read to the response made, by [`Class`].
    pub times: [Times; Class::ALL.len()],
    /// Requests that are of no API and version served, or have no header: their connections were closed.
    pub refused: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { apis: vec![ApiCounts::default(); APIS.len()], times: Default::default(), refused: 0 }
    }
}

impl Metrics {
    /// Takes in what another core counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, more) in self.apis.iter_mut().zip(&other.apis) {
            mine.requests += more.requests;
            mine.errors += more.errors;
            mine.bytes_in += more.bytes_in;
            mine.bytes_out += more.bytes_out;
        }
        self.times.iter_mut().zip(&other.times).for_each(|(mine, more)| mine.merge(more));
        self.refused += other.refused;
    }
}

/// The numbers of one core while it counts.
#[derive(Default)]
pub(super) struct Counter(RefCell<Metrics>);

impl Counter {
    pub(super) fn request(&self, api: ApiKey, bytes: usize) {
        self.api(api, |counts| {
            counts.requests += 1;
            counts.bytes_in += bytes as u64;
        });
    }

    pub(super) fn response(&self, api: ApiKey, bytes: usize, error: bool, took: Option<Duration>) {
        self.api(api, |counts| {
            counts.errors += u64::from(error);
            counts.bytes_out += bytes as u64;
        });
        if let Some(took) = took {
            self.0.borrow_mut().times[Class::of(api) as usize].add(took);
        }
    }

    /// The connection is closed over a request of this API.
    pub(super) fn closed(&self, api: ApiKey) {
        self.api(api, |counts| counts.errors += 1);
    }

    pub(super) fn refused(&self) {
        self.0.borrow_mut().refused += 1;
    }

    pub(super) fn copy(&self) -> Metrics {
        self.0.borrow().clone()
    }

    fn api(&self, api: ApiKey, count: impl FnOnce(&mut ApiCounts)) {
        if let Some(at) = place(api) {
            count(&mut self.0.borrow_mut().apis[at]);
        }
    }
}
