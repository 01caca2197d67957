//! Each check on a small tree: what is in order, and what is not.

use super::commands::{self, Help};
use super::documents::{Code, check_paths};
use super::imports::{Circle, Graph, circles, compare, modules};
use super::sources::{DOCUMENT_LINES_MAX, LINES_MAX, check_documents, check_lines, check_unsafe};
use super::tree::Tree;
use std::collections::BTreeSet;

const MANIFEST: (&str, &str) = ("one/Cargo.toml", "[package]\nname = \"one\"\n");

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn graph(edges: &[(&str, &[&str])]) -> Graph {
    edges
        .iter()
        .map(|(name, imported)| ((*name).to_owned(), set(imported)))
        .collect()
}

fn modules_of(files: &[(&str, &str)]) -> Graph {
    let tree = files.iter().copied().chain([MANIFEST]).collect();
    modules(&tree, "one").expect("every module has a file")
}

#[test]
fn circles_are_those_who_reach_each_other() {
    let found = circles(&graph(&[
        ("a", &["b"]),
        ("b", &["c"]),
        ("c", &["b", "d"]),
        ("d", &[]),
        ("e", &["f", "a"]),
        ("f", &["g"]),
        ("g", &["e"]),
    ]));
    assert_eq!(found, BTreeSet::from([set(&["b", "c"]), set(&["e", "f", "g"])]));
}

#[test]
fn the_list_of_circles_is_exact() {
    let pair = |names: &[&str]| -> BTreeSet<Circle> { BTreeSet::from([set(names)]) };
    assert_eq!(compare("one", &pair(&["a", "b"]), &pair(&["a", "b"])), [""; 0]);
    let grown = compare("one", &pair(&["a", "b", "c"]), &pair(&["a", "b"]));
    assert_eq!(grown, ["one: c is new in a circle of imports"]);
    let mended = compare("one", &BTreeSet::new(), &pair(&["a", "b"]));
    assert_eq!(mended.len(), 2, "{mended:?}");
    assert!(mended[0].contains("take it off"), "{mended:?}");
    let split = BTreeSet::from([set(&["a", "b"]), set(&["c", "d"])]);
    assert_eq!(compare("one", &split, &pair(&["a", "b", "c", "d"])).len(), 1);
}

