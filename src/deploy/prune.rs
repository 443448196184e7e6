//! Images of past deploys that nobody needs any more.
//!
//! Only images that a good deploy of a stack here ran with are looked at, and those that hlx built for
//! a stack and that have lost their name, never others. What remains: the newest good versions of
//! each stack, and whatever a container uses.

use std::collections::BTreeSet;

use super::docker::Docker;
use super::error::Error;
use super::images::{self, Image};
use super::state::State;
use super::{Event, Report, Service, World, run};

/// What becomes of images that are not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They go.
    Remove,
    /// They are only named.
    Name,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names and ids of images.
    pub images: Vec<String>,
    /// Images that are not needed and could not go, with the reason.
    pub left: Vec<String>,
    /// The room that their images took, in bytes; layers that others share included.
    pub bytes: u64,
}

/// A good version of a stack, and the images that it ran with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Past {
    stack: Service,
    commit: String,
    images: Vec<Image>,
}

/// Removes the images of all but the newest `keep` good versions of each stack.
pub fn prune(keep: usize, mode: Mode, world: &World<'_>) -> Result<Pruned, Error> {
    let docker = Docker::new(world.env, "/");
    let endpoint = docker.check()?;
    let path = world.places.state.join("state.db");
    if !path.exists() {
        return Ok(Pruned::default());
    }
    let mut state = State::open(&path)?;
    let mut stacks = Vec::new();
    for stack in state.stacks()? {
        // What others have is not seen here.
        if endpoint.is(state.stack(&stack)?.unwrap_or_default().docker.as_deref()) {
            stacks.push(stack);
        }
    }
    // While a stack is deployed, its images are on the move.
    let locks = stacks.iter().map(|stack| run::lock(stack, world)).collect::<Result<Vec<_>, _>>()?;
    let (kept, past) = sort(&state, &stacks, keep)?;
    let mut needed: BTreeSet<String> = kept.iter().flat_map(|version| ids(&version.images)).collect();
    needed.extend(docker.in_use()?);
    let mut pruned = Pruned::default();
    for version in &past {
        remove(version, &needed, mode, &docker, &mut pruned, world)?;
        if mode == Mode::Remove {
            state.forget_images(&version.stack, &version.commit)?;
        }
    }
    for stack in &stacks {
        for id in docker.nameless(stack)?.into_iter().filter(|id| !needed.contains(id)) {
            let what = format!("{stack}, built and not kept: {id}");
            let bytes = take(&id, &what, mode, (&docker, world.report), &mut pruned)?;
            pruned.bytes += bytes.unwrap_or_default();
        }
    }
    drop(locks);
    Ok(pruned)
}

fn ids(images: &[Image]) -> impl Iterator<Item = String> {
    images.iter().map(|image| image.id.clone())
}

/// The versions whose images stay, and those whose images may go.
fn sort(state: &State, stacks: &[Service], keep: usize) -> Result<(Vec<Past>, Vec<Past>), Error> {
    let (mut kept, mut past) = (Vec::new(), Vec::new());
    for stack in stacks {
        let known = state.stack(stack)?.unwrap_or_default();
        for (index, commit) in state.good_commits(stack)?.into_iter().enumerate() {
            let images = state.images(stack, &commit)?;
            // What there is to go back to stays, however old it is.
            let stays = index < keep.max(1) || known.commit.as_ref() == Some(&commit);
            let version = Past { stack: stack.clone(), commit, images };
            if stays { kept.push(version) } else { past.push(version) }
        }
    }
    Ok((kept, past))
}

fn remove(
    version: &Past,
    needed: &BTreeSet<String>,
    mode: Mode,
    docker: &Docker,
    pruned: &mut Pruned,
    world: &World<'_>,
) -> Result<(), Error> {
    for image in &version.images {
        let tag =
            image.origin.is_none().then(|| images::tag(&version.stack, &image.service, &version.commit));
        let whole = Some(image.id.clone()).filter(|id| !needed.contains(id));
        for name in tag.into_iter().chain(whole) {
            let what = format!("{} of {:.10}: {name}", version.stack, version.commit);
            let bytes = take(&name, &what, mode, (docker, world.report), pruned)?;
            pruned.bytes += bytes.filter(|_| name == image.id).unwrap_or_default();
        }
    }
    Ok(())
}

/// Takes one image or name away, or only names it; how many bytes it had, if it went.
fn take(
    name: &str,
    what: &str,
    mode: Mode,
    (docker, report): (&Docker, Report<'_>),
    pruned: &mut Pruned,
) -> Result<Option<u64>, Error> {
    let Some(bytes) = docker.size_of(name)? else { return Ok(None) };
    match mode {
        Mode::Name => {}
        Mode::Remove => {
            if let Some(why) = docker.remove_image(name)? {
                pruned.left.push(format!("{name}: {why}"));
                return Ok(None);
            }
        }
    }
    report(Event::Step(what));
    pruned.images.push(name.to_owned());
    Ok(Some(bytes))
}

impl Docker {
    /// The images of every container, running or not.
    fn in_use(&self) -> Result<BTreeSet<String>, super::docker::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Uses {
            image: String,
        }
        Ok(self.inspected::<Uses>(&[])?.into_iter().map(|container| container.image).collect())
    }

    /// Images that hlx built for a stack, and whose name another has by now.
    fn nameless(&self, stack: &Service) -> Result<BTreeSet<String>, super::docker::Error> {
        let label = format!("label={}={stack}", images::BUILT_FOR);
        let listed = self.demand(
            "image ls",
            &["image", "ls", "-q", "--no-trunc", "--filter", "dangling=true", "--filter", &label],
        )?;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    }

    /// How many bytes an image has; `None` if it is not there.
    fn size_of(&self, name: &str) -> Result<Option<u64>, super::docker::Error> {
        let shown = self.ask(&["image", "inspect", "--format", "{{.Size}}", "--", name])?;
        let size = String::from_utf8_lossy(shown.out.expose()).trim().parse().ok();
        Ok(size.filter(|_| shown.end.is_success()))
    }

    /// Takes a name or an image away; why not, where Docker refuses.
    fn remove_image(&self, name: &str) -> Result<Option<String>, super::docker::Error> {
        let done = self.ask(&["image", "rm", "--", name])?;
        let said = String::from_utf8_lossy(done.err.expose()).trim().to_owned();
        Ok((!done.end.is_success()).then_some(said))
    }
}
