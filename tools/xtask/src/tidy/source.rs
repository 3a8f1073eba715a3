//! The rules that one source file can break by itself. It is read as tokens: comments and strings cannot mislead.

use super::Finding;
use super::layers::Layers;
use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

const LONGEST_FUNCTION: usize = 70;
const LONGEST_FILE: usize = 800;
const MOST_PARAMETERS: usize = 6;
/// Names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "misc", "helpers", "helper"];
/// Folders whose code runs in the kernel.
const KERNEL_SIDE: [&str; 6] = ["abi/", "base/", "logic/", "drivers/", "arch/", "kernel/"];
/// How far above an `unsafe` its reason may stand, in lines of the same statement.
const LONGEST_STATEMENT: usize = 12;

/// Checks a file; `path` is relative to the workspace.
pub fn check(path: &str, text: &str, layers: &Layers) -> Vec<Finding> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let file = File {
        path,
        lines: text.lines().collect(),
        unsafe_allowed: layers.allows_unsafe(path),
        assembly_allowed: layers.allows_assembly(path),
        kernel_side: KERNEL_SIDE.iter().any(|folder| path.starts_with(folder)) && name != "build.rs",
    };
    let mut walk = Walk { file: &file, findings: Vec::new(), test_lines: 0 };
    walk.check_lines(name.trim_end_matches(".rs"));
    let in_test = path.split('/').any(|folder| folder == "tests")
        || ["tests.rs", "testing.rs"].contains(&name)
        || name.ends_with("_tests.rs");
    match text.parse::<TokenStream>() {
        Ok(tokens) => walk.tokens(tokens, Place { test: in_test, trait_impl: false }),
        Err(error) => walk.find(error.span().start().line, format!("does not parse: {error}")),
    }
    let length = file.lines.len() - walk.test_lines.min(file.lines.len());
    if !in_test && length > LONGEST_FILE {
        walk.find(1, format!("{length} lines without tests, {LONGEST_FILE} at most"));
    }
    walk.findings.sort_by_key(|finding| finding.line);
    walk.findings
}

struct File<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    unsafe_allowed: bool,
    assembly_allowed: bool,
    kernel_side: bool,
}

/// Where in a file a token stands.
#[derive(Clone, Copy)]
struct Place {
    /// Compiled only for tests or models.
    test: bool,
    /// Directly inside the implementation of a trait.
    trait_impl: bool,
}

struct Walk<'a> {
    file: &'a File<'a>,
    findings: Vec<Finding>,
    test_lines: usize,
}

