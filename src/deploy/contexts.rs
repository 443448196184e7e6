//! Sealed files that a build could copy into an image: it sees them as ciphertext, which is safe,
//! and hardly what was meant.

use std::path::{Path, PathBuf};

use super::model::{Model, tracked};
use super::resident::Ground;

/// How many files are named.
const NAMED: usize = 3;

/// A warning for each service whose build context has sealed files that `.dockerignore` does not
/// name.
pub fn find(model: &Model, ground: Ground<'_>) -> Vec<String> {
    let builds = model.services.iter().filter_map(|(name, service)| Some((name, service.build.as_ref()?)));
    let warning = |(name, build): (&String, &super::model::Build)| {
        let context = build.context.as_deref().filter(|context| context.is_absolute())?;
        let context = tracked(context, ground.project, ground.tree)?;
        let ignored = ignored(&context, ground);
        let sealed = ground.unsealed.paths().filter_map(|path| path.strip_prefix(&context).ok());
        let sealed: Vec<&Path> = sealed.filter(|path| !is_ignored(path, &ignored)).collect();
        (!sealed.is_empty()).then(|| text(name, &sealed))
    };
    builds.filter_map(warning).collect()
}

fn text(service: &str, sealed: &[&Path]) -> String {
    let mut named: Vec<String> = sealed.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    if sealed.len() > NAMED {
        named.push(format!("{} more", sealed.len() - NAMED));
    }
    format!(
        "the image of `{service}` is built among sealed files, which the build sees encrypted: {}. \
         What it needs can be granted as `build.secrets`; name the rest in .dockerignore",
        named.join(", ")
    )
}

fn ignored(context: &Path, ground: Ground<'_>) -> Vec<PathBuf> {
    let text = ground.unsealed.plain(ground.tree, &context.join(".dockerignore")).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| PathBuf::from(line.trim_start_matches("./").trim_matches('/'))).collect()
}

/// Plain names and `*` alone: a pattern that is not understood here only leaves a warning too many.
fn is_ignored(path: &Path, ignored: &[PathBuf]) -> bool {
    ignored.iter().any(|line| {
        let anywhere = line.strip_prefix("**").is_ok_and(|name| path.file_name() == Some(name.as_os_str()));
        line.as_os_str() == "*" || anywhere || path.starts_with(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dockerignore_names_is_out_of_the_build() {
        let lines = |lines: &[&str]| lines.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert!(is_ignored(Path::new(".env"), &lines(&["data", ".env"])));
        assert!(is_ignored(Path::new("secrets/a/b"), &lines(&["secrets"])));
        assert!(
            is_ignored(Path::new("x/y.key"), &lines(&["**/y.key"]))
                && is_ignored(Path::new("x"), &lines(&["*"]))
        );
        assert!(!is_ignored(Path::new("secrets2/a"), &lines(&["secrets", ".env"])));
        assert!(
            text("web", &[Path::new("a"), Path::new("b"), Path::new("c"), Path::new("d")])
                .contains("a, b, c, 1 more")
        );
    }
}
