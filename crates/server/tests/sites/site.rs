//! A site of each product, run from its package with times short enough for a test.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use libtest_mimic::Failed;
use tokio::time::Instant;

/// Tells folders apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A program that serves sites.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Product {
    Apache,
    Caddy,
    Nginx,
}

impl Product {
    pub(crate) const ALL: [Self; 3] = [Self::Apache, Self::Caddy, Self::Nginx];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apache => "apache2",
            Self::Caddy => "caddy",
            Self::Nginx => "nginx",
        }
    }

    /// Where it is installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let folders = std::env::split_paths(&path).chain(system);
        folders.map(|folder| folder.join(self.name())).find(|program| program.is_file())
    }

    fn config(self, folder: &Path, port: u16) -> String {
        let folder = folder.display();
        match self {
            Self::Apache => format!(
                "ServerRoot {folder}\nPidFile {folder}/pid\nErrorLog {folder}/log\nListen 127.0.0.1:{port}\n\
                 Mutex file:{folder} default\nServerName localhost\nDocumentRoot {folder}/pages\nTimeout 4\nKeepAliveTimeout 3\n\
                 {modules}RequestReadTimeout handshake=3 header=3\nSSLEngine on\n\
                 SSLCertificateFile {folder}/certificate\nSSLCertificateKeyFile {folder}/key\nSSLSessionCache none\n",
                modules = apache_modules(),
            ),
            Self::Caddy => format!(
                "{{\n admin off\n auto_https off\n servers {{\n  protocols h1 h2\n  timeouts {{\n   read_header 3s\n   read_body 3s\n   idle 3s\n  }}\n }}\n}}\n\
                 https://127.0.0.1:{port} {{\n bind 127.0.0.1\n tls {folder}/certificate {folder}/key\n root * {folder}/pages\n file_server\n}}\n",
            ),
            Self::Nginx => format!(
                "daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
                 fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
                 client_header_timeout 3s; client_body_timeout 3s; keepalive_timeout 3s; lingering_timeout 2s;\n\
                 server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/certificate;\n\
                 ssl_certificate_key {folder}/key; root {folder}/pages; }} }}\n",
            ),
        }
    }

    fn command(self, program: &Path, config: &Path) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Apache => command.args(["-DFOREGROUND", "-f"]).arg(config),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config),
            Self::Nginx => command.arg("-c").arg(config),
        };
        command
    }
}

/// Those of Debian's package that a site over TLS needs.
fn apache_modules() -> String {
    let line = |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    ["mpm_event", "authz_core", "reqtimeout", "socache_shmcb", "ssl"].map(line).concat()
}

/// A running site with a page.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Site {
    pub(crate) fn start(product: Product, program: &Path) -> Result<Self, Failed> {
        let folder = std::env::temp_dir().join(format!(
            "culvert-site-{}-{}-{}",
            product.name(),
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(folder.join("pages"))?;
        fs::write(folder.join("pages/index.html"), "<!doctype html><title>A page</title>")?;
        // Signatures of one length.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        fs::write(folder.join("certificate"), certificate.pem())?;
        fs::write(folder.join("key"), key.serialize_pem())?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.join("config");
        fs::write(&config, product.config(&folder, address.port()))?;
        let log = fs::File::create(folder.join("output"))?;
        let child = product
            .command(program, &config)
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let site = Self { address, child, folder };
        site.wait()?;
        Ok(site)
    }

    fn wait(&self) -> Result<(), Failed> {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                let output = fs::read_to_string(self.folder.join("output")).unwrap_or_default();
                return Err(format!("the site does not listen: {output}").into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // An orderly stop, so that its own children end too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        sleep(Duration::from_millis(200));
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
