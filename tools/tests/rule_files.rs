//! `netchannel rules check`, `convert`, `export` and `diff` as a user meets them.

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use common::{Ran, command, netchannel, text};
use serde_json::{Value, json};
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/netchannel.toml");

const RULES: &str = "\
set office = { 10.0.0.0/24, 10.1.0.0/16 }
set web = { 80, 443, 8000-8099 }
priority 10 tcp from @office to any port @web on lan0 use internet with filtering address-and-port-dependent comment \"web\"
priority 20 tcp flags syn/syn,ack from 10.0.0.0/8 port 1024-65535 to 192.0.2.1 port {25, 465} drop
icmp type 8 to 192.0.2.1 pass
";

/// The same as `RULES` is always written.
const CANONICAL: &str = "\
set office = { 10.0.0.0/24, 10.1.0.0/16 }
set web = { 80, 443, 8000-8099 }

priority 10 tcp from @office to any port @web on lan0 use internet with filtering address-and-port-dependent comment \"web\"
priority 20 tcp flags syn/syn,ack from 10.0.0.0/8 port 1024-65535 to 192.0.2.1 port {25, 465} drop
priority 100 icmp type 8 to 192.0.2.1 pass
";

const CLASSBENCH: &str = "\
@10.0.0.0/8\t192.0.2.1/32\t0 : 65535\t443 : 443\t0x06/0xFF
@0.0.0.0/0\t10.0.0.0/31\t0 : 65535\t0 : 65535\t0x00/0x00
";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            fs::write(directory.path(name), text).unwrap();
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `netchannel rules COMMAND`; what begins with `/` is a file of this directory, SAMPLE the sample configuration.
    fn run(&self, command: &str) -> Ran {
        let words = command.split(' ').map(|word| match word.strip_prefix('/') {
            Some(name) => self.name(name),
            None if word == "SAMPLE" => SAMPLE.to_owned(),
            None => word.to_owned(),
        });
        let words: Vec<String> = ["rules".to_owned()].into_iter().chain(words).collect();
        netchannel(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Runs with a standard input.
fn piped(arguments: &[&str], input: &str) -> (i32, String) {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn check_says_what_files_hold() {
    let files = Files::new(&[
        ("site.rules", RULES),
        ("all.rules", "include \"site.rules\"\npriority 5 drop\n"),
        ("acl", CLASSBENCH),
    ]);
    let ran = files.run("check /site.rules /all.rules /acl");
    let [site, all, acl] = ["site.rules", "all.rules", "acl"].map(|name| files.name(name));
    assert_eq!(
        ran.out,
        format!("{site}: ok: 3 rules, 2 sets\n{all}: ok: 4 rules, 2 sets\n{acl}: ok: 2 rules, 0 sets\n")
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let ran = files.run("check --config SAMPLE /site.rules");
    assert_eq!((ran.code, ran.out), (0, format!("{site}: ok: 3 rules, 2 sets\n")));
    assert_eq!(
        piped(&["rules", "check", "-"], RULES),
        (0, "-: ok: 3 rules, 2 sets\n".to_owned())
    );
}

#[test]
fn check_says_what_is_wrong() {
    let files = Files::new(&[
        ("good.rules", "set unused = 80\npass\n"),
        ("bad.rules", "tcp from 10.0.0.1/24 drop\nicmp drop to x\n"),
        (
            "bad.json",
            "{\"rules\": [{\"channel\": \"drop\", \"form\": \"::1\"}]}",
        ),
        ("names.rules", "on lan7 use internett\n"),
        ("bytes.rules", ""),
    ]);
    fs::write(files.path("bytes.rules"), b"pass\n\x80\n").unwrap();
    let ran = files.run("check /good.rules /bad.rules /bad.json /bytes.rules /none.rules");
    assert_eq!(ran.code, 3);
    assert!(
        ran.out.ends_with("good.rules: ok: 1 rule, 1 set\n"),
        "{}",
        ran.out
    );
    for expected in [
        "good.rules:1:5: no rule names the set \"unused\"",
        "bad.rules: refused, 2 problems\n",
        "bad.rules:1:10: \"10.0.0.1/24\" has host bits set; expected the prefix \"10.0.0.0/24\"",
        "1 | tcp from 10.0.0.1/24 drop\n  |          ^^^^^^^^^^^\n",
        "bad.rules:2:11: found \"to\"; expected with, comment \"...\" or the end of the line",
        "bad.json: rule 1: unknown key \"form\", did you mean \"from\"?",
        "bytes.rules: has bytes in line 2 that are not UTF-8 text",
        "none.rules: can not be read: there is no such file",
    ] {
        assert!(ran.err.contains(expected), "{expected}\n{}", ran.err);
    }
    let ran = files.run("check --config SAMPLE /names.rules");
    assert_eq!(ran.code, 3);
    for expected in [
        "names.rules:1:1: \"lan7\" is not an [[interface]]",
        "names.rules:1:1: \"internett\" is not a channel, did you mean \"internet\"?",
    ] {
        assert!(ran.err.contains(expected), "{expected}\n{}", ran.err);
    }
    let ran = files.run("check --format xml /good.rules");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("expected \"native\", \"json\""), "{}", ran.err);
    assert_eq!(files.run("check").code, 2);
    assert_eq!(files.run("check --config /none.toml /good.rules").code, 3);
}

#[test]
fn every_format_becomes_every_other() {
    let files = Files::new(&[("site.rules", RULES), ("acl", CLASSBENCH)]);
    let ran = files.run("convert /site.rules --to native");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, CANONICAL, ""));
    let ran = files.run("convert /site.rules --to json -o /site.json");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let json: Value = serde_json::from_str(&files.read("site.json")).unwrap();
    assert_eq!(
        json["sets"][1],
        json!({"name": "web", "ports": [80, 443, "8000-8099"]})
    );
    assert_eq!(
        json["rules"][2],
        json!({"priority": 100, "protocol": ["icmp"], "to": ["192.0.2.1"], "icmp_type": [8], "channel": "pass"})
    );
    assert_eq!(files.run("convert /site.json --to native").out, CANONICAL);

    let ran = files.run("convert /acl --channel internet --to native -o /acl.rules");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    assert_eq!(
        files.read("acl.rules"),
        "priority 1 tcp from 10.0.0.0/8 to 192.0.2.1 port 443 use internet\npriority 2 to 10.0.0.0/31 use internet\n"
    );
    assert_eq!(files.run("convert /acl.rules --to json -o /acl.json").code, 0);
    let ran = files.run("convert /acl.json --to classbench");
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, CLASSBENCH, "")
    );
    let piped = piped(
        &["rules", "convert", "-", "--to", "classbench"],
        &files.read("acl.rules"),
    );
    assert_eq!(piped, (0, CLASSBENCH.to_owned()));
}

