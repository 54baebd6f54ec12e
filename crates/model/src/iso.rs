//! A minimal writer of ISO 9660 images with Joliet names: a handful of small files in one
//! directory. It exists so that a seed needs no external tool.
//!
//! ```text
//! sector 0-15  system area, zero
//!       16-18  primary descriptor, Joliet descriptor, terminator
//!       19-22  path tables: primary little and big endian, then Joliet's two
//!       23-24  root directories: primary, Joliet
//!       25-    the files' contents, shared by both directories; zero up to sector 192
//! ```
//! Layout after ECMA-119; Joliet is the same structures with UCS-2 names. No dates are
//! written, so that equal input gives equal bytes.

const SECTOR: usize = 2048;
const PRIMARY: usize = 16;
const JOLIET: usize = 17;
const TERMINATOR: usize = 18;
const PATH_TABLES: usize = 19;
const ROOTS: usize = 23;
const CONTENT: usize = 25;
/// An image has at least this many sectors: who looks for a file system by its label also looks
/// where others have theirs, beyond 64 KiB, and gives up if the disk ends before.
const LEAST: usize = 192;
/// A path table with the root alone: 8 bytes and the one-byte name with its padding.
const PATH_TABLE_LEN: u32 = 10;

/// How names are written in one of the two trees.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Plain,
    Joliet,
}

impl Names {
    /// Fixed-width text fields are padded with spaces.
    fn padded(self, text: &str, width: usize) -> Vec<u8> {
        let mut out = self.encoded(text);
        out.truncate(width);
        while out.len() < width {
            out.extend(self.encoded(" "));
        }
        out.truncate(width);
        out
    }

