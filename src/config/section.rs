//! Reads one section of a file into a type, and finds all that is wrong with it, not only the first: what was found is
//! taken out, what is missing is made up, and the section is read again until there is nothing left to find.
use super::fault::{At, Findings, NOWHERE};
use super::wording;
use serde::de::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue, Error, ValueDeserializer};

/// The most faults that are looked for in one section.
const FAULTS: usize = 256;

/// One table of a file.
#[derive(Clone, Debug)]
pub(super) struct Section<'i> {
    /// What stands before its fields in messages, such as `create.`; empty for a section of its own.
    pub(super) prefix: &'static str,
    /// Its place: the header, or the whole of an inline table.
    pub(super) span: Range<usize>,
    /// What is in it.
    pub(super) table: DeTable<'i>,
}

/// What came of reading a section.
#[derive(Debug)]
pub(super) struct Reading<T> {
    /// What was read, if anything; where there were faults, with defaults and made-up values in their place.
    pub(super) value: Option<T>,
    /// Whether it is as written: there were no faults.
    pub(super) clean: bool,
}

impl<'i> Section<'i> {
    /// Its place.
    pub(super) fn at(&self) -> At {
        self.place(&self.span)
    }

    /// A place in it.
    pub(super) fn place(&self, span: &Range<usize>) -> At {
        At(span.start)
    }

    /// The place of a field's value; of the section where it isn't written.
    pub(super) fn at_field(&self, field: &str) -> At {
        self.table.get(field).map_or(self.at(), |it| self.place(&it.span()))
    }

    /// Takes some of the fields out, as a section of their own at the same place.
    pub(super) fn split(&mut self, fields: &[&str]) -> Section<'i> {
        let mut table = DeTable::new();
        for field in fields {
            if let Some((name, value)) = self.table.remove_entry(*field) {
                table.insert(name, value);
            }
        }
        Section { prefix: self.prefix, span: self.span.clone(), table }
    }

    /// Reads it as a type of serde's.
    pub(super) fn read_as<T: Deserialize<'i>>(&self, also: &[&str], findings: &mut Findings) -> Reading<T> {
        self.read(also, findings, |table| T::deserialize(deserializer(table)))
    }

    /// Reads it. `also` are fields that are known beside those that the type knows; hints name them too.
    pub(super) fn read<T>(
        &self,
        also: &[&str],
        findings: &mut Findings,
        parse: impl Fn(Spanned<DeTable<'i>>) -> Result<T, Error>,
    ) -> Reading<T> {
        let mut search = Search {
            section: self,
            table: self.table.clone(),
            removed: Vec::new(),
            touched: Vec::new(),
            made_up: None,
        };
        for round in 0..FAULTS {
            match parse(Spanned::new(self.span.clone(), search.table.clone())) {
                Ok(value) => return Reading { value: Some(value), clean: round == 0 },
                Err(error) => {
                    if !search.go_on_after(&error, also, round == 0, findings) {
                        break;
                    }
                }
            }
        }
        Reading { value: None, clean: false }
    }
}

