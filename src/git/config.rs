//! git's configuration: the values that the user set, in every file that git reads.

use std::path::Path;

use gix::config::File;
use gix::sec::Trust;

/// All values of a key such as `hlx.allowPlugin`, as git sees them from a directory: of the
/// repository around it, and of user and system.
///
/// The configuration of a bare repository does not count: one could lie in the tree of another
/// repository. Nor does a file count that somebody else owns.
pub fn values(directory: &Path, key: &str) -> Vec<String> {
    let repository = gix::ThreadSafeRepository::discover_with_environment_overrides(directory).ok();
    let repository = repository.map(|repository| repository.to_thread_local());
    let in_file = |file: &File| file.strings_filter(key, |file| file.trust == Trust::Full);
    let found = match repository.filter(|repository| repository.workdir().is_some()) {
        Some(repository) => in_file(repository.config_snapshot().plumbing()),
        None => File::from_globals().ok().and_then(|file| in_file(&file)),
    };
    found.unwrap_or_default().iter().map(ToString::to_string).collect()
}
