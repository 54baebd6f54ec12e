//! The client against a scripted other end. Real QEMU is in `tests/`.

use super::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#;

type Script = (
    BufReader<tokio::io::ReadHalf<DuplexStream>>,
    tokio::io::WriteHalf<DuplexStream>,
);

/// Connects to a scripted QEMU that has greeted and accepted the capabilities.
async fn connected() -> (Qmp, Script) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (read, mut write) = tokio::io::split(theirs);
    let mut read = BufReader::new(read);
    let (our_read, our_write) = tokio::io::split(ours);
    let client = tokio::spawn(Qmp::over(our_read, our_write));
    say(&mut write, GREETING).await;
    let id = hear(&mut read).await["id"].clone();
    say(&mut write, &json!({"return": {}, "id": id}).to_string()).await;
    (client.await.unwrap().unwrap(), (read, write))
}

async fn say(write: &mut (impl AsyncWrite + Unpin), line: &str) {
    write.write_all(line.as_bytes()).await.unwrap();
    write.write_all(b"\r\n").await.unwrap();
}

async fn hear(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Value {
    let mut line = String::new();
    read.read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test]
async fn answers_find_their_caller_in_any_order() {
    let (qmp, (mut read, mut write)) = connected().await;
    assert_eq!(
        qmp.version(),
        GreetingVersion {
            major: 10,
            minor: 0,
            micro: 2
        }
    );
    let script = async {
        let first = hear(&mut read).await;
        let second = hear(&mut read).await;
        assert_eq!(first["execute"], "one");
        let refusal = json!({"class": "GenericError", "desc": "no disk"});
        say(
            &mut write,
            &json!({"id": second["id"], "error": refusal}).to_string(),
        )
        .await;
        say(
            &mut write,
            &json!({"id": first["id"], "return": 1}).to_string(),
        )
        .await;
    };
    let (one, two, ()) = tokio::join!(
        qmp.execute("one", json!({})),
        qmp.execute("two", json!({})),
        script
    );
    assert_eq!(one.unwrap(), json!(1));
    let refused = two.unwrap_err();
    assert!(matches!(&refused, QmpError::Refused { desc, .. } if desc == "no disk"));
    assert_eq!(
        refused.to_string(),
        "QEMU refused two: no disk (GenericError)"
    );
}

#[tokio::test]
async fn garbage_between_lines_does_no_harm() {
    let (qmp, (mut read, mut write)) = connected().await;
    let mut events = qmp.events();
    say(&mut write, "\x00\x01 what {").await;
    say(&mut write, "").await;
    say(&mut write, r#"{"return": {}, "id": 4711}"#).await;
    say(
        &mut write,
        r#"{"timestamp": {"seconds": 7, "microseconds": 5}, "event": "STOP"}"#,
    )
    .await;
    let before = crate::clock::now();
    let event = events.recv().await.unwrap();
    assert_eq!(event.kind(), EventKind::Stop);
    assert_eq!(event.qemu_time, Some(Duration::from_micros(7_000_005)));
    assert!(event.received.0 > 0 && event.received <= crate::clock::now().max(before));
    let script = async {
        let id = hear(&mut read).await["id"].clone();
        say(&mut write, &json!({"id": id, "return": {}}).to_string()).await;
    };
    let (answer, ()) = tokio::join!(qmp.execute("x", json!({})), script);
    answer.unwrap();
}

#[tokio::test]
async fn endless_garbage_ends_the_connection() {
    let (qmp, (_read, mut write)) = connected().await;
    for _ in 0..16 {
        say(&mut write, "nonsense").await;
    }
    assert!(qmp.closed().await.contains("unreadable"));
    assert!(qmp.execute("x", json!({})).await.unwrap_err().is_closed());
}

#[tokio::test]
async fn pending_calls_fail_when_the_other_end_goes() {
    let (qmp, (mut read, write)) = connected().await;
    let mut events = qmp.events();
    let script = async {
        hear(&mut read).await;
        drop((read, write));
    };
    let (answer, ()) = tokio::join!(qmp.execute("x", json!({})), script);
    assert!(answer.unwrap_err().is_closed());
    assert!(qmp.is_closed());
    assert!(matches!(
        events.recv().await,
        Err(broadcast::error::RecvError::Closed)
    ));
    assert!(qmp.events().recv().await.is_err());
}

#[tokio::test]
async fn a_silent_qemu_is_given_up_on_after_the_limit() {
    let (qmp, _script) = connected().await;
    let hasty = qmp.with_limit(Duration::from_millis(10));
    let error = hasty.execute("x", json!({})).await.unwrap_err();
    assert!(matches!(error, QmpError::TimedOut { .. }));
    assert!(!qmp.is_closed());
}

#[tokio::test]
async fn dropping_the_client_closes_the_stream() {
    let (qmp, (mut read, _write)) = connected().await;
    let clone = qmp.clone();
    drop(qmp);
    assert!(!clone.is_closed());
    drop(clone);
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn what_is_not_qmp_is_named() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let (read, write) = tokio::io::split(ours);
    say(&mut theirs, "SSH-2.0-OpenSSH").await;
    let error = Qmp::over(read, write).await.unwrap_err();
    assert!(matches!(error, QmpError::NotQmp { found } if found.contains("SSH")));
}
