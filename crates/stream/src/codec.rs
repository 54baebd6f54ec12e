//! QEMU's precopy stream, taken apart (see docs): a sans-I/O parser over borrowed bytes.
#![allow(missing_docs)]
pub const PAGE: usize = 4096;
const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE_FLAG: u64 = 0x08;
const EOS: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const XBZRLE: u64 = 0x40;
const FLUSH: u64 = 0x200;
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Magic,
    Section,
    Ram(u32, bool),
    Blocks(u64, u32),
    Zero,
    Content,
    Footer(u32, bool),
    Ended,
    Opaque,
}
#[derive(Debug)]
pub struct Parser {
    at: At,
    ram: Option<u32>,
    section: (u32, bool),
    last: bool,
}
pub enum Step<'a> {
    Item { item: Item<'a>, consumed: usize },
    More,
    RamEnded,
    PassThrough(u8),
}
pub enum Item<'a> {
    Literal(&'a [u8]),
    Page {
        offset: Option<u64>,
        content: &'a [u8; PAGE],
    },
    Zero {
        offset: u64,
    },
}
impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}
impl Parser {
    pub fn new() -> Self {
        Self {
            at: At::Magic,
            ram: None,
            section: (0, false),
            last: false,
        }
    }
    pub fn in_last_section(&self) -> bool {
        self.last
    }
    pub fn next<'a>(&mut self, b: &'a [u8]) -> Step<'a> {
        match self.step(b) {
            Some(Ok((item, consumed))) => Step::Item { item, consumed },
            Some(Err(())) if self.at == At::Ended => Step::RamEnded,
            Some(Err(())) => {
                self.at = At::Opaque;
                Step::PassThrough(0)
            }
            None => Step::More,
        }
    }
    fn step<'a>(&mut self, b: &'a [u8]) -> Option<Result<(Item<'a>, usize), ()>> {
        let lit = |n: usize| Some(Ok((Item::Literal(b.get(..n)?), n)));
        match self.at {
            At::Ended | At::Opaque => Some(Err(())),
            At::Magic => {
                let h = b.get(..8)?;
                if h != b"QEVM\0\0\0\x03" {
                    return Some(Err(()));
                }
                self.at = At::Section;
                lit(8)
            }
            At::Section => match *b.first()? {
                7 => {
                    let n = 5 + be32(b.get(1..5)?) as usize;
                    if n > 300 {
                        return Some(Err(()));
                    }
                    lit(n)
                }
                5 => {
                    let len = *b.get(1)? as usize;
                    let name = b.get(2..2 + len)?;
                    let at = 2 + len + 4;
                    b.get(..at)?;
                    let n = match name {
                        b"configuration/capabilities" => {
                            let c = be32(b.get(at..at + 4)?);
                            let mut p = at + 4;
                            for _ in 0..c {
                                p += 1 + *b.get(p)? as usize;
                            }
                            p
                        }
                        b"configuration/uuid" => at + 16,
                        b"configuration/target-page-bits" => {
                            if be32(b.get(at..at + 4)?) != 12 {
                                return Some(Err(()));
                            }
                            at + 4
                        }
                        _ => return Some(Err(())),
                    };
                    lit(n)
                }
                8 => lit(5 + u16::from_be_bytes(*b.get(3..5)?.first_chunk()?) as usize),
                t @ (1 | 4) => {
                    let id = be32(b.get(1..5)?);
                    let len = *b.get(5)? as usize;
                    let name = b.get(6..6 + len)?;
                    b.get(..14 + len)?;
                    if t != 1 || name != b"ram" || be32(b.get(10 + len..14 + len)?) != 4 {
                        return Some(Err(()));
                    }
                    self.ram = Some(id);
                    self.at = At::Ram(id, false);
                    lit(14 + len)
                }
                t @ (2 | 3) => {
                    let id = be32(b.get(1..5)?);
                    if self.ram != Some(id) {
                        return Some(Err(()));
                    }
                    self.last = t == 3;
                    self.at = At::Ram(id, t == 3);
                    lit(5)
                }
                _ => Some(Err(())),
            },
            At::Footer(id, end) => {
                let f = b.get(..5)?;
                if f[0] != 0x7e || be32(&f[1..]) != id {
                    return Some(Err(()));
                }
                self.at = if end { At::Ended } else { At::Section };
                lit(5)
            }
            At::Blocks(left, _) => {
                let len = *b.first()? as usize;
                let n = 1 + len + 8;
                let size = u64::from_be_bytes(*b.get(1 + len..n)?.first_chunk()?);
                let Some(left) = left.checked_sub(size) else {
                    return Some(Err(()));
                };
                self.at = if left == 0 {
                    At::Ram(self.section.0, self.section.1)
                } else {
                    At::Blocks(left, 0)
                };
                lit(n)
            }
            At::Zero => {
                if *b.first()? != 0 {
                    return Some(Err(()));
                }
                self.at = At::Ram(self.section.0, self.section.1);
                lit(1)
            }
            At::Content => {
                let content = b.first_chunk()?;
                self.at = At::Ram(self.section.0, self.section.1);
                Some(Ok((
                    Item::Page {
                        offset: None,
                        content,
                    },
                    PAGE,
                )))
            }
            At::Ram(id, end) => {
                self.section = (id, end);
                let word = u64::from_be_bytes(*b.first_chunk()?);
                let (flags, offset) = (word & 0xfff, word & !0xfff);
                match flags {
                    EOS => {
                        self.at = At::Footer(id, end);
                        lit(8)
                    }
                    MEM_SIZE => {
                        self.at = At::Blocks(offset, 0);
                        lit(8)
                    }
                    FLUSH => lit(8),
                    f if f == ZERO | CONTINUE => {
                        if *b.get(8)? != 0 {
                            return Some(Err(()));
                        }
                        Some(Ok((Item::Zero { offset }, 9)))
                    }
                    f if f == PAGE_FLAG | CONTINUE => {
                        let content = b.get(8..)?.first_chunk()?;
                        Some(Ok((
                            Item::Page {
                                offset: Some(offset),
                                content,
                            },
                            8 + PAGE,
                        )))
                    }
                    f if f & CONTINUE == 0 && (f == ZERO || f == PAGE_FLAG) => {
                        let n = 9 + *b.get(8)? as usize;
                        b.get(..n)?;
                        self.at = if f == ZERO { At::Zero } else { At::Content };
                        lit(n)
                    }
                    f if f & !CONTINUE == XBZRLE => {
                        let mut n = 8;
                        if f & CONTINUE == 0 {
                            n += 1 + *b.get(8)? as usize;
                        }
                        let len = u16::from_be_bytes(*b.get(n + 1..n + 3)?.first_chunk()?) as usize;
                        lit(n + 3 + len)
                    }
                    _ => Some(Err(())),
                }
            }
        }
    }
}
fn be32(b: &[u8]) -> u32 {
    u32::from_be_bytes([b[0], b[1], b[2], b[3]])
}
pub fn page_header(offset: u64) -> [u8; 8] {
    (offset | PAGE_FLAG | CONTINUE).to_be_bytes()
}
pub fn zero_record(offset: u64) -> [u8; 9] {
    let mut r = [0; 9];
    r[..8].copy_from_slice(&(offset | ZERO | CONTINUE).to_be_bytes());
    r
}
