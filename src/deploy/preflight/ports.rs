//! Ports that a model publishes, and who has them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::listeners::Listener;

/// A port of this host that a service wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) service: String,
    /// `None` for every address.
    pub(super) address: Option<IpAddr>,
    pub(super) number: u16,
    pub(super) protocol: String,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}/{}, which service `{}` publishes,", self.number, self.protocol, self.service)
    }
}

/// A port that a running container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deploy) struct Published {
    /// `container` or `service`.
    pub(super) kind: &'static str,
    /// The container, or the service of a Swarm.
    pub(super) name: String,
    /// Its compose project or stack, if it has one.
    pub(super) project: Option<String>,
    /// `None` for every address.
    pub(super) address: Option<IpAddr>,
    /// The port on the host.
    pub(super) number: u16,
    /// `tcp`, `udp` or `sctp`.
    pub(super) protocol: String,
}

impl Published {
    /// A port of a service of a Swarm, which has it on all addresses.
    pub(in crate::deploy) fn of_service(
        name: &str,
        stack: Option<&str>,
        number: u16,
        protocol: &str,
    ) -> Self {
        let (name, project) = (name.to_owned(), stack.map(str::to_owned));
        Self { kind: "service", name, project, address: None, number, protocol: protocol.to_owned() }
    }
}

/// Who has a port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody, or the stack itself.
    Nobody,
    /// Another container, or a service of a Swarm.
    Container { kind: &'static str, name: String, project: Option<String> },
    /// A program of this host, by the inode of its socket.
    Program { inode: u64 },
}

/// Every port that the model fixes. One that Docker may choose is never taken.
pub(super) fn wanted(model: &Value) -> Vec<Port> {
    let services = model["services"].as_object().into_iter().flatten();
    let ports = services.flat_map(|(service, value)| {
        value["ports"].as_array().into_iter().flatten().filter_map(|port| read(service, port))
    });
    ports.collect()
}

fn read(service: &str, port: &Value) -> Option<Port> {
    let published = match &port["published"] {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| number.try_into().ok()),
    };
    Some(Port {
        service: service.to_owned(),
        address: port["host_ip"].as_str().and_then(address),
        number: published.filter(|number| *number != 0)?,
        protocol: port["protocol"].as_str().unwrap_or("tcp").to_owned(),
    })
}

/// An address that is one, and not all.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.trim_matches(['[', ']']).parse().ok()?;
    (!address.is_unspecified()).then_some(address)
}

/// The ports of `docker ps`: `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:90-91->90-91/udp, 443/tcp`.
pub(in crate::deploy) fn published(name: &str, project: &str, ports: &str) -> Vec<Published> {
    let read = |part: &str| -> Option<Vec<Published>> {
        let (host, container) = part.trim().split_once("->")?;
        let (at, range) = host.rsplit_once(':')?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let protocol = container.rsplit_once('/').map_or("tcp", |(_, protocol)| protocol);
        let one = |number| Published {
            kind: "container",
            name: name.to_owned(),
            project: Some(project.to_owned()).filter(|project| !project.is_empty()),
            // docker wrote `:::80` for every address of IPv6 once.
            address: address(at),
            number,
            protocol: protocol.to_owned(),
        };
        Some((first.parse().ok()?..=last.parse().ok()?).map(one).collect())
    };
    ports.split(',').filter_map(read).flatten().collect()
}

/// Ports that two services of the model want.
pub(super) fn twice(wanted: &[Port]) -> Vec<String> {
    let pairs = wanted.iter().enumerate().flat_map(|(index, port)| {
        wanted[..index]
            .iter()
            .filter(|other| meets(port, other.address, other.number, &other.protocol))
            .map(move |other| (port, other))
    });
    pairs.map(|(port, other)| format!("{port} is published by service `{}` too", other.service)).collect()
}

