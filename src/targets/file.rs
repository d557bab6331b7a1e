//! `kind = "file"`: a file that holds the key, replaced as a whole.
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `path` | absolute; neither it nor what is there may be a symlink or a folder | required |
//! | `mode` | octal, in quotes; not writable by others | `"0640"` |
//! | `owner`, `group` | a name or a number | of the file that is replaced, else the daemon's own |
//! | `format` | `raw`, `env`, `json`, `template`: see [`super::format`] | `raw` |
//! | `variable` | of `env`: the variable's name | required there |
//! | `template` | of `template`: the absolute path of the template | required there |
//! | `then` | `{ restart = […] }`, `{ reload = […] }` or `{ command = […] }`, with `timeout` | none |
//! | `confirm` | `{ command = […], timeout = "2m" }` | none |
use super::format::{Form, Read};
use super::hook::{Confirm, Then};
use super::identity::{Database, Identity};
use super::place::{Access, Place, PlaceError, Put};
use super::{DeliveryError, Emptied, Needs, Parcel, Target, Undelivered, env};
use crate::core::facts::Content;
use crate::core::names::TargetId;
use crate::core::policy::Reach;
use crate::secret::Secret;
use async_trait::async_trait;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The most bytes a template may have.
const TEMPLATE_BYTES: u64 = 64 * 1024;
/// Why nothing was written.
const CHANGED: &str =
    "the file was changed after a part of its `then` was done; it is written anew, and all of its `then` is done";

/// A file that holds the key.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct KeyFile {
    path: PathBuf,
    mode: u32,
    owner: Option<Identity>,
    group: Option<Identity>,
    format: Format,
    then: Option<Then>,
    confirm: Option<Confirm>,
}

#[derive(Clone, Debug)]
enum Format {
    Raw,
    Env(String),
    Json,
    Template(PathBuf),
}

#[async_trait]
impl Target for KeyFile {
    fn id(&self) -> TargetId {
        TargetId::new("file", &self.path.to_string_lossy())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn reach(&self) -> Reach {
        Reach::Push { readable: true }
    }

    fn confirms(&self) -> bool {
        self.confirm.is_some()
    }

    fn needs(&self) -> Needs {
        let group = |it: &Identity| if let Identity::Name(name) = it { Some(name.clone()) } else { None };
        Needs {
            folders: self.path.parent().map(Path::to_owned).into_iter().collect(),
            groups: self.group.iter().filter_map(group).collect(),
            chown: self.owner.is_some(),
            verbs: self.then.as_ref().map(Then::verbs).unwrap_or_default(),
        }
    }

    async fn observe(&self, known: &[Parcel]) -> Content {
        self.look(known).await.unwrap_or_else(|error| Content::Unreadable(error.0))
    }

    async fn read(&self) -> Result<Option<Secret>, DeliveryError> {
        let form = self.form().await?;
        let held = self.at_place(|place| place.look()).await?;
        let held = held.filter(|it| !it.is_blank());
        Ok(held.and_then(|it| match form.read(it.content.expose()) {
            Read::Secret(secret, _) => Some(secret),
            Read::Foreign | Read::Broken => None,
        }))
    }

    async fn preflight(&self) -> Result<(), DeliveryError> {
        let form = self.form().await?;
        form.check()?;
        self.spare(&form).await?;
        let access = self.access().await?;
        self.at_place(move |place| place.check(&access)).await?;
        self.then.as_ref().map_or(Ok(()), Then::check)?;
        self.confirm.as_ref().map_or(Ok(()), Confirm::check)
    }

    async fn deliver(&self, parcel: &Parcel) -> Result<(), Undelivered> {
        // Nothing is touched before all is known: until then, what is done stays done.
        let untouched = |why| Undelivered { why, done: parcel.done.clone() };
        let (content, access) = self.written(parcel).await.map_err(untouched)?;
        let again = !parcel.done.is_empty();
        // Whoever took up what stood there before must take up this. That nothing counts as done any more has to be in the
        // books before it is written, so that a kill after the write leaves nobody out.
        let put = move |place: &Place<'_>| match again && !place.has(&content, &access)? {
            true => Ok(None),
            false => place.put(&content, &access).map(Some),
        };
        let done = match self.at_place(put).await? {
            Some(Put::WasThere) => parcel.done.clone(),
            Some(Put::Written) => BTreeSet::new(),
            None => return Err(DeliveryError(CHANGED.to_owned()).into()),
        };
        match &self.then {
            Some(then) => then.run(parcel, &done).await,
            None => Ok(()),
        }
    }

