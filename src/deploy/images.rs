//! The images that a version ran with: written down, kept from pruning, and found again.
//!
//! A tag moves, and so does what a build calls its result. What a version ran with is an image's
//! id; where a registry has it, also the digest by which it can be pulled again.

use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::docker::{Docker, Error};
use super::health::Container;
use super::service::Service;

/// The label of images that hlx has built: for which stack.
pub const BUILT_FOR: &str = "hlx.built-for";

/// A pull by digest takes at most this long.
const PULL: Duration = Duration::from_secs(900);

/// The image that a service of a stack ran with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The compose service.
    pub service: String,
    /// Docker's id of the image.
    pub id: String,
    /// `name@sha256:…`, by which a registry has it; `None` if only this host does.
    pub origin: Option<String>,
}

/// An image on this host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// The services' images as their containers have them, each service once.
pub fn used(containers: &[Container]) -> Vec<(String, String)> {
    let mut used: Vec<_> =
        containers.iter().map(|found| (found.service.clone(), found.image.clone())).collect();
    used.sort();
    used.dedup_by(|next, kept| next.0 == kept.0);
    used
}

/// The tag that keeps an image of a commit which no registry has. It keeps it and no more: whoever
/// reaches Docker can move it, so that what is run is always named by its id.
///
/// Names of images have lower case letters, and single separators between them; a name that has
/// to be bent to that gets a piece of its hash, so that no other bends to the same.
pub fn tag(stack: &Service, service: &str, commit: &str) -> String {
    format!("hlx/{}/{}:{commit:.40}", bent(stack.as_str()), bent(service))
}

/// True for names like those that [`tag`] gives, however Docker Hub's part of it is spelled.
pub fn is_kept_name(name: &str) -> bool {
    let hub = ["docker.io/", "index.docker.io/"].into_iter().find_map(|hub| name.strip_prefix(hub));
    hub.unwrap_or(name).strip_prefix("hlx/").is_some_and(|rest| rest.contains('/'))
}

/// An image's name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn bent(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let plain = words.collect::<Vec<_>>().join("-");
    if plain == name {
        return plain;
    }
    let hash = Sha256::digest(name.as_bytes());
    let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{plain}-{hash}").trim_start_matches('-').to_owned()
}

impl Docker {
    /// Looks the images up, and says where those of a registry can be had again.
    pub fn identify(&self, used: &[(String, String)]) -> Result<Vec<Image>, Error> {
        let ids: Vec<&str> = used.iter().map(|(_, id)| id.as_str()).collect();
        let found = self.found(&ids)?;
        let origin = |id: &String| {
            let image = found.iter().find(|found| found.id == *id)?;
            image.repo_digests.iter().flatten().next().cloned()
        };
        let image = |(service, id): &(String, String)| Image {
            service: service.clone(),
            id: id.clone(),
            origin: origin(id),
        };
        Ok(used.iter().map(image).collect())
    }

