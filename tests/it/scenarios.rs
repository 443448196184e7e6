//! The places and settings in which a repository may be met: hlx works there, or says why not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::sandbox::{CANARY, Sandbox, gits};

/// A repository `lab` with one secret in `.env` and one in `sub/b.env`, committed on `app`.
fn lab() -> Sandbox {
    let sandbox = Sandbox::new();
    fill(&sandbox, "git init -q -b app");
    sandbox
}

fn fill(sandbox: &Sandbox, init: &str) {
    sandbox.write("lab/.env", format!("A={CANARY}\n"));
    sandbox.write("lab/sub/b.env", format!("B={CANARY}\n"));
    sandbox.write("lab/README.md", "# Lab\n");
    let attributes = "*.env filter=hlx diff=hlx merge=hlx -text -ident -working-tree-encoding";
    sandbox.sh("lab", &format!("{init}; hlx init; hlx track .env; echo '{attributes}' >>.gitattributes; git add -A; git commit -qm base"));
}

/// All that one does in a work tree: nothing is lost, shown wrongly or stored in clear.
fn works(sandbox: &Sandbox, place: &str, variables: &[(&str, &str)]) {
    let sh = |line: &str| {
        let done = sandbox.run_in(place, &["sh", "-euc", line], variables);
        assert!(done.code == Some(0), "{place} `{line}`: {done:?}");
        done.out
    };
    assert_eq!(sh("git status --porcelain"), "");
    sh("echo ADDED=canary-swordfish-added >>.env; git commit -qam added");
    assert!(sh("git log -p -1").contains("+ADDED=canary-swordfish-added"));
    sh("touch .env sub/b.env; git rm -q --cached .env; git add .env");
    assert_eq!(sh("git status --porcelain"), "");
    sh(
        "rm .env; git checkout -q -- .env; grep -q ADDED=canary .env; echo x >>.env; sed -i '$d' .env; git stash list",
    );
    sh("hlx lock 2>/dev/null; ! grep -q canary .env; hlx unlock 2>/dev/null; grep -q ADDED=canary .env");
    assert_eq!(sh("git status --porcelain"), "");
    let status = sh("hlx status");
    assert!(status.contains(".env ") && status.contains("encrypted, open here"), "{status}");
    assert_eq!(sh("git cat-file --batch-all-objects --batch | grep -ac canary || true").trim(), "0");
}

#[test]
fn a_clone_made_before_hlx_was_there_is_set_up_later() {
    let sandbox = lab();
    // No filter is configured: ciphertext is what a clone shows, and a change of it is kept out later.
    sandbox.sh(".", "git clone -q lab clone; cd clone; ! grep -q canary .env; git status --porcelain | cmp - /dev/null; echo more >>README.md; git commit -qam more");
    sandbox.sh("clone", "hlx init; hlx unlock");
    assert_eq!(sandbox.read("clone/.env"), format!("A={CANARY}\n"));
    works(&sandbox, "clone", &[]);
}

#[test]
fn a_clone_that_names_the_filter_is_open_at_once() {
    let sandbox = lab();
    let hlx = env!("CARGO_BIN_EXE_hlx");
    // README.md tells these words.
    let clone = format!(
        "git clone -q -c filter.hlx.process='{hlx} filter-process' -c filter.hlx.required=true -c diff.hlx.textconv='{hlx} textconv --' -c merge.hlx.driver='{hlx} merge -- %O %A %B %L %P' lab clone"
    );
    sandbox.sh(".", &clone);
    assert_eq!(sandbox.read("clone/.env"), format!("A={CANARY}\n"));
    works(&sandbox, "clone", &[]);
    sandbox.ok("clone", &["hlx", "init"]);
    assert_eq!(sandbox.ok("clone", &["git", "status", "--porcelain"]), "");
}

#[test]
fn partial_clones_fetch_what_the_filter_needs() {
    let sandbox = lab();
    sandbox
        .sh("lab", "git config uploadpack.allowFilter true; git config uploadpack.allowAnySHA1InWant true");
    sandbox.sh(
        "lab",
        "cp .env before; echo N=canary-swordfish >>.env; git commit -qam next; git reset -q --hard HEAD",
    );
    for filter in ["blob:none", "blob:limit=1", "tree:0"] {
        sandbox.sh(
            ".",
            &format!("rm -rf part; git clone -q --filter={filter} file://$PWD/lab part; cd part; hlx init"),
        );
        assert!(sandbox.ok("part", &["git", "log", "-p", "-1"]).contains("+N=canary-swordfish"), "{filter}");
        sandbox.sh("part", "git checkout -q HEAD~1; cmp .env ../lab/before; git checkout -q app");
        works(&sandbox, "part", &[]);
        // The version in the index was never fetched.
        sandbox.sh(".", &format!("rm -rf part; git clone -q --no-checkout --filter={filter} file://$PWD/lab part; cd part; hlx init; git reset -q; cp ../lab/.env .; git add .env; git diff --cached --quiet"));
    }
}