    async fn confirm(&self, parcel: &Parcel) -> Result<(), DeliveryError> {
        match &self.confirm {
            Some(confirm) => confirm.run(parcel).await,
            None => Ok(()),
        }
    }
}

impl KeyFile {
    async fn look(&self, known: &[Parcel]) -> Result<Content, DeliveryError> {
        let form = self.form().await?;
        let access = self.access().await?;
        let Some(held) = self.at_place(|place| place.look()).await? else { return Ok(Content::Absent) };
        if held.is_blank() {
            return Ok(Content::Absent);
        }
        Ok(match form.recognise(held.content.expose(), known) {
            Content::Holds(found) if !held.has(&access) => Content::Askew(found),
            content => content,
        })
    }

    /// Refuses a file that visibly holds more than the key: replacing it would take the rest from its reader.
    async fn spare(&self, form: &Form) -> Result<(), DeliveryError> {
        let held = self.at_place(|place| place.look()).await?;
        let others = held.map(|it| form.others(it.content.expose())).unwrap_or_default();
        let Some(first) = others.first() else { return Ok(()) };
        let path = self.path.display();
        Err(DeliveryError(format!("{path} also holds {first:?}, which would be lost; give the key a file of its own")))
    }

    /// What is written for the parcel, and who shall have access to it.
    async fn written(&self, parcel: &Parcel) -> Result<(Secret, Access), DeliveryError> {
        let form = self.form().await?;
        let content = form.render(parcel)?;
        self.spare(&form).await?;
        Ok((content, self.access().await?))
    }

    /// The form in which the file is written, with the template as it is now.
    async fn form(&self) -> Result<Form, DeliveryError> {
        Ok(match &self.format {
            Format::Raw => Form::Raw,
            Format::Env(variable) => Form::Env(variable.clone()),
            Format::Json => Form::Json,
            Format::Template(path) => {
                let path = path.clone();
                Form::Template(blocking(move || read_template(&path)).await?)
            }
        })
    }

    async fn access(&self) -> Result<Access, DeliveryError> {
        let owner = match &self.owner {
            Some(owner) => Some(owner.resolve(Database::Passwd).await?),
            None => None,
        };
        let group = match &self.group {
            Some(group) => Some(group.resolve(Database::Group).await?),
            None => None,
        };
        Ok(Access { mode: self.mode, owner, group })
    }

    async fn at_place<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place<'_>) -> Result<T, PlaceError> + Send + 'static,
    ) -> Result<T, DeliveryError> {
        at_place(self.path.clone(), work).await
    }
}

/// Removes the file, if one of these secrets stands in it as it is.
pub(super) async fn empty(path: &str, ours: Vec<Secret>) -> Result<Emptied, DeliveryError> {
    let Ok(AbsolutePath(path)) = AbsolutePath::try_from(path.to_owned()) else {
        return Ok(Emptied::No("its path is not absolute"));
    };
    let holds = move |content: &[u8]| ours.iter().filter(|it| !it.is_empty()).any(|it| contains(content, it.expose()));
    at_place(path, move |place| match place.look()? {
        Some(held) if held.is_blank() => Ok(Emptied::Yes),
        Some(held) if !holds(held.content.expose()) => Ok(Emptied::No("what it holds is not recognised as this key")),
        _ => place.clear().map(|()| Emptied::Yes),
    })
    .await
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|it| it == part)
}