    /// Those of the images that are not on this host.
    pub fn missing<'i>(&self, images: &'i [Image]) -> Result<Vec<&'i Image>, Error> {
        let ids: Vec<&str> = images.iter().map(|image| image.id.as_str()).collect();
        let found = self.found(&ids)?;
        Ok(images.iter().filter(|image| found.iter().all(|found| found.id != image.id)).collect())
    }

    fn found(&self, ids: &[&str]) -> Result<Vec<Found>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One that is missing makes inspect fail, but it still shows the others.
        let shown = self.ask(&[&["image", "inspect", "--"][..], ids].concat())?;
        serde_json::from_slice(shown.out.expose())
            .map_err(|error| Error::Failed { what: "image inspect", said: error.to_string() })
    }

    /// The id of the image that has this name now.
    pub fn image_named(&self, name: &str) -> Result<Option<String>, Error> {
        let shown = self.ask(&["image", "inspect", "--format", "{{.Id}}", "--", name])?;
        let id = String::from_utf8_lossy(shown.out.expose()).trim().to_owned();
        Ok(Some(id).filter(|id| shown.end.is_success() && !id.is_empty()))
    }

    /// The name by which a registry has an image: of those with this image's own repository, if
    /// there are some. `None` if only this host has it.
    pub fn reference(&self, name: &str, id: &str) -> Result<Option<String>, Error> {
        let found = self.found(&[id])?;
        let digests = || found.iter().flat_map(|found| found.repo_digests.iter().flatten());
        let own = digests().find(|digest| digest.split('@').next() == Some(repository(name)));
        Ok(own.or_else(|| digests().next()).cloned())
    }

    /// Gives an image one more name.
    pub fn tag(&self, id: &str, name: &str) -> Result<(), Error> {
        self.demand("tag", &["tag", id, name]).map(drop)
    }

    /// Gives those of a commit's images that only this host has their tags, where they lack them.
    pub fn hold(&self, stack: &Service, commit: &str, images: &[Image]) -> Result<(), Error> {
        let local: Vec<&Image> = images.iter().filter(|image| image.origin.is_none()).collect();
        let ids: Vec<&str> = local.iter().map(|image| image.id.as_str()).collect();
        let found = self.found(&ids)?;
        let has = |id: &str, tag: &String| {
            let tags = found.iter().filter(|found| found.id == id).flat_map(|found| &found.repo_tags);
            tags.flatten().any(|known| known == tag)
        };
        for image in local.into_iter().filter(|image| found.iter().any(|found| found.id == image.id)) {
            let tag = tag(stack, &image.service, commit);
            if !has(&image.id, &tag) {
                self.tag(&image.id, &tag)?;
            }
        }
        Ok(())
    }

    /// Pulls an image by its digest.
    pub fn pull(&self, origin: &str) -> Result<(), Error> {
        let done = self.call(&["pull", "--quiet", "--", origin], PULL).output(b"")?;
        let said = String::from_utf8_lossy(done.err.expose()).trim().to_owned();
        if done.end.is_success() { Ok(()) } else { Err(Error::Failed { what: "pull", said }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_names_that_docker_takes_and_no_two_are_one() {
        let tag = |stack: &str, service: &str| tag(&stack.parse().unwrap(), service, "abc");
        assert_eq!(tag("media", "web-1"), "hlx/media/web-1:abc");
        let names = ["a_b", "a-b", "a--b", "A-B", "a.b", "a-b-", "_a", "-"];
        let tags: std::collections::BTreeSet<String> = names.iter().map(|name| tag("s", name)).collect();
        assert_eq!(tags.len(), names.len());
        let valid = |part: &str| {
            !part.starts_with('-') && !part.ends_with('-') && !part.contains("--") && !part.is_empty()
        };
        assert!(tags.iter().all(|tag| valid(tag.split(['/', ':']).nth(2).unwrap())), "{tags:?}");
    }

    #[test]
    fn names_that_keep_images_are_known_in_every_spelling() {
        for name in ["hlx/a/b:c", "docker.io/hlx/a/b", "index.docker.io/hlx/a/b@sha256:00"] {
            assert!(is_kept_name(name), "{name}");
        }
        for name in ["hlx/a:b", "hlx", "x/hlx/a/b", "example.org/hlx/a/b", "hlxx/a/b"] {
            assert!(!is_kept_name(name), "{name}");
        }
    }

    #[test]
    fn a_repository_is_a_name_without_what_changes() {
        for name in ["h:5000/a/b", "h:5000/a/b:1", "h:5000/a/b@sha256:00", "h:5000/a/b:1@sha256:00"] {
            assert_eq!(repository(name), "h:5000/a/b");
        }
    }

    #[test]
    fn a_service_is_listed_once() {
        let container = |service: &str, image: &str| Container {
            service: service.into(),
            image: image.into(),
            ..Container::default()
        };
        let used = used(&[container("b", "2"), container("a", "1"), container("b", "2")]);
        assert_eq!(used, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    }
}
