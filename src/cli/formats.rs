//! Findings, written: for people, as JSON, as SARIF, and as commands of GitHub's workflows.

use serde_json::{Value, json};

use crate::check::{Finding, Rule, Severity};

use super::findings::hint;
use super::quote;

/// By branch and file, each with its hint.
pub(super) fn human(found: &[Finding]) -> Vec<String> {
    let mut order: Vec<&Finding> = found.iter().collect();
    // Findings between branches come last, and belong beside the others of their file.
    let place = |finding: &&Finding| found.iter().position(|other| other.place == finding.place);
    order.sort_by(|one, other| {
        (place(one), one.staged, &one.path).cmp(&(place(other), other.staged, &other.path))
    });
    let mut lines = Vec::new();
    let mut last = (None, None);
    for finding in order {
        let branch = Some((&finding.place, finding.staged));
        if last.0 != branch {
            lines.push(format!("{}{}", finding.place, if finding.staged { " (index)" } else { "" }));
            last = (branch, None);
        }
        if last.1 != Some(&finding.path) {
            lines.extend(finding.path.iter().map(|path| format!("  {}", quote::path(path))));
            last.1 = Some(&finding.path);
        }
        let line = finding.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let rule = finding.rule;
        let message = quote::line(&finding.message);
        lines.push(format!("    {}: {line}{message} [{}]", rule.severity().name(), rule.id()));
        lines.push(format!("      {}", hint(finding)));
    }
    lines
}

/// A list of objects.
pub(super) fn json(found: &[Finding]) -> Value {
    let object = |finding: &Finding| {
        json!({
            "rule": finding.rule.id(),
            "severity": finding.rule.severity().name(),
            "branch": finding.place,
            "staged": finding.staged,
            "path": finding.path,
            "line": finding.line,
            "message": finding.message,
            "hint": hint(finding),
        })
    };
    found.iter().map(object).collect()
}

/// SARIF 2.1.0: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.
pub(super) fn sarif(found: &[Finding]) -> Value {
    let rule = |rule: Rule| {
        json!({
            "id": rule.id(),
            "shortDescription": { "text": rule.about() },
            "defaultConfiguration": { "level": rule.severity().name() },
        })
    };
    let result = |finding: &Finding| {
        let mut location = json!({
            "logicalLocations": [{ "fullyQualifiedName": finding.place, "kind": "branch" }],
        });
        if let Some(path) = &finding.path {
            let line = finding.line.unwrap_or(1);
            location["physicalLocation"] = json!({
                "artifactLocation": { "uri": uri(path), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": line },
            });
        }
        json!({
            "ruleId": finding.rule.id(),
            "ruleIndex": finding.rule as usize,
            "level": finding.rule.severity().name(),
            "message": { "text": format!("{}: {}. {}", finding.place, finding.message, hint(finding)) },
            "locations": [location],
            "properties": { "branch": finding.place, "staged": finding.staged },
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "hlx",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Rule::all().map(rule).collect::<Vec<_>>(),
            }},
            "results": found.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// A path as a relative reference of RFC 3986.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A command that shows the finding at its file and line.
pub(super) fn github(finding: &Finding) -> String {
    let command = match finding.rule.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let mut properties = vec![format!("title=hlx: {}", property(finding.rule.id()))];
    properties.extend(finding.path.iter().map(|path| format!("file={}", property(path))));
    properties.extend(finding.line.map(|line| format!("line={line}")));
    let text = format!("{}: {}. {}", finding.place, finding.message, hint(finding));
    format!("::{command} {}::{}", properties.join(","), data(&text))
}

/// The text of a command: (actions/toolkit, `core/src/command.ts`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command, where colons and commas part.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str, message: &str) -> Finding {
        Finding {
            rule: Rule::Plaintext,
            place: "app".to_owned(),
            staged: false,
            path: Some(path.to_owned()),
            line: Some(3),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_command_cannot_be_closed_from_within() {
        let line = github(&finding("a,b:c\n::stop-commands::x", "100%\n::error::y"));
        assert_eq!(line.lines().count(), 1);
        assert!(line.starts_with("::error title=hlx: plaintext,file=a%2Cb%3Ac%0A%3A%3Astop-commands%3A%3Ax,line=3::app: 100%25%0A"), "{line}");
    }

    #[test]
    fn paths_are_relative_references() {
        assert_eq!(uri("a b/ü?#:%.env"), "a%20b/%C3%BC%3F%23%3A%25.env");
    }

    #[test]
    fn findings_stand_by_branch_and_file() {
        let lines = human(&[finding("b", "one"), finding("a", "two"), finding("b", "three")]);
        let heads: Vec<_> = lines.iter().filter(|line| !line.starts_with("   ")).collect();
        assert_eq!(heads, ["app", "  a", "  b"]);
    }
}
