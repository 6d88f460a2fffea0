//! Signatures of another implementation, the server's own key, and everything that must not verify.

use data_encoding::BASE64;

use super::*;
use crate::wire::Reader;

const MESSAGE: &[u8] = b"exchange hash";

/// Public key blob and signature blob over [`MESSAGE`] from the file beside.
fn known(name: &str) -> (Vec<u8>, Vec<u8>) {
    let line = include_str!("known_signatures.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .expect("line");
    let (key, signature) = line.split_once(' ').expect("two blobs");
    (BASE64.decode(key.as_bytes()).expect("base64"), BASE64.decode(signature.as_bytes()).expect("base64"))
}

#[test]
fn signatures_of_another_implementation() {
    for algorithm in HostKeyAlgorithm::ALL {
        let (key, signature) = known(algorithm.wire_name());
        assert_eq!(verify(algorithm, &key, MESSAGE, &signature), Ok(()), "{algorithm:?}");
        assert_eq!(
            verify(algorithm, &key, b"exchange hasH", &signature),
            Err(VerifyError::BadSignature),
            "{algorithm:?}"
        );
    }
}

#[test]
fn every_changed_byte_is_refused() {
    for algorithm in HostKeyAlgorithm::ALL {
        let (key, signature) = known(algorithm.wire_name());
        for index in 0..signature.len() {
            let mut changed = signature.clone();
            changed[index] ^= 0x10;
            assert!(verify(algorithm, &key, MESSAGE, &changed).is_err(), "{algorithm:?}, signature {index}");
            let cut = &signature[..index];
            assert!(
                verify(algorithm, &key, MESSAGE, cut).is_err(),
                "{algorithm:?}, signature cut at {index}"
            );
        }
        for index in 0..key.len() {
            let mut changed = key.clone();
            changed[index] ^= 0x10;
            assert!(verify(algorithm, &changed, MESSAGE, &signature).is_err(), "{algorithm:?}, key {index}");
            let cut = &key[..index];
            assert!(
                verify(algorithm, cut, MESSAGE, &signature).is_err(),
                "{algorithm:?}, key cut at {index}"
            );
        }
        for longer in [[key.as_slice(), &[0]].concat(), [&[0, 0, 0, 0], key.as_slice()].concat()] {
            assert!(verify(algorithm, &longer, MESSAGE, &signature).is_err(), "{algorithm:?}");
        }
        let longer = [signature.as_slice(), &[0]].concat();
        assert!(verify(algorithm, &key, MESSAGE, &longer).is_err(), "{algorithm:?}");
    }
}

#[test]
fn types_must_match() {
    for algorithm in HostKeyAlgorithm::ALL {
        let (key, signature) = known(algorithm.wire_name());
        for other in HostKeyAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let expected = if other.key_format() == algorithm.key_format() {
                VerifyError::WrongSignatureType(other)
            } else {
                VerifyError::WrongKeyType(other)
            };
            assert_eq!(verify(other, &key, MESSAGE, &signature), Err(expected), "{algorithm:?} as {other:?}");
        }
    }
    // A SHA-1 signature of an RSA key is named `ssh-rsa`.
    let (key, signature) = known("rsa-sha2-256");
    let mut reader = Reader::new(&signature);
    reader.string().expect("name");
    let mut renamed = Vec::new();
    renamed.put_string(b"ssh-rsa");
    renamed.put_string(reader.string().expect("signature"));
    assert_eq!(
        verify(HostKeyAlgorithm::RsaSha256, &key, MESSAGE, &renamed),
        Err(VerifyError::WrongSignatureType(HostKeyAlgorithm::RsaSha256))
    );
}

#[test]
fn rsa_sizes_are_bounded() {
    let (key, signature) = known("rsa-1024");
    let refused = verify(HostKeyAlgorithm::RsaSha256, &key, MESSAGE, &signature);
    assert_eq!(refused, Err(VerifyError::BadSignature));

    let (_, signature) = known("rsa-sha2-256");
    for (exponent, modulus) in [(3, 1025), (9, 256), (3, 0)] {
        let mut key = Vec::new();
        key.put_string(b"ssh-rsa");
        key.put_mpint(&vec![3; exponent]);
        key.put_mpint(&vec![0xff; modulus]);
        assert!(verify(HostKeyAlgorithm::RsaSha256, &key, MESSAGE, &signature).is_err());
    }
}

#[test]
fn own_key_signs_and_survives_its_pem() {
    let made = HostKey::generate().expect("key");
    let text = made.to_pem().expect("pem");
    assert!(text.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let pkcs8: Pkcs8V1Der<'_> = made.key.as_der().expect("pkcs8");
    for text in [text, pem::encode(Label::Pkcs8, pkcs8.as_ref())] {
        let loaded = HostKey::from_pem(&text).expect("loaded");
        assert_eq!(loaded.public_blob(), made.public_blob());
        for algorithm in [HostKeyAlgorithm::RsaSha256, HostKeyAlgorithm::RsaSha512] {
            let signature = loaded.sign(algorithm, MESSAGE).expect("signature");
            // PKCS#1 v1.5 signatures are the same each time.
            assert_eq!(made.sign(algorithm, MESSAGE).as_ref(), Ok(&signature));
            assert_eq!(verify(algorithm, made.public_blob(), MESSAGE, &signature), Ok(()));
        }
    }
    assert_eq!(format!("{made:?}"), "HostKey([redacted])");
    let refused = made.sign(HostKeyAlgorithm::Ed25519, MESSAGE);
    assert_eq!(refused, Err(HostKeyError::WrongAlgorithm(HostKeyAlgorithm::Ed25519)));

    let blob = made.public_blob();
    let mut reader = Reader::new(blob);
    assert_eq!(reader.string(), Ok(&b"ssh-rsa"[..]));
    assert_eq!(reader.mpint(), Ok(&[1, 0, 1][..]));
    assert_eq!(reader.mpint().map(<[u8]>::len), Ok(256));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn texts_that_are_no_rsa_key() {
    assert_eq!(HostKey::from_pem("").err(), Some(HostKeyError::NotPem));
    assert_eq!(HostKey::from_pem("ssh-rsa AAAA").err(), Some(HostKeyError::NotPem));
    for label in [Label::Pkcs1, Label::Pkcs8] {
        for der in [&[][..], &[0x30, 0x00], &[0; 64]] {
            let refused = HostKey::from_pem(&pem::encode(label, der)).err();
            assert_eq!(refused, Some(HostKeyError::NotRsa), "{label:?}, {der:?}");
        }
    }
}
