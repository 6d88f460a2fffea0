//! Notices as host programs see them.

use std::time::Duration;

use time::macros::datetime;
use tokio::sync::mpsc;

use super::*;

fn clock() -> OffsetDateTime {
    datetime!(2026-01-02 03:04:05.678_901 UTC)
}

fn listen() -> (Notices, mpsc::Receiver<Emitted>) {
    let (sender, receiver) = mpsc::channel(64);
    (Notices::with_clock(vec![Sink::Channel(sender)], clock), receiver)
}

fn lines(receiver: &mut mpsc::Receiver<Emitted>) -> Vec<String> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|emitted| emitted.to_json()).collect()
}

fn dial() -> DialDetails {
    DialDetails {
        diagnostic_id: DiagnosticId::from_tag("0123456789abcdef"),
        region: "CA".into(),
        protocol: "OSSH".into(),
        candidate_number: 1,
        unique_candidate_estimate: 1,
        first_fronted_meek_candidate: 0,
        candidates_moved_to_front: 0,
        established_tunnels_count: 0,
        network_type: "UNKNOWN".into(),
        origin: DialOrigin::Fresh,
        network: Some(DialNetworkDetails {
            dial_port_number: Some("9999".into()),
            metrics: [("upstream_ossh_padding", 17.into())].into(),
            ..DialNetworkDetails::default()
        }),
    }
}

#[test]
fn lines_have_sorted_keys_and_milliseconds() {
    let (notices, mut receiver) = listen();
    notices.emit(Notice::Tunnels { count: 1 });
    notices.emit(Notice::ServerTimestamp {
        diagnostic_id: DiagnosticId::from_tag("abcdefghij"),
        timestamp: "2026-01-02T03:00:00Z".into(),
    });
    notices.emit(Notice::Exiting {});
    assert_eq!(
        lines(&mut receiver),
        [
            r#"{"data":{"count":1},"noticeType":"Tunnels","timestamp":"2026-01-02T03:04:05.678Z"}"#,
            r#"{"data":{"diagnosticID":"abcdefgh","timestamp":"2026-01-02T03:00:00Z"},"noticeType":"ServerTimestamp","timestamp":"2026-01-02T03:04:05.678Z"}"#,
            r#"{"data":{},"noticeType":"Exiting","timestamp":"2026-01-02T03:04:05.678Z"}"#,
        ]
    );
}

#[test]
fn nothing_follows_exiting() {
    let (notices, mut receiver) = listen();
    let clone = notices.clone();
    notices.emit(Notice::Exiting {});
    clone.emit(Notice::Tunnels { count: 0 });
    clone.emit(Notice::Exiting {});
    assert_eq!(lines(&mut receiver).len(), 1);
}

#[test]
fn diagnostics_are_off_until_asked_for() {
    let (notices, mut receiver) = listen();
    let say_all = || {
        notices.info("i");
        notices.error("e");
        notices.emit(Notice::ConnectingServer(Box::new(dial())));
        notices.emit(Notice::ClientAddress { address: "192.0.2.1:5".into() });
        notices.fatal("f");
    };
    say_all();
    let quiet = lines(&mut receiver);
    assert_eq!(quiet.len(), 1, "{quiet:?}");
    assert!(quiet[0].contains(r#""noticeType":"Error""#) && quiet[0].contains(r#""message":"f""#));

    notices.show(Detail::Diagnostic, BTreeSet::new());
    say_all();
    let diagnostic = lines(&mut receiver);
    assert_eq!(diagnostic.len(), 4);
    assert!(!diagnostic[2].contains("9999"), "{}", diagnostic[2]);

    notices.show(Detail::NetworkDiagnostic, [Topic::ClientAddress].into());
    say_all();
    let network = lines(&mut receiver);
    assert_eq!(network.len(), 5);
    assert!(
        network[2].contains(r#""dialPortNumber":"9999""#)
            && network[2].contains(r#""upstream_ossh_padding":17"#)
    );
    assert!(network[3].contains("192.0.2.1:5"), "the user may see the own address");
}

#[test]
fn a_dial_has_the_twelve_base_fields() {
    let value =
        serde_json::to_value(Notice::ConnectedServer(Box::new(DialDetails { network: None, ..dial() })));
    let value = value.unwrap();
    let names: Vec<&str> = value["data"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "DSLPrioritized",
            "candidateNumber",
            "candidatesMovedToFront",
            "diagnosticID",
            "establishedTunnelsCount",
            "firstFrontedMeekCandidate",
            "isReplay",
            "networkType",
            "protocol",
            "region",
            "replayIgnoredChange",
            "uniqueCandidateEstimate",
        ]
    );
}

#[test]
fn free_text_loses_addresses() {
    let (notices, mut receiver) = listen();
    notices.fatal("dial 192.0.2.1:443: refused by [2001:db8::1]:5");
    assert!(lines(&mut receiver)[0].contains(r#""message":"dial [redacted]: refused by [redacted]""#));
}

#[test]
fn repeats_are_left_out() {
    let (notices, mut receiver) = listen();
    for id in ["A", "A", "B", "A"] {
        notices.emit(Notice::NetworkID { id: id.into() });
    }
    assert_eq!(lines(&mut receiver).len(), 3);
    for reason in ["x", "y", "x"] {
        notices.emit(Notice::SkipServerEntry { reason: FreeText::new(reason) });
    }
    assert_eq!(lines(&mut receiver).len(), 2);
    notices.emit(Notice::Tunnels { count: 1 });
    notices.emit(Notice::Tunnels { count: 1 });
    assert_eq!(lines(&mut receiver).len(), 2);
}

#[test]
fn streams_get_one_line_each() {
    let directory = std::env::temp_dir().join(format!("culvert-notices-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (form, expected) in [
        (
            Form::Json,
            "{\"data\":{\"count\":2},\"noticeType\":\"Tunnels\",\"timestamp\":\"2026-01-02T03:04:05.678Z\"}\n",
        ),
        (Form::Readable, "2026-01-02T03:04:05.678Z Tunnels {\"count\":2}\n"),
    ] {
        let path = directory.join(format!("{form:?}"));
        let notices = Notices::with_clock(vec![Sink::file(&path, form).unwrap()], clock);
        notices.emit(Notice::Tunnels { count: 2 });
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn durations_read_as_in_the_reference() {
    for (duration, text) in [
        (Duration::from_secs(300), "5m0s"),
        (Duration::from_secs(3600), "1h0m0s"),
        (Duration::from_millis(1500), "1.5s"),
        (Duration::from_millis(20), "20ms"),
        (Duration::from_nanos(1_234_567), "1.234567ms"),
        (Duration::from_nanos(12_050), "12.05\u{b5}s"),
        (Duration::from_nanos(7), "7ns"),
        (Duration::ZERO, "0s"),
    ] {
        assert_eq!(duration_text(duration), text);
    }
}
