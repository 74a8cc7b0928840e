//! `docs/nat-compliance.md` says of every requirement what its state is, and names tests that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Requirements of phase 1: the core of NAT44.
const CORE: &str = "
    4787-1 4787-2 4787-3 4787-3a 4787-4 4787-5 4787-5a 4787-5b 4787-5c 4787-6 4787-6a 4787-7 4787-8 4787-8a 4787-9
    4787-9a 4787-10 4787-11 4787-12 4787-12a 4787-12b 4787-13 4787-13a 4787-14 4787-14a 5382-1 5382-2 5382-2a 5382-3
    5382-3a 5382-3b 5382-4 5382-4a 5382-5 5382-5a 5382-7 5382-8 5382-8a 5382-9 5382-10 5508-1 5508-1a 5508-2 5508-2a
    5508-3 5508-3a 5508-3b 5508-3c 5508-3d 5508-4 5508-5 5508-6 5508-7 5508-7a 5508-8 5508-9 5508-10a 5508-10c
    5508-10d-f 5508-11 7857-2.1 7857-2.2 7857-2.2b 7857-2.3 7857-5 7857-6 7857-7 7857-7.1 7857-9 7857-11 7857-12
    6888-6 3022-2.1 3022-2.2 3022-3 3022-4.1 3022-4.3 3022-5 6056-3.2 6056-3.3 6056-3.4 6056-4a 6056-4b 6056-4c X-1
    X-2 X-5 X-6";
/// Requirements of phase 2.
const CARRIER_GRADE: &str = "
    4787-10a 5382-6 5508-10b 7857-3 7857-4 7857-8 7857-10 6888-1 6888-2 6888-3 6888-4 6888-5 6888-7 6888-8 6888-9
    6888-10 6888-11A 6888-11B 6888-11C 6888-11D 6888-12 6888-13 6888-14 6888-15 3022-4.4 3022-6 7422-2a 7422-2b
    7422-2c 7422-2d 7422-2e 7422-4 7422-5 X-3 X-4";
/// Requirements of phase 3: NAT64, NPTv6, and export of logs.
const LATER: &str = "
    6146-3.1 6146-3.2 6146-3.4 6146-3.4b 6146-3.5 6146-3.5.1 6146-3.5.2 6146-3.5.2b 6146-3.5.2c 6146-3.5.3 6146-3.5.4
    6146-3.6 6146-3.7 6146-3.7b 6146-3.8 6146-err 7915-4.1 7915-4.1b 7915-4.1c 7915-4.2 7915-4.2b 7915-4.3 7915-4.5
    7915-5.1 7915-5.1b 7915-5.2 7915-6 7915-7 6296-2 6296-3.4 6296-3.5 6296-hp 8158-ev 8158-t1 8158-t2 8158-t3
    8158-t4 8158-q 8158-th 8158-id 8158-rate";

/// Where tests are, from the root of the repository.
const SOURCES: [&str; 6] = [
    "netchannel/src",
    "netchannel/tests",
    "classifier/src",
    "classifier/tests",
    "tools/tests",
    "benches/tests",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One line of the tables.
#[derive(Debug)]
struct Line {
    id: String,
    level: String,
    phase: String,
    asks: String,
    state: String,
}

/// The lines of all tables: those with five cells, but for headings and rules.
fn lines(document: &str) -> Vec<Line> {
    let cells = |line: &str| -> Option<Vec<String>> {
        let inner = line.strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
    };
    document
        .lines()
        .filter_map(cells)
        .filter(|cells| cells[0] != "ID" && !cells[0].starts_with("---"))
        .map(|cells| {
            let [id, level, phase, asks, state] = cells
                .try_into()
                .unwrap_or_else(|cells| panic!("five cells are expected: {cells:?}"));
            Line {
                id,
                level,
                phase,
                asks,
                state,
            }
        })
        .collect()
}

/// The names of all test functions below a directory.
fn tests_below(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            names.extend(tests_in(&text));
        }
    }
}

