//! Taking recipients out of a `.sops.yaml`: their items go, with their names, and all else stays.

use std::ops::Range;

use crate::crypto::envelope::Recipient;
use crate::format::{Document, Leaf, Style, yaml};
use crate::policy::creation::{Audience, Config};
use crate::repo::Error;

use super::{NAME, parse};

/// Takes keys out of every rule. `None` if no rule has one of them.
///
/// Fails if a rule, or a key group of one, would be left with nobody.
pub fn without_recipients(text: &str, keys: &[Recipient]) -> Result<Option<String>, Error> {
    let before = parse(text)?;
    let expected = expected(&before, keys)?;
    let is_named = |audience: &Audience| audience.recipients().any(|recipient| keys.contains(recipient));
    if !before.audiences().any(is_named) {
        return Ok(None);
    }
    let uneditable = || Error::Uneditable(NAME.to_owned());
    let mut new = text.to_owned();
    // One after the other, as neighbours share a comma.
    while let Some(cut) = first_cut(&new, keys).ok_or_else(uneditable)? {
        new.replace_range(cut, "");
    }
    let after = parse(&new).map_err(|_| uneditable())?;
    let found = after.audiences().collect::<Vec<_>>();
    let fits = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(found, expected)| found.equals(expected));
    if fits { Ok(Some(new)) } else { Err(uneditable()) }
}

/// What to cut out first. `None`: the text is not understood.
fn first_cut(text: &str, keys: &[Recipient]) -> Option<Option<Range<usize>>> {
    let document = yaml::parse(text).ok()?;
    Some(document.leaves.iter().find_map(|leaf| cut(text, &document, leaf, keys)))
}

/// For whom each rule seals afterwards.
fn expected(before: &Config, keys: &[Recipient]) -> Result<Vec<Audience>, Error> {
    let fewer = |(place, audience): (&str, &Audience)| {
        let nobody = || Error::LastReader(format!("{NAME}, {place}"));
        let stay = |group: &Vec<Recipient>| -> Result<Vec<Recipient>, Error> {
            let left: Vec<_> = group.iter().filter(|key| !keys.contains(key)).cloned().collect();
            if left.is_empty() && !group.is_empty() { Err(nobody()) } else { Ok(left) }
        };
        let groups = audience.groups().iter().map(stay).collect::<Result<_, _>>()?;
        Audience::new(groups, audience.threshold().into()).map_err(|_| nobody())
    };
    before.places().zip(before.audiences()).map(fewer).collect()
}

/// What to cut out of the text of one leaf, if it lists a key that goes.
fn cut(text: &str, document: &Document<'_>, leaf: &Leaf<'_>, keys: &[Recipient]) -> Option<Range<usize>> {
    let names = document.paths.names(leaf.path);
    let is_list = names.first() == Some(&"creation_rules") && names.last() == Some(&"age");
    if !is_list || leaf.style == Style::Hash {
        return None;
    }
    let listed: Vec<&str> =
        leaf.content.text()?.split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
    let key = listed.iter().find(|key| key.parse().is_ok_and(|key| keys.contains(&key)))?;
    let span = document.alias(leaf).cloned().unwrap_or_else(|| leaf.span.clone());
    if listed.len() == 1 {
        return Some(item(text, span));
    }
    let at = span.start + text[span].find(key)?;
    Some(with_comma(text, at..at + key.len()))
}

/// An item of a list: its line, where it has one.
fn item(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
    if text[start..span.start].trim() != "-" {
        return with_comma(text, span);
    }
    let end = text[span.end..].find('\n').map_or(text.len(), |end| span.end + end + 1);
    match text[span.end..end].trim().is_empty() {
        // Its name may stand above it, and would be taken for that of the next.
        true => comment_above(text, start).unwrap_or(start)..end,
        false => start..end,
    }
}

/// Where the line above begins, if it is a comment.
fn comment_above(text: &str, start: usize) -> Option<usize> {
    let above = text[..start].strip_suffix('\n')?;
    let begin = above.rfind('\n').map_or(0, |end| end + 1);
    above[begin..].trim_start().starts_with('#').then_some(begin)
}

