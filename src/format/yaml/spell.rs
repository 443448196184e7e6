//! How a YAML leaf is written: sealed in its own style, and opened again from that style.
//!
//! The style of the sealed text (quotes, block header) is kept, so that opening restores it.
//! Where the exact spelling cannot be told from style and value, the layout entry tells
//! (`sops::layout`); the text written here is then only the fallback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use zeroize::Zeroizing;

use super::super::{BlockStyle, Content, Context, Field, Leaf, Scalar, Step, Style, scalar};
use super::{resolve, span};

/// The sealed form of a leaf.
pub fn sealed(leaf: &Leaf<'_>, sealed: &str) -> String {
    match leaf.style {
        Style::Plain(Context::Flow) => format!("'{sealed}'"),
        Style::Single(Context::Block) => format!("'{sealed}'"),
        Style::Single(Context::Flow) | Style::Double(_) => format!("\"{sealed}\""),
        Style::Plain(Context::Block)
        | Style::Line
        | Style::Quoted
        | Style::Marked
        | Style::Inline
        | Style::BlankBlock
        | Style::Json => sealed.to_owned(),
        Style::Hash | Style::ListComment | Style::Odd => format!("#{sealed}"),
        Style::Block(style) => {
            let end = if style.crlf { "\r\n" } else { "\n" };
            let end = if style.unterminated { "" } else { end };
            format!("{:indent$}{sealed}{end}", "", indent = style.indent as usize)
        }
    }
}

/// The plaintext form of a leaf whose sealed form stands in the text.
pub fn open(text: &str, leaf: &Leaf<'_>, content: &Content<'_>) -> Zeroizing<String> {
    Zeroizing::new(match content {
        Content::Comment(comment) => format!("#{comment}"),
        Content::Value(value) => match (value, leaf.style) {
            (Scalar::Str(bytes), style) => match std::str::from_utf8(bytes) {
                Ok(string) => string_as(text, leaf, string, style),
                Err(_) => format!("!!binary {}", base64(bytes)),
            },
            (other, _) => typed(other),
        },
    })
}

/// Whether a sealed leaf, opened in the plain way, reads as what it says whatever stands around it:
/// a text of a few harmless characters, without tag or anchor, in place of one on one line.
pub fn is_certain(text: &str, leaf: &Leaf<'_>, content: &Content<'_>) -> bool {
    let (Some(said), None, sealed) = (content.text(), leaf.alias, &text[leaf.span.clone()]) else {
        return false;
    };
    let is_value = matches!(content, Content::Value(_));
    let behind_key = text[..leaf.span.start].trim_end_matches(' ').ends_with([':', '-']);
    let fits = match leaf.style {
        Style::Plain(Context::Block) => {
            let first = said.starts_with(|first: char| first.is_ascii_alphabetic());
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+=@%^~".contains(&byte);
            let text = matches!(resolve::plain(said), Ok(Scalar::Str(_)));
            sealed.starts_with("ENC[") && first && said.bytes().all(plain) && text
        }
        Style::Double(_) => {
            let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            sealed.starts_with("\"ENC[") && said.bytes().all(plain)
        }
        _ => false,
    };
    is_value && behind_key && fits
}

/// Ways to write another value in the place of a leaf of a plaintext: in its style, else in any.
pub fn again(text: &str, leaf: &Leaf<'_>, content: &Content<'_>) -> Vec<(Range<usize>, Zeroizing<String>)> {
    let mut ways = vec![(leaf.span.clone(), open(text, leaf, content))];
    if leaf.span.is_empty() {
        // A value that is left out has its place before the colon, or behind a dash.
        let at = leaf.span.start + usize::from(text[leaf.span.start..].starts_with(':'));
        ways.push((at..at, Zeroizing::new(format!(" {}", *ways[0].1))));
    }
    if matches!(leaf.style, Style::Block(_) | Style::BlankBlock) {
        ways.extend(instead_of_block(text, leaf, content));
    }
    ways
}