/// Functions with the attribute `test`, at most some attributes and comments apart.
fn tests_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if marked && let Some((name, _)) = rest.split_once('(') {
                names.push(name.to_owned());
            }
            marked = false;
        } else if !(line.starts_with("#[") || line.starts_with("//")) {
            marked = false;
        }
    }
    names
}

/// The tests that a state names, all in backquotes.
fn named(state: &str) -> impl Iterator<Item = &str> {
    state.split('`').skip(1).step_by(2)
}

/// What is wrong with a line, given the tests that there are.
fn problem(line: &Line, tests: &BTreeSet<String>) -> Option<String> {
    let Line {
        id,
        level,
        asks,
        state,
        ..
    } = line;
    if !level.split('/').all(|one| ["M", "S", "O", "i"].contains(&one)) {
        return Some(format!("{id}: \"{level}\" is no level"));
    }
    if asks.len() < 10 {
        return Some(format!("{id}: what it asks is missing"));
    }
    let explained = |why: &str| why.trim().len() >= 10;
    if let Some(met) = state.strip_prefix("met: ") {
        if let Some(unknown) = named(met).find(|name| !tests.contains(*name)) {
            return Some(format!("{id}: there is no test `{unknown}`"));
        }
        return named(met)
            .next()
            .is_none()
            .then(|| format!("{id}: met, but by no test"));
    }
    let why = state
        .strip_prefix("off: ")
        .or_else(|| state.strip_prefix("not yet: "));
    (!why.is_some_and(explained)).then(|| format!("{id}: neither met nor explained: \"{state}\""))
}

#[test]
fn every_requirement_is_met_or_explained() {
    let path = root().join("docs/nat-compliance.md");
    let document = std::fs::read_to_string(path).expect("docs/nat-compliance.md");
    let mut tests = BTreeSet::new();
    for directory in SOURCES {
        tests_below(&root().join(directory), &mut tests);
    }
    assert!(tests.len() > 100, "tests were not found");
    let mut expected = BTreeMap::new();
    for (phase, ids) in [("1", CORE), ("2", CARRIER_GRADE), ("3", LATER)] {
        expected.extend(ids.split_whitespace().map(|id| (id, phase)));
    }
    let mut problems = Vec::new();
    for line in lines(&document) {
        match expected.remove(&*line.id) {
            None => problems.push(format!("{}: unknown, or there twice", line.id)),
            Some(phase) if phase != line.phase => {
                problems.push(format!("{}: of phase {phase}, not {}", line.id, line.phase));
            }
            Some(_) => problems.extend(problem(&line, &tests)),
        }
    }
    problems.extend(expected.keys().map(|id| format!("{id}: missing")));
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_state_that_says_nothing_is_noticed() {
    let tests = BTreeSet::from(["there_is_one".to_owned()]);
    let problem_of = |state: &str| {
        let table = format!(
            "| ID | Level | Phase | What | State |\n| --- | --- | --- | --- | --- |\n| 1-2 | M/S | 1 | asks for something | {state} |"
        );
        let lines = lines(&table);
        assert_eq!(lines.len(), 1);
        problem(&lines[0], &tests)
    };
    assert_eq!(problem_of("met: `there_is_one`; and more"), None);
    assert_eq!(problem_of("off: nobody needs it any more"), None);
    assert_eq!(problem_of("not yet: it is a lot of work"), None);
    assert!(problem_of("met: `there_is_none`").is_some());
    assert!(problem_of("met: `there_is_one`, `there_is_none`").is_some());
    assert!(problem_of("met: somehow").is_some());
    assert!(problem_of("off: ").is_some());
    assert!(problem_of("not yet: later").is_some());
    assert!(problem_of("").is_some());
    assert_eq!(
        tests_in("#[test]\n/// Words.\n#[cold]\nfn a() {\n}\nfn b() {}\n"),
        ["a"]
    );
}
