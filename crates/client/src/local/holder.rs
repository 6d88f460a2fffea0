//! Which program listens on a local port or socket, as far as Linux tells this user. Only for messages.

use std::fs;
use std::path::Path;

/// The state of a listening socket in /proc/net/tcp.
const LISTENING: &str = "0A";

/// The program that listens on `port`, as "name (process 123)".
pub(super) fn of_port(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()).map(|entry| entry.path());
    let holder = processes.filter(|path| process_number(path).is_some()).find(|path| holds(path, &links))?;
    described(process_number(&holder)?)
}

/// A process, as "name (process 123)".
pub(super) fn described(process: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(format!("{} (process {process})", name.trim()))
}

/// The inodes of sockets that listen on `port`, from the text of a /proc/net/tcp table.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let listens = columns.get(1)?.ends_with(&wanted) && columns.get(3) == Some(&LISTENING);
            columns.get(9).filter(|_| listens).map(|inode| (*inode).to_owned())
        })
        .collect()
}

fn process_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Whether the process has one of the sockets open. Other users' processes cannot be looked into.
fn holds(process: &Path, links: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:0438 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1\n\
            1: 0100007F:0438 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1\n\
            2: 0100007F:0439 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1\n\
            3: broken\n";
        assert_eq!(listening_inodes(table, 1080), ["4711"]);
        assert_eq!(listening_inodes("", 1080), [] as [&str; 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_listener_is_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of_port(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.ends_with(&format!("(process {})", std::process::id())), "{holder}");
    }
}
