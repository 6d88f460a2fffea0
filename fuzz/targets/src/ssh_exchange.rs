//! The state machine of key exchange and login, in both roles, against a peer that goes by the book until the input says otherwise:
//! messages out of order, changed, repeated, left out, in pieces; guesses; new keys in the middle.
//!
//! What is right must be taken and answered, what breaks a rule must end the connection, and nobody logs in but by the book.

use culvert_ssh::kexinit::{KexInit, Role};
use culvert_ssh::names::{CipherName, KexName, MacName, wire_name};
use culvert_ssh::{Algorithms, ChannelOpen, Error, Event, Limits, ServerKind};

use crate::ssh_peer::{KEXINIT, NEWKEYS, Peer, login, offer, password, string};
use crate::ssh_setup;

const MOST_OPERATIONS: usize = 60;
/// Each takes as long as thousands of other operations; and the connection allows more, but not any number.
const MOST_EXCHANGES: usize = 6;
/// A change of keys after little, where the application's data are to cause some.
const REKEY_BYTES: u64 = 3000;
/// One more would end the connection.
const MOST_WRONG: usize = 5;
/// The methods whose numbers are small enough to be fast.
const METHODS: [KexName; 5] = [
    KexName::Curve25519Sha256,
    KexName::EcdhNistp256,
    KexName::EcdhNistp384,
    KexName::EcdhNistp521,
    KexName::MlKem768X25519Sha256,
];

/// Four bytes say what is tested and what is offered to it; then operations of two bytes each: what, and how.
pub(crate) fn ssh_exchange(data: &[u8]) {
    let Some(([mode, method, cipher, mac], operations)) = data.split_first_chunk::<4>() else { return };
    let mut run = Run::new(*mode, [*method, *cipher, *mac]);
    for operation in operations.chunks_exact(2).take(MOST_OPERATIONS) {
        if run.operate(operation[0], operation[1]).is_none() {
            return;
        }
    }
    run.end_well();
}

/// What an operation must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It is as the protocol says.
    Taken,
    /// It breaks a rule.
    Refused,
    /// Either, but it is no longer by the book.
    Either,
}

/// The connection ended, or can no longer be followed.
type Goes = Option<()>;

#[expect(clippy::struct_excessive_bools, reason = "three independent facts about one run")]
struct Run {
    peer: Peer,
    offer: KexInit,
    greeted: bool,
    exchanges: usize,
    /// A wrong guess was announced and has not followed.
    owes_guess: bool,
    /// Messages of login that were said.
    login: usize,
    /// Passwords that were not right.
    wrong: usize,
    /// Everything was by the book so far.
    by_book: bool,
    last: Vec<u8>,
}

