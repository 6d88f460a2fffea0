//! Where applications go: a page with assets, and a web server over TLS for git.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Failed;

/// A site with one page. Its threads end with the process.
pub(crate) struct Site {
    port: u16,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Site {
    pub(crate) fn start(assets: usize) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let asked = Arc::<Mutex<BTreeSet<String>>>::default();
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || serve(stream, assets, &noted));
            }
        });
        Ok(Self { port, asked })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many assets somebody has asked for.
    pub(crate) fn served(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// The bytes of an asset: a script of some kilobytes.
pub(crate) fn asset(number: usize) -> Vec<u8> {
    format!("window.n = (window.n || 0) + 1; // {number} {}\n", "x".repeat(4000)).into_bytes()
}

fn page(assets: usize) -> Vec<u8> {
    let scripts: String =
        (0..assets).map(|n| format!("<script async src=\"/asset/{n}\"></script>")).collect();
    let body = "<body onload=\"document.body.dataset.loaded = window.n\">";
    format!(
        "<!doctype html><html><head><link rel=icon href=\"data:,\">{scripts}</head>{body}page</body></html>"
    )
    .into_bytes()
}

fn serve(stream: TcpStream, assets: usize, asked: &Mutex<BTreeSet<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let number = path.strip_prefix("/asset/").and_then(|number| number.parse().ok());
        let (kind, body) = match number {
            Some(number) => {
                asked.lock().unwrap().insert(path.to_owned());
                ("text/javascript", asset(number))
            }
            None => ("text/html", page(assets)),
        };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = reader.get_mut();
        if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

/// Ends a web server.
pub(crate) struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Serves `pages` of the folder over TLS as "localhost"; its port. The file `certificate` is the one to trust.
pub(crate) fn nginx(program: &Path, folder: &Path) -> Result<(u16, Nginx), Failed> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(folder.join("certificate"), made.cert.pem())?;
    fs::write(folder.join("key"), made.signing_key.serialize_pem())?;
    let at = folder.display();
    let config = format!(
        "daemon off; pid {at}/pid; error_log {at}/log; worker_processes 1; {user}\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {at}/certificate;\n\
         ssl_certificate_key {at}/key; root {at}/pages; }} }}\n",
        // Files of this test are this user's.
        user = if fs::metadata(folder)?.uid() == 0 { "user root;" } else { "" },
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let nginx = Nginx(command.spawn()?);
    for _ in 0..1000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok((port, nginx));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(fs::read_to_string(folder.join("log")).unwrap_or_default().into())
}
