//! `hlx recipients list`: who can read which branch.

use clap::Args;

use crate::crypto::envelope::Recipient;
use crate::git::{self, branch};
use crate::repo::recipients::{self, Reader, Readers};
use crate::repo::rotate::scope;

use super::context::Context;
use super::ui::counted;
use super::{Failure, errors};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The branches; by default all local ones.
    #[arg(long = "branch", short, value_name = "BRANCH", num_args = 1.., conflicts_with = "all")]
    branches: Vec<String>,
    /// Also branches that only a remote has, as they were fetched last.
    #[arg(long)]
    all: bool,
    /// As a table: a row for each key, a column for each branch.
    #[arg(long)]
    matrix: bool,
    /// As JSON.
    #[arg(long, conflicts_with = "matrix")]
    json: bool,
}

/// `hlx recipients list`
pub(super) fn list(args: &ListArgs, cx: &Context) -> Result<(), Failure> {
    let repository = cx.repository()?;
    let git = cx.git(&repository)?;
    let known = scope::known(&repository).map_err(errors::repo)?;
    let mut tips = branch::tips(&git).map_err(errors::git)?;
    let elsewhere = known.len() - tips.len();
    if args.all || !args.branches.is_empty() {
        tips = known;
    }
    if let Some(gone) = args.branches.iter().find(|name| !tips.contains_key(*name)) {
        return Err(errors::git(git::Error::NoBranch(gone.clone())));
    }
    tips.retain(|name, _| args.branches.is_empty() || args.branches.contains(name));
    let list = |(name, commit): (&String, &String)| recipients::list(&repository, name, commit);
    let all = tips.iter().map(list).collect::<Result<Vec<_>, _>>().map_err(errors::repo)?;
    match (args.json, args.matrix) {
        (true, _) => cx.ui.result(serde_json::Value::from(all.iter().map(to_json).collect::<Vec<_>>())),
        (false, true) => {
            matrix(&all).iter().for_each(|line| cx.ui.result(line));
            cx.ui.note(LEGEND);
        }
        (false, false) => all.iter().for_each(|branch| show(branch, cx)),
    }
    if elsewhere > 0 && !args.all && args.branches.is_empty() {
        let branches =
            counted(elsewhere, "branch that only a remote has is", "branches that only a remote has are");
        cx.ui.note(format!("{branches} not listed: `--all` does that"));
    }
    Ok(())
}

fn show(branch: &Readers, cx: &Context) {
    if branch.readers.is_empty() {
        return;
    }
    cx.ui.result(format!(
        "{} ({})",
        branch.branch,
        counted(branch.files, "encrypted file", "encrypted files")
    ));
    for (key, reader) in &branch.readers {
        let shares = match reader.shares {
            0 => String::new(),
            files => format!("  has a share of the key of {files}: other key groups must join in"),
        };
        let state = match (reader.files + reader.shares == branch.files, reader.in_config) {
            (true, true) => shares,
            (true, false) => format!("{shares}  not in .sops.yaml: cannot read new files"),
            (false, _) => format!("{shares}  can read {} of {}", reader.files, branch.files),
        };
        cx.ui.result(format!("  {:<24} {}{state}", short(key), reader.name.as_deref().unwrap_or("-")));
    }
}

fn short(key: &str) -> String {
    key.parse::<Recipient>().map_or_else(|_| key.to_owned(), |key| key.short())
}

const LEGEND: &str = "x: reads all files; 1/2: one of two; new: those to come; -: all but those to come; share: a share of the data key";

/// The lines of the table.
fn matrix(all: &[Readers]) -> Vec<String> {
    let branches: Vec<&Readers> = all.iter().filter(|branch| !branch.readers.is_empty()).collect();
    let mut keys: Vec<&String> = branches.iter().flat_map(|branch| branch.readers.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let name = |key: &String| branches.iter().find_map(|branch| branch.readers.get(key)?.name.clone());
    let label =
        |key: &String| name(key).map_or_else(|| short(key), |name| format!("{name} ({})", short(key)));
    let row = |key: &&String| {
        let cells = branches
            .iter()
            .map(|branch| branch.readers.get(*key).map_or(".".to_owned(), |reader| cell(reader, branch)));
        std::iter::once(label(key)).chain(cells).collect::<Vec<_>>()
    };
    let head = std::iter::once(String::new()).chain(branches.iter().map(|branch| branch.branch.clone()));
    let rows: Vec<Vec<String>> = std::iter::once(head.collect()).chain(keys.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..=branches.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What a key can read of a branch.
fn cell(reader: &Reader, branch: &Readers) -> String {
    match (reader.files, reader.shares) {
        (0, 0) => "new".to_owned(),
        (files, _) if files == branch.files && reader.in_config => "x".to_owned(),
        (files, _) if files == branch.files => "-".to_owned(),
        (0, _) => "share".to_owned(),
        (files, _) => format!("{files}/{}", branch.files),
    }
}

fn to_json(branch: &Readers) -> serde_json::Value {
    let readers: Vec<_> = branch
        .readers
        .iter()
        .map(|(key, reader)| {
            serde_json::json!({ "recipient": key, "name": reader.name, "files": reader.files, "shares": reader.shares, "in_config": reader.in_config })
        })
        .collect();
    serde_json::json!({ "branch": branch.branch, "files": branch.files, "readers": readers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_key_and_a_column_for_each_branch() {
        let keys = ["age1a", "age1b", "age1c"];
        let branch = |name: &str, files: usize, readers: &[(usize, usize, usize, bool)]| {
            let reader = |(key, files, shares, in_config): &(usize, usize, usize, bool)| {
                let name = (*key == 0).then(|| "nas".to_owned());
                let (files, shares, in_config) = (*files, *shares, *in_config);
                (keys[*key].to_owned(), Reader { name, files, shares, in_config })
            };
            Readers { branch: name.to_owned(), readers: readers.iter().map(reader).collect(), files }
        };
        let all = [
            branch("app", 2, &[(0, 2, 0, true), (1, 1, 0, true), (2, 0, 0, true)]),
            branch("main", 0, &[]),
            branch("jellyfin", 1, &[(0, 1, 0, false), (1, 0, 1, true)]),
        ];
        let expected = [
            "             app  jellyfin",
            "nas (age1a)  x    -",
            "age1b        1/2  share",
            "age1c        new  .",
        ];
        assert_eq!(matrix(&all), expected);
    }
}
