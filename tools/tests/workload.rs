//! `netchannel rules` and `netchannel bench` as a user meets them.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Ran, netchannel, text};
use serde_json::Value;
use tempfile::TempDir;

const STRUCTURES: [&str; 4] = ["linear", "interval", "trie", "tuple"];

const KEYS: [&str; 11] = [
    "structure",
    "rules",
    "headers",
    "build_seconds",
    "bytes_per_rule",
    "ns_per_lookup",
    "ns_per_lookup_burst",
    "inserts_per_second",
    "removes_per_second",
    "ns_per_lookup_burst_while_writing",
    "mismatches",
];

/// A directory with a rule set and a trace.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(rules: &str, trace: &str) -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(files.path("rules"), rules).unwrap();
        fs::write(files.path("trace"), trace).unwrap();
        files
    }

    /// Made by the command itself.
    fn generated(style: &str, options: &[&str]) -> Self {
        let files = Self::new("", "");
        let (rules, trace) = (files.path("rules"), files.path("trace"));
        let generate = [
            "bench",
            "generate",
            "--style",
            style,
            "--output",
            text(&rules),
            "--trace",
            text(&trace),
        ];
        let ran = netchannel(&[&generate, options].concat());
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, command: &[&str], options: &[&str]) -> Ran {
        let (rules, trace) = (self.path("rules"), self.path("trace"));
        let input = [
            "--rules",
            text(&rules),
            "--format",
            "classbench",
            "--trace",
            text(&trace),
        ];
        netchannel(&[command, &input, options].concat())
    }

    fn winners(&self, options: &[&str]) -> String {
        let ran = self.run(&["rules", "match"], options);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{options:?}");
        ran.out
    }
}

const RULES: &str = "\
# two rules
@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t443 : 443\t0x06/0xFF\t0x0000/0x0000\t

@0.0.0.0/0 192.0.2.0/24 0 : 65535 400 : 500 0x00/0x00
";

/// 10.0.0.1 to 192.0.2.1, then something else to that, then what nobody wants.
const TRACE: &str = "\
167772161 3221225985 1 443 6
1 3221225985 1 443 17 1
1 1 1 443 6 -1
";

#[test]
fn winners_are_lines_of_the_file() {
    let files = Files::new(RULES, TRACE);
    for structure in STRUCTURES {
        assert_eq!(
            files.winners(&["--structure", structure]),
            "2\n4\n-\n",
            "{structure}"
        );
    }
    assert_eq!(files.winners(&[]), "2\n4\n-\n");
    assert_eq!(Files::new("", TRACE).winners(&[]), "-\n-\n-\n");
    assert_eq!(Files::new(RULES, "").winners(&[]), "");
}

#[test]
fn all_structures_agree_with_the_trace() {
    for style in ["acl", "fw", "ipc"] {
        let options = [
            "--rules",
            "400",
            "--headers",
            "2000",
            "--distribution",
            "zipf",
            "--disorder",
            "0.5",
        ];
        let files = Files::generated(style, &options);
        let expected: String = fs::read_to_string(files.path("trace"))
            .unwrap()
            .lines()
            .map(|line| {
                let winner: u32 = line.rsplit('\t').next().unwrap().parse().unwrap();
                format!("{}\n", winner + 1)
            })
            .collect();
        for structure in STRUCTURES {
            assert!(
                files.winners(&["--structure", structure]) == expected,
                "{style} {structure}"
            );
        }
    }
}

#[test]
fn wrong_files_are_refused_with_their_lines() {
    let wrong_rules = Files::new(&format!("{RULES}@10.0.0.0/8 x\n@1.2.3.4/33"), TRACE);
    let wrong_trace = Files::new(RULES, &format!("{TRACE}1 2 3 4 5 6 7\n"));
    for command in [&["rules", "match"][..], &["bench", "classify"]] {
        let ran = wrong_rules.run(command, &["--log", "error"]);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""));
        let path = wrong_rules.path("rules");
        let path = text(&path);
        let expected = format!(
            "netchannel: {path}: refused, 2 problems\n\
             {path}:5:13: found `x`, expected the destination address, such as 192.0.2.0/24: four numbers from 0 to 255\n\
             {path}:6:10: found `33`, expected the length of the prefix, from 0 to 32\n"
        );
        assert_eq!(ran.err, expected);

        let ran = wrong_trace.run(command, &["--log", "error"]);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""));
        assert!(
            ran.err
                .contains("trace:4:13: found `7`, expected the end of the line"),
            "{}",
            ran.err
        );
    }
    let ran = netchannel(&[
        "rules",
        "match",
        "--rules",
        "/nonexistent/rules",
        "--trace",
        "/nonexistent/trace",
    ]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .starts_with("netchannel: /nonexistent/rules: can not be read: "),
        "{}",
        ran.err
    );
}

