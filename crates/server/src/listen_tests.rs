//! What becomes of a port that cannot be accepted from.

use std::path::Path;

use tokio::sync::watch;

use super::*;
use crate::config::{Strictness, parse};
use crate::generate::{FileNames, Listeners, Options, generate};
use crate::log::{Level, Logger, Origin};

#[tokio::test]
async fn a_port_that_is_lost_is_told_of_and_one_that_is_stopped_is_not() {
    let options = Options {
        address: "127.0.0.1".parse().unwrap(),
        listeners: Listeners::parse(["OSSH:1"]).unwrap(),
        log_file: None,
        files: FileNames::default(),
    };
    let file = Path::new("psiphond.config");
    let mut config =
        parse(file, generate(&options).unwrap().text(file).unwrap(), Strictness::Run).unwrap().value;
    let state = std::env::temp_dir().join(format!("culvert-listen-{}", std::process::id()));
    config.state_directory.clone_from(&state);
    let (log, _) = Logger::captured(Level::Info, Origin::default());
    let services = Arc::new(Services::new(config, &log).unwrap());
    let errors = Arc::new(Aggregated::new(log, Level::Error, "accept failed", Duration::from_secs(60)));
    let (stop, stopping) = watch::channel(false);
    let (serving, _served) = mpsc::channel(1);
    let (lost, mut told) = mpsc::channel(1);
    let accepting = Accepting { services, errors, stopping, serving, lost };
    let bind = || {
        bind(Listener { protocol: TunnelProtocol::OSSH, address: "127.0.0.1:0".parse().unwrap() }).unwrap()
    };
    let (broken, sound) = (bind(), bind());
    let Socket::Streams(listener) = &broken.socket else { panic!("not for streams") };
    let listener = listener.try_clone().unwrap();
    let address = broken.address;
    let broken = tokio::spawn(broken.accept(accepting.clone()));
    let sound = tokio::spawn(sound.accept(accepting));
    // Whoever accepts from it learns that it is no port any more.
    socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both).unwrap();
    let lost = told.recv().await.unwrap();
    assert_eq!((lost.address, lost.source.raw_os_error()), (address, Some(libc::EINVAL)));
    broken.await.unwrap();
    stop.send_replace(true);
    sound.await.unwrap();
    assert!(told.recv().await.is_none());
    drop(std::fs::remove_dir_all(state));
}