/// What reads a table.
pub(super) fn deserializer(table: Spanned<DeTable<'_>>) -> ValueDeserializer<'_> {
    let span = table.span();
    Spanned::new(span, DeValue::Table(table.into_inner())).into()
}

/// The state of a search for faults.
struct Search<'s, 'i> {
    section: &'s Section<'i>,
    /// What is left to be read.
    table: DeTable<'i>,
    /// What was taken out, by the place of its table: that it is missing is no second fault.
    removed: Vec<(Range<usize>, String)>,
    /// The tables that are not as written any more: what is said of them as a whole may be our own doing.
    touched: Vec<Range<usize>>,
    /// The newest made-up value: its table, its name, and which of the candidates it is.
    made_up: Option<(Range<usize>, String, usize)>,
}

/// What is put in for a missing field: one of these has the type that is wanted, or the search ends.
const CANDIDATES: [&str; 9] =
    ["'x'", "'x@localhost'", "'1d'", "'* * * * *'", "{ env = 'X' }", "[]", "1", "true", "2000-01-01"];

impl<'i> Search<'_, 'i> {
    /// Notes what the error says and mends the table; `false` where that can't be done.
    fn go_on_after(&mut self, error: &Error, also: &[&str], first: bool, findings: &mut Findings) -> bool {
        let span = error.span().unwrap_or(self.section.span.clone());
        if span == NOWHERE {
            return self.make_up_another();
        }
        // A nested table knows none of the fields that stand beside those of its section.
        let also = if self.table.keys().any(|it| it.span() == span) { also } else { &[] };
        let (message, hint) = wording::plain(error.message(), self.section.prefix, also);
        let mut say = |message, hint| findings.fault(self.section.place(&span), message, hint);
        if let Some(field) = wording::missing(error.message()) {
            if !self.removed.iter().any(|(table, name)| *table == span && name == field) {
                say(message, hint);
            }
            return self.make_up(span, field.to_owned(), 0);
        }
        if let Some(removed) = take(&mut self.table, &self.section.span, &span) {
            if !self.touched.contains(&span) {
                say(message, hint);
            }
            self.touched.extend(removed.as_ref().map(|(table, _)| table.clone()));
            self.removed.extend(removed);
            return true;
        }
        // It is about the section as a whole. After the first round that may be the fault of what was made up.
        if first {
            say(message, hint);
        }
        false
    }

    fn make_up_another(&mut self) -> bool {
        let Some((table, field, candidate)) = self.made_up.take() else { return false };
        self.make_up(table, field, candidate + 1)
    }

    fn make_up(&mut self, at: Range<usize>, field: String, candidate: usize) -> bool {
        let Some(Ok(value)) = CANDIDATES.get(candidate).map(|it| DeValue::parse(it)) else { return false };
        let Some(table) = table_at(&mut self.table, &self.section.span, &at) else { return false };
        let name = Spanned::new(NOWHERE, DeString::Owned(field.clone()));
        table.insert(name, Spanned::new(NOWHERE, nowhere(value.into_inner())));
        self.touched.push(at.clone());
        self.made_up = Some((at, field, candidate));
        true
    }
}

/// The value, with nothing in it pointing into the file.
fn nowhere<'i>(value: DeValue<'i>) -> DeValue<'i> {
    let DeValue::Table(table) = value else { return value };
    let moved = |(name, value): (Spanned<DeString<'i>>, Spanned<DeValue<'i>>)| {
        (Spanned::new(NOWHERE, name.into_inner()), Spanned::new(NOWHERE, value.into_inner()))
    };
    DeValue::Table(table.into_iter().map(moved).collect())
}

/// Finds the table at a place.
fn table_at<'t, 'i>(table: &'t mut DeTable<'i>, here: &Range<usize>, at: &Range<usize>) -> Option<&'t mut DeTable<'i>> {
    if here == at {
        return Some(table);
    }
    table.iter_mut().find_map(|(_, value)| table_in(value, at))
}

fn table_in<'t, 'i>(value: &'t mut Spanned<DeValue<'i>>, at: &Range<usize>) -> Option<&'t mut DeTable<'i>> {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => table_at(table, &span, at),
        DeValue::Array(array) => array.iter_mut().find_map(|it| table_in(it, at)),
        _ => None,
    }
}

/// What was taken out: the place of its table and its name, if it is a field and not an element of a list.
type Taken = Option<(Range<usize>, String)>;

/// Takes the innermost thing at a place out.
fn take<'i>(table: &mut DeTable<'i>, here: &Range<usize>, at: &Range<usize>) -> Option<Taken> {
    for (_, value) in table.iter_mut() {
        if let Some(removed) = take_inside(value, at) {
            return Some(removed);
        }
    }
    let found = table.iter().find(|(name, value)| holds(&name.span(), at) || holds(&value.span(), at))?;
    let name = found.0.get_ref().clone().into_owned();
    table.remove(name.as_str());
    Some(Some((here.clone(), name)))
}

fn take_inside<'i>(value: &mut Spanned<DeValue<'i>>, at: &Range<usize>) -> Option<Taken> {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => take(table, &span, at),
        DeValue::Array(array) => take_element(array, at),
        _ => None,
    }
}

fn take_element<'i>(array: &mut DeArray<'i>, at: &Range<usize>) -> Option<Taken> {
    if let Some(removed) = array.iter_mut().find_map(|it| take_inside(it, at)) {
        return Some(removed);
    }
    let found = array.iter().position(|it| holds(&it.span(), at))?;
    let mut rest = DeArray::new();
    for (n, item) in std::mem::replace(array, DeArray::new()).into_iter().enumerate() {
        if n != found {
            rest.push(item);
        }
    }
    *array = rest;
    Some(None)
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    *outer != NOWHERE && outer.start <= inner.start && inner.end <= outer.end
}
