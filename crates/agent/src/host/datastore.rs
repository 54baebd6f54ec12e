//! Datastores as this host sees them: the marker that tells whether two hosts have the same
//! one, room, and the folders that names stand for.

use crate::answer::{Answer, refused};
use crate::config::{AgentConfig, DatastoreConfig};
use godwit_model::host::DatastoreFacts;
use godwit_model::units::Bytes;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// The file that holds a datastore's id.
const MARKER: &str = ".godwit-datastore";
/// A datastore that does not answer within this is told as such.
const ANSWERS: Duration = Duration::from_secs(5);

/// The mount path of a datastore.
///
/// # Errors
/// Refused if this host has none of that name.
pub fn path_of<'a>(config: &'a AgentConfig, name: &str) -> Answer<&'a Path> {
    config
        .datastore(name)
        .map(|d| d.path.as_path())
        .ok_or_else(|| {
            refused(format!(
                "host {} has no datastore `{name}`: mount it there and add it to its agent.toml",
                config.id
            ))
        })
}

/// A file on a datastore.
///
/// # Errors
/// As [`path_of`]. `path` was checked with the definition to stay inside.
pub fn file(config: &AgentConfig, datastore: &str, path: &str) -> Answer<PathBuf> {
    Ok(path_of(config, datastore)?.join(path))
}

/// The id of a datastore; a datastore without one gets it. Two hosts that do this at once
/// agree, since only one of them can create the file.
///
/// # Errors
/// If the folder is missing or cannot be written.
pub fn ensure_marker(dir: &Path) -> io::Result<Uuid> {
    let path = dir.join(MARKER);
    match read_marker(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let id = Uuid::new_v4();
    // Written in full before it gets its name: a reader never sees half an id.
    let temp = dir.join(format!("{MARKER}.{id}"));
    let mut file = std::fs::File::create_new(&temp)?;
    let linked = writeln!(file, "{id}")
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&temp, &path));
    let _ = std::fs::remove_file(&temp);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read_marker(&path),
    }
}

fn read_marker(path: &Path) -> io::Result<Uuid> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| {
        let problem = format!(
            "{} holds no id: restore it from another host's view",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

/// A datastore's facts; one that hangs or fails is told with its error.
pub async fn facts(datastore: &DatastoreConfig) -> DatastoreFacts {
    let path = datastore.path.clone();
    let look = tokio::task::spawn_blocking(move || look(&path));
    let looked = match tokio::time::timeout(ANSWERS, look).await {
        Ok(Ok(looked)) => looked.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWERS.as_secs())),
    };
    let (uuid, total, free, error) = match looked {
        Ok((uuid, total, free)) => (uuid.to_string(), total, free, None),
        Err(error) => (String::new(), Bytes(0), Bytes(0), Some(error)),
    };
    DatastoreFacts {
        name: datastore.name.clone(),
        path: datastore.path.display().to_string(),
        uuid,
        total,
        free,
        error,
    }
}

fn look(path: &Path) -> io::Result<(Uuid, Bytes, Bytes)> {
    let uuid = ensure_marker(path)?;
    let room = nix::sys::statvfs::statvfs(path)?;
    let size = |blocks: u64| Bytes(blocks.saturating_mul(room.fragment_size()));
    Ok((uuid, size(room.blocks()), size(room.blocks_available())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_look_at_once_see_one_id() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<Uuid> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ensure_marker(dir.path()).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no litter"
        );
    }

    #[tokio::test]
    async fn a_missing_folder_is_told() {
        let facts = facts(&DatastoreConfig {
            name: "X".into(),
            path: "/nonexistent/godwit".into(),
        })
        .await;
        assert!(facts.error.is_some());
    }
}
