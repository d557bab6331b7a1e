//! What the daemon does while it dies: a rotation at each service and in both orders, and the life of a key from its
//! adoption to its end.
use crate::rig::{Rig, ago, calm, write};
use rekeyd::simulator::{Service, World};
use std::time::Duration;

/// One course of events.
pub(crate) struct Course {
    pub(crate) name: &'static str,
    /// The service that it is about; none where a human brings the keys.
    pub(crate) service: Option<Service>,
    /// What is done in it.
    pub(crate) act: Act,
    /// Whether the old key stays valid, so that a consumer never holds a dead one.
    pub(crate) keeps: bool,
    /// Whether a create whose answer was lost can only be told to a human.
    pub(crate) may_halt: bool,
    /// What is special about the service or the config, before the daemon starts.
    pub(crate) prepare: fn(&Rig),
}

/// What is done in a course.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// The key is replaced.
    Rotate,
    /// A human brings the next key.
    Bring,
    /// A key enters the config, is adopted, leaves the config, is retired and forgotten.
    Live,
    /// A first start: there is no state yet.
    Begin,
}

const ROTATION: Course =
    Course { name: "", service: None, act: Act::Rotate, keeps: true, may_halt: false, prepare: |_| {} };

/// All of them.
pub(crate) static COURSES: &[Course] = &[
    Course { name: "infobip-json", service: Some(Service::Infobip), prepare: deliver_by_commands, ..ROTATION },
    Course { name: "infobip-xml", service: Some(Service::Infobip), prepare: speak_xml, ..ROTATION },
    Course { name: "2fa-keeps", service: Some(Service::Infobip2fa), may_halt: true, ..ROTATION },
    Course {
        name: "2fa-revokes",
        service: Some(Service::Infobip2fa),
        keeps: false,
        may_halt: true,
        prepare: |rig| rig.sim.behave(Service::Infobip2fa, |it| it.create_revokes = true),
        ..ROTATION
    },
    Course { name: "mobivate", service: Some(Service::Mobivate), keeps: false, ..ROTATION },
    Course { name: "single-invoice", service: Some(Service::SingleInvoice), ..ROTATION },
    Course {
        name: "single-invoice-list",
        service: Some(Service::SingleInvoice),
        prepare: |rig| {
            rig.sim.behave(Service::SingleInvoice, |it| it.list_call = true);
            rig.write_config();
        },
        ..ROTATION
    },
    Course { name: "manual", act: Act::Bring, prepare: bring_by_hand, ..ROTATION },
    Course { name: "life", service: Some(Service::Infobip), act: Act::Live, ..ROTATION },
    Course { name: "first-start", service: Some(Service::Infobip), act: Act::Begin, ..ROTATION },
];

impl Course {
    /// The key that it is about.
    pub(crate) fn key(&self) -> &'static str {
        self.service.map_or(BY_HAND, World::key_name)
    }

    /// A world in which nothing happens by itself, and what happens takes no longer than it must.
    pub(crate) fn world(&self) -> World {
        World {
            overlap: Duration::from_millis(200),
            announce: Duration::from_millis(200),
            settle: Duration::from_millis(200),
            sweep: "*/20 * * * * *".to_owned(),
            ..calm(&self.service.into_iter().collect::<Vec<_>>())
        }
    }
}

/// The key that a human brings.
pub(crate) const BY_HAND: &str = "by-hand";

/// What a human brings as the version after this one.
pub(crate) fn brought(after: u32) -> String {
    format!("secret-brought-by-hand-{}", after + 1)
}

/// Where a course with commands has them put the key.
pub(crate) fn put_by_command(rig: &Rig) -> std::path::PathBuf {
    rig.path("put")
}

/// Beside the file, a command takes the key; a `then` and a `confirm` follow the file.
fn deliver_by_commands(rig: &Rig) {
    let (script, put) = (rig.path("put.sh"), put_by_command(rig));
    write(&script, &format!("cat > {0}.new && mv {0}.new {0}\n", put.display()));
    rig.add_to_target("billing-sms", "then = { command = [\"/bin/true\"] }\nconfirm = { command = [\"/bin/true\"] }");
    let exec = format!("[[keys.billing-sms.deliver]]\nkind = \"exec\"\ncommand = [\"/bin/sh\", {script:?}]\n");
    rig.edit_config(|it| it + &exec);
}

fn speak_xml(rig: &Rig) {
    rig.edit_config(|it| it.replace("format = \"json\"\n", "format = \"xml\"\n"));
}

fn bring_by_hand(rig: &Rig) {
    let file = rig.key_file(BY_HAND);
    write(&file, &brought(0));
    rig.edit_config(|text| {
        format!(
            "{text}\n[providers.portal]\nkind = \"manual\"\n[keys.{BY_HAND}]\nprovider = \"portal\"\n\
             owners = [\"payments\"]\nvalid_for = \"2h\"\nrotate_before = \"10m\"\noverlap = \"200ms\"\n\
             [[keys.{BY_HAND}.deliver]]\nkind = \"file\"\npath = {file:?}\nmode = \"0600\"\n"
        )
    });
}

/// The command line that adopts what the key's file holds.
pub(crate) fn adopt(key: &str) -> Vec<String> {
    ["adopt", key, "--from-target", "--issued-at", &ago(Duration::ZERO)].map(str::to_owned).to_vec()
}
