//! Asking the services themselves whether they are well: HTTP, TCP, or a program in a container.
//!
//! Probes run on this host once the containers are well, until each has answered.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::docker::Docker;
use super::health::Container;
use super::service::nearest;
use super::wishes::{BadWish, texts};

/// How long one answer may take from the network.
const PATIENCE: Duration = Duration::from_secs(5);

/// The kinds of probes.
const KINDS: [&str; 3] = ["http", "tcp", "exec"];

/// Something that must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A `GET` that must be answered with a status of 200 to 399.
    Http(Url),
    /// A port that must accept connections: `host:port`.
    Tcp(String),
    /// A program that must exit with 0.
    Exec {
        /// The compose service in whose container it runs.
        service: String,
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// The parts of an `http://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `host` or `host:port`, as in the address.
    host: String,
    /// What follows the host, with its `/`.
    path: String,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => write!(f, "http://{}{}", url.host, url.path),
            Self::Tcp(at) => write!(f, "tcp {at}"),
            Self::Exec { service, command } => write!(f, "{} in {service}", command.join(" ")),
        }
    }
}

impl Probe {
    /// Reads one entry of `x-hlx.probes`.
    pub fn parse(value: &Value) -> Result<Self, BadWish> {
        let wrong = |key: &str, wanted| BadWish::Value { key: format!("x-hlx.probes{key}"), wanted };
        let entries = value.as_object().filter(|entries| entries.len() == 1);
        let Some((kind, value)) = entries.and_then(|entries| entries.iter().next()) else {
            return Err(wrong("", "a list with one of `http`, `tcp` and `exec` in each entry"));
        };
        match kind.as_str() {
            "http" => {
                let url = value.as_str().and_then(Url::parse);
                url.map(Self::Http).ok_or(wrong(".http", "an address like `http://127.0.0.1:8096/health`"))
            }
            "tcp" => {
                let at = value.as_str().filter(|at| port(at).is_some());
                let at = at.ok_or(wrong(".tcp", "a host and a port like `127.0.0.1:8096`"))?;
                Ok(Self::Tcp(at.to_owned()))
            }
            "exec" => {
                let words = texts(value).filter(|words| words.len() > 1);
                let mut words =
                    words.ok_or(wrong(".exec", "a list of a service, a program and its arguments"))?;
                Ok(Self::Exec { service: words.remove(0), command: words })
            }
            other => {
                Err(BadWish::Unknown { key: format!("probes.{other}"), nearest: nearest(other, &KINDS) })
            }
        }
    }

    /// True if it asks an address that every host has for itself.
    pub(super) fn asks_this_host(&self) -> bool {
        let host = match self {
            Self::Http(url) => url.host.as_str(),
            Self::Tcp(at) => at.as_str(),
            Self::Exec { .. } => return false,
        };
        let name = host.strip_prefix('[').and_then(|rest| rest.split(']').next());
        let name = name.unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name));
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The service in whose container it runs a program.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Exec { service, .. } => Some(service),
            Self::Http(_) | Self::Tcp(_) => None,
        }
    }

    /// Everything in it that is text, to be searched for secrets.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Http(url) => vec![&url.host, &url.path],
            Self::Tcp(at) => vec![at],
            Self::Exec { service, command } => {
                std::iter::once(service).chain(command).map(String::as_str).collect()
            }
        }
    }

    /// Asks once, for as long as there is time `left`; why not, if it is not well. A program is
    /// given all of it: it goes on in its container when it is given up, and must not pile up there.
    pub(super) fn ask(
        &self,
        docker: &Docker,
        containers: &[Container],
        left: Duration,
    ) -> Result<(), String> {
        if left.is_zero() {
            return Err("there is no time left for it".to_owned());
        }
        let until = Instant::now() + left.min(PATIENCE);
        match self {
            Self::Http(url) => answered(url.get(until).map_err(|error| told(&error))?),
            Self::Tcp(at) => connect(at, until).map(drop).map_err(|error| told(&error)),
            Self::Exec { service, command } => {
                let running = |found: &&Container| found.service == *service && found.status == "running";
                let here = |found: &&Container| running(found) && !found.id.is_empty();
                let container = containers.iter().find(here).or_else(|| containers.iter().find(running));
                let container = container.ok_or_else(|| format!("`{service}` has no running container"))?;
                match container.id.is_empty() {
                    true => Err(format!("`{service}` runs on other nodes of the Swarm only")),
                    false => run(docker, &container.id, command, left),
                }
            }
        }
    }
}

fn run(docker: &Docker, id: &str, command: &[String], left: Duration) -> Result<(), String> {
    let end = docker.exec(id, command, left).map_err(|error| error.to_string())?;
    if end.is_success() { Ok(()) } else { Err(end.to_string()) }
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

fn answered(status: u16) -> Result<(), String> {
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("answered with status {status}")) }
}