    fn encoded(self, text: &str) -> Vec<u8> {
        match self {
            Self::Plain => text.bytes().collect(),
            Self::Joliet => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    /// A file's identifier. The plain one is upper case, as readers without Joliet expect;
    /// they show it in lower case and without the version.
    fn identifier(self, name: &str) -> Vec<u8> {
        match self {
            Self::Plain => format!("{}.;1", name.to_ascii_uppercase()).into_bytes(),
            Self::Joliet => self.encoded(name),
        }
    }
}

/// An image with this volume label and these files (name, content), sorted or not.
///
/// Names are at most 60 ASCII characters without a dot, files together under 4 GiB and few enough for one
/// 2 KiB directory: enough for a seed, and the caller's own constants.
#[must_use]
pub fn image(label: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut files = files.to_vec();
    files.sort_by_key(|(name, _)| *name);
    let mut next = CONTENT;
    let placed: Vec<_> = files
        .iter()
        .map(|(name, content)| {
            let start = next;
            next += content.len().div_ceil(SECTOR);
            (*name, start, *content)
        })
        .collect();

    let next = next.max(LEAST);
    let mut out = vec![0; next * SECTOR];
    put(&mut out, PRIMARY, &descriptor(Names::Plain, label, next));
    put(&mut out, JOLIET, &descriptor(Names::Joliet, label, next));
    put(&mut out, TERMINATOR, b"\xffCD001\x01");
    for (index, root) in [ROOTS, ROOTS + 1].into_iter().enumerate() {
        put(
            &mut out,
            PATH_TABLES + 2 * index,
            &path_table(number(root).to_le_bytes(), 1u16.to_le_bytes()),
        );
        put(
            &mut out,
            PATH_TABLES + 2 * index + 1,
            &path_table(number(root).to_be_bytes(), 1u16.to_be_bytes()),
        );
    }
    put(&mut out, ROOTS, &directory(Names::Plain, ROOTS, &placed));
    put(
        &mut out,
        ROOTS + 1,
        &directory(Names::Joliet, ROOTS + 1, &placed),
    );
    for (_, start, content) in placed {
        put(&mut out, start, content);
    }
    out
}

fn put(image: &mut [u8], sector: usize, bytes: &[u8]) {
    image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
}

/// Sector numbers and sizes are 32 bits in the format; a seed is some kilobytes.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Numbers are stored in both byte orders, one after the other.
fn both32(value: usize) -> [u8; 8] {
    let value = number(value);
    let mut out = [0; 8];
    out[..4].copy_from_slice(&value.to_le_bytes());
    out[4..].copy_from_slice(&value.to_be_bytes());
    out
}

fn both16(value: u16) -> [u8; 4] {
    let [a, b] = value.to_le_bytes();
    [a, b, b, a]
}

fn descriptor(names: Names, label: &str, sectors: usize) -> Vec<u8> {
    let joliet = names == Names::Joliet;
    let (root, tables) = if joliet {
        (ROOTS + 1, PATH_TABLES + 2)
    } else {
        (ROOTS, PATH_TABLES)
    };
    let mut out = vec![0; SECTOR];
    let mut field = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    field(
        0,
        if joliet {
            b"\x02CD001\x01"
        } else {
            b"\x01CD001\x01"
        },
    );
    field(8, &names.padded("", 32));
    field(40, &names.padded(label, 32));
    field(80, &both32(sectors));
    if joliet {
        field(88, b"%/E"); // UCS-2 level 3
    }
    field(120, &both16(1));
    field(124, &both16(1));
    field(128, &both16(2048));
    field(132, &both32(PATH_TABLE_LEN as usize));
    field(140, &number(tables).to_le_bytes());
    field(148, &number(tables + 1).to_be_bytes());
    field(156, &record(&[0], root, SECTOR, true));
    field(190, &names.padded("", 623));
    for date in 0..4 {
        field(813 + 17 * date, b"0000000000000000\0");
    }
    field(881, &[1]);
    out
}

fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend(root);
    out.extend(parent);
    out.extend([0, 0]);
    out
}

fn directory(names: Names, own_sector: usize, files: &[(&str, usize, &[u8])]) -> Vec<u8> {
    // The first two records are the directory itself and its parent: here both the root.
    let mut out = record(&[0], own_sector, SECTOR, true);
    out.extend(record(&[1], own_sector, SECTOR, true));
    for (name, start, content) in files {
        out.extend(record(
            &names.identifier(name),
            *start,
            content.len(),
            false,
        ));
    }
    out
}

fn record(identifier: &[u8], sector: usize, len: usize, directory: bool) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend(both32(sector));
    out.extend(both32(len));
    out.extend([0; 7]); // no date
    out.push(if directory { 2 } else { 0 });
    out.extend([0, 0]);
    out.extend(both16(1));
    out.push(u8::try_from(identifier.len()).unwrap_or(u8::MAX));
    out.extend(identifier);
    if out.len() % 2 == 1 {
        out.push(0);
    }
    out[0] = u8::try_from(out.len()).unwrap_or(u8::MAX);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const FILES: [(&str, &[u8]); 3] = [
        ("user-data", b""),
        ("meta-data", b"instance-id: i-1\n"),
        ("network-config", &[b'x'; 5000]),
    ];

    #[test]
    fn structures_lie_where_the_standard_says() {
        let image = image("CIDATA", &FILES);
        assert_eq!(image.len(), LEAST * SECTOR);
        assert_eq!(&image[PRIMARY * SECTOR..][..7], b"\x01CD001\x01");
        assert_eq!(&image[PRIMARY * SECTOR + 40..][..8], b"CIDATA  ");
        assert_eq!(&image[JOLIET * SECTOR + 40..][..4], b"\0C\0I");
        assert_eq!(
            &image[PRIMARY * SECTOR + 80..][..4],
            &number(image.len() / SECTOR).to_le_bytes()
        );
        let text = String::from_utf8_lossy(&image[ROOTS * SECTOR..][..SECTOR]).into_owned();
        assert!(text.contains("META-DATA.;1") && text.contains("NETWORK-CONFIG.;1"));
    }

    /// An independent reader must agree, where one is installed.
    #[test]
    fn an_independent_reader_finds_the_files() {
        let path = std::env::temp_dir().join(format!("godwit-iso-{}.iso", std::process::id()));
        std::fs::write(&path, image("CIDATA", &FILES)).unwrap();
        let read = |name: &str| {
            Command::new("isoinfo")
                .args(["-J", "-i"])
                .arg(&path)
                .args(["-x", &format!("/{name}")])
                .output()
        };
        if let Ok(output) = read("meta-data") {
            assert_eq!(output.stdout, FILES[1].1);
            assert_eq!(read("network-config").unwrap().stdout, FILES[2].1);
            assert_eq!(read("user-data").unwrap().stdout, FILES[0].1);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
