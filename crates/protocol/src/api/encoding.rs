//! The bytes of a request, in the form that the server takes. PROTOCOL.md 4.1.

use crate::packed::{self, PackError, Params};

/// How a request is written. A server whose entry lacks `ssh-api-requests` takes JSON only.
#[derive(Clone, Copy)]
pub enum RequestEncoding<'a> {
    /// Packed CBOR, the default.
    Packed,
    /// JSON, with the web server secret of the entry, which today's servers ignore.
    Json {
        /// The secret.
        server_secret: &'a str,
    },
}

impl RequestEncoding<'_> {
    /// Writes the parameters of a request.
    ///
    /// # Errors
    /// A parameter cannot be packed. The steering IP, which has no key, is left out instead of failing the tunnel.
    pub fn encode(self, mut params: Params) -> Result<Vec<u8>, PackError> {
        match self {
            Self::Packed => {
                params.take("steering_ip");
                packed::encode(&params)
            }
            Self::Json { server_secret } => {
                params.set("server_secret", server_secret);
                Ok(params.to_json().into_bytes())
            }
        }
    }
}
