//! What a flow's first datagram looks like to a middlebox. Sources: RFC 9000 section 17.2; Xue et al., "TSPU", IMC 2022, for the rule that
//! blocked QUIC version 1.

/// Kinds of first datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstDatagram {
    /// A long header of version 1, as blocked where all QUIC is: at least 1001 bytes.
    QuicVersion1,
    /// Nothing that has a form.
    Noise,
}

/// The TSPU's rule looks at no shorter ones.
const LEAST: usize = 1001;

/// Judges a first datagram.
#[must_use]
pub fn first_datagram(bytes: &[u8]) -> FirstDatagram {
    let is_version_1 = matches!(bytes, [_, 0, 0, 0, 1, ..]);
    if is_version_1 && bytes.len() >= LEAST { FirstDatagram::QuicVersion1 } else { FirstDatagram::Noise }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_initials_of_version_1() {
        let mut initial = vec![0; 1200];
        initial[..5].copy_from_slice(&[0xC3, 0, 0, 0, 1]);
        assert_eq!(first_datagram(&initial), FirstDatagram::QuicVersion1);
        assert_eq!(first_datagram(&initial[..1000]), FirstDatagram::Noise);
        initial[4] = 2;
        assert_eq!(first_datagram(&initial), FirstDatagram::Noise);
        assert_eq!(first_datagram(&[]), FirstDatagram::Noise);
    }
}
