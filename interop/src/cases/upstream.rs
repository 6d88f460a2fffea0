//! Clients behind a proxy of the user's: squid with each kind of login, microsocks, and OpenSSH's SOCKS.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use serde_json::json;

use super::{Applies, Case, Note, Protocols, case};
use crate::clock::poll;
use crate::failure::{Doing, Failure, expect_eq};
use crate::ports;
use crate::process::{Process, Signal};
use crate::proxies::{Target, fetch_page, socks5};
use crate::scenario::{ClientPlan, Folder, START, STOP, Setting, TUNNEL};

const SQUID: &[&str] =
    &["/usr/sbin/squid", "/usr/lib/squid/basic_ncsa_auth", "/usr/lib/squid/digest_file_auth"];
const SQUID_NTLM: &[&str] = &["/usr/sbin/squid", "/usr/lib/squid/ntlm_fake_auth"];
const MICROSOCKS: &[&str] = &["/usr/bin/microsocks"];
const OPENSSH: &[&str] = &["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen"];

pub(super) const CASES: &[Case] = &[
    case("squid_open", |setting| squid(setting, Login::None)).over(Protocols::Streams).with(SQUID),
    case("squid_basic", |setting| squid(setting, Login::Basic)).over(Protocols::Streams).with(SQUID),
    case("squid_digest", |setting| squid(setting, Login::Digest)).over(Protocols::Streams).with(SQUID),
    // The reference takes no challenge without a target's information, which this helper's are.
    case("squid_ntlm", |setting| squid(setting, Login::Ntlm))
        .over(Protocols::Streams)
        .only(Applies::OurClient)
        .with(SQUID_NTLM),
    case("squid_wrong_password", wrong_password)
        .over(Protocols::OnlyOssh)
        .only(Applies::OurClient)
        .with(SQUID),
    case("squid_refuses_the_port", refused_port)
        .over(Protocols::OnlyOssh)
        .only(Applies::OurClient)
        .with(SQUID),
    case("squid_forwards_requests_only", |setting| requests_only(setting, Login::None))
        .over(Protocols::OnlyPlainMeek)
        .with(SQUID),
    case("squid_forwards_requests_after_a_login", |setting| requests_only(setting, Login::Basic))
        .over(Protocols::OnlyPlainMeek)
        .with(SQUID),
    case("microsocks", |setting| microsocks(setting, false)).over(Protocols::Streams).with(MICROSOCKS),
    case("microsocks_login", |setting| microsocks(setting, true)).over(Protocols::Streams).with(MICROSOCKS),
    case("openssh_socks4a", |setting| openssh(setting, "socks4a")).over(Protocols::OnlyOssh).with(OPENSSH),
    case("openssh_socks5", |setting| openssh(setting, "socks5")).over(Protocols::OnlyOssh).with(OPENSSH),
    case("no_proxy_there", no_proxy_there).over(Protocols::OnlyOssh).only(Applies::OurClient),
];

/// How squid wants to be logged in to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    None,
    Basic,
    Digest,
    Ntlm,
}

/// `user` and `pass word`, as basic_ncsa_auth and digest_file_auth have them.
const BASIC_FILE: &str = "user:$apr1$culvert1$xK0UYM9IOZcZVr1r6ZIKB/\n";
const DIGEST_FILE: &str = "user:pass word\n";

/// A proxy that runs.
struct Proxy {
    _process: Process,
    port: u16,
    _folder: Folder,
}

fn squid(setting: &Setting, login: Login) -> Result<Note, Failure> {
    let proxy = start_squid(setting, login, "all")?;
    let who = match login {
        Login::None => "",
        Login::Basic | Login::Digest => "user:pass%20word@",
        Login::Ntlm => "DOM%5Cuser:pass@",
    };
    carries(setting, &format!("http://{who}127.0.0.1:{}", proxy.port))
}

/// A proxy that lets nobody have a tunnel.
fn requests_only(setting: &Setting, login: Login) -> Result<Note, Failure> {
    let proxy = start_squid(setting, login, "none")?;
    let who = if login == Login::None { "" } else { "user:pass%20word@" };
    carries(setting, &format!("http://{who}127.0.0.1:{}", proxy.port))
}

fn start_squid(setting: &Setting, login: Login, ports: &str) -> Result<Proxy, Failure> {
    let (folder, port) = (Folder::new()?, ports::free());
    let path = folder.0.display().to_string();
    let helper = match login {
        Login::None => String::new(),
        Login::Basic => format!("auth_param basic program /usr/lib/squid/basic_ncsa_auth {path}/basic\n"),
        Login::Digest => format!(
            "auth_param digest program /usr/lib/squid/digest_file_auth {path}/digest\nauth_param digest realm r\n"
        ),
        Login::Ntlm => "auth_param ntlm program /usr/lib/squid/ntlm_fake_auth\n".to_owned(),
    };
    let allowed = if login == Login::None {
        "http_access allow wanted\n"
    } else {
        "acl known proxy_auth REQUIRED\nhttp_access allow wanted known\n"
    };
    let wanted = match ports {
        "all" => "acl wanted dst all".to_owned(),
        "none" => "acl wanted method POST".to_owned(),
        ports => format!("acl wanted port {ports}"),
    };
    let config = format!(
        "http_port 127.0.0.1:{port}\npid_filename {path}/squid.pid\ncoredump_dir {path}\ncache deny all\naccess_log none\n\
         cache_log /dev/null\nnetdb_filename none\nshutdown_lifetime 0 seconds\n{helper}{wanted}\n{allowed}http_access deny all\n"
    );
    let write = |name: &str, text: &str| fs::write(folder.0.join(name), text).doing(format!("write {name}"));
    write("squid.conf", &config)?;
    write("basic", BASIC_FILE)?;
    write("digest", DIGEST_FILE)?;
    let mut command = Command::new("/usr/sbin/squid");
    command.args(["-N", "-f"]).arg(folder.0.join("squid.conf"));
    proxy(setting, "squid", &mut command, port, folder)
}

