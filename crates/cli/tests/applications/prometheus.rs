//! Debian's Prometheus scrapes a server with a tunnel, and its own checker judges names, types and texts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;
use tokio::time::Instant;

use super::pair::Pair;
use super::{PATIENCE, output};

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of a response.
fn get(from: SocketAddr, path: &str) -> Result<String, Failed> {
    let mut stream = TcpStream::connect(from)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the body is not in pieces.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no response")?;
    if head.split_whitespace().nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(head.into()) }
}

/// The value of the only series that a query finds; `None` as long as there is none.
fn query(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let escaped = query.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let answer: Value =
        serde_json::from_str(&get(prometheus, &format!("/api/v1/query?query={escaped}")).ok()?).ok()?;
    match answer["data"]["result"].as_array()?.as_slice() {
        [one] => one["value"][1].as_str()?.parse().ok(),
        _ => None,
    }
}

pub(super) fn scrapes() -> Result<(), Failed> {
    let pair = Pair::start("prometheus", "")?;
    let web = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = pair.folder().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n- job_name: culvert\n  static_configs:\n  - targets: ['{}']\n",
        pair.figures()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", pair.folder().join("tsdb").display()));
    command.args([format!("--web.listen-address={web}"), "--log.level=error".into()]);
    let _prometheus = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    let began = Instant::now();
    for (what, expected) in [
        ("up{job=\"culvert\"}", 1.0),
        ("culvert_tunnels{protocol=\"OSSH\"}", 1.0),
        ("culvert_handshake_duration_seconds_count{protocol=\"OSSH\"}", 1.0),
        ("culvert_handshake_duration_seconds_bucket{protocol=\"OSSH\",le=\"+Inf\"}", 1.0),
        ("count(culvert_build_info)", 1.0),
        ("bool(process_resident_memory_bytes > 1e6)", 1.0),
    ] {
        // PromQL writes a comparison that gives 0 or 1 so.
        let text = what.strip_prefix("bool(").map(|rest| rest.trim_end_matches(')').replace('>', "> bool"));
        let text = text.unwrap_or_else(|| what.to_owned());
        while query(web, &text).is_none_or(|value| (value - expected).abs() > 1e-9) {
            if began.elapsed() > PATIENCE {
                let has = query(web, &text);
                return Err(format!(
                    "{text} is {has:?} and not {expected}: {:?}",
                    get(pair.figures(), "/metrics")?
                )
                .into());
            }
            sleep(Duration::from_millis(200));
        }
    }
    let metadata = get(web, "/api/v1/metadata?metric=culvert_dial_duration_seconds")?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let about = &metadata["data"]["culvert_dial_duration_seconds"][0];
    if about["type"] == "histogram" { Ok(()) } else { Err(format!("not a histogram: {metadata}").into()) }
}

pub(super) fn checks() -> Result<(), Failed> {
    let pair = Pair::start("promtool", "")?;
    let file = pair.folder().join("metrics");
    std::fs::write(&file, get(pair.figures(), "/metrics")?)?;
    // It reads standard input alone.
    let script = format!("promtool check metrics < '{}'", file.display());
    let checked = output(Command::new("sh").args(["-c", &script]))?;
    let silent = checked.stdout.is_empty() && checked.stderr.is_empty();
    super::expect(&checked, checked.status.success() && silent, "promtool check metrics")
}