/// An item with the comma and the blanks behind it, or else with those before it.
fn with_comma(text: &str, span: Range<usize>) -> Range<usize> {
    let behind = &text[span.end..];
    let next = behind.trim_start();
    if let Some(rest) = next.strip_prefix(',') {
        return span.start..text.len() - rest.trim_start().len();
    }
    let before = text[..span.start].trim_end();
    let start = before.strip_suffix(',').map_or(span.start, str::len);
    start..span.end
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "age1xk7yh7phvy5fcapfuzwvhrr8hehh35p0zyrk4hur70yge458ayxq6dm0nj";
    const B: &str = "age1sld56zg0pxytug34k8a0tc0ja5f5t9s57f04dsml7d38r9rhjp2qlkkvgu";
    const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    #[test]
    fn a_recipient_goes_out_of_every_form_of_the_list() {
        let gone = [SSH.parse().unwrap()];
        for (text, expected) in [
            (
                format!(
                    "# top\ncreation_rules:\n  - age:\n      - {A} # me\n      - {SSH} # nas\n    # end\n"
                ),
                format!("# top\ncreation_rules:\n  - age:\n      - {A} # me\n    # end\n"),
            ),
            (
                format!("creation_rules:\n- age:\n  # nas\n  - {SSH}\n  # me\n  - {A}\n"),
                format!("creation_rules:\n- age:\n  # me\n  - {A}\n"),
            ),
            (format!("creation_rules:\n- age: {A},{SSH}\n"), format!("creation_rules:\n- age: {A}\n")),
            (format!("creation_rules:\n- age: {SSH}, {A}\n"), format!("creation_rules:\n- age: {A}\n")),
            (format!("creation_rules:\n- age: [{A}, {SSH}]\n"), format!("creation_rules:\n- age: [{A}]\n")),
            (
                format!("creation_rules:\n- age: [\n    \"{SSH}\",\n    '{A}',\n  ]\n"),
                format!("creation_rules:\n- age: [\n    '{A}',\n  ]\n"),
            ),
            (
                format!("creation_rules:\n- age: \"{A},{SSH},{B}\"\n"),
                format!("creation_rules:\n- age: \"{A},{B}\"\n"),
            ),
            (
                format!("creation_rules:\n  - age: >-\n      {A},\n      {SSH}\n"),
                format!("creation_rules:\n  - age: >-\n      {A}\n"),
            ),
            (
                format!("keys:\n  - &nas {SSH}\ncreation_rules:\n  - age: [*nas, {A}]\n"),
                format!("keys:\n  - &nas {SSH}\ncreation_rules:\n  - age: [{A}]\n"),
            ),
            (
                format!(
                    "creation_rules:\n  - key_groups:\n    - merge:\n      - age: [{SSH}]\n      age:\n      - {A}\n      - {SSH}\n    - age: [{B}]\n"
                ),
                format!(
                    "creation_rules:\n  - key_groups:\n    - merge:\n      - age: []\n      age:\n      - {A}\n    - age: [{B}]\n"
                ),
            ),
        ] {
            assert_eq!(without_recipients(&text, &gone).unwrap().as_deref(), Some(expected.as_str()));
            assert_eq!(without_recipients(&expected, &gone).unwrap(), None);
        }
    }

    #[test]
    fn several_go_at_once() {
        let gone = [A.parse().unwrap(), SSH.parse().unwrap()];
        for list in [format!("[{A}, {SSH}, {B}]"), format!("[{B}, {A}, {SSH}]"), format!("[{A}, {B}, {SSH}]")]
        {
            let new = without_recipients(&format!("creation_rules: [{{age: {list}}}]\n"), &gone).unwrap();
            assert_eq!(new, Some(format!("creation_rules: [{{age: [{B}]}}]\n")));
        }
    }

    #[test]
    fn nobody_left_and_forms_that_are_not_understood_are_refused() {
        let gone = [A.parse().unwrap()];
        for text in [
            format!("creation_rules:\n  - age: {A}\n"),
            format!("creation_rules:\n  - path_regex: x\n    age: [{B}]\n  - age: [{A}]\n"),
            format!("creation_rules:\n  - key_groups:\n    - age: [{A}]\n    - age: [{B}]\n"),
        ] {
            assert!(matches!(without_recipients(&text, &gone), Err(Error::LastReader(_))), "{text}");
        }
        let anchored = format!("creation_rules:\n  - age: &all [{A}, {B}]\n  - age: *all\n");
        let refused = without_recipients(&anchored, &gone);
        assert!(matches!(refused, Err(Error::Uneditable(_)) | Ok(Some(_))), "{refused:?}");
        let elsewhere = format!("all: &all [{A}, {B}]\ncreation_rules:\n  - age: *all\n");
        assert!(matches!(without_recipients(&elsewhere, &gone), Err(Error::Uneditable(_))));
    }
}