fn microsocks(setting: &Setting, with_login: bool) -> Result<Note, Failure> {
    let port = ports::free();
    let mut command = Command::new("/usr/bin/microsocks");
    command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
    if with_login {
        command.args(["-u", "user", "-P", "pass word"]);
    }
    let proxy = proxy(setting, "microsocks", &mut command, port, Folder::new()?)?;
    let who = if with_login { "user:pass%20word@" } else { "" };
    carries(setting, &format!("socks5://{who}127.0.0.1:{}", proxy.port))
}

fn openssh(setting: &Setting, scheme: &str) -> Result<Note, Failure> {
    let (folder, port, socks) = (Folder::new()?, ports::free(), ports::free());
    for key in ["host", "user"] {
        let mut command = Command::new("/usr/bin/ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.0.join(key));
        let status = command.status().doing("make a key")?;
        expect_eq("ssh-keygen", Some(0), status.code())?;
    }
    fs::copy(folder.0.join("user.pub"), folder.0.join("authorized")).doing("let the key in")?;
    let path = folder.0.display();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string(), "-h", &format!("{path}/host")]);
    for option in [
        format!("AuthorizedKeysFile={path}/authorized"),
        "StrictModes=no".into(),
        "ListenAddress=127.0.0.1".into(),
    ] {
        command.args(["-o", &option]);
    }
    let _server = proxy(setting, "sshd", &mut command, port, Folder::new()?)?;
    let mut command = Command::new("/usr/bin/ssh");
    command.args(["-N", "-D", &format!("127.0.0.1:{socks}"), "-p", &port.to_string(), "-i"]);
    command.arg(folder.0.join("user")).args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o"]);
    command.args(["UserKnownHostsFile=/dev/null", "127.0.0.1"]);
    let _client = proxy(setting, "ssh", &mut command, socks, folder)?;
    carries(setting, &format!("{scheme}://127.0.0.1:{socks}"))
}

fn proxy(
    setting: &Setting,
    name: &str,
    command: &mut Command,
    port: u16,
    folder: Folder,
) -> Result<Proxy, Failure> {
    let process = Process::start(&setting.journal, name, command)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listening = poll(START, || TcpStream::connect(address).ok());
    listening.ok_or_else(|| Failure::Timeout { awaited: format!("listener of {name}"), limit: START })?;
    Ok(Proxy { _process: process, port, _folder: folder })
}

/// A tunnel through the proxy, to a server that has no other way, and a page through it.
fn carries(setting: &Setting, url: &str) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let client = setting.connect(&through(setting.plan(&server), url))?;
    fetch_page(socks5(client.socks, &Target::address(setting.origin.page))?)?;
    Ok(Note::new())
}

fn through(plan: ClientPlan, url: &str) -> ClientPlan {
    // Without it the reference takes no entry of the user's own behind a proxy.
    plan.with("UpstreamProxyURL", url)
        .with("UpstreamProxyAllowAllServerEntrySources", true)
        // Told at once.
        .with(
            "Parameters",
            json!({"UpstreamProxyErrorMinWaitDuration": "0s", "UpstreamProxyErrorMaxWaitDuration": "0s"}),
        )
}

/// What is said of a proxy that makes tunnels impossible.
fn complaint(setting: &Setting, url: &str) -> Result<String, Failure> {
    let server = setting.plain_server()?;
    let mut client = setting.launch(&through(setting.plan(&server), url))?;
    let message = client.wait_notice("notice UpstreamProxyError", TUNNEL, |notice| {
        (notice.kind == "UpstreamProxyError")
            .then(|| notice.data.get("message")?.as_str().map(str::to_owned))?
    })?;
    client.stop(Signal::Terminate)?;
    Ok(message)
}

fn says(message: &str, expected: &str) -> Result<Note, Failure> {
    if message.contains(expected) {
        return Ok(Note::new());
    }
    Err(Failure::mismatch("UpstreamProxyError", expected, message))
}

fn wrong_password(setting: &Setting) -> Result<Note, Failure> {
    for login in [Login::Basic, Login::Digest] {
        let proxy = start_squid(setting, login, "all")?;
        let url = format!("http://user:wrong@127.0.0.1:{}", proxy.port);
        says(&complaint(setting, &url)?, "refused the login")?;
        let url = format!("http://127.0.0.1:{}", proxy.port);
        says(&complaint(setting, &url)?, "wants a login")?;
    }
    Ok(Note::new())
}

fn no_proxy_there(setting: &Setting) -> Result<Note, Failure> {
    let url = format!("socks5://127.0.0.1:{}", ports::free());
    says(&complaint(setting, &url)?, "cannot be reached")
}

/// A proxy that forbids the server's port is not what is wrong.
fn refused_port(setting: &Setting) -> Result<Note, Failure> {
    let proxy = start_squid(setting, Login::None, "1")?;
    let server = setting.plain_server()?;
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let plan = through(setting.plan(&server), &url).with("EstablishTunnelTimeoutSeconds", 3);
    let mut client = setting.launch(&plan)?;
    let mut complained = false;
    let ended = client.wait_notice("end", TUNNEL, |notice| {
        complained |= notice.kind == "UpstreamProxyError";
        (notice.kind == "Error").then(|| notice.data.to_string())
    })?;
    client.process().wait_exit(STOP)?;
    expect_eq("UpstreamProxyError", false, complained)?;
    if ended.contains("did not connect to the server: HTTP status 403") {
        return Ok(Note::new());
    }
    Err(Failure::mismatch("Error", "why the proxy refused", ended))
}
