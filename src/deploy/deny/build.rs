//! What the build of an image asks for.

use std::path::Path;

use serde_json::Value;

use super::model::{entries, is_set, items};
use super::{Host, Offences, Power};
use crate::deploy::tree::flat;

/// Keys of a build that give no power, or whose power is judged below.
const KEYS: &str = "additional_contexts args cache_from cache_to context dockerfile dockerfile_inline entitlements \
    extra_hosts isolation labels network no_cache no_cache_filter platforms privileged provenance \
    pull sbom secrets shm_size ssh tags target ulimits";

/// How that begins which builders fetch, or which another build makes.
const REMOTE: &str = "https:// http:// git:// ssh:// git@ github.com/ docker-image:// service: target:";

impl Offences<'_> {
    /// Notes what a build asks for.
    pub(super) fn build(&mut self, who: &str, build: &Value, host: &Host) {
        for (key, value) in entries(build) {
            let is_known = KEYS.split(' ').any(|known| known == key) || key.starts_with("x-");
            if !is_known && is_set(value) {
                self.unknown(who, &format!("build.{key}"));
            }
        }
        for key in ["privileged", "isolation"].into_iter().filter(|key| is_set(&build[*key])) {
            self.add(Power::Privileged, who, format!("`build.{key}`"));
        }
        for entitlement in items(&build["entitlements"]) {
            let name = entitlement.as_str().unwrap_or("?");
            let power = if name == "network.host" { Power::HostNetwork } else { Power::Privileged };
            self.add(power, who, format!("`build.entitlements: {name}`"));
        }
        match build["network"].as_str() {
            None | Some("" | "default" | "none") => {}
            Some(mode) if mode == "host" || mode.contains(':') => {
                self.add(Power::HostNetwork, who, format!("`build.network: {mode}`"));
            }
            Some(mode) => self.joined(who, mode, host),
        }
        self.build_reads(who, build, host);
    }

    /// What of the host a build reads or writes.
    fn build_reads(&mut self, who: &str, build: &Value, host: &Host) {
        if !is_set(build) {
            return;
        }
        let context = build["context"].as_str().unwrap_or_default();
        self.source(who, context, host);
        let file = build["dockerfile"].as_str().map(Path::new);
        match file.filter(|file| file.is_absolute() || Path::new(context).is_absolute()) {
            Some(file) if file.is_absolute() => self.path(who, "builds by", file, host),
            Some(file) => self.path(who, "builds by", &flat(&Path::new(context).join(file)), host),
            None => {}
        }
        for (_, other) in entries(&build["additional_contexts"]) {
            self.source(who, other.as_str().unwrap_or_default(), host);
        }
        for key in ["cache_from", "cache_to"] {
            if items(&build[key]).any(|cache| !cache.as_str().is_some_and(is_far)) {
                self.add(Power::HostMounts, who, format!("`build.{key}` in a directory of the host"));
            }
        }
        if is_set(&build["ssh"]) {
            self.add(Power::HostMounts, who, "`build.ssh`, which hands over keys of the host");
        }
    }

    /// A directory, or something to fetch. For the latter a builder first looks whether there is
    /// a directory of that name, counted from the project's.
    fn source(&mut self, who: &str, text: &str, host: &Host) {
        let is_remote = REMOTE.split(' ').any(|start| text.starts_with(start));
        let path = if is_remote { host.project.join(text) } else { text.into() };
        self.path(who, "builds from", &path, host);
    }
}

/// True for a cache in a registry, in GitHub, or in the image itself.
fn is_far(cache: &str) -> bool {
    let fields: Vec<String> = cache.split(',').map(|field| field.trim().to_ascii_lowercase()).collect();
    let types: Vec<&str> = fields.iter().map(String::as_str).filter(|key| key.starts_with("type")).collect();
    match types[..] {
        [] => !cache.contains(['=', '"']),
        ["type=registry" | "type=inline" | "type=gha"] => !cache.contains('"'),
        _ => false,
    }
}