#[test]
fn what_a_format_can_not_say_is_refused_or_left_out() {
    let files = Files::new(&[
        ("site.rules", RULES),
        ("acl", "@0.0.0.0/0 1.2.3.4/32 0 : 65535 7 : 7 0x01/0xFF\n"),
        ("out", "as it was"),
    ]);
    let ran = files.run("convert /site.rules --to classbench -o /out");
    assert_eq!((ran.code, files.read("out").as_str()), (3, "as it was"));
    assert!(
        ran.err
            .contains("site.rules:4:1: the rule asks for more than addresses, ports and protocol"),
        "{}",
        ran.err
    );
    let ran = files.run("convert /site.rules --to classbench --lenient -o /out");
    assert_eq!((ran.code, files.read("out").as_str()), (0, ""));
    assert_eq!(ran.err.matches("left out: ").count(), 3, "{}", ran.err);

    let ran = files.run("convert /acl --to native");
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(
        ran.err.contains("acl:1:1: protocol icmp has no ports"),
        "{}",
        ran.err
    );
    let ran = files.run("convert /acl --to native --lenient");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.contains("left out: "), "{}", ran.err);

    let ran = files.run("convert /site.rules --to native -o /none/out");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("none/out: can not be written: "), "{}", ran.err);
    let names: Vec<_> = fs::read_dir(files.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_configuration_s_rules_are_exported() {
    let files = Files::new(&[("site.rules", RULES)]);
    let ran = files.run("export --config SAMPLE --to native -o /sample.rules");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let exported = files.read("sample.rules");
    assert!(
        exported.contains("priority 20 tcp from 10.0.0.0/24 to any port {6660-6669, @mail} drop\n"),
        "{exported}"
    );
    assert_eq!(files.run("check --config SAMPLE /sample.rules").code, 0);
    assert_eq!(files.run("export --file /site.rules --to native").out, CANONICAL);
    let ran = files.run("export --to native --socket /none.sock");
    assert!(
        ran.code == 1 && ran.err.contains("no netchannel is running"),
        "{}",
        ran.err
    );
}

#[test]
fn diff_says_what_differs() {
    let files = Files::new(&[
        ("a.rules", RULES),
        (
            "b.rules",
            &RULES
                .replace("8000-8099", "8080")
                .replace("icmp type 8 to", "priority 30 icmp type 8 to")
                .replace("{25, 465} drop", "25 drop"),
        ),
    ]);
    assert_eq!(files.run("convert /a.rules --to json -o /a.json").code, 0);
    let ran = files.run("diff /a.rules /a.json");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let ran = files.run("diff /a.rules /b.rules");
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    assert_eq!(
        ran.out,
        format!(
            "--- {}\n+++ {}\n\
             - set web = {{ 80, 443, 8000-8099 }}\n\
             + set web = {{ 80, 443, 8080 }}\n\
             - priority 20 tcp flags syn/syn,ack from 10.0.0.0/8 port 1024-65535 to 192.0.2.1 port {{25, 465}} drop\n\
             + priority 20 tcp flags syn/syn,ack from 10.0.0.0/8 port 1024-65535 to 192.0.2.1 port 25 drop\n\
             ~ priority 30 icmp type 8 to 192.0.2.1 pass   # was of priority 100\n",
            files.name("a.rules"),
            files.name("b.rules")
        )
    );
    let ran = files.run("diff -j /a.rules /b.rules");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 1);
    assert_eq!(json["changed_sets"], json!(["web"]));
    assert_eq!(json["moved"][0]["former_priority"], 100);
    assert_eq!(json["moved"][0]["rule"]["channel"], "pass");
    assert_eq!(json["added"][0]["destination_ports"], json!([25]));
    assert_eq!(
        (
            json["removed"].as_array().unwrap().len(),
            json["reordered"].as_array().unwrap().len()
        ),
        (1, 0)
    );
    assert_eq!(files.run("diff /a.rules /none.rules").code, 3);
    let ran = files.run("diff /a.rules --socket /none.sock");
    assert!(
        ran.code == 1 && ran.err.contains("no netchannel is running"),
        "{}",
        ran.err
    );
}
