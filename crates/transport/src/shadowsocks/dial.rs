//! The client's side.

use super::stream::ShadowsocksStream;
use super::wire::{Key, SALT_LEN, Salt, SaltPrefix};
use crate::{DialError, DialFacts, Dialed, Endpoint, Network};

/// Where to connect, and how the connection looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The server.
    pub server: Endpoint,
    /// Known to clients of the server.
    pub key: Key,
    /// What the salt begins with.
    pub prefix: SaltPrefix,
}

/// Connects. The salt leaves with the first bytes that are written.
pub async fn dial(plan: &Plan, network: &dyn Network) -> Result<Dialed, DialError> {
    // Never from the plan: a plan may be used again, a salt must not.
    let mut random = [0; SALT_LEN];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| DialError::Random)?;
    let stream = network.connect(&plan.server).await.map_err(DialError::Connect)?;
    let salt = Salt::of_client(random, &plan.prefix);
    let stream = ShadowsocksStream::of_client(stream, plan.key.clone(), &salt);
    Ok(Dialed { stream: Box::new(stream), facts: DialFacts::default() })
}