fn port(at: &str) -> Option<u16> {
    let (host, port) = at.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port > 0 && !host.is_empty())
}

/// The time that is left until then.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The addresses of a `host:port`. The resolver knows no limit, so it has a thread of its own.
fn resolve(at: &str, until: Instant) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = mpsc::channel();
    let name = at.to_owned();
    std::thread::spawn(move || sender.send(name.to_socket_addrs().map(Vec::from_iter)));
    receiver.recv_timeout(left(until)?).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn connect(at: &str, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in resolve(at, until)? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Url {
    /// Takes an `http://` address apart. A login and `https` have no place in a probe.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let named = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let plain = |letter: char| letter.is_ascii_graphic();
        let good = !named.is_empty() && !host.contains('@') && text.chars().all(plain);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = Self { host: host.to_owned(), path };
        (good && port(&url.address()).is_some()).then_some(url)
    }

    /// `host:port`. The colons of an IPv6 address are within brackets.
    fn address(&self) -> String {
        let has_port = self.host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        if has_port { self.host.clone() } else { format!("{}:80", self.host) }
    }

    /// The status of the answer to a `GET`. Redirects are answers, and not followed.
    fn get(&self, until: Instant) -> io::Result<u16> {
        let mut stream = connect(&self.address(), until)?;
        stream.set_write_timeout(Some(left(until)?))?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: hlx\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path, self.host
        );
        stream.write_all(request.as_bytes())?;
        let mut line = Vec::new();
        while !line.contains(&b'\n') && line.len() < 256 {
            stream.set_read_timeout(Some(left(until)?))?;
            let mut byte = [0; 64];
            match stream.read(&mut byte)? {
                0 => break,
                count => line.extend_from_slice(&byte[..count]),
            }
        }
        status(&line).ok_or_else(|| io::Error::other("what answers does not speak HTTP"))
    }
}

/// The status of a line like `HTTP/1.1 200 OK`. (RFC 9112, section 4.)
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\n').next()?).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.trim().parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::TcpListener;

    #[test]
    fn probes_are_read_or_refused() {
        let table = [
            (json!({"http": "http://127.0.0.1:8096/health?x=1"}), "http://127.0.0.1:8096/health?x=1"),
            (json!({"http": "http://h"}), "http://h/"),
            (json!({"http": "http://[::1]/"}), "http://[::1]/"),
            (json!({"tcp": "127.0.0.1:8096"}), "tcp 127.0.0.1:8096"),
            (json!({"exec": ["web", "curl", "-fs", "localhost"]}), "curl -fs localhost in web"),
        ];
        for (value, shown) in table {
            assert_eq!(Probe::parse(&value).unwrap().to_string(), shown);
        }
        for bad in [
            json!({"http": "https://h/"}),
            json!({"http": "http://me:pw@h/"}),
            json!({"http": "http://h/ x"}),
            json!({"http": "http://:80/"}),
            json!({"http": "http://h:99999/"}),
            json!({"tcp": "8096"}),
            json!({"tcp": ":80"}),
            json!({"exec": ["web"]}),
            json!({"exec": "curl"}),
            json!({"tcp": "a:1", "http": "http://h"}),
            json!("http://h"),
        ] {
            assert!(matches!(Probe::parse(&bad), Err(BadWish::Value { .. })), "{bad}");
        }
        let typo = BadWish::Unknown { key: "probes.htp".into(), nearest: Some("http") };
        assert_eq!(Probe::parse(&json!({"htp": "x"})), Err(typo));
    }

    fn soon() -> Instant {
        Instant::now() + PATIENCE
    }

    /// Asks a server that answers like this.
    fn ask(answer: &'static [u8]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let result = url.get(soon()).map_err(|error| told(&error)).and_then(answered);
        assert!(server.join().unwrap().starts_with("GET /x HTTP/1.1\r\nHost: 127.0.0.1:"));
        result
    }

    #[test]
    fn an_answer_is_judged_by_its_status() {
        assert_eq!(ask(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(()));
        assert_eq!(ask(b"HTTP/1.0 302 Found\r\nLocation: /y\r\n\r\n"), Ok(()));
        assert_eq!(ask(b"HTTP/1.1 503 x\r\n\r\n"), Err("answered with status 503".into()));
        assert_eq!(ask(b"220 smtp\r\n"), Err("what answers does not speak HTTP".into()));
        assert_eq!(ask(b""), Err("what answers does not speak HTTP".into()));
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_refused() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert_eq!(
            connect(&free, soon()).map(drop).map_err(|error| told(&error)),
            Err("connection refused".into())
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap().to_string();
        assert!(connect(&listens, soon()).is_ok());
        let late = connect(&listens, Instant::now()).map(drop).map_err(|error| told(&error));
        assert_eq!(late, Err("no answer in time".into()));
    }
}
