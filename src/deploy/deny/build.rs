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

impl Offences<'_> {
    /// Notes what a build asks for.
    pub(super) fn build(&mut self, who: &str, build: &Value, host: &Host) {
        for (key, value) in entries(build) {
            let is_known = KEYS.split(' ').any(|known| known == key) || key.starts_with("x-");
            if !is_known && is_set(value) {
                let what = format!("`build.{key}`, which this version of hlx does not take for harmless");
                self.add(Power::Privileged, who, what);
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
        let context = build["context"].as_str().unwrap_or_default();
        let is_here = Path::new(context).is_absolute();
        if is_here {
            self.path(who, "builds from", Path::new(context), host);
        }
        if let (true, Some(file)) = (is_here, build["dockerfile"].as_str()) {
            self.path(who, "builds by", &flat(&Path::new(context).join(file)), host);
        }
        for (_, other) in entries(&build["additional_contexts"]) {
            let text = other.as_str().unwrap_or_default();
            match text.split_once(':').map(|(scheme, _)| scheme) {
                Some("oci-layout") => self.add(Power::HostMounts, who, "builds from an `oci-layout`"),
                Some(_) => {}
                None => self.path(who, "builds from", Path::new(text), host),
            }
        }
        for key in ["cache_from", "cache_to"] {
            let local = |cache: &Value| cache.as_str().is_some_and(|cache| cache.contains("type=local"));
            if items(&build[key]).any(local) {
                self.add(Power::HostMounts, who, format!("`build.{key}` in a directory of the host"));
            }
        }
        if is_set(&build["ssh"]) {
            self.add(Power::HostMounts, who, "`build.ssh`, which hands over keys of the host");
        }
    }
}
