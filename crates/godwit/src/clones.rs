//! The paper's clone file: one clone per line, `hostname ip [datastore]`, separated by any
//! number of spaces; the datastore may stand in square brackets, as in the paper.
//!
//! ```text
//! # name   address        datastore
//! db1      192.168.1.11   [SAN1]
//! db2      192.168.1.12   SAN2
//! ```

use godwit_model::ids::is_label;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// One clone that the file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneLine {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its name and host name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its datastore, if one is named.
    pub datastore: Option<String>,
}

/// Everything that is wrong with a clone file, each with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: nothing was cloned, mend these lines first:\n{}", .faults.join("\n"))]
pub struct BadCloneFile {
    /// The file's name.
    pub file: String,
    /// `line N: what is wrong`.
    pub faults: Vec<String>,
}

/// Reads a clone file. All of its faults are found, not only the first.
///
/// # Errors
/// A line is wrong, a name or address comes twice, or there is no clone at all.
pub fn parse(file: &str, text: &str) -> Result<Vec<CloneLine>, BadCloneFile> {
    let (mut clones, mut faults) = (Vec::new(), Vec::new());
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        match parse_line(number, content) {
            Err(fault) => faults.push(format!("line {number}: {fault}")),
            Ok(clone) => {
                if let Some(first) = names.insert(clone.name.clone(), number) {
                    faults.push(format!(
                        "line {number}: name {} is on line {first} too",
                        clone.name
                    ));
                }
                if let Some(first) = addresses.insert(clone.address, number) {
                    let address = clone.address;
                    faults.push(format!(
                        "line {number}: address {address} is on line {first} too"
                    ));
                }
                clones.push(clone);
            }
        }
    }
    if clones.is_empty() && faults.is_empty() {
        faults.push("there is no clone in it: write lines of `hostname ip [datastore]`".to_owned());
    }
    if faults.is_empty() {
        Ok(clones)
    } else {
        Err(BadCloneFile {
            file: file.to_owned(),
            faults,
        })
    }
}

fn parse_line(number: usize, line: &str) -> Result<CloneLine, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let address = words
        .next()
        .ok_or_else(|| format!("{name} has no address"))?;
    let datastore = words.next();
    if let Some(more) = words.next() {
        return Err(format!(
            "`{more}` is one word too many (hostname ip [datastore])"
        ));
    }
    if !is_label(name) {
        return Err(format!(
            "`{name}` is no host name: 1 to 63 characters of a-z, 0-9, `-`, `.`"
        ));
    }
    let address = address
        .parse()
        .map_err(|_| format!("`{address}` is no IPv4 address"))?;
    let datastore = datastore.map(unbracket).transpose()?;
    Ok(CloneLine {
        line: number,
        name: name.to_owned(),
        address,
        datastore,
    })
}

fn unbracket(text: &str) -> Result<String, String> {
    let inner = match (text.strip_prefix('['), text.ends_with(']')) {
        (Some(rest), true) => &rest[..rest.len() - 1],
        (None, false) => text,
        _ => return Err(format!("`{text}`: a bracket is missing")),
    };
    if inner.is_empty() {
        return Err("the datastore's name is empty".to_owned());
    }
    Ok(inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_lines_are_read() {
        let text = "w2k31 192.168.1.11 [SAN1]\n\n# a comment\n  db2    192.168.1.12   SAN2 # two\ndb3 192.168.1.13\n";
        let clones = parse("f", text).expect("a good file");
        let read: Vec<_> = clones
            .iter()
            .map(|c| (c.name.as_str(), c.datastore.as_deref()))
            .collect();
        assert_eq!(
            read,
            [
                ("w2k31", Some("SAN1")),
                ("db2", Some("SAN2")),
                ("db3", None)
            ]
        );
        assert_eq!(clones[0].address, Ipv4Addr::new(192, 168, 1, 11));
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text =
            "a 1.2.3.4\nb\nC 1.2.3.5\nd 1.2.3\ne 1.2.3.6 x y\nf 1.2.3.4\na 1.2.3.7\ng 1.2.3.8 [x\n";
        let faults = parse("f", text).expect_err("a bad file").faults;
        let lines: Vec<_> = faults
            .iter()
            .map(|f| f.split(':').next().unwrap_or(""))
            .collect();
        assert_eq!(
            lines,
            [
                "line 2", "line 3", "line 4", "line 5", "line 6", "line 7", "line 8"
            ]
        );
    }

    #[test]
    fn an_empty_file_is_a_fault() {
        assert!(parse("f", "# nothing\n").is_err());
    }
}
