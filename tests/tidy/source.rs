//! Rust source as far as the rules need it: without comments, text and tests, as the paths it names.

/// One file.
pub(crate) struct Source {
    /// Relative to the checkout, as `src/csi/node.rs`.
    pub(crate) path: String,
    tokens: Vec<String>,
    test_items: Vec<Vec<String>>,
}

impl Source {
    /// Reads the text of a file.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (tokens, test_items) = without_tests(tokens(text));
        Self { path: path.to_owned(), tokens, test_items }
    }

    /// The room that it is in: `csi` for src/csi/node.rs, `units` for src/units.rs.
    pub(crate) fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = inside.split('/').next().unwrap_or(inside);
        first.trim_end_matches(".rs")
    }

    /// How many modules deep: 1 for `crate::units`, 2 for `crate::csi::node`.
    pub(crate) fn depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count()
    }

    /// Whether a word stands in the code.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token == word)
    }

    /// Every path that it names, groups taken apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if is_word(&self.tokens[at]) {
                at = path(&self.tokens, at, &mut Vec::new(), &mut found);
            } else {
                at += 1;
            }
        }
        found
    }

    /// Modules in files of their own that are only compiled for tests, as `src/lvm/contract`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let folder = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let named = |item: &Vec<String>| {
            let at = item.iter().position(|token| token == "mod")?;
            let ends = item.get(at + 2).is_some_and(|token| token == ";");
            item.get(at + 1).filter(|_| ends).map(|name| format!("{folder}/{name}"))
        };
        self.test_items.iter().filter_map(named).collect()
    }
}

/// Reads one path from `at` on, and says where it ends.
fn path(
    tokens: &[String],
    mut at: usize,
    before: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let length = before.len();
    before.push(tokens[at].clone());
    at += 1;
    while tokens.get(at).is_some_and(|it| it == "::") {
        at += 1;
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at = group(tokens, at + 1, before, found);
                before.truncate(length);
                return at;
            }
            Some(word) if is_word(word) => before.push(word.to_owned()),
            // `::*` and the `::<` of a type argument end it.
            _ => break,
        }
        at += 1;
    }
    found.push(before.clone());
    before.truncate(length);
    at
}

fn group(
    tokens: &[String],
    mut at: usize,
    before: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "}" => return at + 1,
            word if is_word(word) => at = path(tokens, at, before, found),
            _ => at += 1,
        }
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs; comments are gone, and text and characters are `"`.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        match c {
            '/' if is(at + 1, '/') => {
                while at < chars.len() && !is(at, '\n') {
                    at += 1;
                }
            }
            '"' => {
                at += 1;
                while at < chars.len() && !is(at, '"') {
                    at += if is(at, '\\') { 2 } else { 1 };
                }
                at += 1;
                found.push("\"".to_owned());
            }
            'r' if raw_text(&chars, at).is_some() => {
                at = raw_text(&chars, at).unwrap_or(at);
                found.push("\"".to_owned());
            }
            '\'' if is(at + 1, '\\') || is(at + 2, '\'') => {
                at += if is(at + 1, '\\') { 3 } else { 2 };
                while at < chars.len() && !is(at, '\'') {
                    at += 1;
                }
                at += 1;
                found.push("\"".to_owned());
            }
            _ if c.is_alphanumeric() || c == '_' => {
                while chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                    at += 1;
                }
                found.push(chars[start..at].iter().collect());
            }
            ':' if is(at + 1, ':') => {
                at += 2;
                found.push("::".to_owned());
            }
            _ => {
                at += 1;
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
            }
        }
    }
    found
}

/// Where the raw text that begins at `at` ends, if one does.
fn raw_text(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let ends = |from: usize| {
        chars.get(from) == Some(&'"')
            && chars[from + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..chars.len()).find(|from| ends(*from)).map(|from| from + 1 + hashes)
}

/// Takes out every item under `#[cfg(test)]`, and hands them back beside the rest.
fn without_tests(tokens: Vec<String>) -> (Vec<String>, Vec<Vec<String>>) {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut rest, mut items) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().map(String::as_str).take(mark.len()).eq(mark) {
            rest.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let start = at + mark.len();
        let (mut depth, mut end) = (0, start);
        while end < tokens.len() {
            match tokens[end].as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => (),
            }
            end += 1;
            if depth == 0 && [";", "}"].contains(&tokens[end - 1].as_str()) {
                break;
            }
        }
        items.push(tokens[start..end].to_vec());
        at = end;
    }
    (rest, items)
}
