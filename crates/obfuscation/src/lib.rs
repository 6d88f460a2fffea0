//! Looks-random bytes, reproducibly: the seeded generator, the obfuscated SSH preamble, prefixes.