/// Does something with the place on a thread that may wait for a disk, one thing at a time. What was begun is finished
/// even if nobody waits for it any more; so without the turn, an older key that hung could land on a newer one.
async fn at_place<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Place<'_>) -> Result<T, PlaceError> + Send + 'static,
) -> Result<T, DeliveryError> {
    let turn = turn(&path).lock_owned().await;
    blocking(move || {
        let _turn = turn;
        Place::open(&path).and_then(|place| work(&place)).map_err(|error| DeliveryError(error.to_string()))
    })
    .await
}

/// Whose turn it is at a path: one lock for each path that was ever configured.
fn turn(path: &Path) -> Arc<tokio::sync::Mutex<()>> {
    static TURNS: LazyLock<Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>> = LazyLock::new(Mutex::default);
    TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default().clone()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeliveryError> + Send + 'static,
) -> Result<T, DeliveryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(DeliveryError("the delivery was broken off".into())))
}

fn read_template(path: &Path) -> Result<String, DeliveryError> {
    let failed = |why: &dyn std::fmt::Display| DeliveryError(format!("template {}: {why}", path.display()));
    let mut source = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    file.take(TEMPLATE_BYTES + 1).read_to_string(&mut source).map_err(|error| failed(&error))?;
    if source.len() as u64 > TEMPLATE_BYTES {
        return Err(failed(&format_args!("has more than {TEMPLATE_BYTES} bytes")));
    }
    Ok(source)
}

/// The settings as they stand in the config.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: AbsolutePath,
    #[serde(default)]
    mode: FileMode,
    owner: Option<Identity>,
    group: Option<Identity>,
    #[serde(default)]
    format: FormatName,
    variable: Option<Variable>,
    template: Option<AbsolutePath>,
    then: Option<Then>,
    confirm: Option<Confirm>,
}

#[derive(Clone, Copy, Default, Eq, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    #[default]
    Raw,
    Env,
    Json,
    Template,
}

impl TryFrom<Written> for KeyFile {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, &'static str> {
        let format = match (written.format, written.variable, written.template) {
            (FormatName::Raw, None, None) => Format::Raw,
            (FormatName::Json, None, None) => Format::Json,
            (FormatName::Env, Some(variable), None) => Format::Env(variable.0),
            (FormatName::Template, None, Some(path)) => Format::Template(path.0),
            (FormatName::Env, None, _) => return Err("format = \"env\" needs variable = \"NAME\""),
            (FormatName::Template, _, None) => return Err("format = \"template\" needs template = \"/path\""),
            (_, Some(_), _) => return Err("`variable` belongs to format = \"env\" alone"),
            (_, _, Some(_)) => return Err("`template` belongs to format = \"template\" alone"),
        };
        let Written { path, mode, owner, group, then, confirm, .. } = written;
        Ok(Self { path: path.0, mode: mode.0, owner, group, format, then, confirm })
    }
}

/// An absolute path to a file, in its one spelling, so that one file is never taken for two targets.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct AbsolutePath(PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let path: PathBuf = Path::new(&text).components().collect();
        let up = path.components().any(|it| it == Component::ParentDir);
        if !path.is_absolute() || up || path.file_name().is_none() || text.ends_with('/') || text.contains('\0') {
            return Err(format!("{text:?} is not the absolute path of a file, without `..`"));
        }
        Ok(Self(path))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct FileMode(u32);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o640)
    }
}

impl TryFrom<String> for FileMode {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let octal = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal && mode <= 0o777 && mode & 0o002 == 0 => Ok(Self(mode)),
            Ok(mode) if octal && mode <= 0o777 => Err(format!("{text:?} lets everybody write; try \"0640\"")),
            _ => Err(format!("{text:?} is not a mode in octal, such as \"0640\"")),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Variable(String);

impl TryFrom<String> for Variable {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        if env::is_variable(&name) {
            Ok(Self(name))
        } else {
            Err(format!("{name:?} can't name an environment variable"))
        }
    }
}
