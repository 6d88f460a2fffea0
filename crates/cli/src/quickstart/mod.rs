//! What `culvert quickstart` is made of, apart from the client and the server it starts: destinations to reach, requests through the
//! local proxies, bulk data with digests, a progress bar, a folder that cleans up after itself.

pub mod bulk;
pub mod folder;
pub mod origin;
pub mod progress;
pub mod proxies;
