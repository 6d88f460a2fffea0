//! A network namespace with one TUN device, held by a thread that lives in it: what runs on that thread, and the programs it starts, are inside.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::failure::{Doing, Failure};

type Job = Box<dyn FnOnce() + Send>;

/// A namespace. It goes when the last process in it does.
pub(super) struct Namespace {
    jobs: Sender<Job>,
    device: File,
}

/// The name of the device inside.
const DEVICE: &str = "outside";
const OTHER_DEVICE: &str = "beyond";

impl Namespace {
    /// A new one, with only the loopback interface and a device without addresses.
    pub(super) fn new(name: &str) -> Result<Self, Failure> {
        let (jobs, received) = channel::<Job>();
        let (report, made) = channel();
        let begin = move || {
            let device = enter().and_then(|()| tun(DEVICE));
            let is_made = device.is_ok();
            // The other end waits for it.
            let _ = report.send(device);
            if is_made {
                work(&received);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(begin).doing("start a thread")?;
        let device = made.recv().map_err(io::Error::other).and_then(|made| made);
        let namespace = Self { jobs, device: device.doing("make a network namespace and its device")? };
        namespace.ip("link set lo up")?;
        namespace.ip(&format!("link set {DEVICE} mtu 1500 up"))?;
        Ok(namespace)
    }

    /// Does something inside.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (send, result) = channel();
        let job = move || {
            let _ = send.send(job());
        };
        let gone = || io::Error::other("its thread has ended");
        self.jobs.send(Box::new(job)).map_err(|_| gone()).doing("work in a namespace")?;
        result.recv().map_err(|_| gone()).doing("work in a namespace")
    }

    /// Runs `ip` with these words.
    pub(super) fn ip(&self, words: &str) -> Result<(), Failure> {
        let arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let output = self.run(move || Command::new("ip").args(arguments).output())?;
        let output = output.doing(format!("ip {words}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::mismatch(format!("ip {words}"), "success", String::from_utf8_lossy(&output.stderr)))
    }

    /// Gives the device an address, and makes it the way to everywhere.
    pub(super) fn address(&self, address: &str) -> Result<(), Failure> {
        self.ip(&format!("address add {address}/32 dev {DEVICE}"))?;
        self.ip(&format!("route replace default dev {DEVICE} src {address}"))
    }

    /// Joins another network, by another device, and leaves the one that it was in. The outer end of the new one comes back.
    pub(super) fn change_device(&self, address: &str) -> Result<[File; 2], Failure> {
        let device = self.run(|| tun(OTHER_DEVICE))?.doing("make another device")?;
        self.ip(&format!("link set {OTHER_DEVICE} mtu 1500 up"))?;
        self.ip(&format!("address add {address}/32 dev {OTHER_DEVICE}"))?;
        self.ip(&format!("route replace default dev {OTHER_DEVICE} src {address}"))?;
        self.ip(&format!("link set {DEVICE} down"))?;
        Ok([device.try_clone().doing("hold a device twice")?, device])
    }

    /// One more address, which is nothing's way to anywhere.
    pub(super) fn address_beside(&self, address: Ipv4Addr) -> Result<(), Failure> {
        self.ip(&format!("address add {address}/32 dev {DEVICE}"))
    }

    /// Takes an address away, as if another network had been joined.
    pub(super) fn lose_address(&self, address: &str) -> Result<(), Failure> {
        self.ip(&format!("address del {address}/32 dev {DEVICE}"))
    }

    /// The outer end of its device: each read and each write is one packet.
    pub(super) fn packets(&self) -> Result<File, Failure> {
        self.device.try_clone().doing("hold a device twice")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whoever reads from the device learns of its end by that.
        let _ = self.ip(&format!("link delete {DEVICE}"));
        let _ = self.ip(&format!("link delete {OTHER_DEVICE}"));
    }
}

fn work(jobs: &Receiver<Job>) {
    for job in jobs {
        job();
    }
}

/// Moves the calling thread, and no other, into a new namespace.
fn enter() -> io::Result<()> {
    #[expect(unsafe_code, reason = "std knows no namespaces")]
    // SAFETY: unshare takes a number and touches no memory of this process.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A new device in the namespace of the calling thread.
fn tun(name: &str) -> io::Result<File> {
    /// Of linux/if_tun.h: packets as they are, without a header.
    const TUNSETIFF: libc::Ioctl = 0x4004_54CA;
    const IFF_TUN_NO_PI: i16 = 0x0001 | 0x1000;
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TUN_NO_PI, rest: [0; 22] };
    for (place, byte) in request.name.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    #[expect(unsafe_code, reason = "a device is made by a control call, which std does not have")]
    // SAFETY: the request is a C structure of the size that the call reads and writes, and lives until after it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(device) } else { Err(io::Error::last_os_error()) }
}
