//! Configurations of several files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::config::{Config, ConfigError};

const INTERFACES: &str =
    "[[interface]]\nname = \"lan\"\nrole = \"inside\"\n[[interface]]\nname = \"wan\"\nrole = \"outside\"\n";
const CHANNEL: &str = "[[channel]]\nname = \"internet\"\ntype = \"nat\"\nexternal = \"wan\"\n";
const RULE: &str = "[[rule]]\nfrom = \"10.0.0.0/24\"\nchannel = \"internet\"\n";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn refused(path: &Path) -> ConfigError {
    Config::load(path).unwrap_err()
}

#[test]
fn the_files_of_a_directory_are_one_configuration_in_the_order_of_their_names() {
    let rules = "[rings]\nfill = 1024\n[[rule]]\nfrom = \"10.0.0.9\"\nchannel = \"drop\"\n";
    let files = [
        ("20-rules.toml", rules),
        (
            "10-net.toml",
            &[INTERFACES, CHANNEL, RULE, "[rings]\nreceive = 512\n"].concat(),
        ),
        ("README.md", "no configuration"),
        (".hidden.toml", "nor this"),
        ("more/x.toml", "nor this"),
    ];
    let directory = directory(&files);
    let config = Config::load(directory.path()).unwrap();
    assert_eq!((config.rings.receive, config.rings.fill), (512, 1024));
    let channels: Vec<_> = config.rules.iter().map(|rule| rule.channel.to_string()).collect();
    assert_eq!(channels, ["internet", "drop"]);
    let places: Vec<_> = config.rules.iter().map(|rule| rule.place.to_string()).collect();
    let place = |file: &str, position| format!("{}:{position}", directory.path().join(file).display());
    assert_eq!(
        places,
        [place("10-net.toml", "11:1"), place("20-rules.toml", "3:1")]
    );
    let names: Vec<_> = config
        .files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["10-net.toml", "20-rules.toml"]);
}

#[test]
fn files_include_others_behind_themselves() {
    let top = [
        "include = [\"conf.d/*.toml\", \"last.toml\"]\n",
        INTERFACES,
        CHANNEL,
        RULE,
    ]
    .concat();
    let files = [
        ("top.toml", top.as_str()),
        (
            "conf.d/b.toml",
            "[[rule]]\nfrom = \"10.0.0.2\"\nchannel = \"drop\"\n",
        ),
        (
            "conf.d/a.toml",
            "include = \"../deeper.toml\"\n[[rule]]\nfrom = \"10.0.0.1\"\nchannel = \"drop\"\n",
        ),
        (
            "deeper.toml",
            "[[rule]]\nfrom = \"10.0.0.3\"\nchannel = \"pass\"\n",
        ),
        ("last.toml", "[memory]\nframes = 32768\n"),
    ];
    let directory = directory(&files);
    let config = Config::load(directory.path().join("top.toml")).unwrap();
    let sources: Vec<_> = config
        .rules
        .iter()
        .map(|rule| rule.place.file.as_ref().unwrap().file_name().unwrap().to_owned())
        .collect();
    assert_eq!(sources, ["top.toml", "a.toml", "deeper.toml", "b.toml"]);
    assert_eq!(config.memory.frames, 32_768);
    // A pattern may stand for no file.
    let text = ["include = \"none.d/*.toml\"\n", INTERFACES].concat();
    fs::create_dir(directory.path().join("none.d")).unwrap();
    fs::write(directory.path().join("other.toml"), text).unwrap();
    assert!(Config::load(directory.path().join("other.toml")).is_ok());
}

#[test]
fn what_is_wrong_is_told_with_its_own_file() {
    let directory = directory(&[
        (
            "a.toml",
            &["# A comment.\n", INTERFACES, CHANNEL, "[rings]\nfill = 512\n"].concat(),
        ),
        ("b.toml", "[rings]\nfill = 1024\n\n[memory]\nframs = 1\n"),
        ("c.toml", "[[rule]]\nchannel = \"internot\"\n"),
    ]);
    let error = refused(directory.path());
    let told: Vec<_> = error.problems.iter().map(|problem| problem.headline()).collect();
    let place = |file: &str, position: &str| format!("{}:{position}", directory.path().join(file).display());
    // What is given twice comes first: what it means is not known.
    assert_eq!(
        told,
        [format!(
            "{}: fill: it is given already, at {}; expected it once",
            place("b.toml", "2:1"),
            place("a.toml", "13:1")
        )]
    );
    assert_eq!(error.file, directory.path());
    fs::write(directory.path().join("b.toml"), "\n\n[memory]\nframs = 1\n").unwrap();
    let told: Vec<_> = refused(directory.path())
        .problems
        .iter()
        .map(|it| it.to_string())
        .collect();
    assert!(
        told[0].starts_with(&place(
            "b.toml",
            "4:1: unknown key `frams` in [memory], did you mean `frames`?\n4 | frams = 1\n"
        )),
        "{told:?}"
    );
    assert!(told[1].starts_with(&place("c.toml", "2:11")), "{told:?}");
    // TOML that is none, at the end of a file and at the start of one.
    fs::write(directory.path().join("b.toml"), "[memory").unwrap();
    fs::write(directory.path().join("c.toml"), "]").unwrap();
    let files: Vec<_> = refused(directory.path())
        .problems
        .iter()
        .map(|it| it.file.clone())
        .collect();
    assert!(
        files.contains(&directory.path().join("b.toml")) && files.contains(&directory.path().join("c.toml"))
    );
}

#[test]
fn wrong_includes_are_told_where_they_stand() {
    let loop_ = "include = \"loop.toml\"\n";
    let directory = directory(&[("loop.toml", loop_), ("file.txt", ""), ("bytes.toml", "")]);
    fs::write(directory.path().join("bytes.toml"), b"a = \"\xff\"").unwrap();
    let told = |text: &str| {
        let file = directory.path().join("top.toml");
        fs::write(&file, text).unwrap();
        refused(&file)
            .to_string()
            .replace(&directory.path().display().to_string(), "DIR")
    };
    for (text, expected) in [
        (
            "include = 7",
            "DIR/top.toml:1:11: include: it is no text; expected a file or a pattern",
        ),
        (
            "include = [\"a.toml\", false]",
            "top.toml:1:22: include: it is no text",
        ),
        ("include = \"\"", "include: \"\" names no file"),
        (
            "include = \"none.toml\"",
            "include: DIR/none.toml can not be read: there is no such file",
        ),
        (
            "include = \"top.toml\"",
            "include: DIR/top.toml is read already, as DIR/top.toml; expected it once",
        ),
        (
            "include = \"loop.toml\"",
            "DIR/loop.toml:1:11: include: DIR/loop.toml is read already",
        ),
        ("include = \"*/x.toml\"", "* or ? in the name of a directory"),
        ("[rings]\ninclude = \"x\"", "unknown key `include` in [rings]"),
        (
            "include = \"bytes.toml\"",
            "DIR/bytes.toml:1:6: the byte 0xff is not UTF-8 text",
        ),
    ] {
        let found = told(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
    // Deeper than anybody means it.
    for number in 0..20 {
        let text = format!("include = \"{}.toml\"\n", number + 1);
        fs::write(directory.path().join(format!("{number}.toml")), text).unwrap();
    }
    assert!(told("include = \"0.toml\"").contains("more than 16 deep"));
}
