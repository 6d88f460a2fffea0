//! Establishes and keeps tunnels; local proxies; notices.
