//! What no command is ever quoted with: a unit that is restarted for one key may log another one, or a login.
use crate::command::{Unknown, Veil};
use crate::config::settings::Settings;
use crate::store::Store;
use std::sync::Arc;

/// Hides every version of every key that is kept, and every secret that the config names. Both are read when there is something
/// to tell; what can't be read of them is not masked, but nothing is told where nobody knows which versions there are.
pub(super) fn veil(store: &Arc<Store>, settings: &Arc<Settings>) -> Veil {
    let (store, settings) = (Arc::clone(store), Arc::clone(settings));
    Veil::new(move |see| {
        for (name, version) in store.secrets_kept().map_err(|_| Unknown)? {
            if let Ok(Some(secret)) = store.secret(&name, version) {
                see(&secret);
            }
        }
        settings.secrets.iter().filter_map(|it| it.resolve().ok()).for_each(|it| see(&it));
        Ok(())
    })
}
