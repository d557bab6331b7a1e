mod fault;
mod section;
pub mod settings;
mod source;
mod suggest;
mod wording;
mod words;
