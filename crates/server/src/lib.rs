//! Accepts tunnels: sessions, port forwards, traffic rules, reports.