impl Walk<'_> {
    fn find(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(self.file.path, line, what));
    }

    fn check_lines(&mut self, name: &str) {
        if EMPTY_NAMES.contains(&name) {
            self.find(1, format!("`{name}` says nothing about what is inside"));
        }
        let tagline = self.file.lines.first().and_then(|line| line.strip_prefix("//!"));
        if tagline.is_none_or(|tagline| tagline.trim().is_empty()) {
            self.find(1, "no `//!` tagline that says why the file exists");
        }
        for (index, line) in self.file.lines.iter().enumerate() {
            let comment = line.trim_start().starts_with("//");
            if comment && ["FIXME", "TODO", "XXX"].iter().any(|mark| line.contains(mark)) {
                self.find(index + 1, "an open end in a comment: finish it or write it down as a known limit");
            }
        }
    }

    fn tokens(&mut self, tokens: TokenStream, outer: Place) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let (mut place, mut item_start, mut trait_impl) = (outer, None, false);
        let mut index = 0;
        while index < tokens.len() {
            match &tokens[index] {
                TokenTree::Punct(mark) if mark.as_char() == '#' => {
                    let inner = is_mark(tokens.get(index + 1), '!');
                    if let Some(TokenTree::Group(group)) = tokens.get(index + 1 + usize::from(inner))
                        && group.delimiter() == Delimiter::Bracket
                    {
                        if self.attribute(group) {
                            place.test = true;
                            item_start.get_or_insert(mark.span().start().line);
                        }
                        index += 1 + usize::from(inner);
                    }
                }
                TokenTree::Ident(word) => {
                    if word == "impl" {
                        trait_impl = implements_trait(&tokens[index + 1..]);
                    }
                    self.word(&tokens, index, place);
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream(), Place { trait_impl, ..place });
                    if group.delimiter() == Delimiter::Brace {
                        if let Some(start) = item_start.take()
                            && !outer.test
                        {
                            self.test_lines += group.span_close().end().line + 1 - start;
                        }
                        (place, trait_impl) = (outer, false);
                    }
                }
                TokenTree::Punct(mark) if mark.as_char() == ';' => (place, item_start) = (outer, None),
                _ => {}
            }
            index += 1;
        }
    }

    /// Looks at an attribute's bracket; says whether what follows is compiled for tests alone.
    fn attribute(&mut self, group: &Group) -> bool {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let Some(TokenTree::Ident(name)) = tokens.first() else {
            return false;
        };
        let line = name.span().start().line;
        if name == "allow" {
            self.find(line, "use #[expect(lint, reason = \"...\")], which notices when it is needless");
        }
        if name == "unsafe" && !self.file.unsafe_allowed {
            self.find(line, "`unsafe` outside the list of layers.toml");
        }
        match tokens.get(1) {
            None => name == "test",
            Some(TokenTree::Group(condition)) => name == "cfg" && only_for_tests(condition.stream()),
            Some(_) => false,
        }
    }

    fn word(&mut self, tokens: &[TokenTree], index: usize, place: Place) {
        let TokenTree::Ident(word) = &tokens[index] else {
            return;
        };
        let (line, next) = (word.span().start().line, tokens.get(index + 1));
        let called_as_macro = is_mark(next, '!');
        match word.to_string().as_str() {
            "unsafe" => self.unsafety(tokens, index, place),
            "asm" | "global_asm" | "naked_asm" if called_as_macro && !self.file.assembly_allowed => {
                self.find(line, "assembly outside the list of layers.toml");
            }
            "todo" | "unimplemented" if called_as_macro => self.find(line, format!("`{word}!`: finish it")),
            "unwrap"
                if self.file.kernel_side
                    && !place.test
                    && index > 0
                    && is_mark(tokens.get(index - 1), '.') =>
            {
                self.find(line, "`unwrap()`: say with `expect` why it cannot happen, or return the error");
            }
            "fn" => self.function(tokens, index, place),
            _ => {}
        }
    }

    fn unsafety(&mut self, tokens: &[TokenTree], index: usize, place: Place) {
        let line = tokens[index].span().start().line;
        if !self.file.unsafe_allowed {
            self.find(line, "`unsafe` outside the list of layers.toml");
        }
        match tokens.get(index + 1) {
            Some(TokenTree::Group(group))
                if group.delimiter() == Delimiter::Brace && !self.explained(line) =>
            {
                self.find(line, "an unsafe block without `// SAFETY:` before it");
            }
            Some(TokenTree::Ident(word)) if word == "impl" && !self.explained(line) => {
                self.find(line, "an unsafe impl without `// SAFETY:` before it");
            }
            Some(TokenTree::Ident(word)) if word == "fn" || word == "extern" => {
                let rest = &tokens[index + 1..];
                let function = rest.iter().take(3).position(|token| is_word(token, "fn"));
                let named = function.is_some_and(|at| matches!(rest.get(at + 1), Some(TokenTree::Ident(_))));
                if named && body(rest).is_some() && !place.trait_impl && !self.contract(line) {
                    self.find(line, "an unsafe fn without `# Safety` in its documentation");
                }
            }
            _ => {}
        }
    }

    /// Whether a comment with `SAFETY:` stands before the statement that contains this line.
    fn explained(&self, line: usize) -> bool {
        let above = self.file.lines[..line - 1].iter().rev().take(LONGEST_STATEMENT);
        let mut in_comment = false;
        for text in above.map(|text| text.trim()) {
            if text.starts_with("//") {
                if text.contains("SAFETY:") {
                    return true;
                }
                in_comment = true;
            } else if in_comment || text.is_empty() || text.ends_with([';', '{', '}']) {
                return false;
            }
        }
        false
    }

    /// Whether the documentation above this line has a section `# Safety`.
    fn contract(&self, line: usize) -> bool {
        let above = self.file.lines[..line - 1].iter().rev().map(|text| text.trim());
        let mut documentation = above.take_while(|text| text.starts_with("//") || text.starts_with('#'));
        documentation.any(|text| text.contains("# Safety"))
    }

    /// Sizes. Tables of cases in tests and pages of assembly are not made better by being cut.
    fn function(&mut self, tokens: &[TokenTree], index: usize, place: Place) {
        let Some(TokenTree::Ident(name)) = tokens.get(index + 1) else {
            return;
        };
        let first = name.span().start().line;
        let rest = &tokens[index + 1..];
        let parameters = rest.iter().find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => Some(group),
            _ => None,
        });
        let count = parameters.map_or(0, |group| count_parameters(group.stream()));
        if count > MOST_PARAMETERS {
            self.find(first, format!("`{name}` has {count} parameters, {MOST_PARAMETERS} at most"));
        }
        if let Some(body) = body(rest)
            && !place.test
            && !is_naked(body)
        {
            let length = body.span_close().end().line + 1 - first;
            if length > LONGEST_FUNCTION {
                self.find(first, format!("`{name}` has {length} lines, {LONGEST_FUNCTION} at most"));
            }
        }
    }
}

