//! Inputs of the targets of `ssh`.

use crate::Input;

pub(crate) fn inputs() -> Vec<Input> {
    let lists = [
        "mlkem768x25519-sha256,curve25519-sha256,ecdh-sha2-nistp256,ext-info-c,kex-strict-c-v00@openssh.com",
        "rsa-sha2-256,ssh-rsa",
        "aes128-gcm@openssh.com,aes256-ctr",
        "chacha20-poly1305@openssh.com,aes128-ctr",
        "hmac-sha2-256-etm@openssh.com,hmac-sha1",
        "hmac-sha2-512",
        "none",
        "none,zlib@openssh.com",
        "",
        "",
    ];
    let point = [[9].as_slice(), &[0; 31]].concat();
    let key = [string(b"ssh-rsa"), string(&[1, 0, 1]), string(&[0x55; 256])].concat();
    let signature = [string(b"rsa-sha2-256"), string(&[0x66; 256])].concat();
    let blobs = [key.clone(), vec![0; signature.len().saturating_sub(key.len())], signature.clone()].concat();
    let made = [
        ("host_key", "blobs", blobs),
        ("kexinit", "usual", kexinit(&lists, 1)),
        ("kexinit", "empty", kexinit(&[""; 10], 0)),
        ("kex_messages", "init", [vec![30], string(&point)].concat()),
        ("kex_messages", "init_hybrid", [vec![30], string(&[7; 1216])].concat()),
        ("kex_messages", "reply", [vec![31], string(&key), string(&point), string(&signature)].concat()),
        ("ssh_packet", "clear", [vec![0, 0, 0, 0, 12, 4, 21], vec![0; 10]].concat()),
    ];
    let payloads = (0..11)
        .map(|choice| ("ssh_packet", format!("suite_{choice}"), vec![choice; 40 + usize::from(choice)]));
    made.into_iter().map(|(target, name, bytes)| (target, name.to_owned(), bytes)).chain(payloads).collect()
}

fn kexinit(lists: &[&str; 10], follows: u8) -> Vec<u8> {
    let lists = lists.iter().flat_map(|list| string(list.as_bytes()));
    [20].into_iter().chain([7; 16]).chain(lists).chain([follows, 0, 0, 0, 0]).collect()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
