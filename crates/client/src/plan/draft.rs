//! A plan in the making: what it is made of, and what was chosen so far. Every choice goes through here: it is kept from the
//! earlier plan where there is one and replay allows it, else made anew from the stream of its label, and noted either way.

use std::cell::RefCell;
use std::net::IpAddr;

use culvert_obfuscation::Seed;
use culvert_protocol::parameters::Parameters;
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh::ServerKind;
use culvert_transport::upstream::CustomHeaders;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::choices::{Choice, Choices, StoredSeed};
use super::{Planner, Wanted, replay};
use crate::notice::DialOrigin;

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) entry: &'a ServerEntry,
    pub(super) parameters: &'a Parameters,
    pub(super) seed: &'a Seed,
    pub(super) wanted: Wanted,
    pub(super) server: ServerKind,
    pub(super) origin: DialOrigin,
    /// An address that a front has named.
    pub(super) named: Option<IpAddr>,
    pub(super) headers: &'a CustomHeaders,
    earlier: Option<&'a Choices>,
    made: RefCell<Choices>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(planner: &'a Planner<'a>, protocol: TunnelProtocol) -> Self {
        let earlier = planner.earlier.filter(|earlier| earlier.protocol == protocol);
        Self {
            origin: earlier.map_or(DialOrigin::Fresh, |earlier| earlier.origin),
            entry: planner.entry,
            parameters: planner.parameters,
            seed: &planner.seed,
            wanted: planner.wanted,
            server: planner.server,
            headers: planner.headers,
            named: planner.steering,
            earlier: earlier.map(|earlier| &earlier.choices),
            made: RefCell::default(),
        }
    }

    /// All that was chosen.
    pub(super) fn into_choices(self) -> Choices {
        self.made.into_inner()
    }

    /// A choice that cannot fail.
    pub(super) fn keep_or<T>(&self, choice: Choice, make: impl FnOnce() -> T) -> T
    where
        T: Serialize + DeserializeOwned,
    {
        let made = self.kept(choice).unwrap_or_else(make);
        self.note(choice, &made);
        made
    }

    /// A choice that parameters may have made impossible.
    pub(super) fn keep_or_try<T, E>(
        &self,
        choice: Choice,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        let made = match self.kept(choice) {
            Some(kept) => kept,
            None => make()?,
        };
        self.note(choice, &made);
        Ok(made)
    }

    /// What is drawn from a seed, and so needs no more than that to be the same again.
    pub(super) fn keep_seed_or(&self, choice: Choice, make: impl FnOnce() -> Seed) -> Seed {
        self.keep_or(choice, || StoredSeed(make())).0
    }

    /// What the earlier plan chose.
    pub(super) fn kept<T: DeserializeOwned>(&self, choice: Choice) -> Option<T> {
        self.earlier.filter(|_| replay::keeps(self.parameters, choice.aspect))?.get(choice)
    }

    /// For choices that take more than reading to be kept.
    pub(super) fn note<T: Serialize>(&self, choice: Choice, made: &T) {
        self.made.borrow_mut().set(choice, made);
    }
}
