//! The keeper as a process.

use crate::support::{PATIENCE, RunDir, next_exit, run, this_program, until};
use godwit_lease::keeper::{
    ClientError, ExitStatus, KillSignal, LONGEST_LINE, PROTOCOL_VERSION, RefusalCode, Seen,
    ServeError, Spawn, serve, socket_path, vm_process_gone,
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

/// This program as the keeper.
pub fn be_a_keeper(run_dir: &Path) -> ExitCode {
    // As command line programs have it, this one's users among them; Rust's default is gentler.
    // SAFETY: the default disposition of a signal is set before any thread exists.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match serve(run_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, ServeError::AlreadyRunning { .. }) {
                3
            } else {
                1
            })
        }
    }
}

/// Why the keeper refused; anything else is a failure.
pub fn code(error: ClientError) -> RefusalCode {
    match error {
        ClientError::Refused(refused) => refused.code,
        other => panic!("not refused: {other}"),
    }
}

pub fn spawns_lists_and_reports_exits() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let mut exits = client.exits(Seen::default());
        let spawn = dir.script("echo out; echo err >&2; exec sleep 1000");
        let vm = spawn.vm;
        let pid = client.spawn(spawn.clone()).await.expect("starts");
        let again = client.spawn(spawn).await.expect_err("one process per VM");
        assert_eq!(code(again), RefusalCode::AlreadyRunning);
        let list = client.list().await.expect("lists");
        assert_eq!(list.len(), 1);
        assert_eq!(
            (list[0].vm, list[0].pid, list[0].tag.as_str()),
            (vm, pid, "epoch 7")
        );
        until("both lines are in the log", || {
            let log = fs::read_to_string(dir.path().join("vm.log")).unwrap_or_default();
            log.contains("out\n") && log.contains("err\n")
        });
        assert!(!vm_process_gone(dir.path(), vm).expect("locks work"));

        client
            .kill(vm, KillSignal::Terminate)
            .await
            .expect("signals");
        let exit = next_exit(&mut exits).await;
        assert_eq!((exit.seq, exit.vm, exit.pid), (1, vm, pid));
        assert_eq!(exit.status, ExitStatus::Signal(15));
        assert!(vm_process_gone(dir.path(), vm).expect("locks work"));
        assert!(client.list().await.expect("lists").is_empty());
        let none = client
            .kill(vm, KillSignal::Kill)
            .await
            .expect_err("none is there");
        assert_eq!(code(none), RefusalCode::NotRunning);

        let spawn = Spawn {
            vm,
            ..dir.script("exit 42")
        };
        client.spawn(spawn).await.expect("the same VM starts again");
        let exit = next_exit(&mut exits).await;
        assert_eq!((exit.seq, exit.status), (2, ExitStatus::Code(42)));
    });
}

pub fn a_child_is_set_apart_from_its_keeper() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let keeper = dir.keeper_pid().expect("written down");
        let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).expect("it runs");
        let session = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(3));
        assert_eq!(
            session,
            Some(keeper.to_string().as_str()),
            "a session of its own"
        );
        let mode = fs::metadata(socket_path(dir.path()))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let script = "for fd in /proc/$$/fd/*; do echo fd ${fd##*/} $(readlink $fd); done;
            echo group $$ $(cut -d' ' -f5 /proc/$$/stat);
            grep -E 'SigBlk|SigIgn|Cpus_allowed_list' /proc/self/status; echo end; exec sleep 1000";
        let spawn = Spawn {
            affinity: Some(vec![0]),
            ..dir.script(script)
        };
        let vm = spawn.vm;
        client.spawn(spawn).await.expect("starts");
        let log = dir.path().join("vm.log");
        let mut text = String::new();
        until("it has said all", || {
            text = fs::read_to_string(&log).unwrap_or_default();
            text.contains("end\n")
        });
        let line = |start: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(start));
            line.unwrap_or_else(|| panic!("no {start} in {text}"))
                .trim()
                .to_owned()
        };
        let fd = |n: u32| line(&format!("fd {n} "));
        let lock = format!("{vm}.lock");
        assert_eq!(fd(0), "/dev/null");
        assert_eq!(
            (fd(1), fd(2)),
            (log.display().to_string(), log.display().to_string())
        );
        assert!(text.contains(&lock), "it holds its lock: {text}");
        for leaked in ["socket:", "anon_inode:", "keeper.pid", "keeper.log"] {
            assert!(
                !text.contains(leaked),
                "a file of the keeper's has leaked: {text}"
            );
        }
        let group = line("group");
        let (pid, group) = group.split_once(' ').expect("two numbers");
        assert_eq!(pid, group, "its own process group");
        let mask = |name: &str| u64::from_str_radix(&line(name), 16).expect("a bit mask");
        let bits = [
            libc::SIGHUP,
            libc::SIGPIPE,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGCHLD,
        ];
        for signal in bits {
            let bit = 1 << (signal - 1);
            assert_eq!(
                (mask("SigBlk:") | mask("SigIgn:")) & bit,
                0,
                "signal {signal}: {text}"
            );
        }
        assert_eq!(line("Cpus_allowed_list:"), "0");
        client.kill(vm, KillSignal::Kill).await.expect("signals");
    });
}

