//! Sockets that listen on this host, from the tables of proc(5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A socket that others can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    /// `None` for every address.
    pub(super) address: Option<IpAddr>,
    pub(super) number: u16,
    pub(super) protocol: &'static str,
    pub(super) inode: u64,
}

/// The files of the tables, and the state of a socket there that waits for others.
const TABLES: [(&str, &str, &str); 4] = [
    ("/proc/net/tcp", "tcp", "0A"),
    ("/proc/net/tcp6", "tcp", "0A"),
    ("/proc/net/udp", "udp", "07"),
    ("/proc/net/udp6", "udp", "07"),
];

/// All of them. A table that cannot be read has none.
pub(super) fn all() -> Vec<Listener> {
    let read = |(path, protocol, state): (&str, &'static str, &str)| {
        let table = std::fs::read_to_string(path).unwrap_or_default();
        table.lines().skip(1).filter_map(|line| listener(line, protocol, state)).collect::<Vec<_>>()
    };
    TABLES.into_iter().flat_map(read).collect()
}

/// A line: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn listener(line: &str, protocol: &'static str, state: &str) -> Option<Listener> {
    let mut words = line.split_whitespace().skip(1);
    let (address, number) = words.next()?.split_once(':')?;
    let _remote = words.next()?;
    if words.next()? != state {
        return None;
    }
    let inode = words.nth(5)?.parse().ok()?;
    let address = read(address)?;
    let address = Some(address).filter(|address| !address.is_unspecified());
    Some(Listener { address, number: u16::from_str_radix(number, 16).ok()?, protocol, inode })
}

/// An address as the kernel prints it: words of 32 bits in the order of the machine.
fn read(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The program that has a socket open.
pub(super) fn owner(inode: u64) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let has = |pid: &str| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to.as_os_str() == wanted.as_str())
    };
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pid = pids.find(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && has(pid))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100 0 0 10 0";
        let found = listener(line, "tcp", "0A").unwrap();
        let wanted =
            Listener { address: "127.0.0.1".parse().ok(), number: 8080, protocol: "tcp", inode: 12345 };
        assert_eq!(found, wanted);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), "tcp", "0A"), None);
        assert_eq!(read("00000000000000000000000001000000"), "::1".parse().ok());
        assert_eq!(read("00000000"), "0.0.0.0".parse().ok());
    }

    #[test]
    fn a_socket_of_this_process_is_found_with_its_owner() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = socket.local_addr().unwrap().port();
        let found =
            all().into_iter().find(|found| found.number == number && found.protocol == "tcp").unwrap();
        assert_eq!(found.address, "127.0.0.1".parse().ok());
        assert!(owner(found.inode).unwrap().contains(&format!("(process {})", std::process::id())));
    }
}