fn is_mark(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(found)) if found.as_char() == mark)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(found) if found == word)
}

/// The braces of the function whose signature begins here, unless it is a declaration.
fn body(tokens: &[TokenTree]) -> Option<&Group> {
    for token in tokens {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == ';' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Some(group),
            _ => {}
        }
    }
    None
}

/// Whether a function's body is assembly and nothing else.
fn is_naked(body: &Group) -> bool {
    let mut words = body.stream().into_iter().filter(|token| matches!(token, TokenTree::Ident(_)));
    words.any(|word| is_word(&word, "naked_asm"))
}

/// Whether what follows `impl` has a `for` (not `for<'a>`) before its braces.
fn implements_trait(tokens: &[TokenTree]) -> bool {
    let header = tokens.iter().take_while(|token| {
        !matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
            && !is_mark(Some(token), ';')
    });
    let header: Vec<&TokenTree> = header.collect();
    header
        .iter()
        .enumerate()
        .any(|(index, token)| is_word(token, "for") && !is_mark(header.get(index + 1).copied(), '<'))
}

/// Whether a `cfg` condition holds in tests or models alone: it demands `test` or `loom`.
fn only_for_tests(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => word == "test" || word == "loom",
        [TokenTree::Ident(word), TokenTree::Group(group)] => {
            let parts = split_at_commas(group.stream());
            match word.to_string().as_str() {
                "all" => parts.into_iter().any(only_for_tests),
                "any" => !parts.is_empty() && parts.into_iter().all(only_for_tests),
                _ => false,
            }
        }
        _ => false,
    }
}

fn split_at_commas(tokens: TokenStream) -> Vec<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let parts = tokens.split(|token| is_mark(Some(token), ','));
    parts.filter(|part| !part.is_empty()).map(|part| part.iter().cloned().collect()).collect()
}