pub fn refuses_what_makes_no_sense() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let good = dir.script("true");
        let with = |argv: &[&str]| Spawn {
            argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
            ..good.clone()
        };
        let log = dir.path().join("no/such/folder/log");
        for (spawn, expected) in [
            (with(&[]), RefusalCode::Invalid),
            (with(&["sleep", "1"]), RefusalCode::Invalid),
            (with(&["/no/such/program"]), RefusalCode::CannotStart),
            (
                Spawn {
                    affinity: Some(vec![1 << 20]),
                    ..good.clone()
                },
                RefusalCode::Invalid,
            ),
            (
                Spawn {
                    log,
                    ..good.clone()
                },
                RefusalCode::CannotStart,
            ),
        ] {
            let refused = client
                .spawn(spawn.clone())
                .await
                .expect_err("makes no sense");
            assert_eq!(code(refused), expected, "{spawn:?}");
        }
        assert!(vm_process_gone(dir.path(), good.vm).expect("a failed start holds no lock"));
        client
            .spawn(good)
            .await
            .expect("nothing is left that hinders");
    });
}

pub fn a_second_keeper_is_refused() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let first = client.keeper().await.expect("answers");
        let mut second = Command::new(this_program())
            .args(["keeper", "--run-dir"])
            .arg(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut status = None;
        until("it has ended", || {
            status = second.try_wait().expect("it is a child");
            status.is_some()
        });
        let mut text = String::new();
        let stderr = second.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut text).expect("reads");
        assert_eq!(status.and_then(|status| status.code()), Some(3), "{text}");
        let pid = dir.keeper_pid().expect("written down");
        assert!(
            text.contains(&format!("process {pid}")),
            "it names the other one: {text}"
        );
        assert_eq!(client.keeper().await.expect("answers"), first);
    });
}

pub fn garbage_ends_that_connection_only() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let spawn = dir.script("exec sleep 1000");
        client.spawn(spawn.clone()).await.expect("starts");
        let before_hello = format!("{}\n", serde_json::json!("list"));
        let version_only = format!(
            "{}\n{before_hello}",
            serde_json::json!({"hello": {"version": 99}})
        );
        let deep = format!("{}\n", "[".repeat(100_000));
        let endless = vec![b'x'; LONGEST_LINE + 1];
        let garbage: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\n",
            b"\xff\xfe\x00\n",
            before_hello.as_bytes(),
            version_only.as_bytes(),
            deep.as_bytes(),
            &endless,
        ];
        for garbage in garbage {
            let mut stream = UnixStream::connect(socket_path(dir.path())).expect("connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("takes it");
            // The keeper may close before it has taken all of it.
            let _ = stream.write_all(garbage);
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let reset = |e: &std::io::Error| e.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(
                ended.is_ok() || ended.as_ref().is_err_and(reset),
                "{ended:?}"
            );
        }
        // Half a line and no end: it may wait for ever, the others must not.
        let mut half = UnixStream::connect(socket_path(dir.path())).expect("connects");
        half.write_all(b"{\"hello\":").expect("writes");
        assert_eq!(client.list().await.expect("answers").len(), 1);
        client
            .kill(spawn.vm, KillSignal::Kill)
            .await
            .expect("signals");
    });
}

pub fn a_client_that_does_not_wait_for_answers_harms_nobody() {
    let dir = RunDir::new();
    run(async {
        let client = dir.client().await;
        let before = client.keeper().await.expect("answers");
        client
            .spawn(dir.script("exec sleep 1000"))
            .await
            .expect("starts");
        let hello = serde_json::json!({"hello": {"version": PROTOCOL_VERSION}});
        let questions = format!("{hello}\n{}", "\"list\"\n".repeat(200));
        for _ in 0..100 {
            let mut stream = UnixStream::connect(socket_path(dir.path())).expect("connects");
            // The keeper may have answered some by the time it is closed, never all.
            stream.write_all(questions.as_bytes()).expect("writes");
        }
        assert_eq!(client.list().await.expect("answers").len(), 1);
        assert_eq!(client.keeper().await.expect("answers"), before);
        client.shutdown(true).await.expect("ends");
    });
}

pub fn many_clients_at_once_get_one_keeper() {
    let dir = RunDir::new();
    run(async {
        let clients = (0..8).map(|_| {
            let path = dir.path().to_path_buf();
            tokio::spawn(async move {
                let program = this_program();
                let client = godwit_lease::keeper::Client::connect_or_start(&program, &path).await;
                client.expect("a keeper").keeper().await.expect("answers")
            })
        });
        let mut keepers = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            keepers.push(client.await.expect("no panic"));
        }
        keepers.dedup();
        assert_eq!(keepers.len(), 1);
    });
}