#[test]
fn modules_import_by_every_kind_of_path() {
    let found = modules_of(&[
        ("one/src/lib.rs", "mod a;\npub mod b;\nmod c;\nuse a::Thing;\n"),
        (
            "one/src/a.rs",
            "mod deep;\nuse crate::{b::{self, Other}, c as third};\n",
        ),
        ("one/src/a/deep.rs", "use super::super::c;\nfn f() { super::g(); }\n"),
        ("one/src/b/mod.rs", "mod inner;\n"),
        ("one/src/b/inner.rs", "fn f() -> crate::a::deep::Thing { self::g() }\n"),
        ("one/src/c.rs", "use std::a::b;\nuse other::crate_::a;\n"),
    ]);
    let expected = graph(&[
        ("crate", &["a"]),
        ("a", &["b", "c"]),
        ("a::deep", &["a", "c"]),
        ("b", &[]),
        ("b::inner", &["a::deep"]),
        ("c", &[]),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn comments_texts_and_tests_import_nothing() {
    let found = modules_of(&[
        ("one/src/main.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod tests;\n"),
        (
            "one/src/a.rs",
            "// crate::b::X\n/* crate::b */\n/// [`crate::b`]\nfn f<'a>(c: char) -> &'a str { if c == '\"' { \"crate::b\" } else { r#\"crate::b\"# } }\n\
             #[cfg(test)]\nmod tests {\n    use crate::b::X;\n    fn g() { if true {} }\n}\n\
             #[cfg(test)]\nuse crate::b::Y;\n",
        ),
        ("one/src/b.rs", "#[cfg(test)]\nfn only_here() {}\nuse crate::a::f;\n"),
        ("one/src/tests.rs", "use crate::b;\n"),
    ]);
    assert_eq!(found, graph(&[("crate", &[]), ("a", &[]), ("b", &["a"])]));
}

#[test]
fn a_module_without_its_file_is_an_error() {
    let tree: Tree = [("one/src/lib.rs", "mod a;\n"), MANIFEST].into_iter().collect();
    let error = modules(&tree, "one").expect_err("there is no a");
    assert!(error.to_string().contains("declares a"), "{error}");
    assert!(modules(&tree, "two").is_err());
}

#[test]
fn documents_that_are_read_as_a_whole_stay_short() {
    let (short, most) = DOCUMENT_LINES_MAX[0];
    let (long, longer) = DOCUMENT_LINES_MAX[1];
    let texts = ["x\n".repeat(most), "x\n".repeat(longer + 1)];
    let tree: Tree = [(short, &*texts[0]), (long, &*texts[1])].into_iter().collect();
    assert_eq!(
        check_documents(&tree),
        [format!("{long} has {} lines; {longer} at most", longer + 1)]
    );
    let tree: Tree = [(short, &*texts[0])].into_iter().collect();
    assert_eq!(check_documents(&tree), [format!("{long} is gone")]);
}

#[test]
fn long_files_stand_on_the_list_and_no_others_do() {
    let long = "x\n".repeat(LINES_MAX + 10);
    let full = "x\n".repeat(LINES_MAX);
    let tree: Tree = [
        ("one/src/long.rs", &*long),
        ("one/src/full.rs", &*full),
        ("docs/long.md", &*long),
    ]
    .into_iter()
    .collect();
    let cases: [(&[&str], &[&str]); 4] = [
        (&[], &["one/src/long.rs has 410 lines; 400 at most"]),
        (&["one/src/long.rs"], &[]),
        (
            &["one/src/long.rs", "one/src/full.rs"],
            &["one/src/full.rs has 400 lines: take it off the list `lines`"],
        ),
        (
            &["one/src/long.rs", "one/src/no.rs"],
            &["one/src/no.rs is gone: take it off the list `lines`"],
        ),
    ];
    for (list, expected) in cases {
        assert_eq!(check_lines(&tree, &set(list)), expected, "{list:?}");
    }
}

#[test]
fn packages_forbid_unsafe_or_have_some() {
    let has = "fn f() { unsafe { g() } }\n";
    let check = |root: &str, known: &[&str]| {
        let tree: Tree = [MANIFEST, ("one/src/lib.rs", root), ("one/src/a.rs", "// unsafe\n")]
            .into_iter()
            .collect();
        check_unsafe(&tree, &set(known))
    };
    assert_eq!(check("//! One.\n\n#![forbid(unsafe_code)]\n", &[]), [""; 0]);
    assert_eq!(check("#![cfg_attr(not(test), forbid(unsafe_code))]\n", &[]), [""; 0]);
    assert_eq!(check("// #![forbid(unsafe_code)]\n", &[]).len(), 1);
    assert_eq!(check(has, &["one"]), [""; 0]);
    assert_eq!(
        check("\n", &["one"]),
        ["one has no unsafe: take it off the list `unsafe`"]
    );
    assert_eq!(check("#![forbid(unsafe_code)]\n", &["two"]).len(), 1);
    let programs: Tree = [MANIFEST, ("one/src/main.rs", ""), ("one/src/bin/two.rs", "")]
        .into_iter()
        .collect();
    assert_eq!(check_unsafe(&programs, &BTreeSet::new()).len(), 2);
}

#[test]
fn spans_and_blocks_are_told_apart() {
    let document =
        "A `one\ntwo` and a lone ` tick.\n\n`three`\n```console\ngateway run \\\n  --config F\ncerts\n```\n`four`\n";
    let code = Code::of(document);
    assert_eq!(code.spans, ["one two", "three", "four"]);
    assert_eq!(code.lines, ["gateway run   --config F", "certs"]);
}

#[test]
fn paths_between_backticks_exist() {
    let check = |document: &str, made: &[&str]| {
        let tree: Tree = [("docs/a.md", document), ("one/src/tls/mod.rs", "")]
            .into_iter()
            .collect();
        check_paths(&tree, &set(made))
    };
    let right = "`one/src`, `tls/mod.rs`, `src/tls/`, `mod.rs`, `a.md`, `/etc/x.rs`, `a/b c`, `http://x/y`, `live.toml`, `--to a/b`";
    assert_eq!(check(right, &[]), [""; 0]);
    for wrong in ["`one/tls`", "`s/mod.rs`", "`od.rs`", "`gone.rs`", "`gone/`", "`docs/a`"] {
        let found = check(wrong, &[]);
        assert_eq!(found, [format!("docs/a.md names {wrong}, which is not there")]);
    }
    assert_eq!(check("`target/tuned`", &["target"]), [""; 0]);
    assert_eq!(check("`tls/mod.rs`", &["target"]).len(), 1);
}

/// A program with `push show --dry-run`, and `bench`, which takes any name and has one of its own.
struct Scripted;

impl Help for Scripted {
    fn help(&mut self, command: &[&str]) -> anyhow::Result<Option<String>> {
        let help = match command {
            ["gateway"] => {
                "Runs.\n\nUsage: gateway\n\nCommands:\n  push   Pushes,\n         and more\n  bench  Measures\n\nOptions:\n  -h, --help\n"
            }
            ["gateway", "push"] => "Commands:\n  show  A show\n\nOptions:\n  -h, --help\n",
            ["gateway", "push", "show"] => {
                "Arguments:\n  <FILE>\n\nOptions:\n      --dry-run\n      --in <TIME>\n  -h, --help\n"
            }
            ["gateway", "bench"] => "Commands:\n  cost  It\n\nArguments:\n  [NAME]\n\nOptions:\n  -h, --help\n",
            ["gateway", "bench", "cost"] => "Options:\n  -h, --help\n",
            _ => return Ok(None),
        };
        Ok(Some(help.to_owned()))
    }
}

#[test]
fn commands_exist_with_their_flags() {
    let check = |document: String| {
        let tree: Tree = [("docs/a.md", &*document)].into_iter().collect();
        commands::check(&tree, &mut Scripted).expect("it can be run")
    };
    let right = [
        "gateway",
        "gateway push show F --dry-run | head -1",
        "gateway push show F --in=5s # --nothing",
        "gateway push --help",
        "gateway bench ring",
        "gateway bench NAME …",
        "gateway push NAME",
        "gateway's push",
        "gateways pull",
        "gateway ═rings═ shake-agent",
        "cargo bench gateway pull",
    ];
    for line in right {
        assert_eq!(check(format!("`{line}`")), [""; 0], "{line}");
        assert_eq!(check(format!("```sh\n$ {line}\n```\n")), [""; 0], "{line}");
    }
    let wrong = [
        ("gateway pull", "gateway has no pull"),
        ("gateway and", "gateway has no and"),
        ("gateway push shows F", "gateway push has no shows"),
        ("gateway push show F --dry", "gateway push show has no --dry"),
        ("gateway --in 5s", "gateway has no --in"),
        ("gateway bench cost --in=5", "gateway bench cost has no --in"),
    ];
    for (line, why) in wrong {
        let found = check(format!("`{line}`"));
        assert_eq!(found, [format!("docs/a.md names `{line}`: {why}")]);
        assert_eq!(check(format!("```sh\n$ {line} > file\n```\n")).len(), 1, "{line}");
    }
}