/// The parameters besides `self`. Commas in generic arguments separate none.
fn count_parameters(tokens: TokenStream) -> usize {
    let (mut depth, mut count, mut empty, mut arrow) = (0_usize, 0, true, false);
    let mut receiver = false;
    for token in tokens {
        if let TokenTree::Punct(mark) = &token {
            match mark.as_char() {
                '<' => depth += 1,
                '>' if !arrow => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    count += 1;
                    empty = true;
                    continue;
                }
                _ => {}
            }
            arrow = mark.as_char() == '-' && mark.spacing() == Spacing::Joint;
        }
        receiver |= count == 0 && is_word(&token, "self");
        empty = false;
    }
    count + usize::from(!empty) - usize::from(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str =
        "[layers]\n[inside]\n[unsafe]\npaths = [\"base/src\"]\n[assembly]\npaths = [\"arch\"]\n";

    /// The findings as `line: what`, in a file with a tagline as its first line.
    fn findings(path: &str, text: &str) -> Vec<String> {
        let layers = Layers::parse(RULES).unwrap();
        let found = check(path, &format!("//! Why.\n{text}"), &layers);
        found.into_iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    fn assert_found(path: &str, text: &str, line: usize, part: &str) {
        let found = findings(path, text);
        assert!(
            found.iter().any(|finding| finding.starts_with(&format!("{line}: ")) && finding.contains(part)),
            "no `{part}` on line {line} in {found:?}"
        );
    }

    fn assert_clean(path: &str, text: &str) {
        assert_eq!(findings(path, text), Vec::<String>::new());
    }

    #[test]
    fn taglines_and_names() {
        let layers = Layers::parse(RULES).unwrap();
        assert_eq!(check("a.rs", "fn f() {}\n", &layers).len(), 1);
        assert_eq!(check("a.rs", "//!\n", &layers).len(), 1);
        assert_found("base/src/utils.rs", "", 1, "says nothing");
    }

    #[test]
    fn unsafe_and_assembly_have_their_places() {
        let block = "fn f() {\n    // SAFETY: it is.\n    let x =\n        unsafe { g() };\n}";
        assert_clean("base/src/a.rs", block);
        assert_found("logic/a.rs", block, 5, "outside the list");
        assert_found("base/src/a.rs", "fn f() {\n    // Reason.\n    unsafe { g() }\n}", 4, "SAFETY");
        assert_found(
            "base/src/a.rs",
            "// SAFETY: no\nfn f() { unsafe { g() } }\nunsafe impl Send for A {}",
            4,
            "SAFETY",
        );
        assert_found("base/src/a.rs", "/// Does.\npub unsafe fn f() {}", 3, "# Safety");
        assert_found("base/src/a.rs", "pub unsafe extern \"C\" fn f() {}", 2, "# Safety");
        assert_clean("base/src/a.rs", "/// # Safety\n/// Never.\n#[inline]\npub unsafe fn f() {}");
        assert_clean("base/src/a.rs", "impl Alloc for A {\n    unsafe fn alloc(&self) {}\n}");
        assert_clean("base/src/a.rs", "type F = unsafe extern \"C\" fn(usize);\nfn f() { \"unsafe {\"; }");
        assert_found("kernel/a.rs", "#[unsafe(no_mangle)]\nfn f() {}", 2, "outside the list");
        assert_found("base/src/a.rs", "core::arch::global_asm!(\"nop\");", 2, "assembly");
        assert_clean("arch/a.rs", "core::arch::global_asm!(\"nop\");");
    }

    #[test]
    fn sizes_have_bounds() {
        let lines = |count: usize| "    g();\n".repeat(count);
        assert_clean("tools/a.rs", &format!("fn f() {{\n{}}}\n", lines(68)));
        assert_found("tools/a.rs", &format!("fn f() {{\n{}}}\n", lines(69)), 2, "71 lines");
        assert_clean("tools/a.rs", &format!("#[test]\nfn f() {{\n{}}}\n", lines(99)));
        let naked =
            format!("fn f() {{\n    core::arch::naked_asm!(\n{}    )\n}}\n", "    \"nop\",\n".repeat(99));
        assert_clean("arch/a.rs", &naked);
        let functions = |count: usize| "fn f() {}\n".repeat(count);
        assert_clean("tools/a.rs", &functions(799));
        assert_found("tools/a.rs", &functions(800), 1, "801 lines");
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", functions(790), functions(100));
        assert_clean("tools/a.rs", &tested);
        assert_clean(
            "tools/a.rs",
            "fn f(&self, a: A<B, C>, b: fn(u8) -> u8, c: u8, d: u8, e: u8, f: [u8; 2]) {}",
        );
        assert_found(
            "tools/a.rs",
            "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: (u8, u8),) {}",
            2,
            "7 parameters",
        );
    }

    #[test]
    fn words_that_are_not_wanted() {
        assert_found("logic/a.rs", "fn f() {\n    g().unwrap();\n}", 3, "unwrap");
        assert_clean("tools/a.rs", "fn f() { g().unwrap(); }");
        assert_clean(
            "logic/a.rs",
            "#[cfg(all(test, not(loom)))]\nmod tests {\n    fn f() { g().unwrap(); }\n}",
        );
        assert_clean("logic/a.rs", "#[cfg(test)]\nmod tests;\n#[test]\nfn f() { g().unwrap(); }");
        assert_found("logic/a.rs", "#[cfg(test)]\nuse a;\nfn f() { g().unwrap(); }", 4, "unwrap");
        assert_found("logic/a.rs", "#[cfg(not(test))]\nfn f() { g().unwrap(); }", 3, "unwrap");
        assert_clean("logic/a/src/tests.rs", "fn f() { g().unwrap(); }");
        assert_found("tools/a.rs", "#[allow(dead_code)]\nfn f() {}", 2, "expect");
        assert_found("tools/a.rs", "fn f() { todo!() }", 2, "finish");
        let open = ["FIX", "ME: later"].concat();
        assert_found("tools/a.rs", &format!("// {open}\nfn f() {{}}"), 2, "open end");
        assert_found("tools/a.rs", "fn f() {", 2, "does not parse");
    }
}