/// A value in the place of a whole block scalar, its header included.
fn instead_of_block(
    text: &str,
    leaf: &Leaf<'_>,
    content: &Content<'_>,
) -> Option<(Range<usize>, Zeroizing<String>)> {
    let header = span::block_header(text, leaf.span.start)?;
    let style = Style::Plain(Context::Block);
    let as_plain = Leaf { span: header.start..leaf.span.end, style, ..leaf.clone() };
    let spelled = open(text, &as_plain, content);
    let rest = &text[header.end..leaf.span.start];
    Some((as_plain.span, Zeroizing::new(format!("{}{rest}", *spelled))))
}

/// A value in quotes in place of a whole block scalar, if the block's header asks for another ending.
pub fn reframe(
    text: &str,
    leaf: &Leaf<'_>,
    content: &Content<'_>,
) -> Option<(Range<usize>, Zeroizing<String>)> {
    let (Style::Block(style), Some(string)) = (leaf.style, content.text()) else { return None };
    let header = span::block_header(text, leaf.span.start)?;
    let stripped = text[header.clone()].contains('-');
    if stripped != string.ends_with('\n') {
        return None;
    }
    let end = match (style.unterminated, style.crlf) {
        (true, _) => "",
        (false, true) => "\r\n",
        (false, false) => "\n",
    };
    Some((header.start..leaf.span.end, Zeroizing::new(double(string) + end)))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A value that is no string, such that it reads back with its type.
fn typed(value: &Scalar<'_>) -> String {
    match value {
        Scalar::Bool(truth) => truth.to_string(),
        Scalar::Float(number) if number.is_nan() => ".nan".to_owned(),
        Scalar::Float(number) if number.is_infinite() => {
            if *number > 0.0 { ".inf" } else { "-.inf" }.to_owned()
        }
        Scalar::Float(number) => {
            let digits = scalar::float(*number);
            if digits.contains('.') { digits } else { digits + ".0" }
        }
        other => String::from_utf8_lossy(&other.bytes()).into_owned(),
    }
}

fn string_as(text: &str, leaf: &Leaf<'_>, string: &str, style: Style) -> String {
    match style {
        Style::Plain(Context::Block) if plain_fits(string, Context::Block) => string.to_owned(),
        Style::Plain(Context::Block) if block_fits(string) => new_block(text, leaf, string),
        Style::Plain(Context::Flow) | Style::Single(Context::Flow) if plain_fits(string, Context::Flow) => {
            string.to_owned()
        }
        Style::Single(_) if single_fits(string) => format!("'{}'", string.replace('\'', "''")),
        Style::Block(style) => block(string, style),
        _ => double(string),
    }
}

/// Double quotes, with an escape only where one is needed.
pub fn double(string: &str) -> String {
    let mut quoted = String::from("\"");
    for character in string.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            // Escaped because YAML counts them as line breaks, or cannot hold them.
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn printable(character: char) -> bool {
    !character.is_control() && !matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn single_fits(string: &str) -> bool {
    string.chars().all(printable)
}

/// True if the string, written without quotes, reads back as the same string.
pub fn plain_fits(string: &str, context: Context) -> bool {
    let mut start = string.chars();
    let first_fits = match (start.next(), start.next()) {
        (None, _) => false,
        (Some('-' | '?' | ':'), second) => second.is_some_and(|next| !next.is_whitespace()),
        (Some(first), _) => !"!&*#,[]{}|>'\"%@`".contains(first),
    };
    first_fits
        && string.chars().all(printable)
        && string.trim() == string
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with(':')
        && !string.starts_with("---")
        && !string.starts_with("...")
        && (context == Context::Block || !string.contains([',', '[', ']', '{', '}', ':']))
        && matches!(resolve::plain(string), Ok(Scalar::Str(_)))
}

fn block_fits(string: &str) -> bool {
    string.contains('\n')
        && string.lines().next().is_some_and(|line| !line.is_empty() && !line.starts_with([' ', '\t']))
        && string.chars().all(|character| character == '\n' || character == '\t' || printable(character))
        && !string.trim_end_matches('\n').ends_with([' ', '\t'])
}

/// A literal block in place of a plain scalar, indented below its key or dash.
fn new_block(text: &str, leaf: &Leaf<'_>, string: &str) -> String {
    let line = &text[span::line_start(text, leaf.span.start)..];
    let dash = span::dash(text, leaf.span.start);
    let key = if dash < leaf.span.start {
        span::column(text, dash)
    } else {
        line.len() - line.trim_start_matches([' ', '-']).len()
    };
    let body = string.trim_end_matches('\n');
    let chomping = match string.len() - body.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let indent = " ".repeat(key + 4);
    let mut out = format!("|{chomping}");
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&indent);
            out.push_str(line);
        }
    }
    // The line feed behind the leaf ends the last line; `+` keeps those that follow.
    out.push_str(&"\n".repeat((string.len() - body.len()).saturating_sub(1)));
    out
}

