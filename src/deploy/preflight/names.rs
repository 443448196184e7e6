//! Names of containers that a model fixes, and who has them: Docker has each but once, and Compose, which
//! finds out when it has removed the old container, does not find its way back.

use serde_json::Value;

/// A container that is there, in whatever condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deploy) struct Named {
    name: String,
    /// Its compose project, if it has one.
    project: Option<String>,
}

impl Named {
    /// A line of `docker ps`: its names, which may be aliases in other containers too, a tab, its project.
    pub(in crate::deploy) fn read(line: &str) -> Option<Self> {
        let (names, project) = line.split_once('\t')?;
        let name = names.split(',').find(|name| !name.contains('/'))?.to_owned();
        Some(Self { name, project: Some(project.to_owned()).filter(|project| !project.is_empty()) })
    }
}

/// True if the model fixes the name of any container.
pub(super) fn are_fixed(model: &Value) -> bool {
    wanted(model).next().is_some()
}

fn wanted(model: &Value) -> impl Iterator<Item = (&str, &str)> {
    let services = model["services"].as_object().into_iter().flatten();
    services.filter_map(|(service, value)| Some((service.as_str(), value["container_name"].as_str()?)))
}

/// The names that containers of others have.
pub(super) fn taken(model: &Value, project: &str, there: &[Named]) -> Vec<String> {
    let owner = |name: &str| {
        let found = there.iter().find(|found| found.name == name)?;
        match &found.project {
            Some(owner) if owner == project => None,
            Some(owner) => Some(format!("a container of the project {owner}")),
            None => Some("a container of no project".to_owned()),
        }
    };
    let told = |(service, name): (&str, &str)| {
        let owner = owner(name)?;
        Some(format!("the container name `{name}`, which service `{service}` wants, is taken by {owner}"))
    };
    wanted(model).filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_is_taken_by_who_is_not_of_the_project() {
        let lines = ["alien\t", "p-web-1,other/web\tp", "theirs\tq", "mine\tp"];
        let there: Vec<Named> = lines.into_iter().filter_map(Named::read).collect();
        let taken = |name: &str| {
            let model = json!({"services": {"a": {}, "web": {"container_name": name}}});
            assert!(are_fixed(&model));
            taken(&model, "p", &there)
        };
        let told = |name: &str, owner: &str| {
            [format!(
                "the container name `{name}`, which service `web` wants, is taken by a container of {owner}"
            )]
        };
        assert_eq!(taken("alien"), told("alien", "no project"));
        assert_eq!(taken("theirs"), told("theirs", "the project q"));
        for free in ["mine", "p-web-1", "free", "web"] {
            assert!(taken(free).is_empty(), "{free}");
        }
        assert!(!are_fixed(&json!({"services": {"a": {}}})));
    }
}
