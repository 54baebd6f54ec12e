//! Where Debian's packages come from: the host's own configuration, so that mirrors and
//! proxies work and no address is written down here. Third-party sources are left alone.

use super::error::ImageError;
use super::recipe::CODENAME;
use std::fs;
use std::path::Path;

/// One place to take packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uris: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

/// The sources of the guest's release as a deb822 file, derived from this host's.
pub(super) fn debian() -> Result<String, ImageError> {
    let mut text = String::new();
    let mut add = |path: &Path| {
        let Ok(content) = fs::read_to_string(path) else {
            return;
        };
        let deb822 = path
            .extension()
            .is_some_and(|extension| extension == "sources");
        let found = if deb822 {
            from_deb822(&content)
        } else {
            from_lines(&content)
        };
        text.extend(found.iter().map(Source::deb822));
    };
    add(Path::new("/etc/apt/sources.list"));
    let mut more: Vec<_> = fs::read_dir("/etc/apt/sources.list.d")
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    more.retain(|path| {
        path.extension()
            .is_some_and(|e| e == "list" || e == "sources")
    });
    more.sort();
    more.iter().for_each(|path| add(path));
    if text.contains(&format!("Suites: {CODENAME}")) {
        Ok(text)
    } else {
        Err(ImageError::NoSource { codename: CODENAME })
    }
}

impl Source {
    /// This source for the guest's release, or nothing if it is not Debian's own `main`.
    fn new(uris: &str, suites: &str, components: &str, signed_by: Option<&str>) -> Option<Self> {
        let debian = signed_by.is_none_or(|key| key.contains("debian-archive"));
        let main = components
            .split_whitespace()
            .any(|component| component == "main");
        let suites: Vec<_> = suites.split_whitespace().filter_map(of_release).collect();
        let kept = debian && main && !suites.is_empty();
        kept.then(|| Self {
            uris: uris.to_owned(),
            suites,
            signed_by: signed_by.map(str::to_owned),
        })
    }

    fn deb822(&self) -> String {
        let key = self
            .signed_by
            .as_ref()
            .map(|key| format!("Signed-By: {key}\n"))
            .unwrap_or_default();
        format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n{key}\n",
            self.uris,
            self.suites.join(" ")
        )
    }
}

/// The guest's suite for a suite of the host, whose release may be another: `trixie-security`
/// becomes `bookworm-security`; backports and foreign suites become nothing.
fn of_release(suite: &str) -> Option<String> {
    const RELEASES: [&str; 4] = ["bookworm", "trixie", "forky", "stable"];
    let (release, rest) = suite
        .split_once('-')
        .map_or((suite, ""), |(release, rest)| (release, rest));
    let part = match rest {
        "" => "",
        "updates" => "-updates",
        "security" => "-security",
        _ => return None,
    };
    RELEASES
        .contains(&release)
        .then(|| format!("{CODENAME}{part}"))
}

fn from_deb822(content: &str) -> Vec<Source> {
    let uncommented: Vec<_> = content
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    uncommented
        .split(|line| line.trim().is_empty())
        .filter_map(|stanza| {
            let field = |name: &str| {
                stanza.iter().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim())
                })
            };
            if field("Enabled") == Some("no")
                || !field("Types")?.split_whitespace().any(|t| t == "deb")
            {
                return None;
            }
            Source::new(
                field("URIs")?,
                field("Suites")?,
                field("Components")?,
                field("Signed-By"),
            )
        })
        .collect()
}

fn from_lines(content: &str) -> Vec<Source> {
    content
        .lines()
        .filter_map(|line| {
            let line = line
                .split('#')
                .next()?
                .trim()
                .strip_prefix("deb ")?
                .trim_start();
            let (options, line) = match line.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", line),
            };
            let signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="));
            let mut words = line.split_whitespace();
            let (uri, suite) = (words.next()?, words.next()?);
            Source::new(uri, suite, &words.collect::<Vec<_>>().join(" "), signed_by)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_stays_and_third_parties_do_not() {
        let text = "# a comment\nTypes: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates \
                    bookworm-backports\nComponents: main contrib\nSigned-By: /k/debian-archive-keyring.gpg\n\n\
                    Types: deb\nURIs: http://other.test/\nSuites: bookworm\nComponents: main\nSigned-By: /k/other.gpg\n\n\
                    Types: deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm\nComponents: main\n";
        let found = from_deb822(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].deb822(),
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\
             Signed-By: /k/debian-archive-keyring.gpg\n\n"
        );
    }

    #[test]
    fn one_line_sources_are_read_and_newer_hosts_give_the_guests_release() {
        let found = from_lines(
            "deb http://mirror.test/debian trixie main # here\n\
             deb [arch=amd64 signed-by=/k/other.gpg] http://x.test/ bookworm main\n\
             #deb http://mirror.test/debian trixie-updates main\n\
             deb http://mirror.test/security trixie-security main contrib\n\
             deb http://x.test/ apt-trixie main\n",
        );
        let suites: Vec<_> = found.iter().map(|source| source.suites.join(" ")).collect();
        assert_eq!(suites, ["bookworm", "bookworm-security"]);
    }
}
