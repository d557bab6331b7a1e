//! What the writer may have meant.
use super::fault::Hint;

/// The nearest of the words that are known, if it is near enough to be meant.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, &known.into_iter().collect::<Vec<_>>())
}

/// A hint for a word that is not known: the nearest of those that are, or else all of them, if they are few.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Hint {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, &known) {
        Some(near) => Hint::from(format!("did you mean `{near}`?")),
        None => list(known),
    }
}

/// A hint that names all words that are known, if they are few.
pub(super) fn list<'a>(known: impl IntoIterator<Item = &'a str>) -> Hint {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    match known.len() {
        0 => Hint::default(),
        1..=FEW => Hint::from(format!("known here: {}", known.join(", "))),
        _ => Hint::default(),
    }
}

/// How many words a hint lists at most.
const FEW: usize = 40;

/// The longest word that is compared, in bytes: no known one is longer, and a text of a megabyte would take a minute.
const LONGEST: usize = 128;

/// The nearest known word, if it is near enough to be a slip: a third of the letters, at least one, at most three.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let slips = (word.chars().count() / 3).clamp(1, 3);
    let near = known.iter().map(|it| (distance(&word.to_lowercase(), &it.to_lowercase()), *it));
    near.filter(|(far, _)| *far <= slips).min().map(|(_, it)| it)
}

/// How many letters to insert, drop, change or swap with their neighbour until one word is the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Words that differ this much in length are never near, and need no table.
    if from.len().abs_diff(to.len()) > 3 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i - 1] == *b && to[j - 1] == *a {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_the_list() {
        let known = ["overlap", "owners", "windows"];
        for (word, want) in [
            ("overlpa", "did you mean `overlap`?"),
            ("owner", "did you mean `owners`?"),
            ("Windows", "did you mean `windows`?"),
            ("colour", "known here: overlap, owners, windows"),
        ] {
            assert_eq!(hint(word, known).0.as_deref(), Some(want), "{word}");
        }
        assert_eq!(hint("x", []).0, None);
    }
}
