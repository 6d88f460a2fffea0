//! Nothing that tells who somebody is or where they go is in what a server writes: marked addresses, names and keys are looked for in its
//! log, its figures and its state.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::figures::{figures, port as figures_port};
use crate::server::{Plan, Server};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 88, 77, 66);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(127, 55, 44, 33);
const NAME: &str = "canary-name.invalid";
const WRONG_PASSWORD: &str = "canary-password";

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn files_in(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap()).collect()
}

#[tokio::test]
async fn no_client_and_no_destination_is_written_down() {
    let mut state = std::path::PathBuf::new();
    let mut secrets = Vec::new();
    let mut server = Server::start("canary", |config| {
        config.log.level = culvert_server::log::Level::Debug;
        config.figures.address = Some("127.0.0.1:0".parse().unwrap());
        state.clone_from(&config.state_directory);
        secrets.push(config.ssh.password.expose().to_owned());
        secrets.push(config.obfuscated_ssh_key.as_ref().unwrap().expose().to_owned());
    })
    .await;
    let origin = TcpListener::bind(SocketAddr::new(DESTINATION.into(), 0)).await.unwrap();
    let origin = origin.local_addr().unwrap();
    let client = Plan { source: CLIENT, ..Plan::default() }.tunnel(&server).await;
    let mut flow = client.flow(origin).await.unwrap();
    flow.write_all(b"canary-content").await.unwrap();
    assert!(client.flow_to(NAME, 443).await.is_err());
    // One that nobody listens at.
    let nobody = SocketAddr::new(DESTINATION.into(), 1);
    assert!(client.flow(nobody).await.is_err());
    let wrong = Plan { source: CLIENT, session: 2, password: Some(WRONG_PASSWORD), ..Plan::default() };
    assert!(wrong.connect(&server).await.is_none());
    let mut stranger = crate::server::connect_from(CLIENT, server.ossh).await;
    stranger.write_all(b"canary-garbage").await.unwrap();
    drop(stranger);
    let figures = figures(figures_port(&server)).await;
    let mut stored = files_in(&state);
    drop((flow, client));
    server.stop().await;
    stored.extend(files_in(&state));
    let log = server.lines();
    assert!(
        log.contains("server_tunnel") && figures.contains("culvert_"),
        "there is something to look through"
    );
    let (client, destination) = (CLIENT.to_string(), DESTINATION.to_string());
    let mut needles: Vec<Vec<u8>> = [client.as_str(), &destination, NAME, WRONG_PASSWORD, "canary"]
        .map(|text| text.as_bytes().to_vec())
        .into();
    needles.extend(secrets.into_iter().map(String::into_bytes));
    for needle in &needles {
        let text = String::from_utf8_lossy(needle);
        assert!(!contains(log.as_bytes(), needle), "{text} is in the log");
        assert!(!contains(figures.as_bytes(), needle), "{text} is in the figures");
        assert!(stored.iter().all(|file| !contains(file, needle)), "{text} is in the state");
    }
    for octets in [CLIENT.octets(), DESTINATION.octets()] {
        assert!(stored.iter().all(|file| !contains(file, &octets)), "an address is in the state");
    }
}
