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
        (
            "ssh_messages",
            "channel_to_server",
            messages(0, &[channel_open(0), data(0, b"hello"), vec![96, 0, 0, 0, 0]]),
        ),
        ("ssh_messages", "channel_to_client", messages(1, &[vec![], channel_open(4), vec![97, 0, 0, 0, 0]])),
        ("ssh_messages", "requests", messages(0, &[request(1), request(0), vec![81], vec![], vec![82]])),
        (
            "ssh_messages",
            "window",
            messages(0, &[channel_open(1), [vec![93], vec![0; 4], vec![255; 4]].concat()]),
        ),
        (
            "ssh_messages",
            "before_login",
            messages(2, &[vec![2, 0, 0, 0, 0], [vec![5], string(b"ssh-userauth")].concat()]),
        ),
        ("ssh_messages", "rekey", messages(0, &[kexinit(&lists, 0), vec![21]])),
        (
            "ssh_opening",
            "line",
            [&[0, 7], b"SSH-2.0-OpenSSH_8.1\r\n".as_slice(), &packet(&kexinit(&lists, 0))].concat(),
        ),
        (
            "ssh_opening",
            "to_client",
            [&[2, 200], b"\0\0\r\nSSH-2.0-x\r\n".as_slice(), &packet(&kexinit(&lists, 0))].concat(),
        ),
        ("ssh_opening", "obfuscated", [&[1, 50], crate::obfuscation::preamble(None).as_slice()].concat()),
        ("ssh_packet", "clear", [vec![0, 0, 0, 0, 12, 4, 21], vec![0; 10]].concat()),
    ];
    let payloads = (0..11)
        .map(|choice| ("ssh_packet", format!("suite_{choice}"), vec![choice; 40 + usize::from(choice)]));
    let made = made.into_iter().chain(channels());
    made.map(|(target, name, bytes)| (target, name.to_owned(), bytes)).chain(payloads).collect()
}

/// The channel state machine: see the target for the numbers.
fn channels() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("ssh_channels", "both_ways", operations(0, &[0, 31, 3, 30, 8, 9, 31, 30, 18, 19, 31, 30])),
        ("ssh_channels", "half_by_half", operations(0, &[0, 31, 3, 30, 8, 10, 31, 9, 11, 30, 12, 13])),
        (
            "ssh_channels",
            "new_keys",
            operations(1, &[0, 31, 3, 30, 8, 9, 31, 30, 18, 19, 8, 9, 31, 30, 22, 23, 31]),
        ),
        ("ssh_channels", "refused", operations(0, &[0, 1, 31, 30, 5, 4, 31, 30, 0, 12, 31, 30])),
        ("ssh_channels", "questions", operations(0, &[26, 27, 26, 31, 30, 29, 28, 31, 30])),
    ]
}

/// Operations on the first channel, with an amount that grows.
fn operations(mode: u8, whats: &[u8]) -> Vec<u8> {
    let operations = whats.iter().zip(100..).flat_map(|(what, amount)| [*what, 0, amount]);
    [mode].into_iter().chain(operations).collect()
}

fn messages(mode: u8, messages: &[Vec<u8>]) -> Vec<u8> {
    let messages = messages
        .iter()
        .flat_map(|message| [&(message.len() as u16).to_be_bytes(), message.as_slice()].concat());
    [mode].into_iter().chain(messages).collect()
}

fn channel_open(sender: u8) -> Vec<u8> {
    let numbers = [0, 0, 0, sender, 0, 2, 0, 0, 0, 0, 128, 0];
    [vec![90], string(b"direct-tcpip"), numbers.to_vec(), string(b"example.org"), vec![0, 0, 0, 80]].concat()
}

fn data(channel: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![94, 0, 0, 0, channel], string(bytes)].concat()
}

fn request(want_reply: u8) -> Vec<u8> {
    [vec![80], string(b"keepalive@openssh.com"), vec![want_reply], b"body".to_vec()].concat()
}

/// In clear, with the least padding.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 16 - (payload.len() + 5 + 4) % 16 + 4;
    [
        ((payload.len() + padding + 1) as u32).to_be_bytes().as_slice(),
        &[padding as u8],
        payload,
        &vec![0; padding],
    ]
    .concat()
}

fn kexinit(lists: &[&str; 10], follows: u8) -> Vec<u8> {
    let lists = lists.iter().flat_map(|list| string(list.as_bytes()));
    [20].into_iter().chain([7; 16]).chain(lists).chain([follows, 0, 0, 0, 0]).collect()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
