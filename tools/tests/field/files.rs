//! Files by HTTP and FTP, whole at the other end.

use std::fs;
use std::path::Path;

use netchannel_benches::namespace::Namespace;

use crate::program::Program;
use crate::site::{EXTERNAL, FAR, INSIDE, Site, fails, run, word};

/// Where Debian's packages install for; another `python3` may come first on the path.
const PYTHON: &str = "/usr/bin/python3";

/// `curl` with the time that it has.
pub(crate) const CURL: &str = "curl --silent --show-error --fail --max-time 30";

/// Serves a directory by HTTP.
pub(crate) fn http_server(site: &Site, namespace: &Namespace, address: &str, directory: &Path) -> Program {
    let line = format!(
        "{PYTHON} -u -m http.server --bind {address} --directory {} 8080",
        word(directory)
    );
    let mut server = site.start(namespace, "http", &line);
    server.wait_for_sockets(namespace, &format!("{address}:8080"), 1);
    server
}

/// Serves a directory by FTP to all who ask, for reading and writing.
pub(crate) fn ftp_server(
    site: &Site,
    namespace: &Namespace,
    address: &str,
    directory: &Path,
    options: &str,
) -> Program {
    let line = format!(
        "{PYTHON} -u -m pyftpdlib -i {address} -p 21 -w -d {} {options}",
        word(directory)
    );
    let mut server = site.start(namespace, "ftp", &line);
    server.wait_for_sockets(namespace, &format!("{address}:21"), 1);
    server
}

/// Downloads and checks what comes.
pub(crate) fn check_download(site: &Site, namespace: &Namespace, arguments: &str, content: &[u8]) {
    let target = site.path("download");
    run(namespace, &format!("{CURL} -o {} {arguments}", word(&target)));
    let downloaded = fs::read(&target).expect("curl wrote it");
    assert!(downloaded == content, "{} bytes", downloaded.len());
    fs::remove_file(target).expect("it is there");
}

#[test]
fn curl_downloads_by_http() {
    let site = Site::new("");
    let (directory, content) = site.directory_with_content("www");
    let server = http_server(&site, site.far(), FAR, &directory);
    check_download(
        &site,
        &site.lab.inside,
        &format!("http://{FAR}:8080/content"),
        &content,
    );
    // Ten at a time.
    let parallel = format!(
        "{CURL} --parallel --parallel-immediate -o {}/got#1 http://{FAR}:8080/content?[1-10]",
        word(&directory)
    );
    run(&site.lab.inside, &parallel);
    for number in 1..=10 {
        let got = fs::read(directory.join(format!("got{number}"))).expect("curl wrote it");
        assert!(got == content, "{} bytes", got.len());
    }
    let said = server.said();
    let requests: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("GET /content"))
        .collect();
    assert_eq!(requests.len(), 11, "{said}");
    assert!(requests.iter().all(|line| line.starts_with(EXTERNAL)), "{said}");
    site.finish();
}

/// The client opens the connections of passive mode, to where the server says.
#[test]
fn ftp_from_inside_is_passive() {
    let site = Site::new("");
    let (directory, content) = site.directory_with_content("ftp");
    let _server = ftp_server(&site, site.far(), FAR, &directory, "");
    for passive in ["", "--disable-epsv"] {
        let arguments = format!("{passive} ftp://{FAR}/content");
        check_download(&site, &site.lab.inside, &arguments, &content);
        let source = directory.join("content");
        let upload = format!("{CURL} {passive} -T {} ftp://{FAR}/uploaded", word(&source));
        run(&site.lab.inside, &upload);
        let uploaded = fs::read(directory.join("uploaded")).expect("the server wrote it");
        assert!(uploaded == content, "{} bytes", uploaded.len());
        fs::remove_file(directory.join("uploaded")).expect("it is there");
    }
    // Active mode, where the server opens them, needs a translator that changes what the client says: there is none.
    for active in ["-P -", "-P - --disable-eprt"] {
        let refused = format!(
            "{CURL} {active} -o {} ftp://{FAR}/content",
            word(&site.path("none"))
        );
        assert!(fails(&site.lab.inside, &refused), "{active}");
    }
    site.finish();
}

/// A server inside, its control port and those of its passive mode forwarded. It must be told its address outside for the old form of passive
/// mode. In active mode it opens the connections, which takes nothing.
#[test]
fn ftp_from_outside_works_both_ways() {
    let forward = |ports| {
        format!(
            "[[channel.forward]]\nprotocol = \"tcp\"\nexternal = \"{EXTERNAL}\"\nports = \"{ports}\"\nto = \"{INSIDE}\"\n"
        )
    };
    let site = Site::new(&[forward("21"), forward("40000-40009")].concat());
    let (directory, content) = site.directory_with_content("ftp");
    let options = format!("-n {EXTERNAL} -r 40000-40009");
    let _server = ftp_server(&site, &site.lab.inside, INSIDE, &directory, &options);
    for mode in [
        String::new(),
        "--disable-epsv".to_owned(),
        format!("-P {FAR}"),
        format!("-P {FAR} --disable-eprt"),
    ] {
        let arguments = format!("{mode} ftp://{EXTERNAL}/content");
        check_download(&site, site.far(), &arguments, &content);
    }
    site.finish();
}