#[test]
fn sparse_checkouts_have_what_they_show() {
    let sandbox = lab();
    sandbox.sh("lab", "mkdir other; echo O=canary-swordfish >other/o.env; git add -A; git commit -qm other");
    for set in ["--cone sub", "--cone --sparse-index sub", "--no-cone '/*' '!/other/'"] {
        sandbox.sh(".", &format!("rm -rf sparse; git clone -q --sparse lab sparse; cd sparse; hlx init; git sparse-checkout set {set}; [ ! -e other ]"));
        assert_eq!(sandbox.read("sparse/sub/b.env"), format!("B={CANARY}\n"), "{set}");
        works(&sandbox, "sparse", &[]);
        sandbox.sh("sparse", "git sparse-checkout disable; cmp other/o.env ../lab/other/o.env");
        assert_eq!(sandbox.ok("sparse", &["git", "status", "--porcelain"]), "", "{set}");
    }
}

#[test]
fn linked_work_trees_and_bare_repositories() {
    let sandbox = lab();
    sandbox.sh("lab", "git worktree add -q -b side ../linked");
    works(&sandbox, "linked", &[]);
    sandbox.sh(".", "git clone -q --bare lab bare.git");
    assert_eq!(sandbox.ok("bare.git", &["hlx", "get", "app:.env", "A"]), CANARY);
    assert_eq!(
        sandbox.feed("bare.git", &["hlx", "set", "app:.env", "A"], "canary-swordfish-new").code,
        Some(0)
    );
    for command in ["status", "lock"] {
        let refused = sandbox.run("bare.git", &["hlx", command]);
        assert!(
            refused.code == Some(1) && refused.err.contains("this repository has no work tree"),
            "{refused:?}"
        );
        assert!(
            refused.err.contains("hint: run it in a clone, or in a work tree of this one"),
            "{refused:?}"
        );
    }
    sandbox.sh(
        "bare.git",
        "git worktree add -q ../tree app; cd ../tree; hlx init; grep -qx A=canary-swordfish-new .env",
    );
    works(&sandbox, "tree", &[]);
    sandbox.no_canary_in_objects("bare.git");
}

#[test]
fn submodules_inside_and_around() {
    let sandbox = lab();
    // The repository with the secrets is a submodule of another that has some too.
    sandbox.sh(".", "git init -q -b app outer; cd outer; hlx init; hlx track .env; echo O=canary-swordfish >.env; git submodule add -q ../lab secrets; git add -A; git commit -qm outer");
    sandbox.sh("outer/secrets", "hlx init");
    works(&sandbox, "outer/secrets", &[]);
    sandbox.sh("outer", "git commit -qam bump; git -C secrets push -q origin HEAD:refs/heads/bumped; mkdir sub; echo B=canary-swordfish >sub/b.env; echo '*.env filter=hlx -text' >>.gitattributes; git add -A; git commit -qm more");
    works(&sandbox, "outer", &[]);
    sandbox.sh(".", "git clone -q --recurse-submodules outer again; cd again; hlx init; git submodule foreach -q 'hlx init'; grep -q canary .env secrets/.env");
    assert_eq!(sandbox.ok("again", &["git", "status", "--porcelain"]), "");
}

#[test]
fn names_with_any_bytes_are_files_like_any_other() {
    let sandbox = lab();
    let names: [&[u8]; 6] =
        [b"new\nline.env", b"trail .env", b"tail.env ", b"b\xff\xfe.env", b"\t\".env", b"d\n \xe9/x.env"];
    sandbox.sh("lab", "printf '\"tail.env \" filter=hlx diff=hlx merge=hlx -text\\n' >>.gitattributes");
    for name in names {
        let path = sandbox.path("lab").join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("A={CANARY}\n")).unwrap();
    }
    sandbox.sh("lab", "git add -A; git commit -qm odd; git ls-files | wc -l | grep -qx 11");
    sandbox.no_canary_in_objects("lab");
    let path = |name| sandbox.path("lab").join(OsStr::from_bytes(name));
    names.iter().for_each(|name| fs::remove_file(path(name)).unwrap());
    sandbox.sh("lab", "git checkout -q -- .");
    for name in names {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), format!("A={CANARY}\n"), "{name:?}");
        fs::write(path(name), format!("A={CANARY}\nB={CANARY}\n")).unwrap();
    }
    // Dotenv where the name says so; any bytes but the last four count.
    let shown = sandbox.ok("lab", &["git", "diff"]);
    assert_eq!(shown.matches(&format!("\n+B={CANARY}\n")).count(), names.len(), "{shown}");
    sandbox.sh("lab", "git commit -qam two; git switch -qc other HEAD~2; git switch -q app");
    assert_eq!(sandbox.ok("lab", &["git", "status", "--porcelain"]), "");
    let blob = sandbox.sh("lab", "git cat-file blob \"HEAD:$(printf 'b\\377\\376.env')\"");
    assert!(blob.starts_with("A=ENC[") && blob.contains("\nsops_mac="), "{blob}");
    sandbox.no_canary_in_objects("lab");
}

