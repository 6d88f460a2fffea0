//! The client's side of plain TCP.

use crate::{DialError, DialFacts, Dialed, Endpoint, Network};

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The server.
    pub server: Endpoint,
}

/// Connects.
pub async fn dial(plan: &Plan, network: &dyn Network) -> Result<Dialed, DialError> {
    let stream = network.connect(&plan.server).await.map_err(DialError::Connect)?;
    Ok(Dialed { stream, facts: DialFacts::default() })
}