/// The content lines of a block scalar up to the last that is not blank.
fn block(string: &str, style: BlockStyle) -> String {
    let end = if style.crlf { "\r\n" } else { "\n" };
    let lines: Vec<&str> = string.split('\n').collect();
    let count = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let mut out = String::new();
    for (index, line) in lines[..count].iter().enumerate() {
        if !line.is_empty() {
            out.push_str(&" ".repeat(style.indent as usize));
            out.push_str(line);
        }
        // A folded block spells each line feed between two lines as an empty line.
        let folded_break = style.folded && index + 1 < count;
        out.push_str(if folded_break { end } else { "" });
        out.push_str(if style.unterminated && index + 1 == count { "" } else { end });
    }
    out
}

/// The `sops` block, keys sorted, in sops's own indentation.
pub fn metadata(fields: &[Field]) -> String {
    let mut root = Node::default();
    for field in fields {
        let node =
            field.path.iter().fold(&mut root, |node, step| node.children.entry(step.clone()).or_default());
        node.value = Some(&field.value);
    }
    let mut out = String::from("sops:\n");
    root.children.iter().for_each(|(step, node)| write_node(&mut out, step, node, 4));
    out
}

#[derive(Default)]
struct Node<'a> {
    value: Option<&'a str>,
    children: BTreeMap<Step, Node<'a>>,
}

fn write_node(out: &mut String, step: &Step, node: &Node<'_>, indent: usize) {
    let pad = " ".repeat(indent);
    match step {
        Step::Key(key) if plain_fits(key, Context::Block) => {
            let _ = write!(out, "{pad}{key}:");
        }
        Step::Key(key) => {
            let _ = write!(out, "{pad}{}:", double(key));
        }
        Step::Index(_) => {
            let _ = write!(out, "{pad}-");
        }
    }
    if let Some(value) = node.value {
        match step {
            // sops reads these two as what they are, never as text.
            Step::Key(key) if ["mac_only_encrypted", "shamir_threshold"].contains(&key.as_str()) => {
                let _ = writeln!(out, " {value}");
            }
            Step::Key(_) | Step::Index(_) => write_value(out, value, indent),
        }
        return;
    }
    let first_inline = matches!(step, Step::Index(_));
    let mut children = String::new();
    let deeper = if first_inline { indent + 2 } else { indent + 4 };
    node.children.iter().for_each(|(step, node)| write_node(&mut children, step, node, deeper));
    if first_inline {
        out.push(' ');
        out.push_str(children.trim_start_matches(' '));
    } else {
        out.push('\n');
        out.push_str(&children);
    }
}

fn write_value(out: &mut String, value: &str, indent: usize) {
    if value.ends_with('\n') && block_fits(value) {
        out.push_str(" |\n");
        for line in value.lines() {
            let _ = writeln!(out, "{:width$}{line}", "", width = indent + 2);
        }
    } else if plain_fits(value, Context::Block) {
        let _ = writeln!(out, " {value}");
    } else {
        let _ = writeln!(out, " {}", double(value));
    }
}