#[test]
fn what_the_environment_says_about_the_repository_holds() {
    let sandbox = lab();
    sandbox.sh(".", "mv lab/.git away.git; git -C away.git config core.bare false");
    let path = |name: &str| sandbox.path(name).display().to_string();
    let (directory, tree, index) = (path("away.git"), path("lab"), path("other.index"));
    let places = [("GIT_DIR", directory.as_str()), ("GIT_WORK_TREE", tree.as_str())];
    works(&sandbox, "lab", &places);
    sandbox.run_in("lab", &["git", "read-tree", "HEAD"], &[places[0], ("GIT_INDEX_FILE", &index)]);
    sandbox.sh("lab", "sed -i '$d' .env");
    works_after_refresh(&sandbox, &[places[0], places[1], ("GIT_INDEX_FILE", &index)]);
    // The same by configuration.
    sandbox.sh(".", "git -C away.git config core.worktree $PWD/lab; git -C away.git reset -q --hard");
    works(&sandbox, "lab", &places[..1]);
    assert!(sandbox.ok("away.git", &["hlx", "status"]).contains(".env "));
}

fn works_after_refresh(sandbox: &Sandbox, variables: &[(&str, &str)]) {
    let done = sandbox.run_in("lab", &["git", "reset", "-q", "--hard"], variables);
    assert_eq!(done.code, Some(0), "{done:?}");
    works(sandbox, "lab", variables);
}

#[test]
fn settings_of_git_that_change_its_index_or_line_ends() {
    let settings = [
        "core.autocrlf=true",
        "core.autocrlf=input",
        "core.eol=crlf",
        "core.safecrlf=true",
        "core.untrackedCache=true",
        "core.splitIndex=true",
        "index.version=4",
        "index.skipHash=true",
        "index.threads=4",
        "core.fsmonitor=false",
        "core.checkStat=minimal",
        "core.trustctime=false",
        "core.precomposeUnicode=true",
        "core.looseCompression=0",
        "status.showUntrackedFiles=all",
        "diff.renames=copies",
        "merge.renormalize=true",
        "diff.algorithm=histogram",
        "diff.noprefix=false",
        "core.preloadIndex=true",
        "checkout.workers=4",
        "core.quotePath=false",
    ];
    let sandbox = lab();
    for setting in settings {
        let (name, value) = setting.split_once('=').unwrap();
        sandbox.ok("lab", &["git", "config", name, value]);
        sandbox.sh("lab", "sed -i '$d' .env; echo A=canary-swordfish >.env; git commit -qam start");
        works(&sandbox, "lab", &[]);
        assert!(!sandbox.read("lab/.env").contains('\r'), "{setting}");
        sandbox.ok("lab", &["git", "config", "--unset", name]);
    }
}

#[test]
fn repositories_of_other_kinds() {
    for git in gits() {
        for kind in ["--object-format=sha256", "--ref-format=reftable"] {
            let sandbox = Sandbox::with_git(&git);
            if sandbox.run(".", &["git", "init", "-q", kind, "probe"]).code != Some(0) {
                eprintln!("{} does not know {kind}", git.display());
                continue;
            }
            fill(&sandbox, &format!("git init -q -b app {kind}"));
            works(&sandbox, "lab", &[]);
            sandbox.sh("lab", "hlx new web; git switch -q web; git switch -q app");
            assert_eq!(sandbox.ok("lab", &["hlx", "get", "app:.env", "A"]), CANARY);
        }
    }
}

#[test]
fn a_repository_reached_through_a_link() {
    let sandbox = lab();
    sandbox.sh(".", "mkdir deep; mv lab deep/real; ln -s deep/real lab");
    works(&sandbox, "lab", &[]);
    works(&sandbox, "deep/real", &[]);
}

#[test]
fn a_repository_of_somebody_else_is_refused_until_git_trusts_it() {
    let sandbox = lab();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    sandbox.sh(".", "chown -R 12345:12345 lab");
    let refused = sandbox.run("lab", &["hlx", "status"]);
    assert!(refused.code == Some(1) && refused.err.contains("safe.directory"), "{refused:?}");
    sandbox.sh("lab", "git config --global safe.directory \"$PWD\"");
    works(&sandbox, "lab", &[]);
}
