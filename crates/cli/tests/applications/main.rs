//! Real applications through the local proxies of a client, to a server, both in this process: curl, git over HTTPS,
//! Chromium loading a page of many assets, and QUIC and DNS over UDP ASSOCIATE; and Prometheus, which
//! scrapes such a server. A program that is not here makes its test
//! ignored, with the reason.

#![expect(clippy::unwrap_used, reason = "a test fails by them")]

mod datagrams;
mod pair;
mod prometheus;
mod site;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use pair::Pair;
use site::Site;

/// What a page has beside itself.
const ASSETS: usize = 100;
/// For a browser on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each is a browser's worth of work.
    arguments.test_threads.get_or_insert(1);
    let trials = vec![
        trial("curl", &["curl"], curl),
        trial("git_over_https", &["git", "nginx"], git),
        trial("chromium_loads_a_page_of_100_assets", &["chromium"], chromium),
        trial("quic_over_udp_associate", &[], datagrams::quic),
        trial("dns_over_udp_associate", &[], datagrams::dns),
        trial("prometheus_scrapes_a_server", &["prometheus"], prometheus::scrapes),
        trial("promtool_finds_nothing_to_say", &["promtool"], prometheus::checks),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, needs: &[&'static str], run: fn() -> Result<(), Failed>) -> Trial {
    match needs.iter().find(|program| found(program).is_none()) {
        None => Trial::test(name, run),
        Some(missing) => {
            let reason = format!("{name} ({missing} is not installed)");
            Trial::test(reason, || Ok(())).with_ignored_flag(true)
        }
    }
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs a program to its end, and ends it when that takes too long.
fn output(command: &mut Command) -> Result<Output, Failed> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = child.id().to_string();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            drop(Command::new("kill").arg(id).status());
        }
    });
    let output = child.wait_with_output()?;
    drop(done);
    drop(watch.join());
    Ok(output)
}

fn expect(output: &Output, holds: bool, what: &str) -> Result<(), Failed> {
    if holds {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(2000).collect::<String>();
    Err(format!("{what}: {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

/// Every way that curl knows to use a proxy of these kinds, by address and by name.
fn curl() -> Result<(), Failed> {
    let pair = Pair::start("curl", r#","LocalProxyUsername":"me","LocalProxyPassword":"secret""#)?;
    let site = Site::start(ASSETS)?;
    let (socks, http) = (pair.socks(), pair.http());
    let login = "me:secret";
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/asset/7", site.port());
        for way in [
            vec!["--socks5-hostname".to_owned(), socks.clone(), "--proxy-user".into(), login.into()],
            vec!["--proxy".into(), format!("socks5h://{login}@{socks}")],
            vec!["--proxy".into(), format!("http://{login}@{http}")],
            vec!["--proxy".into(), format!("http://{login}@{http}"), "--proxytunnel".into()],
        ] {
            let mut command = Command::new("curl");
            command.args(["-sS", "--max-time", "60", "--noproxy", ""]).args(&way).arg(&url);
            let output = output(&mut command)?;
            expect(&output, output.stdout == site::asset(7), &format!("{way:?} {url}"))?;
        }
    }
    // A second request on the same connection, and one that the proxy answers itself.
    let twice = format!("http://127.0.0.1:{}/asset/[1-2]", site.port());
    let mut command = Command::new("curl");
    let proxy = format!("http://{login}@{http}");
    command.args(["-sS", "--max-time", "60", "--noproxy", "", "--proxy", &proxy, &twice]);
    let both = output(&mut command)?;
    expect(&both, both.stdout == [site::asset(1), site::asset(2)].concat(), "two on one connection")?;
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "--proxy", &format!("http://{http}"), "--noproxy", ""]);
    let refused = output(command.args(["-o", "/dev/null", "-w", "%{http_code}", &twice]))?;
    expect(&refused, refused.stdout == b"407407", "without a login")?;
    let mut command = Command::new("curl");
    let pac = output(command.args(["-sS", "--noproxy", "*", &format!("http://{http}/proxy.pac")]))?;
    let names_both = [&socks, &http].iter().all(|at| String::from_utf8_lossy(&pac.stdout).contains(*at));
    expect(&pac, names_both, "the PAC file")
}

/// A clone of a repository that a web server has, by its "dumb" protocol, through each proxy.
fn git() -> Result<(), Failed> {
    let pair = Pair::start("git", "")?;
    let folder = pair.folder().join("git");
    let run = |at: &Path, arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(at).env("GIT_TERMINAL_PROMPT", "0").env("HOME", at);
        // What this machine is set to must neither bypass the proxy nor replace the certificate.
        command.env("GIT_SSL_CAINFO", folder.join("certificate")).env_remove("GIT_SSL_CAPATH");
        for name in ["no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"] {
            command.env_remove(name);
        }
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "x").env(format!("GIT_{role}_EMAIL"), "x@example.org");
        }
        let output = output(command.args(arguments))?;
        expect(&output, output.status.success(), &format!("git {arguments:?}"))
    };
    let work = folder.join("work");
    std::fs::create_dir_all(&work)?;
    run(&work, &["init", "-q"])?;
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(work.join("file"), &content)?;
    run(&work, &["add", "file"])?;
    run(&work, &["commit", "-q", "-m", "all"])?;
    let pages = folder.join("pages");
    std::fs::create_dir_all(&pages)?;
    run(&folder, &["clone", "-q", "--bare", "work", "pages/it.git"])?;
    run(&pages.join("it.git"), &["update-server-info"])?;
    let (port, _nginx) = site::nginx(&found("nginx").ok_or("nginx went away")?, &folder)?;
    for (name, proxy) in
        [("a", format!("socks5h://{}", pair.socks())), ("b", format!("http://{}", pair.http()))]
    {
        let url = format!("https://localhost:{port}/it.git");
        run(&folder, &["-c", &format!("http.proxy={proxy}"), "clone", "-q", &url, name])?;
        if std::fs::read(folder.join(name).join("file"))? != content {
            return Err("the clone has another content".into());
        }
    }
    Ok(())
}

/// A page of many assets, all of which the browser gets, through each proxy.
fn chromium() -> Result<(), Failed> {
    let pair = Pair::start("chromium", "")?;
    for proxy in [format!("socks5://{}", pair.socks()), format!("http://{}", pair.http())] {
        let site = Site::start(ASSETS)?;
        let profile = pair.folder().join("profile");
        let mut command = Command::new("chromium");
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.args(["--disable-background-networking", "--proxy-bypass-list=<-loopback>"]);
        command.arg(format!("--proxy-server={proxy}")).arg(format!("--user-data-dir={}", profile.display()));
        command.arg("--dump-dom").arg(format!("http://127.0.0.1:{}/", site.port()));
        let output = output(&mut command)?;
        let dom = String::from_utf8_lossy(&output.stdout);
        let loaded = format!("data-loaded=\"{ASSETS}\"");
        expect(&output, dom.contains(&loaded), &format!("the page through {proxy}"))?;
        if site.served() != ASSETS {
            return Err(format!("{} of {ASSETS} assets were asked for through {proxy}", site.served()).into());
        }
        drop(std::fs::remove_dir_all(&profile));
    }
    Ok(())
}
