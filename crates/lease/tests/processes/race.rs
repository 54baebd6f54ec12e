//! Many processes claim the same number on a real file system.

use crate::support::this_program;
use godwit_lease::{BootId, ClaimError, DatastoreLease, Lease, Owner, Purpose, VmHome};
use godwit_model::{epoch::Epoch, ids::VmId};
use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
};

const WON: u8 = 10;
const LOST: u8 = 11;

/// This program as one of many: says that it is there, waits for the word, claims.
pub fn claim(datastore: &Path, vm: &str, host: &str) -> ExitCode {
    let owner = Owner {
        host: host.parse().expect("a host's name"),
        boot: BootId::current().expect("a boot"),
    };
    let lease = DatastoreLease::new(owner);
    let vm = VmHome::new(datastore, vm.parse().expect("a VM's id"));
    print!("r");
    std::io::stdout().flush().expect("writes");
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("reads");
    match lease.claim(&vm, Epoch::FIRST, Purpose::Start) {
        Ok(claim) => {
            assert_eq!(claim.epoch(), Epoch::FIRST);
            ExitCode::from(WON)
        }
        Err(ClaimError::Lost { .. }) => ExitCode::from(LOST),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

pub fn many_processes_race_and_one_wins() {
    const RIVALS: usize = 6;
    for _ in 0..10 {
        let datastore = tempfile::tempdir().expect("a temporary folder");
        let vm = VmHome::new(datastore.path(), VmId::random());
        vm.create().expect("creates");
        let rival = |n: usize| {
            Command::new(this_program())
                .arg("claim")
                .arg(datastore.path())
                .args([vm.vm().to_string(), format!("host{n}")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts")
        };
        let mut rivals: Vec<Child> = (0..RIVALS).map(rival).collect();
        for rival in &mut rivals {
            let ready = rival.stdout.as_mut().expect("piped").read_exact(&mut [0]);
            ready.expect("it comes up");
        }
        // The end of their standard input is the word.
        rivals.iter_mut().for_each(|rival| drop(rival.stdin.take()));
        let codes: Vec<_> = rivals
            .iter_mut()
            .map(|rival| rival.wait().expect("ends").code())
            .collect();
        let count = |wanted: u8| {
            codes
                .iter()
                .filter(|code| **code == Some(wanted.into()))
                .count()
        };
        assert_eq!((count(WON), count(LOST)), (1, RIVALS - 1), "{codes:?}");
    }
}
