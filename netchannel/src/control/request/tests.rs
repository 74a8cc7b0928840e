use super::*;
use crate::events::{Kind, Kinds};

fn parse(line: &[u8]) -> Result<Request, String> {
    match Asked::parse(line)? {
        Asked::Once(request) => Ok(request),
        Asked::Watch(watch) => Err(format!("{watch:?}")),
    }
}

#[test]
fn what_is_watched_survives_the_way_over_a_line() {
    let some = Kinds::from_iter([Kind::Links, Kind::Flows]);
    for kinds in [Kinds::ALL, Kinds::NONE, some] {
        let watch = Watch::Events(kinds);
        assert_eq!(Asked::parse(&watch.to_line()), Ok(Asked::Watch(watch)));
    }
    let all = Ok(Asked::Watch(Watch::Events(Kinds::ALL)));
    assert_eq!(Asked::parse(br#"{"watch":"events"}"#), all);
    let error = |line: &str| Asked::parse(line.as_bytes()).unwrap_err();
    assert!(error(r#"{"watch":"paint"}"#).contains("expected \"events\""));
    assert!(error(r#"{"watch":"events","kinds":["flows","x"]}"#).contains("kind \"x\"; expected flows,"));
    assert!(error(r#"{"show":"ports","kinds":["flows"]}"#).contains("`watch` goes with"));
    assert!(error(r#"{"kinds":["flows"]}"#).contains("`kinds` belongs to"));
    assert!(error(r#"{"watch":"events","delete":"mappings"}"#).contains("`watch` goes with"));
}

#[test]
fn requests_survive_the_way_over_a_line() {
    let page = Page {
        after: Some("7:\n\"x".to_owned()),
        limit: 9,
        filter: Filter {
            inside: Some("10.0.0.0/24:7".parse().unwrap()),
            max_age_seconds: Some(60),
            ..Filter::default()
        },
    };
    let of_channel = Page::first(Filter {
        channel: Some("internet".to_owned()),
        external: Some("192.0.2.0/24".parse().unwrap()),
        ..Filter::default()
    });
    let network = NetworkPage {
        after: Some("x".to_owned()),
        limit: 5,
        prefix: Some("2001:db8::/32".parse().unwrap()),
        interface: Some("wan0".to_owned()),
    };
    for request in [
        Request::Workers,
        Request::Memory,
        Request::Routes(network.clone()),
        Request::Neighbours(NetworkPage::first()),
        Request::Ports,
        Request::Channels,
        Request::Drops,
        Request::mappings(),
        Request::Mappings(page.clone()),
        Request::Sessions(page.clone()),
        Request::Pools(of_channel),
        Request::DeleteMappings(page),
        Request::DeleteMappings(Page::first(Filter::default())),
        Request::Rules(RulesRequest::Begin {}),
        Request::Rules(RulesRequest::Part {
            load: 7,
            text: "from 10.0.0.0/8\n drop\n".to_owned(),
        }),
        Request::Rules(RulesRequest::Delete {
            numbers: vec![1, 2],
            version: Some(3),
            confirm_within: Some(60),
        }),
        Request::Rules(RulesRequest::List { after: None }),
    ] {
        let line = request.to_line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(parse(&line), Ok(request));
    }
}

#[test]
fn pages_are_bounded() {
    let limit = |line: &str| match parse(line.as_bytes()) {
        Ok(Request::Mappings(page)) => page.limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(r#"{"show":"mappings"}"#), DEFAULT_PAGE);
    assert_eq!(limit(r#"{"show":"mappings","limit":0}"#), 1);
    assert_eq!(limit(r#"{"show":"mappings","limit":4000000000}"#), MAX_PAGE);
}

#[test]
fn what_is_no_request_is_told_so() {
    let error = |line: &str| parse(line.as_bytes()).unwrap_err();
    assert!(error("").contains("not a request"));
    assert!(error("[1]").contains("not a request"));
    assert!(error("{}").contains("neither `show` nor `delete`"));
    assert!(error(r#"{"show":"ports","colour":1}"#).contains("unknown field `colour`"));
    assert!(error(r#"{"show":"everything"}"#).contains("expected \"ports\""));
    assert!(error(r#"{"version":2,"show":"ports"}"#).contains("expected version 1"));
    assert!(error(r#"{"show":"ports","limit":2}"#).contains("\"mappings\""));
    assert!(error(r#"{"show":"drops","filter":{}}"#).contains("\"mappings\""));
    let long = format!(r#"{{"show":"mappings","after":"{}"}}"#, "x".repeat(257));
    assert!(error(&long).contains("longer than 256 bytes"));
    assert!(error(r#"{"show":"mappings","filter":{"inside":"h"}}"#).contains("\"h\" names no endpoints"));
    assert!(error(r#"{"show":"mappings","filter":{"remote":"1.2.3.4"}}"#).contains("only sessions have"));
    assert!(error(r#"{"show":"pools","filter":{"external":":80"}}"#).contains("without a port"));
    assert!(error(r#"{"show":"pools","filter":{"protocol":"tcp"}}"#).contains("without a port"));
    assert!(error(r#"{"show":"mappings","prefix":"10.0.0.0/8"}"#).contains("\"routes\""));
    assert!(error(r#"{"show":"ports","interface":"x"}"#).contains("\"routes\""));
    assert!(error(r#"{"show":"routes","prefix":"10.0.0.0/64"}"#).contains("not a request"));
    assert!(error(r#"{"show":"routes","filter":{}}"#).contains("filtered by `prefix`"));
    assert!(error(r#"{"show":"mappings","delete":"mappings"}"#).contains("one of them"));
    assert!(error(r#"{"delete":"channels"}"#).contains("expected \"mappings\""));
    assert!(error(r#"{"show":"mappings","all":true}"#).contains("`all` belongs"));
    assert!(error(r#"{"rules":{"undo":{}},"show":"ports"}"#).contains("`rules` goes with nothing else"));
    assert!(error(r#"{"rules":{"list":{"before":1}}}"#).contains("unknown field `before`"));
    assert!(error(r#"{"rules":"everything"}"#).contains("unknown variant"));
}

/// Nobody deletes everything by leaving something out.
#[test]
fn all_mappings_are_deleted_only_if_that_is_said() {
    let error = |line: &str| parse(line.as_bytes()).unwrap_err();
    for line in [
        r#"{"delete":"mappings"}"#,
        r#"{"delete":"mappings","filter":{}}"#,
        r#"{"delete":"mappings","all":false}"#,
    ] {
        assert!(error(line).contains("would delete all"), "{line}");
    }
    let all = parse(br#"{"delete":"mappings","all":true}"#);
    assert!(matches!(all, Ok(Request::DeleteMappings(_))));
}