#[test]
fn figures_are_json_objects_with_these_keys() {
    let files = Files::generated("ipc", &["--rules", "200", "--headers", "1000"]);
    let ran = files.run(
        &["bench", "classify"],
        &["--structure", "all", "--json", "--seconds", "0.01"],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), STRUCTURES.len());
    for (line, structure) in lines.iter().zip(STRUCTURES) {
        let figures: Value = serde_json::from_str(line).unwrap();
        let object = figures.as_object().unwrap();
        assert_eq!(object.len(), KEYS.len());
        for key in KEYS {
            assert!(object.contains_key(key), "{key}");
        }
        // In this order.
        let places: Vec<_> = KEYS.map(|key| line.find(&format!("\"{key}\":"))).to_vec();
        assert!(places.is_sorted(), "{line}");
        assert_eq!(figures["structure"], structure);
        assert_eq!(
            (&figures["rules"], &figures["headers"]),
            (&200.into(), &1000.into())
        );
        assert_eq!(figures["mismatches"], 0);
        for key in &KEYS[3..10] {
            assert!(figures[key].as_f64() > Some(0.0), "{key}: {line}");
        }
        assert!(ran.err.contains(&format!("{structure}: building")), "{}", ran.err);
    }
}

#[test]
fn figures_are_a_table_for_people() {
    let files = Files::generated("acl", &["--rules", "1200", "--headers", "1000"]);
    let ran = files.run(
        &["bench", "classify"],
        &["--structure", "all", "--seconds", "0.01"],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), STRUCTURES);
    assert_eq!(lines[1].split_whitespace().nth(1), Some("1,200"));
    for row in ["bytes/rule", "inserts/s", "lookups/s while writing", "mismatches"] {
        assert!(
            lines.iter().any(|line| line.starts_with(row)),
            "{row} in {}",
            ran.out
        );
    }
    let one = files.run(
        &["bench", "classify"],
        &["--structure", "linear", "--seconds", "0.01"],
    );
    assert_eq!(one.out.lines().next().map(str::trim), Some("linear"));
}

#[test]
fn wrong_answers_are_a_failure() {
    let files = Files::new(RULES, &TRACE.replace("-1", "0"));
    let ran = files.run(
        &["bench", "classify"],
        &["--json", "--seconds", "0.01", "--log", "error"],
    );
    assert_eq!(ran.code, 1);
    let figures: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(figures["mismatches"].as_u64() > Some(0), "{}", ran.out);
    assert!(
        ran.err
            .starts_with("netchannel: answers that differ from a linear search"),
        "{}",
        ran.err
    );
    let empty = Files::new("# no rules\n", TRACE).run(&["bench", "classify"], &["--log", "error"]);
    assert_eq!((empty.code, empty.out.as_str()), (1, ""));
    assert_eq!(
        empty.err,
        "netchannel: found no rules to measure, expected at least one\n"
    );
}

#[test]
fn rules_go_to_standard_output_and_are_the_same_each_time() {
    let generate = ["bench", "generate", "--style", "fw", "--rules", "50"];
    let seed = |seed| netchannel(&[&generate[..], &["--seed", seed]].concat());
    let first = seed("7");
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    assert_eq!(first.out.lines().count(), 50);
    assert!(first.out.lines().all(|line| line.starts_with('@')));
    assert_eq!(first.out, seed("7").out);
    assert_ne!(first.out, seed("8").out);
    assert_eq!(netchannel(&generate).out, seed("1").out);
}

#[test]
fn generated_files_may_be_compressed() {
    let files = Files::new("", "");
    let (rules, trace) = (files.path("rules.gz"), files.path("trace.gz"));
    let ran = netchannel(&[
        "bench",
        "generate",
        "--style",
        "ipc",
        "--rules",
        "100",
        "--headers",
        "50",
        "--output",
        text(&rules),
        "--trace",
        text(&trace),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fs::read(&rules).unwrap()[..2], [0x1f, 0x8b]);
    let ran = netchannel(&["rules", "match", "--rules", text(&rules), "--trace", text(&trace)]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 50));
}

#[test]
fn wrong_usage_is_told() {
    let generate = ["bench", "generate", "--style", "acl", "--rules", "10"];
    let cases: [&[&str]; 9] = [
        &["--style", "nat"],
        &["--rules", "0"],
        &["--wildcards", "1.5"],
        &["--nesting", "NaN"],
        &["--port-values", "65537"],
        &["--smoothness", "33"],
        &["--headers", "10"],
        &["--distribution", "zipf"],
        &["--output", "same", "--trace", "same"],
    ];
    for options in cases {
        let given = match options[0] {
            "--style" => &generate[..2],
            "--rules" => &generate[..4],
            _ => &generate[..],
        };
        let ran = netchannel(&[given, options].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{options:?}: {}", ran.err);
        assert!(ran.err.starts_with("netchannel: "), "{}", ran.err);
    }
    let files = Files::new(RULES, TRACE);
    for options in [
        &["--structure", "magic"][..],
        &["--structure", "all"],
        &["--format", "csv"],
    ] {
        let input = files.path("rules");
        let ran = netchannel(
            &[
                &["rules", "match", "--rules", text(&input), "--trace", text(&input)],
                options,
            ]
            .concat(),
        );
        assert_eq!(ran.code, 2, "{options:?}: {}", ran.err);
    }
    for seconds in ["0", "-1", "x", "1e9"] {
        assert_eq!(
            files.run(&["bench", "classify"], &["--seconds", seconds]).code,
            2,
            "{seconds}"
        );
    }
    let too_many = netchannel(
        &[
            &generate[..4],
            &[
                "--rules",
                "5000",
                "--source-addresses",
                "1",
                "--destination-addresses",
                "1",
                "--port-values",
                "1",
            ],
        ]
        .concat(),
    );
    assert_eq!((too_many.code, too_many.out.as_str()), (1, ""));
    assert!(
        too_many
            .err
            .contains("different rules were found where 5000 were asked for"),
        "{}",
        too_many.err
    );
}
