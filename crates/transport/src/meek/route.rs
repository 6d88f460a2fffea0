//! How a connection for requests comes about.

use std::sync::Arc;

use super::connection::Connection;
use crate::{DialError, Endpoint, Network};

/// Where connections go, and what is around HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// HTTP in the clear.
    Http(Endpoint),
}

impl Route {
    pub(super) async fn connect(&self, network: &Arc<dyn Network>) -> Result<Connection, DialError> {
        match self {
            Self::Http(server) => {
                let stream = network.connect(server).await.map_err(DialError::Connect)?;
                Ok(Connection::http1(stream))
            }
        }
    }
}