/// Who has a port that the project wants.
pub(super) fn holder(port: &Port, project: &str, published: &[Published], listening: &[Listener]) -> Holder {
    let has = |found: &&Published| meets(port, found.address, found.number, &found.protocol);
    match published.iter().find(has) {
        Some(found) if found.project.as_deref() == Some(project) => return Holder::Nobody,
        Some(Published { kind, name, project, .. }) => {
            return Holder::Container { kind, name: name.clone(), project: project.clone() };
        }
        None => {}
    }
    let listens = |found: &&Listener| meets(port, found.address, found.number, found.protocol);
    listening.iter().find(listens).map_or(Holder::Nobody, |found| Holder::Program { inode: found.inode })
}

fn meets(port: &Port, address: Option<IpAddr>, number: u16, protocol: &str) -> bool {
    let same_place = match (port.address, address) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => mapped(one) == mapped(other),
    };
    port.number == number && port.protocol == protocol && same_place
}

/// `::ffff:127.0.0.1` is 127.0.0.1.
fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, |v4: Ipv4Addr| v4.into()),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn port(text: &str) -> Port {
        let model = json!({"services": {"web": {"ports": [serde_json::from_str::<Value>(text).unwrap()]}}});
        wanted(&model).remove(0)
    }

    #[test]
    fn only_ports_that_are_fixed_are_wanted() {
        let ports = json!([{"target": 80, "published": "8080"}, {"target": 81}, {"target": 82, "published": "9000-9005"},
            {"target": 53, "published": 53, "protocol": "udp", "host_ip": "127.0.0.1"}]);
        let found: Vec<String> =
            wanted(&json!({"services": {"web": {"ports": ports}}})).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["port 8080/tcp, which service `web` publishes,", "port 53/udp, which service `web` publishes,"]
        );
    }

    #[test]
    fn what_docker_ps_prints_is_read() {
        let found =
            published("a", "p", "0.0.0.0:8080->80/tcp, :::8080->80/tcp, 127.0.0.1:90-91->90-91/udp, 443/tcp");
        let numbers: Vec<_> =
            found.iter().map(|port| (port.number, port.protocol.as_str(), port.address.is_some())).collect();
        assert_eq!(
            numbers,
            [(8080, "tcp", false), (8080, "tcp", false), (90, "udp", true), (91, "udp", true)]
        );
        assert!(published("a", "", "").is_empty() && published("a", "", "80/tcp").is_empty());
    }

    #[test]
    fn whoever_has_a_port_is_named_unless_it_is_the_stack_itself() {
        let own = published("p-web-1", "p", "0.0.0.0:80->80/tcp");
        let other = published("q-web-1", "q", "127.0.0.1:80->80/tcp");
        let listener =
            |text: &str, number| Listener { address: address(text), number, protocol: "tcp", inode: 7 };
        let wants = port(r#"{"published":"80"}"#);
        assert_eq!(holder(&wants, "p", &own, &[listener("0.0.0.0", 80)]), Holder::Nobody);
        let container =
            Holder::Container { kind: "container", name: "q-web-1".into(), project: Some("q".into()) };
        assert_eq!(holder(&wants, "p", &other, &[]), container);
        assert_eq!(holder(&wants, "p", &[], &[listener("::1", 80)]), Holder::Program { inode: 7 });
        assert_eq!(holder(&wants, "p", &[], &[listener("::", 81)]), Holder::Nobody);
        let local = port(r#"{"published":"80","host_ip":"127.0.0.1"}"#);
        assert_eq!(holder(&local, "p", &[], &[listener("10.0.0.1", 80)]), Holder::Nobody);
        assert_eq!(
            holder(&local, "p", &[], &[listener("::ffff:127.0.0.1", 80)]),
            Holder::Program { inode: 7 }
        );
        assert_eq!(holder(&port(r#"{"published":"80","protocol":"udp"}"#), "p", &other, &[]), Holder::Nobody);
    }

    #[test]
    fn one_port_for_two_services_is_found() {
        let two = [port(r#"{"published":"80"}"#), port(r#"{"published":"80","host_ip":"::1"}"#)];
        assert_eq!(twice(&two).len(), 1);
        let apart = [
            port(r#"{"published":"80","host_ip":"10.0.0.1"}"#),
            port(r#"{"published":"80","host_ip":"::1"}"#),
        ];
        assert!(twice(&apart).is_empty());
    }
}