impl Run {
    fn new(mode: u8, choice: [u8; 3]) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let limits =
            Limits { channels: 8, rekey_bytes: (mode & 4 != 0).then_some(REKEY_BYTES), ..Limits::default() };
        let (hidden, foresees) = (mode & 2 != 0, mode & 8 != 0);
        let algorithms = Algorithms {
            no_encrypt_then_mac: hidden,
            server: if foresees { ServerKind::Predictable } else { ServerKind::Any },
            ..Algorithms::default()
        };
        let peer = if mode & 1 == 0 {
            let mut config = ssh_setup::server_config();
            config.obfuscation = hidden.then(ssh_setup::server_obfuscation);
            (config.limits, config.algorithms) = (limits, algorithms);
            Peer::of_server(config, now)
        } else {
            let mut config = ssh_setup::client_config();
            config.obfuscation = hidden.then(ssh_setup::client_obfuscation);
            (config.limits, config.algorithms) = (limits, algorithms);
            Peer::of_client(config, now)
        };
        let mut run = Self {
            peer,
            offer: offer(METHODS[0], CipherName::ALL[0], MacName::ALL[0]),
            greeted: false,
            exchanges: 0,
            owes_guess: false,
            login: 0,
            wrong: 0,
            by_book: true,
            last: Vec::new(),
        };
        run.choose(choice, mode >> 4);
        run
    }

    /// What is offered from now on. `marks`: with the marker of the strict exchange, with a name in front that only we have, and with
    /// a guess.
    fn choose(&mut self, [method, cipher, mac]: [u8; 3], marks: u8) {
        let pick = |from: usize, by: u8| usize::from(by) % from;
        self.offer = offer(
            METHODS[pick(METHODS.len(), method)],
            CipherName::ALL[pick(CipherName::ALL.len(), cipher)],
            MacName::ALL[pick(MacName::ALL.len(), mac)],
        );
        let kex = &mut self.offer.lists.kex;
        if marks & 1 != 0 {
            kex.retain(|name| name != wire_name::KEX_STRICT_C && name != wire_name::KEX_STRICT_S);
        }
        if marks & 2 != 0 {
            kex.insert(0, "first@example.org".into());
        }
        self.offer.first_kex_packet_follows = marks & 4 != 0;
    }

    fn operate(&mut self, what: u8, how: u8) -> Goes {
        match what % 17 {
            0 => self.greet(),
            _ if !self.greeted => self.greet(),
            1 => self.kexinit(how),
            2 => self.method(),
            3 if how % 16 == 15 => self.say(vec![NEWKEYS, how], Expected::Refused),
            3 => self.newkeys(),
            4 => self.exchange(),
            5 => self.say_login(how),
            6 => self.log_in(),
            7 => self.filler(how),
            8 => self.any(how, what),
            9 => self.changed_kexinit(usize::from(what / 17) << 8 | usize::from(how)),
            10 => self.changed_method(usize::from(what / 17) << 8 | usize::from(how)),
            11 => self.damaged(usize::from(how)),
            12 => self.missing(),
            13 => {
                self.peer.piece = usize::from(how) + 1;
                Some(())
            }
            14 => self.repeated(),
            15 => self.choose_again(how, what / 17),
            _ => self.act(how),
        }
    }

    /// Checks what came of an operation.
    fn judge(&mut self, result: Result<(), Error>, expected: Expected) -> Goes {
        let authenticated = self.peer.connection.is_authenticated();
        assert!(self.is_granted() || !authenticated, "logged in without login");
        match (&result, expected) {
            (Err(error), Expected::Taken) => assert!(!self.by_book, "what is right was refused: {error}"),
            (Ok(()), Expected::Refused) => unreachable!("what breaks a rule was taken"),
            (_, Expected::Either) => self.by_book = false,
            _ => {}
        }
        result.ok()?;
        while let Some(event) = self.peer.connection.poll_event() {
            match event {
                Event::Authenticated { .. } => assert!(self.is_granted(), "logged in without login"),
                Event::ChannelOffered { id, .. } => self.peer.connection.accept_channel(id),
                Event::Keyed { .. } | Event::Preamble(_) => {}
                other => assert!(authenticated, "before login: {other:?}"),
            }
        }
        self.peer.listen();
        self.peer.data.clear();
        Some(())
    }

    /// Login was said by the book.
    fn is_granted(&self) -> bool {
        self.login == 2
    }

    fn say(&mut self, payload: Vec<u8>, expected: Expected) -> Goes {
        let result = self.peer.say(&payload);
        self.last = payload;
        self.judge(result, expected)
    }

    fn greet(&mut self) -> Goes {
        if std::mem::replace(&mut self.greeted, true) {
            return Some(());
        }
        let result = self.peer.greet();
        self.judge(result, Expected::Taken)
    }

    /// An exchange may begin now.
    fn may_begin(&self) -> bool {
        self.exchanges == 0 || self.peer.is_asked() || self.is_granted()
    }

    fn kexinit(&mut self, how: u8) -> Goes {
        // Mostly the same; now and then two at once, which is wrong.
        if self.peer.is_exchanging() && !how.is_multiple_of(8) {
            return Some(());
        }
        let payload = self.offer.encode();
        self.say_kexinit(payload)
    }

    fn say_kexinit(&mut self, payload: Vec<u8>) -> Goes {
        if self.exchanges >= MOST_EXCHANGES {
            return Some(());
        }
        self.last.clone_from(&payload);
        if self.peer.is_exchanging() || !self.may_begin() {
            let result = self.peer.kexinit(payload);
            return self.judge(result, Expected::Refused);
        }
        self.exchanges += 1;
        let read = KexInit::decode(&payload);
        let result = self.peer.kexinit(payload);
        let agreed = self.peer.agreed();
        let mispredicted = matches!(result, Err(Error::Mispredicted));
        let expected = match (&read, &agreed) {
            _ if mispredicted => Expected::Either,
            (Err(_), _) | (_, Some(Err(_))) => Expected::Refused,
            // A later one that does not fit ends the connection before its own was heard.
            (Ok(_), None) if matches!(result, Err(Error::Negotiate(_))) => Expected::Refused,
            (Ok(_), None | Some(Ok(_))) => Expected::Taken,
        };
        self.owes_guess = matches!(agreed, Some(Ok(agreed)) if agreed.guess_wrong);
        self.judge(result, expected)
    }

    fn method(&mut self) -> Goes {
        if self.owes_guess && self.peer.is_exchanging() {
            self.owes_guess = false;
            // Whatever it holds, it is not looked at.
            return self
                .say(vec![if self.peer.role == Role::Server { 30 } else { 31 }, 1, 2, 3], Expected::Taken);
        }
        if !self.peer.is_exchanging() {
            return Some(());
        }
        let Some(message) = self.peer.method_message() else { return Some(()) };
        self.say(message, Expected::Taken)
    }

    fn newkeys(&mut self) -> Goes {
        if self.peer.owes_newkeys() {
            self.last = vec![NEWKEYS];
            let result = self.peer.newkeys();
            return self.judge(result, Expected::Taken);
        }
        self.say(vec![NEWKEYS], Expected::Refused)
    }

    /// All that is due of an exchange.
    fn exchange(&mut self) -> Goes {
        if !self.peer.is_exchanging() {
            if !self.may_begin() {
                return Some(());
            }
            self.kexinit(1)?;
        }
        self.method()?;
        self.method()?;
        if self.peer.owes_newkeys() { self.newkeys() } else { Some(()) }
    }

    /// What may be said now of a layer above key exchange.
    fn above(&self) -> Expected {
        let allowed = self.peer.is_keyed() && !self.peer.is_exchanging();
        if allowed { Expected::Taken } else { Expected::Refused }
    }

    fn say_login(&mut self, how: u8) -> Goes {
        let expected = self.above();
        if self.peer.role == Role::Server && self.login == 1 && how % 4 == 3 {
            if self.wrong == MOST_WRONG {
                return Some(());
            }
            self.wrong += usize::from(expected == Expected::Taken);
            return self.say(password(b"wrong"), expected);
        }
        let messages = login(self.peer.role);
        let Some(message) = messages.get(self.login) else { return Some(()) };
        self.login += usize::from(expected == Expected::Taken);
        self.say(message.clone(), expected)
    }

    fn log_in(&mut self) -> Goes {
        if !self.peer.is_keyed() {
            self.exchange()?;
        }
        while self.login < 2 && self.above() == Expected::Taken {
            self.say_login(0)?;
        }
        Some(())
    }

    /// Messages that mean nothing, or nothing before login.
    fn filler(&mut self, how: u8) -> Goes {
        let transport = if self.peer.is_keyed() { Expected::Taken } else { Expected::Refused };
        let body = vec![how; usize::from(how) * 4];
        match how % 7 {
            6 => {
                let reason = [&[1, 0, 0, 0, 2][..], &string(&body), &string(b"")].concat();
                self.say(reason, Expected::Refused)
            }
            0 => self.say([&[2][..], &string(&body)].concat(), transport),
            1 => self.say(vec![3, 0, 0, 0, how], transport),
            2 => self.say([&[4, 0][..], &string(&body), &[0; 4]].concat(), transport),
            3 => self.say(vec![7, 0, 0, 0, 0], transport),
            4 => self.say([&[200][..], &body].concat(), self.above()),
            _ => {
                let expected = if self.is_granted() { self.above() } else { Expected::Refused };
                self.say([&[192][..], &string(&body)].concat(), expected)
            }
        }
    }

    /// Any number, with a body that fits hardly anything.
    fn any(&mut self, number: u8, body: u8) -> Goes {
        // These two the peer has to know of; others of key exchange leave it unable to follow.
        if matches!(number, KEXINIT | NEWKEYS) {
            return Some(());
        }
        // The server's word is all that a client's login needs.
        let grants = self.peer.role == Role::Client && number == 52 && self.above() == Expected::Taken;
        if grants {
            self.login = 2;
        }
        self.owes_guess &= number / 20 != 1;
        self.say([&[number][..], &vec![body; usize::from(body)]].concat(), Expected::Either)?;
        if (20..50).contains(&number) { None } else { Some(()) }
    }

    fn changed_kexinit(&mut self, at: usize) -> Goes {
        let mut payload = self.offer.encode();
        let at = at % payload.len();
        payload[at] ^= 1 << (at % 8);
        if payload[0] != KEXINIT {
            return Some(());
        }
        self.say_kexinit(payload)
    }

    fn changed_method(&mut self, at: usize) -> Goes {
        if self.owes_guess || !self.peer.is_exchanging() {
            return Some(());
        }
        let Some(mut message) = self.peer.method_message() else { return Some(()) };
        let at = 1 + at % (message.len() - 1);
        message[at] ^= 1 << (at % 8);
        if self.peer.role == Role::Client {
            // Everything in it is signed, the signature included.
            return self.say(message, Expected::Refused);
        }
        // The server shares another secret with us now: what it says cannot be read.
        let packet = self.peer.packet(&message);
        let _ = self.peer.connection.handle_input(&mut packet.clone(), self.peer.now);
        assert!(self.is_granted() || !self.peer.connection.is_authenticated(), "logged in without login");
        None
    }

    /// One bit of a packet is another. Without keys nobody would know.
    fn damaged(&mut self, at: usize) -> Goes {
        if !self.peer.is_keyed() {
            return Some(());
        }
        let mut packet = self.peer.packet(&[&[2][..], &string(b"whatever")].concat());
        let at = at % packet.len();
        packet[at] ^= 1 << (at % 8);
        self.must_end(&packet)
    }

    /// A packet is cut out.
    fn missing(&mut self) -> Goes {
        if !self.peer.is_keyed() {
            return Some(());
        }
        drop(self.peer.packet(&[2, 0, 0, 0, 0]));
        let packet = self.peer.packet(&[2, 0, 0, 0, 0]);
        self.must_end(&packet)
    }

    /// With what follows, a packet must be found to be none: a length that came out wrong may ask for more than there is.
    fn must_end(&mut self, packet: &[u8]) -> Goes {
        let result = self.peer.feed(packet).and_then(|()| self.peer.feed(&vec![0; 300_000]));
        assert!(matches!(result, Err(Error::Packet(_) | Error::Peer(_))), "damage passed: {result:?}");
        None
    }

    /// The last message once more.
    fn repeated(&mut self) -> Goes {
        let Some(number) = self.last.first().copied() else { return Some(()) };
        if (20..50).contains(&number) || matches!(number, 5 | 6 | 50 | 52) {
            return Some(());
        }
        let message = self.last.clone();
        self.say(message, Expected::Either)
    }

    fn choose_again(&mut self, how: u8, marks: u8) -> Goes {
        if !self.peer.is_exchanging() {
            self.choose([how, how / 5, how / 11], marks);
        }
        Some(())
    }

    /// The application does something, which may bring new keys.
    fn act(&mut self, how: u8) -> Goes {
        let connection = &mut self.peer.connection;
        if how.is_multiple_of(2) {
            connection.request(b"x@example.org", false, &vec![how; usize::from(how) * 8]);
        } else if let Ok(id) = connection.open_channel(ChannelOpen { kind: "test", payload: &[how] }) {
            connection.close(id);
        }
        self.judge(Ok(()), Expected::Taken)
    }

    /// What went by the book must lead to a tunnel that works.
    fn end_well(&mut self) {
        if self.settle().is_none() || !self.by_book || self.peer.is_exchanging() {
            return;
        }
        self.peer.heard.clear();
        let ping = [&[192][..], &string(b"end")].concat();
        self.say(ping, Expected::Taken);
        assert!(self.peer.connection.is_authenticated(), "login did not work");
        let pong = [&[193][..], &string(b"end")].concat();
        assert!(self.peer.heard.contains(&pong) || self.peer.is_asked(), "the connection hangs");
    }

    /// Does all that is due up to a login, and after it.
    fn settle(&mut self) -> Goes {
        self.peer.piece = usize::MAX;
        self.greet()?;
        self.exchange()?;
        self.log_in()?;
        // New keys may be due by now, and again for what was held back until then.
        for _ in 0..20 {
            if !self.peer.is_asked() && !self.peer.is_exchanging() {
                break;
            }
            self.exchanges = 1;
            self.exchange()?;
        }
        Some(())
    }
}
