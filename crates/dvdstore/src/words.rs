//! The words that the data is made of.
//!
//! Each list is a set of beginnings times a set of endings, which keeps them short to read, and free of repetitions
//! as long as no beginning and ending join to the same word twice (a test sees to it).

/// How many title words there are.
pub const TITLE_WORDS: u32 = 1_000;
/// How many first names, and how many last names, actors have.
pub const NAMES: u32 = 200;

const TITLE_BEGINNINGS: [&str; 40] = [
    "Amber", "Arrow", "Ash", "Bell", "Birch", "Bright", "Cinder", "Cloud", "Copper", "Crow",
    "Dawn", "Drift", "Dusk", "Ember", "Fern", "Fire", "Frost", "Glass", "Gold", "Hazel", "Iron",
    "Ivory", "Lark", "Marble", "Mist", "Moon", "Night", "Ochre", "Paper", "Quartz", "Rain",
    "Raven", "River", "Salt", "Silver", "Snow", "Stone", "Thorn", "Velvet", "Winter",
];
const TITLE_ENDINGS: [&str; 25] = [
    "bay", "bridge", "brook", "chant", "crest", "dance", "fall", "field", "gate", "glow",
    "harbour", "keep", "lane", "light", "march", "mark", "path", "peak", "reach", "run", "shade",
    "song", "tide", "watch", "wind",
];
const FIRST_BEGINNINGS: [&str; 20] = [
    "Al", "Ber", "Cor", "Del", "El", "Fer", "Gil", "Han", "Is", "Jor", "Kas", "Lor", "Mar", "Nor",
    "Ol", "Per", "Ros", "Sel", "Tam", "Vic",
];
const FIRST_ENDINGS: [&str; 10] = [
    "a", "ana", "bert", "den", "ena", "ic", "ina", "o", "tin", "wyn",
];
const LAST_BEGINNINGS: [&str; 20] = [
    "Ander", "Black", "Brad", "Carl", "Clay", "Dun", "East", "Fair", "Green", "Hart", "Hol",
    "Kirk", "Lang", "Mor", "North", "Pem", "Red", "Stan", "Wal", "Whit",
];
const LAST_ENDINGS: [&str; 10] = [
    "berg", "by", "combe", "ford", "ham", "ley", "more", "son", "ton", "well",
];

/// The names of the 16 categories; a category's number is its position plus one.
pub const CATEGORIES: [&str; 16] = [
    "Action",
    "Animation",
    "Children",
    "Classics",
    "Comedy",
    "Documentary",
    "Drama",
    "Family",
    "Foreign",
    "Games",
    "Horror",
    "Music",
    "New",
    "Sci-Fi",
    "Sports",
    "Travel",
];

/// The 50 states of the US and its district, where the first half of the customers lives.
pub const US_STATES: [&str; 51] = [
    "AK", "AL", "AR", "AZ", "CA", "CO", "CT", "DC", "DE", "FL", "GA", "HI", "IA", "ID", "IL", "IN",
    "KS", "KY", "LA", "MA", "MD", "ME", "MI", "MN", "MO", "MS", "MT", "NC", "ND", "NE", "NH", "NJ",
    "NM", "NV", "NY", "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VA", "VT", "WA",
    "WI", "WV", "WY",
];

/// Where the second half lives.
pub const COUNTRIES: [&str; 10] = [
    "Australia",
    "Brazil",
    "Canada",
    "France",
    "Germany",
    "India",
    "Japan",
    "Kenya",
    "New Zealand",
    "Norway",
];

/// Title word number `n` (modulo their count).
#[must_use]
pub fn title_word(n: u32) -> String {
    join(&TITLE_BEGINNINGS, &TITLE_ENDINGS, n)
}

/// First name number `n` (modulo their count).
#[must_use]
pub fn first_name(n: u32) -> String {
    join(&FIRST_BEGINNINGS, &FIRST_ENDINGS, n)
}

/// Last name number `n` (modulo their count).
#[must_use]
pub fn last_name(n: u32) -> String {
    join(&LAST_BEGINNINGS, &LAST_ENDINGS, n)
}

fn join(beginnings: &[&str], endings: &[&str], n: u32) -> String {
    let n = n as usize;
    let beginning = beginnings[n / endings.len() % beginnings.len()];
    format!("{beginning}{}", endings[n % endings.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_word_occurs_twice() {
        let distinct = |count: u32, word: fn(u32) -> String| {
            (0..count).map(word).collect::<HashSet<_>>().len()
        };
        assert_eq!(distinct(TITLE_WORDS, title_word), TITLE_WORDS as usize);
        assert_eq!(distinct(NAMES, first_name), NAMES as usize);
        assert_eq!(distinct(NAMES, last_name), NAMES as usize);
    }
}
