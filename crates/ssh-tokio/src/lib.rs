//! Runs an SSH connection over a byte stream; channels as async streams.
